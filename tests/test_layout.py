# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: layers, exports, size, one place for the version."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import k8stokendetect

PACKAGE = Path(k8stokendetect.__file__).parent
ROOT = Path(__file__).parents[1]
PACKAGES = [  # a file imports from its own package and from those before it
    *(
        "errors",
        "reprs",
        "identity",
        "bounds",
        "events",
        "convert",
        "clouds",
        "event_ref",
        "cards",
        "findings",
        "words",
    ),
    *("input", "envelopes", "reading"),
    *("exclusions", "cluster", "detectors", "enrichment", "engine", "commands"),
    *(
        "incidents",
        "suggestions",
        "review",
        "audit_policy",
        "doctor",
        "sigma",
        "outputs",
        "sinks",
        "serve",
        "plugins",
        "spark",
        "testing",
    ),
    *("", "cli", "__main__"),
]
RANK = {name: rank for rank, name in enumerate(PACKAGES)}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@functools.cache
def nodes_of(name: str) -> tuple[ast.AST, ...]:
    """Return everything in a file."""
    return tuple(ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))))


def imported(name: str) -> set[str]:
    """Return the modules of this package that a file imports, also inside functions."""
    found = set()
    for node in nodes_of(name):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "k8stokendetect":
            base = (node.module or "").partition(".")[2]
            names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            found |= {name if name in FILES else base for name in names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.partition(".")[2] for alias in node.names if alias.name.split(".")[0] == "k8stokendetect"
            }
    return found


def package_of(name: str) -> str:
    """Return the first part of a dotted name: a package, or a module beside them."""
    return name.partition(".")[0]


def test_every_package_has_its_rank() -> None:
    """A new one says where it belongs."""
    assert {package_of(name) for name in FILES} == set(RANK)


def test_every_file_imports_only_from_its_own_package_and_from_those_before_it() -> None:
    """One direction, no way back."""
    others = [(name, other) for name in FILES for other in imported(name) if package_of(other) != package_of(name)]
    back = [f"{name} imports {other}" for name, other in others if RANK[package_of(other)] >= RANK[package_of(name)]]

    assert len(others) > 500
    assert not back


def test_of_every_file_others_import_public_names() -> None:
    """What another package needs has no underscore."""
    wrong = []
    for name in FILES:
        for node in nodes_of(name):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("k8stokendetect"):
                package = package_of((node.module or "").partition(".")[2])
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                if private and package != package_of(name):
                    wrong.append(f"{name} imports {private} from {node.module}")

    assert not wrong


PRINTS_EVIDENCE = {"findings", "outputs", "testing"}


def test_every_file_leaves_evidence_to_people() -> None:
    """Each rule gives another part of it; `Finding.event` has the facts, each with its type."""
    wrong = []
    for name in FILES:
        for node in nodes_of(name) if package_of(name) not in PRINTS_EVIDENCE else ():
            loops = [node] if isinstance(node, ast.For) else getattr(node, "generators", [])
            if any(
                isinstance(part, ast.Attribute) and part.attr == "evidence"
                for loop in loops
                for part in ast.walk(loop.iter)
            ):
                read = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
                if "path" in read:
                    wrong.append(f"{name}: `{ast.unparse(node)}` reads evidence by its path")

    assert not wrong


def test_no_module_name_begins_with_an_underscore() -> None:
    """A package's `__init__` says what is public."""
    parts = {part for name in FILES for part in name.split(".")}

    assert {part for part in parts if part.startswith("_")} == {"__main__"}


def test_every_file_does_one_job_that_its_first_line_states() -> None:
    """At most 300 lines, and a licence line."""
    for name, path in FILES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        (module,) = (node for node in nodes_of(name) if isinstance(node, ast.Module))

        assert lines[0] == "# SPDX-License-Identifier: Apache-2.0", name
        first = (ast.get_docstring(module) or "").partition("\n")[0]
        assert first.endswith((".", "`detect`", "`scan | rules | exclusions`")), name
        assert len(lines) <= 300, name


def functions() -> Iterator[tuple[str, str, int]]:
    """Yield the file, the name and the number of lines of every function."""
    for name in FILES:
        for node in nodes_of(name):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node.name, (node.end_lineno or 0) - node.lineno + 1


def test_no_function_has_more_than_sixty_lines() -> None:
    """Its docstring included; a longer one does two things."""
    assert not [(name, function) for name, function, lines in functions() if lines > 60]


def modules() -> list[ModuleType]:
    """Import every module of the package but the entry point."""
    names = [info.name for info in pkgutil.walk_packages([str(PACKAGE)], "k8stokendetect.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def test_the_public_names_are_complete_and_sorted() -> None:
    """At most 25 of them; everything imported into the package is exported, and nothing else."""
    names = k8stokendetect.__all__
    tree = ast.parse(FILES[""].read_text(encoding="utf-8"))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    imports = [
        alias.name
        for node in nodes
        if node.module not in {"__future__", "typing", "k8stokendetect"}
        for alias in node.names
    ]

    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names
    assert set(names) == set(imports)
    assert len(names) <= 26


def test_no_public_module_is_called_like_a_public_name() -> None:
    """`detect` is a function; a module of that name would shadow it."""
    assert not {module.__name__.rpartition(".")[2] for module in modules()} & set(k8stokendetect.__all__)


def test_every_export_exists() -> None:
    """In every module that has a list of them."""
    for module in modules():
        assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))


def test_the_version_stands_in_one_place() -> None:
    """In pyproject.toml, and so in the installed package; the changelog knows it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == version("k8stokendetect")
    assert not [path for path in FILES.values() if project["version"] in path.read_text(encoding="utf-8")]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_library_needs_no_extra() -> None:
    """Importing it imports neither click nor rich nor dateutil."""
    code = "import sys, k8stokendetect; print(sorted({'click', 'rich', 'dateutil', 'hypothesis'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code

    assert result.stdout == "[]\n"
