# SPDX-License-Identifier: Apache-2.0
"""The files that other programs read, each judged by its own program; with the extra `dev`, as .ci/run has it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def needs(module: str) -> pytest.MarkDecorator:
    """Skip where a tool of the extra `dev` is missing."""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"no {module}: pip install -e '.[dev]'")


def run(*command: str, **environment: str) -> str:
    """Run a tool in the checkout and return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def loaded(path: Path) -> dict[Any, Any]:
    """Return a YAML file; `on` of a workflow is YAML's true."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@needs("check_jsonschema")
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("github-issue-forms", FORMS),
        ("github-issue-config", [ROOT / ".github/ISSUE_TEMPLATE/config.yml"]),
        ("dependabot", [ROOT / ".github/dependabot.yml"]),
        ("readthedocs", [ROOT / ".readthedocs.yaml"]),
    ],
)
def test_every_file_fits_its_schema(schema: str, files: list[Path]) -> None:
    """Those of the JSON Schema Store, which the tool has with it."""
    check = importlib.import_module("check_jsonschema").main
    done = CliRunner().invoke(check, ["--builtin-schema", f"vendor.{schema}", *map(str, files)])

    assert files
    assert (done.exit_code, done.output) == (0, "ok -- validation done\n")


@needs("pre_commit")
def test_the_hooks_are_valid_and_judge_the_same_files(tmp_path: Path) -> None:
    """Each tool is in the active environment; each schema of the test above has its hook."""
    hooks = [hook for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]

    run("pre_commit", "validate-config", PRE_COMMIT_HOME=str(tmp_path))
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {"ruff check", "ruff format", "mypy"} <= {hook["name"] for hook in hooks}
    known = [*WORKFLOWS, *FORMS, *(ROOT / ".github").rglob("*.yml"), ROOT / ".readthedocs.yaml"]
    files = {str(path.relative_to(ROOT)) for path in known}
    for file in files:
        assert [hook["id"] for hook in hooks if "files" in hook and re.search(hook["files"], file)], file


@needs("nox")
def test_nox_lists_what_contributing_names() -> None:
    """And the Pythons of its tests are those of the classifiers."""
    listed = re.findall(r"^[*-] (\S+)", run("nox", "--list", "--noxfile", str(ROOT / "noxfile.py")), re.MULTILINE)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert {name.partition("-")[0] for name in listed} == {"docs", "lint", "lowest", "release", "tests"}
    assert {f"`nox -s {name.partition('-')[0]}`" for name in listed} == set(re.findall(r"`nox -s \w+`", page))
    assert {name.removeprefix("tests-") for name in listed if name.startswith("tests")} == pythons()


def pythons() -> set[str]:
    """Return the Pythons that the package names."""
    prefix = "Programming Language :: Python :: 3."
    return {f"3.{name.removeprefix(prefix)}" for name in PROJECT["classifiers"] if name.startswith(prefix)}


def test_the_workflows_run_what_the_project_runs() -> None:
    """`.ci/run`, with stages that it has, on every Python; actions are pinned to a commit, and may only read."""
    stages = set(re.findall(r"^(\w+)\(\) \{", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE))
    images = set()
    for path in WORKFLOWS:
        workflow = loaded(path)
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 90
            images |= {
                job["container"].replace("${{ matrix.python }}", version)
                for version in job.get("strategy", {}).get("matrix", {}).get("python", ["-"])
            }
            commands = [step["run"].split() for step in job["steps"] if "run" in step]
            assert [command[0] for command in commands] == [".ci/run"]
            assert set(commands[0][1:]) <= stages
            for step in job["steps"]:
                if "uses" in step:
                    assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]), step
    assert {f"python:{version}-bookworm" for version in pythons()} == images


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_the_issue_forms_ask_for_a_redacted_record_and_the_tally(path: Path) -> None:
    """Both must be given, and nobody may leave a live token."""
    body = [part for part in loaded(path)["body"] if part["type"] != "markdown"]
    asked = {part["id"]: part for part in body}
    words = " ".join(str(part["attributes"]) for part in body)

    assert asked["record"]["validations"]["required"]
    assert "redacted" in asked["record"]["attributes"]["label"]
    assert "events read" in words
    assert "live token" in asked["redacted"]["attributes"]["options"][0]["label"]
    assert asked["redacted"]["attributes"]["options"][0]["required"]


def test_read_the_docs_installs_the_extra_that_builds_them() -> None:
    """With Sphinx's configuration, on a Python that the package names, and a warning is an error."""
    read = loaded(ROOT / ".readthedocs.yaml")

    assert [extra for step in read["python"]["install"] for extra in step["extra_requirements"]] == ["docs"]
    assert (ROOT / read["sphinx"]["configuration"]).exists()
    assert read["sphinx"]["fail_on_warning"]
    assert read["build"]["tools"]["python"] in pythons()


def test_the_package_says_who_and_where() -> None:
    """No person and no host is made up: what nobody has filled in yet is under .example, and stops a release."""
    addresses = [*PROJECT["urls"].values(), *(author["email"] for author in PROJECT["authors"])]
    filled = [address for address in addresses if "k8stokendetect.example" not in address]

    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} == set(PROJECT["urls"])
    assert filled in ([], addresses)
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md"):
        assert re.search(r"\*\*[\w.-]+@[\w.-]+\*\*", (ROOT / name).read_text(encoding="utf-8"))


def test_the_source_distribution_has_what_the_tests_need() -> None:
    """Every file and folder beside pyproject.toml that is under version control, but what git itself reads."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    if tracked.returncode:
        pytest.skip("no checkout")
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = {name.strip("/") for name in config["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    always = {"LICENSE", "README.md", "pyproject.toml", ".gitignore"}

    assert {name.partition("/")[0] for name in tracked.stdout.splitlines()} == included | always
