# SPDX-License-Identifier: Apache-2.0
"""One reading of a source: files, folders, archives, streams, bytes and mappings become Events and ReadErrors."""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from k8stokendetect.convert.structure import complete, parse_event, parse_quickly
from k8stokendetect.envelopes import FORM_NESTING, FORMS, Context, Envelope, Inner, pods_of, unwrap
from k8stokendetect.envelopes.lines import LineFormats
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event, Platform
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.records import split_records
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.input.sources import is_file, name_of
from k8stokendetect.input.streams import BUFFER, ByteStream
from k8stokendetect.reading.files import SMALLEST_BUFFER, Files, Read
from k8stokendetect.reading.lines import LineSkipper
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.skipping import Counts, Mark, Skipper, Typed
from k8stokendetect.reading.trust import Trust

_PEEK: Final = 100
"""How many records are looked at to learn when a file begins."""

_API_SERVERS: Final = Trust()


@runtime_checkable
class Streaming(Protocol):
    """An AuditLog inside of another source."""

    @property
    def skipped(self) -> int:
        """How many records of other logs it held."""
        ...

    @property
    def unproven(self) -> int:
        """How many audit events it held whose source is not proved."""
        ...

    def stream(self) -> Iterator[Event | ReadError]:
        """Iterate over what it holds."""
        ...


_ITEMS: Final = (Mapping, Event, Streaming, Remote, os.PathLike, bytes, bytearray, memoryview)


class Reading:
    """Reads a source once.

    Arguments:
        platform: where the records come from, where they do not say so themselves.
        limits: against hostile input.
        counts: counted up.
        prefilter: what is wanted; None for everything.
        envelopes: wrappers besides the known ones.
        buffer: bytes of a file that are read at a time.
        trust: whose output is believed.

    """

    def __init__(
        self,
        platform: Platform | None,
        limits: Limits,
        counts: Counts,
        prefilter: Prefilter | None,
        envelopes: Sequence[Envelope] = (),
        buffer: int = BUFFER,
        trust: Trust = _API_SERVERS,
    ) -> None:
        self._platform = platform
        self._limits = limits
        self._counts = counts
        self._envelopes = envelopes
        self._trust = trust
        self._files = Files(limits, self._count, buffer, self._from_stream, self._first_time, self._together)
        self._skipper: Skipper | None = None
        if prefilter is not None and not prefilter.everything:
            self._skipper = Skipper(prefilter, counts)

    def events(self, source: Any, /) -> Iterator[Event | ReadError]:
        """Yield Events, with a ReadError in the place of each record that cannot be read."""
        for item in self._from(source, itertools.count(1)):
            if not isinstance(item, Mark):
                yield item
        if self._skipper is not None:
            for inner, origin in self._skipper.tail():
                yield from self._event(inner, origin)

    def _from(self, source: Any, number: Iterator[int]) -> Iterator[Read]:
        if isinstance(source, Mapping):
            yield from self._from_mapping(source, next(number))
        elif isinstance(source, Event):
            yield source if source.platform or not self._platform else attrs.evolve(source, platform=self._platform)
        elif isinstance(source, Streaming):
            skipped, unproven = source.skipped, source.unproven
            yield from source.stream()
            self._counts.skipped += source.skipped - skipped
            self._counts.unproven += source.unproven - unproven
        elif isinstance(source, Remote) or (isinstance(source, str) and is_url(source)):
            yield from self._files.of_files([Remote(source) if isinstance(source, str) else source])
        elif isinstance(source, str | os.PathLike):
            yield from self._files.of_path(Path(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._files.of_stream(io.BytesIO(source), "<bytes>")
        elif hasattr(source, "read"):
            yield from self._files.of_stream(source, name_of(source))
        else:
            yield from self._from_items(source, number)

    def _from_mapping(self, record: Mapping[str, Any], number: int) -> Iterable[Read]:
        """Read a mapping that was fed."""
        if self._skipper is not None and self._skipper.skips_record(record, number):
            return ()
        return self._parse("", record, f"record {number}")

    def _from_items(self, items: Iterable[Any], number: Iterator[int]) -> Iterator[Read]:
        if (
            isinstance(items, list | tuple)
            and items
            and all(isinstance(item, Remote) or is_file(item) for item in items)
        ):
            yield from self._files.of_files(item if isinstance(item, Remote) else Path(item) for item in items)
            return
        for item in items:
            if isinstance(item, dict):
                yield from self._from_mapping(item, next(number))
            elif isinstance(item, str):
                reason = "a str in an iterable: give bytes for content, a Path for a file"
                yield ReadError(reason, f"record {next(number)}")
            elif isinstance(item, list):
                yield from self._parse("", item, f"record {next(number)}")
            elif isinstance(item, _ITEMS) or hasattr(item, "read"):
                yield from self._from(item, number)
            else:
                yield ReadError(f"cannot read an event from {type(item).__name__}", f"record {next(number)}")

    def _first_time(self, source: Any) -> datetime | None:
        """When the first dated event of a file came in."""
        alone = Reading(
            self._platform,
            self._limits,
            Counts(),
            None,
            envelopes=self._envelopes,
            buffer=SMALLEST_BUFFER,
            trust=self._trust,
        )
        peeked = itertools.islice(alone.events(source), _PEEK)
        return next((item.time for item in peeked if isinstance(item, Event) and item.time), None)

    def _together(self) -> None:
        """Ask how far each file has been read: several are read at once."""
        if self._skipper is not None:
            self._skipper.marks = True

    def _from_stream(self, stream: ByteStream, name: str) -> Iterator[Read]:
        place, lines = "", LineFormats(self._limits.record)
        forms = FORMS if self._limits.nesting >= FORM_NESTING else ()
        fast = None if self._skipper is None else LineSkipper(self._skipper, name, forms)
        for place, value in split_records(stream.buffer, self._limits.record, lines, fast=fast):
            # What is not believed is joined with nothing.
            apart = type(value) is dict and not self._trust.believes(pods_of(value))
            for record in [value] if apart else lines.joined(value):
                yield from self._parse(place, record, name)
        for unfinished in lines.rest():
            yield from self._parse(place, unfinished, name)
        if stream.failure:
            yield ReadError(f"{stream.failure}; what comes after is not read", f"{name}:{place}".rstrip(":"))

    def _count(self, size: int) -> None:
        self._counts.bytes_read += size

    def _parse(self, place: str, value: Any, name: str) -> Iterator[Read]:
        """Make Events of one record; a ReadError in the place of whatever is none."""
        if isinstance(value, Mark):
            yield value
            return
        origin = f"{name}:{place}" if place else name
        skipper = None if isinstance(value, Inner) and value.is_event else self._skipper  # it was asked already
        skips = functools.partial(self._skips_text, skipper, origin) if skipper is not None else None
        for inner in unwrap(value, self._limits, skips, self._envelopes):
            if inner.skipped:
                self._counts.skipped += 1
            elif inner.context.pods and not self._trust.believes(inner.context.pods):
                self._disbelieve(inner)
            elif skipper is None or not (inner.is_event and skipper.skips_event(origin, inner)):
                yield from self._event(inner, f"{origin}{inner.place}")
                yield from self._late()

    def _skips_text(self, skipper: Skipper, origin: str, inner: Inner) -> bool:
        """Skip what is not wanted; nothing of an unproven source is kept."""
        return self._trust.believes(inner.context.pods) and skipper.skips_text(origin, inner)

    def _disbelieve(self, inner: Inner) -> None:
        """Count what only looks like an audit event; of all else that a pod prints, nothing was expected."""
        if isinstance(inner.record, ReadError) and not inner.record.revealed:
            self._counts.skipped += 1
        else:
            self._counts.unproven += 1

    def _late(self) -> Iterator[Event | ReadError]:
        """Read what was skipped and is wanted after all: a use that was logged before its mint."""
        while self._skipper is not None and self._skipper.news:
            for inner, origin in self._skipper.late():
                yield from self._event(inner, origin)

    def _event(self, inner: Inner, origin: str) -> Iterator[Event | ReadError]:
        if isinstance(inner.record, ReadError):
            yield inner.record.at(origin)
            return
        try:
            event = _parsed(inner.record, inner.context.platform or self._platform, origin)
        except ReadError as error:
            yield error.with_traceback(None)  # its frames hold the record, and a token perhaps
        else:
            yield _within(event, inner.context)


def _parsed(record: Any, platform: Platform | None, origin: str) -> Event:
    """Make an Event of a decoded event, or of one that has its types already."""
    if isinstance(record, Typed):
        event = parse_quickly(record.fields, platform=platform, origin=origin)
        if event is not None:
            return event
        try:
            record = decode_whole(record.text)
        except NotJSONError as error:
            reason = f"not JSON: {error}"
        else:
            return parse_event(record, platform=platform, origin=origin)
        raise ReadError(reason)
    return parse_event(record, platform=platform, origin=origin)


def _within(event: Event, context: Context) -> Event:
    """Add what the wrapper says about an event."""
    if context.cluster or context.account or context.region or context.lost:
        lost = context.lost | event.lost
        return complete(event, cluster=context.cluster, account=context.account, region=context.region, lost=lost)
    return event
