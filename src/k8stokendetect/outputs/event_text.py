# SPDX-License-Identifier: Apache-2.0
"""An audit event as indented JSON that a person reads, without tokens, and of bounded length where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from k8stokendetect.convert.structure import event_to_mapping
from k8stokendetect.events import Event, JsonValue

LONGEST_EVENT: Final = 12_000
"""Maximum number of characters of an event that is bounded."""

_LONGEST_TEXT, _MOST_ITEMS, _SHORTEST_TEXT, _FEWEST_ITEMS = 600, 40, 60, 4


def to_event_text(event: Event, /, *, is_bounded: bool = True) -> str:
    """Return a redacted event as indented JSON of printable characters and line ends.

    Arguments:
        event: as `read` made it: its credentials are gone.
        is_bounded: long texts, lists and objects are cut, so that it has at most `LONGEST_EVENT` characters; what was
            cut says so. Otherwise it is whole.

    """
    whole = event_to_mapping(event)
    if not is_bounded:
        return _json(whole)
    longest, most = _LONGEST_TEXT, _MOST_ITEMS
    while len(text := _json(_shortened(whole, longest, most))) > LONGEST_EVENT and longest > _SHORTEST_TEXT:
        longest, most = longest // 2, max(_FEWEST_ITEMS, most // 2)
    return text if len(text) <= LONGEST_EVENT else f"{text[:LONGEST_EVENT]}\n…"


def _json(value: JsonValue) -> str:
    """Write JSON; what is not printable, such as a mark that turns the direction of writing, is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _shortened(value: Any, longest: int, most: int) -> Any:
    """Cut texts after so many characters, lists and objects after so many items."""
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… ({len(value):,} characters)"
    if isinstance(value, Mapping):
        kept = {
            _shortened(key, longest, most): _shortened(item, longest, most) for key, item in islice(value.items(), most)
        }
        return kept if len(value) <= most else {**kept, "…": f"{len(value) - most:,} more fields"}
    if isinstance(value, list | tuple):
        kept_items = [_shortened(item, longest, most) for item in value[:most]]
        return kept_items if len(value) <= most else [*kept_items, f"… {len(value) - most:,} more"]
    return value
