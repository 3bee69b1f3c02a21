# SPDX-License-Identifier: Apache-2.0
"""scripts/release.py as far as it needs no package index; .ci/run makes a whole release but the tag."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

import release

CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- Something, see [a link](docs/x.md).

## [0.1.0] - 2026-01-01

- The first.
"""


def test_the_unreleased_part_becomes_that_of_the_version() -> None:
    """With the day, and an empty part for what comes next; doing it twice changes nothing."""
    cut = release.cut(CHANGELOG, "0.2.0", "2026-12-01")

    assert "## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- Something" in cut
    assert cut.endswith("## [0.1.0] - 2026-01-01\n\n- The first.\n")
    assert release.cut(cut, "0.2.0", "2026-12-02") == cut
    with pytest.raises(ValueError, match="nothing is unreleased"):
        release.cut(cut, "0.3.0", "2026-12-03")


def test_the_notes_are_those_of_the_version() -> None:
    """Without its heading, and without what other versions say."""
    assert release.notes(CHANGELOG, "Unreleased") == "### Added\n\n- Something, see [a link](docs/x.md)."
    assert release.notes(CHANGELOG, "0.1.0") == "- The first."
    assert release.notes(CHANGELOG, "9.9.9") == release.notes("## [Unreleased]\n## [1]\n- x", "Unreleased") == ""


def repository(folder: Path) -> Path:
    """Make a repository with what a release reads."""
    (folder / "pyproject.toml").write_text('[project]\nname = "made"\nversion = "0.2.0"\nauthors = []\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / "SECURITY.md").write_text("Write to security@k8stokendetect.example, please.\n")
    (folder / "CODE_OF_CONDUCT.md").write_text("Write to conduct@made.example.\n")
    (folder / ".gitignore").write_text("dist/\n")
    for command in ("init --quiet", "add --all", "commit --quiet --message first"):
        git(folder, *command.split())
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    who = ("-c", "user.name=made", "-c", "user.email=made@made.example")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


def test_what_is_in_the_way_of_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A placeholder, an open change, the tag; then nothing is built."""
    root = repository(tmp_path)
    assert list(release.obstacles(root)) == ["SECURITY.md: security@k8stokendetect.example is a placeholder"]

    (root / "SECURITY.md").write_text("Write to security@made.example.\n")
    assert list(release.obstacles(root)) == ["there are changes that are not committed"]
    git(root, "commit", "--quiet", "--all", "--message", "second")
    assert list(release.obstacles(root)) == []
    git(root, "tag", "v0.2.0")
    assert release.main([], root) == 1
    assert capsys.readouterr().out == "in the way: the tag v0.2.0 exists: set the next version in pyproject.toml\n"
    assert not (root / "dist").exists()


def made_without_an_index(root: Path, tree: Path, dist: Path) -> tuple[Path, Path]:
    """Stand for what builds: the tree as it is."""
    dist.mkdir(parents=True)
    wheel, source = dist / "made.whl", dist / "made.tar.gz"
    wheel.write_bytes(release.version(root).encode())
    with tarfile.open(source, "w:gz") as archive:
        archive.add(tree / "CHANGELOG.md", "CHANGELOG.md")
    return wheel, source


def test_a_release_is_the_last_commit_with_the_changelog_cut_and_a_dry_run_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tag holds the notes; what was built is the tagged tree."""
    root = repository(tmp_path)
    (root / "SECURITY.md").write_text("Write to security@made.example.\n")
    git(root, "commit", "--quiet", "--all", "--message", "second")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "made")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "made@made.example")
    monkeypatch.setattr(release, "built", made_without_an_index)
    monkeypatch.setattr(release, "bill", lambda _tree, _wheel, _folder, into: into.write_text("{}"))
    before = git(root, "rev-parse", "HEAD")

    assert release.main(["--dry-run", "--dist", str(tmp_path / "elsewhere/../dist/dry")], root) == 0
    assert (git(root, "rev-parse", "HEAD"), git(root, "tag"), git(root, "status", "--porcelain")) == (before, "", "")
    assert release.main(["--dist", str(root / "dist/dry")], root) == 1
    assert "is not empty" in capsys.readouterr().out

    assert release.main(["--dist", str(root / "dist/real")], root) == 0
    assert git(root, "tag", "--list", "--format=%(contents)", "v0.2.0").strip() == release.notes(
        CHANGELOG, "Unreleased"
    )
    assert git(root, "log", "-1", "--format=%s", "v0.2.0^{commit}").strip() == "Release 0.2.0"
    assert git(root, "status", "--porcelain") == ""
    with tarfile.open(root / "dist/real/made.tar.gz") as archive:
        packed = archive.extractfile("CHANGELOG.md")
        assert packed is not None
        assert packed.read().decode() == git(root, "show", "v0.2.0:CHANGELOG.md")
    sums = (root / "dist/real/SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in sums] == ["made.whl", "made.tar.gz", "k8stokendetect-0.2.0.cdx.json"]
    assert "git push --follow-tags" in capsys.readouterr().out
