# SPDX-License-Identifier: Apache-2.0
"""What users may rely on, a promise a line, and what is true today; see docs/reference/compatibility.md.

`python tests/compatibility.py` writes what is new into tests/data/compatibility and keeps everything that was promised.
`python tests/compatibility.py --withdraw` also takes out what is true no longer: say in the changelog what, and why.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from k8stokendetect import DEFAULT_EXCLUSIONS, Severity, Tally, detect
from k8stokendetect.cli import main
from k8stokendetect.cluster import Cluster
from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.exclusions import COMPONENTS, OPTIONAL_EXCLUSIONS
from k8stokendetect.incidents import alerts, incidents
from k8stokendetect.outputs.native import to_alert_line, to_incident_line, to_line
from k8stokendetect.outputs.values import alerts_of
from k8stokendetect.plugins import FORMATS
from recordings import DATA, METADATA, REQUEST_RESPONSE, few
from wrappings import cloudwatch, gcp

KEPT: Final = DATA / "compatibility"
ROOT: Final = Path(__file__).parents[1]
REFERENCE: Final = ROOT / "docs/reference/api.md"
PACKAGE: Final = "k8stokendetect"

PRIVATE: Final = {"__main__", "bounds", "cards", "cli", "convert", "event_ref", "input", "reprs", "words"}
"""Modules that no user imports; a name of theirs is public only where another module or the API reference has it."""


def names() -> Iterator[str]:
    """Yield every public name, what it must be given, each argument that it may be given, and members of classes."""
    seen: set[int] = set()
    known = public()
    classes = {id(value) for value in known.values() if inspect.isclass(value)}
    for path, value in sorted(known.items(), key=lambda item: (item[0].count("."), item[0])):
        yield path
        if id(value) in seen or inspect.ismodule(value):
            continue  # the same class in two modules has the same members
        seen.add(id(value))
        if callable(value) and not (inspect.isclass(value) and issubclass(value, enum.Enum)):
            yield from _arguments(path, value)
        if inspect.isclass(value):
            for name in _members(value, classes):
                yield f"{path}.{name}"
                if inspect.isfunction(member := inspect.getattr_static(value, name, None)):
                    yield from _arguments(f"{path}.{name}", member)


def public() -> dict[str, Any]:
    """Return what `__all__` of the public modules names, and what the API reference describes, by path."""
    found: dict[str, Any] = {}
    for file in sorted((ROOT / "src" / PACKAGE).rglob("*.py")):
        parts = file.relative_to(ROOT / "src").with_suffix("").parts
        if len(parts) == 2 and parts[1] == "__init__":
            parts = parts[:1]
        if not PRIVATE & set(parts) and "__all__" in file.read_text(encoding="utf-8"):
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            found |= {f"{module.__name__}.{name}": getattr(module, name) for name in getattr(module, "__all__", ())}
    return found | dict(_described(REFERENCE.read_text(encoding="utf-8")))


def _described(text: str) -> Iterator[tuple[str, Any]]:
    directive = r"^\.\. auto(function|class|module):: (\S+)\n((?:   :.*\n)*)"
    for kind, name, options in re.findall(directive, text, re.MULTILINE):
        path = name if name.startswith(PACKAGE) else f"{PACKAGE}.{name}"
        if kind != "module":
            yield path, _resolved(path)
        else:
            module = importlib.import_module(path)
            given = re.search(r":members: +(\S.*)", options)
            for member in given[1].split(", ") if given else _own(module):
                yield f"{path}.{member}", getattr(module, member)


def _resolved(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _own(module: ModuleType) -> list[str]:
    """Return the names that Sphinx shows of a module."""
    defined = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return list(getattr(module, "__all__", [name for name in defined if not name.startswith("_")]))


def _members(cls: type, known: set[int]) -> list[str]:
    """Return the public attributes of a class that neither a class of Python's own nor a public base class has."""
    bases = [base for base in cls.__mro__[1:] if id(base) in known or not base.__module__.startswith(PACKAGE)]
    inherited = {name for base in bases for name in dir(base)}
    named = {name for base in cls.__mro__ for name in (*vars(base), *inspect.get_annotations(base))}
    return sorted(name for name in named - inherited if not name.startswith("_"))


def _arguments(path: str, value: Callable[..., Any]) -> Iterator[str]:
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return
    if inspect.isfunction(value) and parameters and parameters[0].name == "self":
        del parameters[0]
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    needed = [_written(it) for it in parameters if it.default is it.empty and it.kind not in variable]
    yield f"{path}({', '.join(needed)})"
    for place, it in enumerate(parameters, 1):
        if it.kind in variable:
            yield f"{path}({it.kind.description} {it.name})"
        elif it.default is not it.empty:
            ordered = it.kind is not inspect.Parameter.KEYWORD_ONLY
            yield f"{path}({_written(it)}=…{f', as number {place}' if ordered else ''})"


def _written(parameter: inspect.Parameter) -> str:
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return "…, /"  # whose name nobody can use
    return f"*, {parameter.name}" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else parameter.name


ANYTHING: Final = {"value"}
"""Fields that hold what the audit event has there, of any type."""

RARE: Final = ("d1-anon-odd-uri-flood.log.gz", "f1-eso-enabled.log")
"""Of tests/data/trust: one finding about many requests, and an optional exclusion that would fit."""

COUNTS: Final = {"tally.findings", "tally.excluded"}
"""Objects whose keys are ids."""


def fields() -> Iterator[str]:
    """Yield the JSON fields of findings, alerts, incidents and the tally, with their types; `?`: one may be absent."""
    tally = Tally()
    cluster = Cluster.load(ROOT / "examples/attack-cluster.json", on_error=lambda _: None)
    wrapped = list(few(REQUEST_RESPONSE, 2))
    found = [
        *detect(few(METADATA, 2), keep_excluded=True, tally=tally),
        *detect(wrapped, keep_excluded=True),
        *detect([cloudwatch.payload(wrapped)], keep_excluded=True),
        *detect(map(gcp.entry, wrapped), keep_excluded=True),
        *(finding for name in RARE for finding in detect(DATA / "trust" / name)),
        *detect(ROOT / "examples/attack.log", cluster=cluster, cluster_name="prod"),
    ]
    grouped = incidents(found, cluster=cluster)
    documents = {
        "alert": [
            json.loads(to_alert_line(one))
            for one in (*alerts(found), *(alert for incident in grouped for alert in alerts_of(incident)))
        ],
        "finding": [json.loads(to_line(one)) for one in found],
        "incident": [json.loads(to_incident_line(one)) for one in grouped],
        "tally": [tally.to_dict()],
    }
    for kind, written in documents.items():
        yield from types_of(kind, written)


def types_of(path: str, documents: list[Any]) -> Iterator[str]:
    """Yield path and types of every field of these documents."""
    objects = [value for value in documents if isinstance(value, dict)]
    present: dict[str, list[Any]] = defaultdict(list)
    for value in objects:
        for name, item in value.items():
            present["<id>" if path in COUNTS else name].append(item)
    for name, values in present.items():
        may_be_absent = path not in COUNTS and len(values) < len(objects)
        field = f"{path}.{name}{'?' if may_be_absent else ''}"
        if name in ANYTHING:
            yield f"{field}: anything"
            continue
        yield f"{field}: {' or '.join(sorted({_kind(value) for value in values}))}"
        yield from types_of(f"{path}.{name}", values)
        items = [item for value in values if isinstance(value, list) for item in value]
        if items:
            yield f"{path}.{name}[]: {' or '.join(sorted({_kind(item) for item in items}))}"
            yield from types_of(f"{path}.{name}[]", items)


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "yes or no", int: "whole number", float: "number"}
    return "null" if value is None else names[type(value)]


def ids() -> Iterator[str]:
    """Yield the ids of rules (which name detectors, too), exclusions and components, severities and formats."""
    yield from (f"rule {cls.rule.id}" for cls in BUILTIN)
    yield from (f"rule {cls.rule.id} (optional)" for cls in OPTIONAL)
    yield from (f"rule {cls.rule.id} (commands on hosts)" for cls in BUILTIN_COMMANDS)
    yield from (f"exclusion {exclusion.id}" for exclusion in DEFAULT_EXCLUSIONS)
    yield from (f"exclusion {exclusion.id} (optional)" for exclusion in OPTIONAL_EXCLUSIONS)
    yield from (f"component {component.id}" for component in COMPONENTS)
    yield from (f"severity {severity}" for severity in Severity)
    yield from (f"format {name}" for name in FORMATS)


def options() -> Iterator[str]:
    """Yield the commands, their arguments and options, and the values that an option can have."""
    yield from _of_command(main, PACKAGE, click.Context(main))


def _of_command(command: click.Command, path: str, context: click.Context) -> Iterator[str]:
    yield path
    for parameter in command.params:
        flag = isinstance(parameter, click.Option) and parameter.is_flag
        shown = parameter.opts if isinstance(parameter, click.Option) else [parameter.human_readable_name]
        for name in (*shown, *parameter.secondary_opts):
            yield f"{path} {name}{'' if flag or isinstance(parameter, click.Argument) else ' VALUE'}"
            if isinstance(parameter.type, click.Choice):
                yield from (f"{path} {name} {choice}" for choice in parameter.type.choices)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _of_command(child, f"{path} {name}", context)


KINDS: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "fields": fields,
    "ids": ids,
    "names": names,
    "options": options,
}
"""A file for each, and what makes its lines."""


def promised(kind: str) -> set[str]:
    """Return what the committed file promises."""
    return set((KEPT / f"{kind}.txt").read_text(encoding="utf-8").splitlines())


def rewrite(*, withdraw: bool = False) -> None:
    """Write all files: with what is new and, unless it is withdrawn, with all that was promised."""
    KEPT.mkdir(exist_ok=True)
    for kind, current in KINDS.items():
        path = KEPT / f"{kind}.txt"
        before = promised(kind) if path.exists() else set()
        now = set(current())
        path.write_text("".join(f"{line}\n" for line in sorted(now if withdraw else now | before)), encoding="utf-8")
        for line in sorted(before - now):
            print(f"{'withdrawn' if withdraw else 'still promised, but gone'}: {line}")  # noqa: T201 - a script


if __name__ == "__main__":
    rewrite(withdraw="--withdraw" in sys.argv[1:])
