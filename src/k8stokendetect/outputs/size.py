# SPDX-License-Identifier: Apache-2.0
"""Keeps every document under 64 KiB, whatever a client sent: cuts its lists and texts, and counts what it left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

from k8stokendetect.bounds import cut

T = TypeVar("T")

LONGEST_DOCUMENT: Final = 65_536
"""Maximum number of bytes of a document: of a line of JSON, which is ASCII."""

MOST_LISTED: Final = 100
"""Maximum number of alerts that the document of an incident names; the others are counted."""

LONGEST_KEYWORD: Final = 1024
"""Maximum number of UTF-16 units of a text in an index: a longer one Elasticsearch keeps, but does not find.

Source: `ignore_above` of all texts that no other template maps, in
https://github.com/elastic/elasticsearch/blob/main/x-pack/plugin/core/template-resources/src/main/resources/ecs@mappings.json
"""

_NO_KEYWORD: Final = frozenset({"message"})
"""Fields that are mapped as text (the same source), of which every word is found."""

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
    *,
    is_indexed: bool = False,
) -> dict[str, Any]:
    """Return a document that is small enough: itself, or a copy with shorter lists and texts.

    Arguments:
        document: what to write.
        note: writes into it what was left out: `{"list": "evidence", "count": 12}` for each list, `text` for texts.
        left_out: how many items of which list were left out before.
        is_indexed: every text but the message has at most `LONGEST_KEYWORD` units.

    """
    shorter = document
    for most, longest in ((None, None), *_STAGES):
        left: Counter[str] = Counter(left_out or {})
        if most is not None or (is_indexed and _is_long(document)):
            limits = _Limits(most, longest, is_indexed, left)
            shorter = {name: _short(value, limits, name) for name, value in document.items()}
        if left:
            note(shorter, _counts(left))
        if len(one_line(shorter)) <= LONGEST_DOCUMENT:
            break
    return shorter


def _is_long(value: Any) -> bool:
    """Tell whether a text in a document may be too long for an index."""
    if isinstance(value, str):
        return len(value) > LONGEST_KEYWORD // 2
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_is_long, items))


@attrs.frozen
class _Limits:
    """How much of a document is kept.

    Arguments:
        most: items of a list.
        longest: bytes of a text.
        is_indexed: see `bounded`.
        left: counts what is left out.

    """

    most: int | None
    longest: int | None
    is_indexed: bool
    left: Counter[str]


def _counts(left: Counter[str]) -> list[dict[str, Any]]:
    return [{"list": name, "count": count} for name, count in sorted(left.items())]


def _short(value: Any, limits: _Limits, path: str, depth: int = 0) -> Any:
    """Return a shorter copy of a value; what is nested deeper than our own documents becomes text."""
    if isinstance(value, str):
        return _short_text(value, limits, path)
    if isinstance(value, Mapping | list) and depth > _DEEPEST:
        return _short_text(json.dumps(value), limits, path)
    if isinstance(value, Mapping):
        return {
            _short_text(name, limits, path): _short(item, limits, _below(path, name), depth + 1)
            for name, item in _first(value.items(), _MOST_KEYS, limits, path)
        }
    if isinstance(value, list):
        return [_short(item, limits, path, depth + 1) for item in _first(value, limits.most, limits, path)]
    return value


def _below(path: str, name: str) -> str:
    """Name a part of a document; what is below a piece of evidence has names that a client may have chosen."""
    return path if path.endswith(".value") or not _NAME.fullmatch(name) else f"{path}.{name}"


def _first(items: Iterable[T], most: int | None, limits: _Limits, path: str) -> list[T]:
    """Return the first items, and count the others."""
    found = list(items)
    if most is not None and len(found) > most:
        limits.left[path] += len(found) - most
    return found[:most]


def _short_text(text: str, limits: _Limits, path: str) -> str:
    """Cut a text, so that an index finds it and its JSON has so many bytes; a character takes up to twelve."""
    short = text
    if limits.is_indexed and path not in _NO_KEYWORD and len(text) > LONGEST_KEYWORD // 2:
        units = len(text.encode("utf-16-le", "surrogatepass")) // 2
        short = cut(text, LONGEST_KEYWORD if units == len(text) else LONGEST_KEYWORD // 2)
    if limits.longest is not None and len(json.dumps(short)) > limits.longest:
        short = _cut_json(text, limits.longest)
    if short != text:
        limits.left["text"] += 1
    return short


def _cut_json(text: str, longest: int) -> str:
    """Cut a text so that its JSON has so many bytes."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = text[: max(4, len(text) * (longest - _NOTE) // len(json.dumps(text)))]
    while len(json.dumps(kept)) > longest - _NOTE and len(kept) > 1:
        kept = kept[: len(kept) // 2]
    return f"{kept}… (cut: {len(text)} characters, sha256 {digest})"
