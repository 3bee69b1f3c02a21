# SPDX-License-Identifier: Apache-2.0
"""Skips what no detector wants, as its projection shows: lines, texts in wrappers, mappings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from k8stokendetect.convert import fast
from k8stokendetect.convert.broken import revealed
from k8stokendetect.convert.nesting import SHORT, is_deep
from k8stokendetect.convert.times import parse_time
from k8stokendetect.envelopes import Inner
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.projection import (
    NO_PROJECTION,
    Plain,
    Projection,
    project,
    project_event,
    project_plain,
    project_plain_record,
    project_record,
)
from k8stokendetect.reading.window import Kept, Where, Window

_MAPPING: Final = 2048
"""What a mapping counts for in the window at least, in bytes."""

MARK_AFTER: Final = 64 * 1024
"""Bytes that are skipped at most before a `Mark` says how far a log has been read."""


@attrs.frozen
class Mark:
    """How far a log has been read that yields nothing at present: several logs are read in step."""

    time: datetime | None


@attrs.define
class Counts:
    """What was read so far, in whichever iteration.

    Attributes:
        bytes_read: from files and streams, before decompression.
        other_logs: records of other logs that a wrapper held.
        unwanted: events that no detector wants, so that only their projection was decoded.
        unproven: events that pods printed which are not believed.
        clouds: records of clouds' logs.

    """

    bytes_read: int = 0
    other_logs: int = 0
    unwanted: int = 0
    unproven: int = 0
    clouds: int = 0
    wrappers: Counter[str] = attrs.field(factory=Counter)

    def saw(self, wrapper: str, /) -> None:
        """Count a record that a wrapper recognised."""
        self.wrappers[wrapper] += 1


class Skipper:
    """Skips what a prefilter does not want, and keeps requests made with tokens for the case that it will.

    Arguments:
        prefilter: what is wanted.
        counts: counted up.

    Attributes:
        marks: a `Mark` says now and then how far a log has been read.

    """

    def __init__(self, prefilter: Prefilter, counts: Counts) -> None:
        self._prefilter = prefilter
        self.unwanted = prefilter.unwanted
        self.counts = counts
        self.window = Window()
        self.marks = False
        self._unmarked = 0
        prefilter.added.clear()  # nothing was skipped yet

    def skips_text(self, origin: str, inner: Inner, /) -> bool:
        """Skip a text that a wrapper held, unless it is wanted or no plain event."""
        event = projection_of(inner.record)
        return event is not None and self.skips(event, (of_inner, inner, origin), len(inner.record))

    def skips_event(self, origin: str, inner: Inner, /) -> bool:
        """Skip an event that was decoded already."""
        try:
            event = project_event(inner.record)
        except NO_PROJECTION:
            return False
        return self.skips(event, (_of_event, inner, origin), _size(event, inner.record))

    def skips_record(self, record: Mapping[str, Any], number: int, /) -> bool | None:
        """Skip a mapping that was fed, unless it is an event that is wanted; None where the full reader has to look."""
        event: Plain | Projection
        try:
            event = project_plain_record(record)
        except NO_PROJECTION:
            try:
                event = project_record(record)
            except NO_PROJECTION:
                return None
        credential = self.unwanted(event)
        if credential is None:
            return False
        self.counts.unwanted += 1
        if credential:
            self.window.add(((credential, _of_record, record, number),), _size(event, record))
        return True

    def skips(self, event: Plain | Projection, where: Where, size: int, /) -> bool:
        """Skip what is not wanted: count it, and keep it if it was made with a token."""
        credential = self.unwanted(event)
        if credential is None:
            return False
        self.counts.unwanted += 1
        if credential:
            self.window.add(((credential, *where),), size)
        return True

    def late(self) -> Iterator[tuple[Inner, str]]:
        """Yield what was skipped and is wanted now, with where it stood: a use that was logged before its mint."""
        while names := self._prefilter.added[:]:
            self._prefilter.added.clear()
            yield from map(self._again, self.window.take(names))

    def tail(self) -> Iterator[tuple[Inner, str]]:
        """Yield the uses of tokens among the last requests: their mints may come in the next batch."""
        yield from map(self._again, self.window.tail() if self._prefilter.follows else ())

    def _again(self, kept: Kept) -> tuple[Inner, str]:
        self.counts.unwanted -= 1
        _, read, *where = kept
        inner, origin = read(*where)
        return inner, origin

    def mark(self, size: int, text: str | bytes, /) -> list[Any]:
        """Return a `Mark` if it is time for one."""
        self._unmarked += size
        if not self.marks or self._unmarked < MARK_AFTER:
            return []
        self._unmarked = 0
        return [Mark(time_of(text))]


@attrs.frozen
class Typed:
    """An event as text, and its fields with their types: what can be made of it without decoding it again."""

    text: bytes | str = attrs.field(repr=False)
    fields: fast.Typed


def typed(text: bytes | str) -> Typed | None:
    """Return an ordinary event; one that lost its objectRef is not."""
    try:
        fields = fast.decode_typed(text)
    except fast.UNUSUAL:
        return None
    return Typed(text, fields) if fields.object_ref is not None else None


def is_ready(inner: Inner, /) -> bool:
    """Tell whether this is an event as the API server wrote it, complete, and printed by no pod: nothing to unwrap."""
    record = inner.record
    return isinstance(record, Typed) or (
        inner.is_event and isinstance(record, dict) and record.get("objectRef") is not None and not inner.context.pods
    )


def projection_of(text: str, /) -> Plain | Projection | None:
    """Return the projection of an event that is text in a wrapper; None where the full reader has to look."""
    if len(text) > SHORT and is_deep(text.encode("utf-8", "replace")):
        return None
    try:
        return project_plain(text)
    except NO_PROJECTION:
        pass
    try:
        return project(text)
    except NO_PROJECTION:
        return None


def decoded(inner: Inner) -> Inner:
    """Decode the text of an event that has a projection."""
    try:
        return Inner(typed(inner.record) or decode_whole(inner.record), inner.place, inner.context, is_event=True)
    except NotJSONError as error:
        reason = f"not JSON: {error}"
    return inner.holding(ReadError(reason, revealed=revealed(inner.record)))


def of_inner(inner: Inner, origin: str) -> tuple[Inner, str]:
    """Read a use again that was kept as text, and say where it stood."""
    return decoded(inner), f"{origin}{inner.place}"


def _of_event(inner: Inner, origin: str) -> tuple[Inner, str]:
    return inner, f"{origin}{inner.place}"


def _of_record(record: Mapping[str, Any], number: int) -> tuple[Inner, str]:
    return Inner(record, is_event=True), f"record {number}"


def _size(event: Plain | Projection, record: Mapping[str, Any]) -> int:
    """Return what a mapping counts for in the window: more where something that a client chooses makes it long."""
    without_more = not event.request_object and not event.response_object and not event.impersonated_user
    if without_more and len(event.request_uri) + len(event.user_agent) < _MAPPING // 2:
        return _MAPPING
    try:
        return max(_MAPPING, len(msgspec.json.encode(record)))
    except (TypeError, ValueError, RecursionError):
        return _MAPPING


class _Times(msgspec.Struct, gc=False):
    received: str = msgspec.field(name="requestReceivedTimestamp", default="")
    reached: str = msgspec.field(name="stageTimestamp", default="")


_times: Final = msgspec.json.Decoder(_Times).decode


def time_of(text: str | bytes, /) -> datetime | None:
    """Return when a request was received, from the text of its event; None where that does not say."""
    try:
        times = _times(text)
        return parse_time(times.received or times.reached)
    except NO_PROJECTION:
        return None
