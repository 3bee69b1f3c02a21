# SPDX-License-Identifier: Apache-2.0
"""An audit event as JSON that a person reads, without credentials, and of bounded length where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from k8stokendetect.convert.structure import event_to_mapping
from k8stokendetect.events import Event, JsonValue

LONGEST_EVENT: Final = 12_000
"""Maximum number of characters of an event that is bounded."""

_WIDEST: Final = 100
"""A list or an object that fits into so many characters stays on its line."""

_LONGEST_TEXT, _MOST_ITEMS = 600, 40
_SHORTEST_TEXT, _FEWEST_ITEMS = 60, 4

_FIRST: Final = ("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb")
"""What the API server writes first: k8s.io/apiserver pkg/apis/audit/v1/types.go:72-150."""


def to_event_text(event: Event, /, *, is_bounded: bool = True) -> str:
    """Return an audit event as JSON of printable characters and line ends.

    Arguments:
        event: as `read` made it: its credentials are removed already.
        is_bounded: cut long texts, lists and objects, so that it has at most `LONGEST_EVENT` characters; what was cut
            says so. Otherwise it is whole.

    """
    known = event_to_mapping(event)
    whole = {name: known[name] for name in dict.fromkeys((*_FIRST, *known)) if name in known}
    if not is_bounded:
        return _json(whole)
    longest, most = _LONGEST_TEXT, _MOST_ITEMS
    while len(text := _json(_shortened(whole, longest, most))) > LONGEST_EVENT and longest > _SHORTEST_TEXT:
        longest, most = longest // 2, max(_FEWEST_ITEMS, most // 2)
    return text if len(text) <= LONGEST_EVENT else f"{text[:LONGEST_EVENT]}\n…"


def _json(value: JsonValue) -> str:
    """Write JSON; what is not printable, such as a mark that turns the direction of writing, is escaped."""
    text = _written(value, "")
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _written(value: JsonValue, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or (indent and len(line) <= _WIDEST):
        return line
    inner = f"{indent}  "
    if isinstance(value, list):
        items = [f"{inner}{_written(item, inner)}" for item in value]
    else:
        items = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_written(item, inner)}" for key, item in value.items()
        ]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return "\n".join((opening, ",\n".join(items), f"{indent}{closing}"))


def _shortened(value: Any, longest: int, most: int) -> Any:
    """Cut texts after so many characters, lists and objects after so many items."""
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… ({len(value):,} characters)"
    if isinstance(value, Mapping):
        fields = islice(value.items(), most)
        kept = {_shortened(key, longest, most): _shortened(item, longest, most) for key, item in fields}
        return kept if len(value) <= most else {**kept, "…": f"{len(value) - most:,} more fields"}
    if isinstance(value, list | tuple):
        items = [_shortened(item, longest, most) for item in value[:most]]
        return items if len(value) <= most else [*items, f"… {len(value) - most:,} more"]
    return value
