# SPDX-License-Identifier: Apache-2.0
"""Looks a block of lines over: how many events it holds, and where something of interest stands."""

from __future__ import annotations

from typing import Final

import attrs

from k8stokendetect.convert.byte_search import count
from k8stokendetect.reading.interest import Interest

BLOCK: Final = 1024 * 1024
LONGEST: Final = 4 * BLOCK

# How the API server's text of an event begins, and the one field after all that a client chooses (types.go): plain,
# and in a string of a wrapper. Whatever a client writes has one more backslash before each quote.
NATIVE: Final = b'{"kind":"Event",'
_NATIVE_END: Final = b',"stageTimestamp":'
INNER: Final = b'{\\"kind\\":\\"Event\\",'
_INNER_END: Final = b',\\"stageTimestamp\\":'
EVENT_HUB: Final = b'{"records":['
BETWEEN: Final = b'},{"'
"""Stands between two records, and in no string of one: a quote would end it."""


@attrs.frozen
class Searched:
    """What a look at a block says.

    Arguments:
        lines: how many it has.
        events: how many it holds, in whole lines; None where there is any doubt.
        native: its lines are events, in no wrapper.
        places: where something of interest stands, but for what is followed.

    """

    lines: int
    events: int | None = None
    native: bool = False
    places: list[int] = attrs.field(factory=list)


def search(text: bytes, interest: Interest, /) -> Searched:
    """Look at whole lines."""
    lines = count(text, b"\n")
    events = _events(text, lines)
    if events is None:
        return Searched(lines)
    native = text.startswith(NATIVE)
    return Searched(lines, events, native, interest.places(text, BETWEEN if events > lines else b"\n", native=native))


def _events(text: bytes, lines: int) -> int | None:
    """Count the events in lines that are whole, plain or in wrappers; None where there is any doubt.

    A client chooses how long an event is, and so where a shipper cuts it: one that was cut lacks its last field, and
    then the line, or the wrapper around it, is for the full reader.
    """
    if not text.endswith(b"}\n") or count(text, b"}\n{") != lines - 1:
        return None
    if count(text, b"\n" + NATIVE) + text.startswith(NATIVE) == lines:
        return lines if count(text, _NATIVE_END) == lines else None
    inner = count(text, INNER)
    one_a_line = inner == lines or (inner > lines and _is_event_hub(text, lines))
    whole = inner == count(text, _INNER_END) == count(text, b'}"') + count(text, b'}\\n"')
    return inner if one_a_line and whole else None


def _is_event_hub(text: bytes, lines: int) -> bool:
    return text.startswith(EVENT_HUB) and count(text, b"\n" + EVENT_HUB) + 1 == lines
