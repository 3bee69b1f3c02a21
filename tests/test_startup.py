# SPDX-License-Identifier: Apache-2.0
"""What starting imports: nothing that can wait until it is needed."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import k8stokendetect
from k8stokendetect import Severity
from k8stokendetect.cli.options import PLATFORMS, SEVERITIES
from k8stokendetect.events import PLATFORMS as KNOWN_PLATFORMS

RUN = """
import sys
from k8stokendetect.__main__ import main
sys.argv = ["k8stokendetect", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
"""
HEAVY = {"attr", "attrs", "cattrs", "dateutil", "isal", "jinja2", "msgspec", "pyspark", "rich"}


def imported(code: str) -> set[str]:
    """Return the modules that this imports in a new interpreter."""
    code = f"import sys\nbefore = set(sys.modules)\n{code}\nprint('\\0' + ' '.join({{*sys.modules}} - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    return set(result.stdout.rpartition("\0")[2].split())


def own(modules: set[str]) -> set[str]:
    """Return those of this package."""
    return {name for name in modules if name.split(".")[0] == "k8stokendetect"}


def test_importing_the_package_imports_nothing_else() -> None:
    """Neither its modules nor what they depend on; not even `typing`."""
    modules = imported("import k8stokendetect")

    assert own(modules) == {"k8stokendetect"}
    assert not {*HEAVY, "click", "typing"} & modules


def test_a_name_imports_its_own_file_and_what_that_needs() -> None:
    """Whoever catches errors does not load the detectors."""
    assert own(imported("from k8stokendetect import ConfigError")) == {"k8stokendetect", "k8stokendetect.errors"}
    assert "k8stokendetect.detectors" in imported("from k8stokendetect import detect")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["scan", "--help"], ["scan", "--platform", "x", "y"]])
def test_help_imports_neither_detectors_nor_exclusions(arguments: list[str]) -> None:
    """Nor attrs, cattrs, msgspec, rich or Spark: only click and the command itself."""
    modules = imported(RUN.format(arguments=arguments))

    assert "k8stokendetect.cli" in modules
    assert not [name for name in own(modules) if name.startswith(("k8stokendetect.detectors", "k8stokendetect.excl"))]
    assert not HEAVY & modules


def test_help_names_every_platform_and_severity() -> None:
    """The command has its own list of them, so that help need not import theirs."""
    assert PLATFORMS == KNOWN_PLATFORMS
    assert tuple(str(severity) for severity in Severity) == SEVERITIES


@pytest.mark.parametrize("name", k8stokendetect.__all__)
def test_a_public_name_is_what_its_file_defines(name: str) -> None:
    """The same object, found again without a search; the star import knows it."""
    found = getattr(k8stokendetect, name)
    homes = [home for home, names in vars(k8stokendetect)["_HOMES"].items() if name in names.split()]
    stars: dict[str, object] = {}
    exec("from k8stokendetect import *", stars)  # noqa: S102 - our own code

    assert len(homes) == 1
    assert found is getattr(importlib.import_module(f"k8stokendetect.{homes[0]}"), name)
    assert found is vars(k8stokendetect)[name] is stars[name]


def test_public_modules_are_attributes() -> None:
    """Without an import of their own, and `dir` knows them, as it does the names that were not used yet."""
    code = """
import k8stokendetect
assert {*k8stokendetect.__all__, "detectors", "incidents"} <= {*dir(k8stokendetect)}
k8stokendetect.detectors.BUILTIN, k8stokendetect.incidents.incidents
"""

    assert {"k8stokendetect.detectors", "k8stokendetect.incidents"} <= imported(code)


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    """And an import of it an ImportError; `hasattr` says no."""
    with pytest.raises(AttributeError, match="module 'k8stokendetect' has no attribute 'detekt'") as error:
        k8stokendetect.detekt  # type: ignore[attr-defined]  # noqa: B018 - the access is what fails
    assert error.value.name == "detekt"
    with pytest.raises(ImportError, match="detekt"):
        exec("from k8stokendetect import detekt", {})  # noqa: S102 - our own code
    assert not hasattr(k8stokendetect, "_nothing")
