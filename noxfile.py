# SPDX-License-Identifier: Apache-2.0
"""The commands that people use on a checkout: `nox --list` shows them, and `nox -s docs` runs one."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; what follows `--` goes to pytest."""
    session.install("-e", ".[cli,test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Run what a commit must pass: ruff, mypy, pyright."""
    session.install("-e", ".[dev]")
    session.run("pre-commit", "run", "--all-files", *session.posargs, external=False)
    session.run("pyright")


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of all dependencies that pyproject.toml allows."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[cli,test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build; a warning is an error."""
    session.install(".[docs]")
    session.run("sphinx-build", "--fail-on-warning", "--builder", "html", "docs", "docs/_build", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Build and check a release: `nox -s release -- --dry-run`; scripts/release.py tells the rest."""
    session.install(".[release]")
    session.run("python", "scripts/release.py", *session.posargs)
