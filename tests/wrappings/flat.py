# SPDX-License-Identifier: Apache-2.0
"""Flattens audit events as queries and table libraries do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Events = list[dict[str, Any]]


def lines(values: Events) -> bytes:
    """Write JSON lines."""
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def dotted(value: Any, path: str = "", *, lists: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield path and value of everything in a record, as `pandas.json_normalize` names columns.

    Arguments:
        value: the record.
        path: where it stands.
        lists: how the items of lists are numbered, such as `.{}`; None leaves lists of texts whole.

    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from dotted(item, f"{path}.{key}".lstrip("."), lists=lists)
    elif isinstance(value, list) and lists is not None:
        for index, item in enumerate(value):
            yield from dotted(item, path + lists.format(index), lists=lists)
    else:
        yield path, value


def snake(path: str) -> str:
    """Name a column as databases do: `object_ref_sub_resource` but for annotations and extra, whose keys stay."""
    for free in ("annotations.", "user.extra.", "impersonatedUser.extra."):
        if path.startswith(free):
            return free.lower().replace(".", "_") + path.removeprefix(free)
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", path).replace(".", "_").lower()


def renamed(event: dict[str, Any], rename: Callable[[str], str], *, lists: str | None = None) -> dict[str, Any]:
    """Flatten an event and rename its keys."""
    return {rename(path): value for path, value in dotted(event, lists=lists)}


def splunk(event: dict[str, Any]) -> dict[str, Any]:
    """Flatten as Splunk's spath: all values of a list in one cell, a line each."""
    found = {}
    for path, value in dotted({**event, "requestObject": None, "responseObject": None}):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            found[f"{path}{{}}"] = "\n".join(value)
        elif value is not None and not isinstance(value, list):
            found[path] = str(value)
    return found


def logql(event: dict[str, Any]) -> dict[str, Any]:
    """Flatten as LogQL's json stage: word characters only, no lists, texts."""
    return {
        re.sub(r"\W", "_", path): str(value)
        for path, value in dotted(event)
        if not isinstance(value, list | None) and "Object." not in path
    }


def cells(event: dict[str, Any]) -> dict[str, str]:
    """Write every field as text, objects and lists as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in event.items()}


def python_cells(event: dict[str, Any]) -> dict[str, str]:
    """Write every field as text, as pandas writes a frame that was not normalised."""
    return {key: str(value) for key, value in event.items()}


WHOLE: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "json_normalize": lambda event: renamed(event, str),
    "numbered .0": lambda event: renamed(event, str, lists=".{}"),
    "numbered [0]": lambda event: renamed(event, str, lists="[{}]"),
    "prefix log.": lambda event: renamed(event, "log.{}".format),
    "prefix json_": lambda event: {"ts": 1} | renamed(event, lambda path: f"json_{snake(path)}"),
    "snake case": lambda event: renamed(event, snake),
    "capitals": lambda event: renamed(event, lambda path: path.upper() if "notations." not in path else path),
    "JSON cells": cells,
    "Python cells": python_cells,
}
"""Forms that lose nothing but, where they have no dots, paths in bodies."""

NO_BODIES: Final = {"splunk": splunk}
NO_LISTS: Final = {"logql": logql}

WRAPPINGS: Final[dict[str, Callable[[Events], bytes]]] = {
    name: lambda events, row=row: lines([row(event) for event in events])  # type: ignore[misc]
    for name, row in {**WHOLE, **NO_BODIES}.items()
}
