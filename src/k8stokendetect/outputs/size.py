# SPDX-License-Identifier: Apache-2.0
"""Keeps every document under 64 KiB, whatever a client sent: cuts its lists and texts, and counts what it left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

LONGEST_DOCUMENT: Final = 65_536
"""Maximum number of bytes of a document: of a line of JSON, which is ASCII."""

MOST_LISTED: Final = 100
"""Maximum number of alerts that the document of an incident names; the others are counted."""

_STAGES: Final = ((100, 4096), (20, 2048), (20, 1024), (10, 512), (5, 512), (2, 256), (1, 192))
"""Maximum number of items of a list and of bytes of a text, tried in turn until the document is small enough."""

_MOST_KEYS: Final = 64
_DEEPEST: Final = 8
"""Levels of lists and names from the root of a document to its deepest value, evidence aside."""

_NAME: Final = re.compile(r"[a-z_]{1,40}")
_NOTE: Final = 90
"""Bytes for the note on what was cut."""


def one_line(document: Mapping[str, Any], /) -> str:
    """Return a document as one line of JSON in printable ASCII, without the line end."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).replace("\x7f", "\\u007f")


def bounded(
    document: dict[str, Any],
    note: Callable[[dict[str, Any], list[dict[str, Any]]], None],
    /,
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return a document that is small enough: itself, or a copy with shorter lists and texts.

    Arguments:
        document: what to write.
        note: writes into it what was left out: `{"list": "evidence", "count": 12}` for each list, `text` for texts.
        left_out: how many items of which list were left out before.

    """
    if left_out:
        note(document, _counts(Counter(left_out)))
    if len(one_line(document)) <= LONGEST_DOCUMENT:
        return document
    shorter = document
    for most, longest in _STAGES:
        left: Counter[str] = Counter(left_out or {})
        shorter = {name: _short(value, most, longest, left, name) for name, value in document.items()}
        note(shorter, _counts(left))
        if len(one_line(shorter)) <= LONGEST_DOCUMENT:
            break
    return shorter


def _counts(left: Counter[str]) -> list[dict[str, Any]]:
    return [{"list": name, "count": count} for name, count in sorted(left.items())]


def _short(value: Any, most: int, longest: int, left: Counter[str], path: str, depth: int = 0) -> Any:
    """Return a shorter copy of a value; what is nested deeper than our own documents becomes text."""
    if isinstance(value, str):
        return _short_text(value, longest, left)
    if isinstance(value, Mapping | list) and depth > _DEEPEST:
        return _short_text(json.dumps(value), longest, left)
    if isinstance(value, Mapping):
        return {
            _short_text(name, longest, left): _short(item, most, longest, left, _below(path, name), depth + 1)
            for name, item in _first(value.items(), _MOST_KEYS, left, path)
        }
    if isinstance(value, list):
        return [_short(item, most, longest, left, path, depth + 1) for item in _first(value, most, left, path)]
    return value


def _below(path: str, name: str) -> str:
    """Name a part of a document; what is below a piece of evidence has names that a client may have chosen."""
    return path if path.endswith(".value") or not _NAME.fullmatch(name) else f"{path}.{name}"


def _first(items: Iterable[T], most: int, left: Counter[str], path: str) -> list[T]:
    """Return the first items, and count the others."""
    found = list(items)
    if len(found) > most:
        left[path] += len(found) - most
    return found[:most]


def _short_text(text: str, longest: int, left: Counter[str]) -> str:
    """Cut a text so that its JSON has so many bytes; a character takes up to twelve."""
    size = len(json.dumps(text))
    if size <= longest:
        return text
    left["text"] += 1
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = text[: max(4, len(text) * (longest - _NOTE) // size)]
    while len(json.dumps(kept)) > longest - _NOTE and len(kept) > 1:
        kept = kept[: len(kept) // 2]
    return f"{kept}… (cut: {len(text)} characters, sha256 {digest})"
