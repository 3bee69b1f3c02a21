# SPDX-License-Identifier: Apache-2.0
"""Finds the lines on which the values of a YAML text, and the objects of a JSON text, begin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.convert.yaml import library

_ITEMS: Final = re.compile(r'"items"\s*:\s*\[')
_BETWEEN: Final = re.compile(r"[\s,]*")
_PART: Final = re.compile(r"[^.\[\]]+")


def objects_of(content: bytes, /) -> Iterator[tuple[Any, int]]:
    """Yield the Kubernetes objects of a text, those of lists, too, with the line on which each begins.

    Of an object of YAML, only what names it is given: kind, namespace and name.
    """
    text = content.decode("utf-8", "replace")
    if text.lstrip()[:1] in {"{", "["}:
        yield from _objects_of_json(text)
        return
    for document in _documents(content):
        listed = _child(document, "items")
        for node in listed.value if listed is not None and isinstance(listed.value, list) else [document]:
            head = _child(node, "metadata")
            names = {name: _text(_child(head, name)) for name in ("namespace", "name")}
            kind = _text(_child(node, "kind")) or _text(_child(document, "kind")).removesuffix("List")
            yield {"kind": kind, "metadata": names}, node.start_mark.line + 1


def _objects_of_json(text: str) -> Iterator[tuple[Any, int]]:
    decoder = json.JSONDecoder()
    at, line, counted = _after(text, 0), 1, 0
    try:
        while at < len(text):
            document, end = decoder.raw_decode(text, at)
            listed = document.get("items") if isinstance(document, dict) else document
            start = _ITEMS.search(text, at, end) if isinstance(document, dict) else re.compile(r"\[").match(text, at)
            if not isinstance(listed, list) or start is None:
                line, counted = line + text.count("\n", counted, at), at
                yield document, line
            else:
                at = _after(text, start.end())
                for item in listed:
                    found, after = decoder.raw_decode(text, at)
                    if found != item:  # another `items` came first
                        return
                    line, counted = line + text.count("\n", counted, at), at
                    yield _with_kind(item, document), line
                    at = _after(text, after)
            at = _after(text, end)
    except (ValueError, RecursionError):
        return


def _with_kind(item: Any, document: Any) -> Any:
    """Give an item of a RoleList its kind, which it does not repeat."""
    if not isinstance(item, dict) or "kind" in item or not isinstance(document, dict):
        return item
    return {**item, "kind": str(document.get("kind", "")).removesuffix("List")}


def _after(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def line_at(content: bytes, path: str, /) -> int | None:
    """Return the line of a value, or of the nearest one around it that is there; None where the text is not YAML.

    Arguments:
        content: YAML; its first document.
        path: such as `rules[1].resources[0].username`.

    """
    node = next(_documents(content), None)
    line = None
    for part in _PART.findall(path):
        place = _place(node, part)
        if place is None:
            break
        node, line = place
    return line


def _place(node: Any, part: str) -> tuple[Any, int] | None:
    """Return a value in another one, and its line: that of its key where it has one."""
    if node is None or not isinstance(node.value, list):
        return None
    if part.isdigit() and not _is_mapping(node):
        index = int(part)
        return (node.value[index], node.value[index].start_mark.line + 1) if index < len(node.value) else None
    pairs = node.value if _is_mapping(node) else []
    return next(((value, key.start_mark.line + 1) for key, value in pairs if key.value == part), None)


def _is_mapping(node: Any) -> bool:
    return bool(node.id == "mapping")


def _documents(content: bytes) -> Iterator[Any]:
    """Yield the trees of a stream as far as it is YAML."""
    yaml = library()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = loader(content)
        while found.check_node():
            yield found.get_node()
    except (yaml.YAMLError, ValueError, RecursionError):
        return


def _child(node: Any, name: str) -> Any:
    place = _place(node, name) if node is not None and _is_mapping(node) else None
    return None if place is None else place[0]


def _text(node: Any) -> str:
    return node.value if node is not None and isinstance(node.value, str) else ""
