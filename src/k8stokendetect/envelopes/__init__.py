# SPDX-License-Identifier: Apache-2.0
"""How audit events are wrapped: one file a wrapper, two functions each (`recognises`, `events`).

A wrapper is told record by record, from the record itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from k8stokendetect.envelopes import native
from k8stokendetect.errors import ReadError


class Envelope(Protocol):
    """What a module of this folder offers."""

    def recognises(self, record: Any, /) -> bool:
        """Tell whether this record looks like mine; true means that no other wrapper is asked."""
        ...

    def events(self, record: Any, /) -> Iterator[tuple[str, Any]]:
        """Yield what is in it with its place: an audit event, another wrapper's record, or a ReadError."""
        ...


ENVELOPES: Final[tuple[Envelope, ...]] = (native,)
"""Every wrapper that `read` knows, asked in this order."""

MAX_NESTING: Final = 8
"""How many wrappers may stand around one event."""


def unwrap(record: Any, /, where: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every audit event in a record, with its place in it (`` or `[3]`), or a ReadError in its stead.

    Arguments:
        record: what one line, one array element or one message held, as decoded JSON; or why it could not be.
        where: the place of this record in its wrappers.
        depth: how many wrappers have been opened.

    """
    if isinstance(record, ReadError):
        yield where, record
        return
    if depth > MAX_NESTING:
        yield where, ReadError(f"wrapped more than {MAX_NESTING} times")
        return
    for envelope in ENVELOPES:
        if envelope.recognises(record):
            for place, inner in envelope.events(record):
                if inner is record:
                    yield where, inner
                else:
                    yield from unwrap(inner, where + place, depth + 1)
            return
    yield where, ReadError(_what_it_is(record))


def _what_it_is(record: Any) -> str:
    """Say why a record is no audit event, without repeating any of its values."""
    if not isinstance(record, dict):
        return "JSON, but no audit event: not an object"
    if record.get("kind") == "Event":
        return "a Kubernetes Event of another API group than audit.k8s.io, not an audit event"
    return "JSON, but no audit event: neither audit.k8s.io/v1 Event nor EventList, nor a known wrapper"
