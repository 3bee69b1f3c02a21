#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a release of the version in pyproject.toml: build, check, SBOM, notes, checksums, commit and tag.

`scripts/release.py --dry-run` does all of it but the commit and the tag, and says what is still in the way. Everything
is built from the last commit, into dist/. Nothing is uploaded or pushed: the last line says how. It needs the extra
`release`, and git.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
UNRELEASED: Final = "## [Unreleased]"
PLACEHOLDER: Final = re.compile(r"[\w@:/.-]*\bk8stokendetect\.example\b[\w/.-]*")
MUST_BE_FILLED_IN: Final = ("pyproject.toml", "SECURITY.md", "CODE_OF_CONDUCT.md")


def version(root: Path) -> str:
    """Return the version to release."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def cut(changelog: str, name: str, day: str) -> str:
    """Return the changelog with its unreleased part as that of a version, and an empty one before it.

    A changelog that already has the version comes back as it is.

    Raises:
        ValueError: when there is nothing to release.

    """
    if f"\n## [{name}]" in changelog:
        return changelog
    if not notes(changelog, "Unreleased"):
        raise ValueError("CHANGELOG.md: nothing is unreleased")
    return changelog.replace(UNRELEASED, f"{UNRELEASED}\n\n## [{name}] - {day}", 1)


def notes(changelog: str, name: str) -> str:
    """Return what the changelog says about a version; empty when that is nothing."""
    found = re.search(rf"^## \[{re.escape(name)}\].*\n((?:(?!## \[).*\n?)*)", changelog, re.MULTILINE)
    return found[1].strip() if found else ""


def obstacles(root: Path) -> Iterator[str]:
    """Yield what forbids a release: open changes, a tag that exists, and addresses that nobody filled in."""
    if run("git", "status", "--porcelain", cwd=root):
        yield "there are changes that are not committed"
    if run("git", "tag", "--list", f"v{version(root)}", cwd=root):
        yield f"the tag v{version(root)} exists: set the next version in pyproject.toml"
    for name in MUST_BE_FILLED_IN:
        for found in sorted(set(PLACEHOLDER.findall((root / name).read_text(encoding="utf-8")))):
            yield f"{name}: {found} is a placeholder"


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command and return what it prints; what it says on standard error is shown.

    Raises:
        subprocess.CalledProcessError: when it fails.

    """
    known = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=known, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()
    return done.stdout.strip()


def exported(root: Path, folder: Path) -> Path:
    """Write the last commit's files into a folder, with the changelog cut."""
    packed, tree = folder / "commit.tar", folder / "tree"
    run("git", "archive", "--output", str(packed), "HEAD", cwd=root)
    with tarfile.open(packed) as archive:
        archive.extractall(tree, filter="data")
    changelog = tree / "CHANGELOG.md"
    day = datetime.now(UTC).date().isoformat()
    changelog.write_text(cut(changelog.read_text(encoding="utf-8"), version(tree), day), encoding="utf-8")
    return tree


def built(root: Path, tree: Path, dist: Path) -> tuple[Path, Path]:
    """Build and check the wheel and the source distribution; the same commit gives the same bytes."""
    python = sys.executable
    epoch = run("git", "log", "-1", "--format=%ct", cwd=root)
    run(python, "-m", "build", "--outdir", str(dist), str(tree), cwd=tree, SOURCE_DATE_EPOCH=epoch)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(python, "-m", "twine", "check", "--strict", str(wheel), str(source), cwd=tree)
    run(python, "-m", "check_wheel_contents", str(wheel), cwd=tree)
    run(python, "-m", "pyroma", "--min", "10", str(tree), cwd=tree)
    return wheel, source


def bill(tree: Path, wheel: Path, folder: Path, into: Path) -> None:
    """Write what the wheel with its command installs, as CycloneDX."""
    python = folder / "installed/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", str(python.parents[1]), cwd=folder)
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", f"{wheel}[cli]", cwd=folder)
    scan = (sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate")
    run(*scan, "--pyproject", str(tree / "pyproject.toml"), "--output-file", str(into), str(python), cwd=folder)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Make a release, or try to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="neither commit nor tag")
    parser.add_argument("--dist", type=Path, default=root / "dist", help="where to put what is built (dist)")
    given = parser.parse_args(arguments)
    name, dist = version(root), Path(given.dist).resolve()
    in_the_way = list(obstacles(root))
    for obstacle in in_the_way:
        print(f"in the way: {obstacle}")
    if in_the_way and not given.dry_run:
        return 1
    if dist.exists() and any(dist.iterdir()):
        print(f"in the way: {dist} is not empty")
        return 1
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tree = exported(root, folder)
        wheel, source = built(root, tree, dist)
        changelog = (tree / "CHANGELOG.md").read_text(encoding="utf-8")
        bill(tree, wheel, folder, sbom := dist / f"k8stokendetect-{name}.cdx.json")
    (dist / "NOTES.md").write_text(notes(changelog, name) + "\n", encoding="utf-8")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in (wheel, source, sbom)]
    (dist / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    print(f"built and checked: {', '.join(sorted(file.name for file in dist.iterdir()))}")
    if given.dry_run:
        print("dry run: nothing was committed or tagged")
        return 0
    (root / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    run("git", "commit", "--allow-empty", "--message", f"Release {name}", "CHANGELOG.md", cwd=root)
    run("git", "tag", "--annotate", f"v{name}", "--cleanup=verbatim", "--file", str(dist / "NOTES.md"), cwd=root)
    print(f"tagged v{name}. Now: git push --follow-tags; twine upload dist/*.whl dist/*.tar.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
