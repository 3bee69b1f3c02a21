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
from typing import Any, Final

import attrs

from k8stokendetect.clouds import Cloud, CloudEvent, parse_cloud_event
from k8stokendetect.convert.jsonlike import as_record, is_json
from k8stokendetect.convert.structure import complete
from k8stokendetect.envelopes import FORM_NESTING, FORMS, Context, Envelope, Inner, pods_of, unwrap
from k8stokendetect.envelopes.lines import LineFormats
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event, Platform
from k8stokendetect.input.data_frames import has_rows, rows_of
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.records import split_records
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.input.sources import is_file, name_of
from k8stokendetect.input.streams import BUFFER, ByteStream
from k8stokendetect.reading.dates import Dates, Proofs
from k8stokendetect.reading.files import SMALLEST_BUFFER, Files, Read
from k8stokendetect.reading.lines import LineSkipper
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.skipping import Counts, Mark, Skipper, is_ready
from k8stokendetect.reading.streaming import Streaming
from k8stokendetect.reading.trust import Trust
from k8stokendetect.reading.whole import records_of

_PEEK: Final = 100
"""How many records are looked at to learn when a file begins."""

_API_SERVERS: Final = Trust()


_ITEMS: Final = (Mapping, Event, CloudEvent, Streaming, Remote, os.PathLike, bytes, bytearray, memoryview)


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
        day_first: whether dates whose year is last begin with the day; None to look for proof.
        dates: parses events in another way.
        tail: the last uses of tokens are wanted as well: their mints may come in another reading.

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
        day_first: bool | None = None,  # noqa: FBT001 - with the others, by its name
        dates: Dates | None = None,
        *,
        tail: bool = True,
    ) -> None:
        self._platform = platform
        self._tail = tail
        self._limits = limits
        self._counts = counts
        self._envelopes = envelopes
        self._trust = trust
        self._dates = dates or Dates(day_first=day_first, orders_in=self._orders_in)
        self._files = Files(limits, self._count, buffer, self._from_stream, self._first_time, self._together)
        self._skipper: Skipper | None = None
        if prefilter is not None and not prefilter.everything:
            self._skipper = Skipper(prefilter, counts)

    def events(self, source: Any, /) -> Iterator[Event | CloudEvent | ReadError]:
        """Yield Events and CloudEvents, with a ReadError in the place of each record that cannot be read."""
        for item in self._from(source, itertools.count(1)):
            if not isinstance(item, Mark):
                yield item
        if self._skipper is not None and self._tail:
            for inner, origin in self._skipper.tail():
                yield self._event(inner, origin)
        yield from self._dates.questions()

    def _from(self, source: Any, number: Iterator[int]) -> Iterator[Read]:
        if isinstance(source, Mapping):
            yield from self._from_mapping(source, next(number))
        elif isinstance(source, Event):
            yield source if source.platform or not self._platform else attrs.evolve(source, platform=self._platform)
        elif isinstance(source, CloudEvent):
            self._counts.clouds += 1
            yield source
        elif isinstance(source, Streaming):
            skipped, unproven, clouds = source.skipped, source.unproven, source.cloud_records
            yield from source.stream()
            self._counts.clouds += source.cloud_records - clouds
            self._counts.other_logs += source.skipped - skipped
            self._counts.unproven += source.unproven - unproven
        elif isinstance(source, Remote) or (isinstance(source, str) and is_url(source)):
            yield from self._files.of_files([Remote(source) if isinstance(source, str) else source])
        elif isinstance(source, str | os.PathLike):
            self._dates.opens(Path(source))
            yield from self._files.of_path(Path(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            self._dates.opens(source)
            yield from self._files.of_stream(io.BytesIO(source), "<bytes>")
        elif hasattr(source, "read"):
            yield from self._files.of_stream(source, name_of(source))
        else:
            yield from self._from_items(rows_of(source) if has_rows(source) else source, number)

    def _from_mapping(self, record: Mapping[str, Any], number: int) -> Iterable[Read]:
        """Read a mapping that was fed."""
        is_skipped = None if self._skipper is None else self._skipper.skips_record(record, number)
        if is_skipped:
            return ()
        if is_skipped is not None:  # an event without a wrapper
            return self._parse("", Inner(record, is_event=True), f"record {number}")
        return self._parse("", record if is_json(record) else as_record(record), f"record {number}")

    def _from_items(self, items: Iterable[Any], number: Iterator[int]) -> Iterator[Read]:
        if (
            isinstance(items, list | tuple)
            and items
            and all(isinstance(item, Remote) or is_file(item) for item in items)
        ):
            for item in items:
                self._dates.opens(item)
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
            elif isinstance(item, _ITEMS) or hasattr(item, "read") or has_rows(item):
                yield from self._from(item, number)
            else:
                yield ReadError(f"cannot read an event from {type(item).__name__}", f"record {next(number)}")

    def _first_time(self, source: Any) -> datetime | None:
        """When the first dated event of a file came in."""
        dates = Dates(day_first=self._dates.day_first, orders_in=self._orders_in)
        peeked = itertools.islice(self._alone(dates).events(source), _PEEK)
        return next((item.time for item in peeked if isinstance(item, Event | CloudEvent) and item.time), None)

    def _alone(self, dates: Dates) -> Reading:
        """Return a reading of something that is read here, too: nothing of it is counted."""
        return Reading(
            self._platform,
            self._limits,
            Counts(),
            None,
            envelopes=self._envelopes,
            buffer=SMALLEST_BUFFER,
            trust=self._trust,
            dates=dates,
        )

    def _orders_in(self, source: Any) -> set[bool]:
        """Return the orders of day and month that the dates of a source prove."""
        proofs = Proofs()
        for _ in self._alone(proofs).events(source):
            pass
        return proofs.orders

    def _together(self) -> None:
        """Ask how far each file has been read: several are read at once."""
        if self._skipper is not None:
            self._skipper.marks = True

    def _from_stream(self, stream: ByteStream, name: str) -> Iterator[Read]:
        place, lines = "", LineFormats(self._limits.record)
        forms = FORMS if self._limits.nesting >= FORM_NESTING else ()
        fast = None if self._skipper is None else LineSkipper(self._skipper, name, forms)
        split = functools.partial(split_records, limit=self._limits.record, other_format=lines, fast=fast)
        for place, value in records_of(stream.buffer, self._limits, split):
            # What is not believed is joined with nothing.
            apart = type(value) is dict and not self._trust.believes(pods_of(value))
            for record in [value] if apart else lines.joined(value):
                yield from self._parse(place, record, name)
        for unfinished in lines.rest():
            yield from self._parse(place, unfinished, name)
        if stream.failure:
            yield ReadError(f"{stream.failure}; the rest is not read", f"{name}:{place}".rstrip(":"))

    def _count(self, size: int) -> None:
        self._counts.bytes_read += size

    def _parse(self, place: str, value: Any, name: str) -> Iterator[Read]:
        """Make Events of one record; a ReadError in the place of whatever is not one."""
        if isinstance(value, Mark):
            yield value
            return
        origin = f"{name}:{place}" if place else name
        is_known = isinstance(value, Inner) and value.is_event
        skipper = None if is_known else self._skipper  # it was asked already
        skips = functools.partial(self._skips_text, skipper, origin) if skipper is not None else None
        is_bare = is_known and is_ready(value)
        saw = self._counts.saw
        for inner in (value,) if is_bare else unwrap(value, self._limits, skips, self._envelopes, saw):
            if inner.skipped:
                self._counts.other_logs += 1
            elif inner.context.pods and not self._trust.believes(inner.context.pods):
                self._disbelieve(inner)
            elif inner.cloud is not None:
                yield self._cloud_event(inner, inner.cloud, f"{origin}{inner.place}")
            elif skipper is None or not (inner.is_event and skipper.skips_event(origin, inner)):
                yield self._event(inner, f"{origin}{inner.place}")
                yield from self.late()

    def _skips_text(self, skipper: Skipper, origin: str, inner: Inner) -> bool:
        """Skip what is not wanted; nothing of an unproven source is kept."""
        return self._trust.believes(inner.context.pods) and skipper.skips_text(origin, inner)

    def _disbelieve(self, inner: Inner) -> None:
        """Count what only looks like an audit event; of all else that a pod prints, nothing was expected."""
        if isinstance(inner.record, ReadError) and not inner.record.revealed:
            self._counts.other_logs += 1
        else:
            self._counts.unproven += 1

    def late(self) -> Iterator[Event | ReadError]:
        """Read what was skipped and is wanted after all: a use that was logged before its mint, or before its turn."""
        for inner, origin in self._skipper.late() if self._skipper is not None else ():
            yield self._event(inner, origin)

    def _cloud_event(self, inner: Inner, cloud: Cloud, origin: str) -> CloudEvent | ReadError:
        """Make a CloudEvent, or say why it is not one."""
        if isinstance(inner.record, ReadError):
            return inner.record.at(origin)
        context, day_first = inner.context, self._dates.day_first
        try:
            event = parse_cloud_event(
                inner.record, cloud, origin, account=context.account, region=context.region, day_first=day_first
            )
        except ReadError as error:
            return error.at(origin).with_traceback(None)  # its frames hold the record, and a token perhaps
        self._counts.clouds += 1
        return event

    def _event(self, inner: Inner, origin: str) -> Event | ReadError:
        """Make an Event, or say why it is not one."""
        if isinstance(inner.record, ReadError):
            return inner.record.at(origin)
        try:
            event = self._dates.parsed(inner.record, inner.context.platform or self._platform, origin)
        except ReadError as error:
            return error.with_traceback(None)  # its frames hold the record, and a token perhaps
        return _within(event, inner.context)


def _within(event: Event, context: Context) -> Event:
    """Add what the wrapper says about an event."""
    if context.cluster or context.account or context.region or context.lost:
        lost = context.lost | event.lost
        return complete(event, cluster=context.cluster, account=context.account, region=context.region, lost=lost)
    return event
