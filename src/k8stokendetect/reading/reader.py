# SPDX-License-Identifier: Apache-2.0
"""One reading of a source: files, folders, gzip, streams, bytes and mappings become Events and ReadErrors."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import attrs
import orjson

from k8stokendetect.convert.byte_search import find
from k8stokendetect.convert.structure import complete, parse_event
from k8stokendetect.envelopes import PASSED_OVER, Context, Envelope, Inner, native, unwrap
from k8stokendetect.envelopes.lines import LineFormats
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event, Platform
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.records import Record, split_records
from k8stokendetect.input.sources import files_in, is_file, name_of, opened
from k8stokendetect.input.streams import BinaryFile, ByteStream
from k8stokendetect.reading.ahead import Ahead, Workers
from k8stokendetect.reading.aside import Aside
from k8stokendetect.reading.interest import Interest
from k8stokendetect.reading.merge import merged
from k8stokendetect.reading.search import LONGEST
from k8stokendetect.reading.sieve import DEEPEST, Sieve

_BY_ACCOUNT: Final = b'"username":"system:serviceaccount:'
"""In what may be a use of a token whose mint comes later; nothing else need be kept."""

_PEEK: Final = 100
"""So many records are looked at to learn when a file begins."""


@attrs.define
class Counts:
    """What was read so far, in whichever iteration."""

    bytes_read: int = 0
    skipped: int = 0
    passed_over: int = 0


@runtime_checkable
class Streaming(Protocol):
    """An AuditLog inside of another source."""

    @property
    def skipped(self) -> int:
        """How many records of other logs it held."""
        ...

    def stream(self) -> Iterator[Event | ReadError]:
        """Iterate over what it holds."""
        ...


_ITEMS: Final = (Mapping, Event, Streaming, os.PathLike, bytes, bytearray, memoryview)


class Reading:
    """Reads a source once.

    Arguments:
        platform: where the records come from, where they do not say so themselves.
        limits: against hostile input.
        counts: counted up.
        interest: what is wanted; None for everything.
        workers: so many processes look for it in large files, beside this one.
        envelopes: wrappers beside the known ones. In what the bytes of these hold nothing can be looked for, so with
            them every line is decoded.

    """

    def __init__(
        self,
        platform: Platform | None,
        limits: Limits,
        counts: Counts,
        interest: Interest | None,
        workers: int = 0,
        envelopes: Sequence[Envelope] = (),
    ) -> None:
        self._platform = platform
        self._limits = limits
        self._counts = counts
        self._interest = interest
        self._aside = Aside()
        self._envelopes = envelopes
        self._workers = Workers(workers, interest) if interest and not envelopes else None

    def events(self, source: Any, /) -> Iterator[Event | ReadError]:
        """Yield Events, with a ReadError in the place of each record that cannot be read."""
        with self._workers or contextlib.nullcontext():
            yield from self._from(source, itertools.count(1))
        if self._interest is not None and self._interest.follows:
            yield from self._taken_back(self._aside.tail())

    def _from(self, source: Any, number: Iterator[int]) -> Iterator[Event | ReadError]:
        if isinstance(source, Mapping):
            yield from self._from_mapping(source, next(number))
        elif isinstance(source, Event):
            yield source if source.platform or not self._platform else attrs.evolve(source, platform=self._platform)
        elif isinstance(source, Streaming):
            before = source.skipped
            yield from source.stream()
            self._counts.skipped += source.skipped - before
        elif isinstance(source, str | os.PathLike):
            yield from self._from_path(Path(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._from_stream(io.BytesIO(source), "<bytes>")
        elif hasattr(source, "read"):
            yield from self._from_stream(source, name_of(source))
        else:
            yield from self._from_items(source, number)

    def _from_mapping(self, record: Mapping[str, Any], number: int) -> Iterable[Event | ReadError]:
        """Read a mapping that was fed; passing over a native event that concerns nobody costs a twentieth of it."""
        if self._interest is None or "stageTimestamp" not in record or not native.recognises(record):
            return self._parse("", record, f"record {number}")
        try:
            text = orjson.dumps(record)
        except (TypeError, ValueError, RecursionError):
            return self._parse("", record, f"record {number}")
        if self._interest.concerns(text):
            return self._parse("", record, f"record {number}")
        self._counts.passed_over += 1
        if find(text, _BY_ACCOUNT) >= 0:
            self._aside.put_text(text, number)
        return ()

    def _from_items(self, items: Iterable[Any], number: Iterator[int]) -> Iterator[Event | ReadError]:
        if isinstance(items, list | tuple) and items and all(is_file(item) for item in items):
            yield from self._from_files(map(Path, items))
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

    def _from_path(self, path: Path) -> Iterator[Event | ReadError]:
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            yield from self._from_file(path)
            return
        files, errors = files_in(path)
        yield from errors
        if not files and not errors:
            yield ReadError("the folder holds no log files", str(path))
        yield from self._from_files(files)

    def _from_files(self, files: Iterable[Path]) -> Iterator[Event | ReadError]:
        """Read several files in the order of their events, whatever their names."""
        yield from merged((self._first_time(file), functools.partial(self._from_file, file)) for file in sorted(files))

    def _first_time(self, path: Path) -> datetime:
        """When the first dated event of a file came in."""
        alone = Reading(self._platform, self._limits, Counts(), None, envelopes=self._envelopes)
        peeked = itertools.islice(alone.events(path), _PEEK)
        times = (item.time for item in peeked if isinstance(item, Event))
        return next((time for time in times if time), datetime.max.replace(tzinfo=UTC))

    def _from_file(self, path: Path) -> Iterator[Event | ReadError]:
        file = opened(path)
        if isinstance(file, ReadError):
            yield file
            return
        with file:
            ahead = self._workers.ahead(path, file.fileno()) if self._workers else None
            yield from self._from_stream(file, str(path), ahead)

    def _from_stream(self, source: BinaryFile, name: str, ahead: Ahead | None = None) -> Iterator[Event | ReadError]:
        try:
            stream = ByteStream(source, self._count, self._limits.ratio)
        except ReadError as error:
            yield error.at(name)
            return
        place, lines = "", LineFormats(self._limits.record)
        for place, value in self._records(stream.buffer, lines, ahead):
            for record in lines.joined(value):
                yield from self._parse(place, record, name)
        for unfinished in lines.rest():
            yield unfinished.at(f"{name}:{place}".rstrip(":"))
        if stream.failure:
            yield ReadError(f"{stream.failure}; what comes after is not read", f"{name}:{place}".rstrip(":"))

    def _records(self, stream: io.BufferedReader[Any], lines: LineFormats, ahead: Ahead | None) -> Iterator[Record]:
        """Cut a stream into records; what concerns no detector is passed over where that is known."""
        limit, nesting = self._limits.record, self._limits.nesting
        if self._interest is None or self._envelopes or limit < LONGEST or nesting < DEEPEST:  # nothing passed over
            yield from split_records(stream, limit, lines)
            return
        sieve = Sieve(stream, self._interest, self._pass, limit, ahead)
        yield from sieve.records()
        yield from split_records(sieve.rest, limit, lines, first=sieve.number)

    def _pass(self, events: int) -> None:
        self._counts.passed_over += events

    def _count(self, size: int) -> None:
        self._counts.bytes_read += size

    def _parse(self, place: str, value: Any, name: str) -> Iterator[Event | ReadError]:
        """Make Events of one record; a ReadError in the place of whatever is none."""
        wanted = self._interest.concerns if self._interest else None
        for inner in unwrap(value, self._limits, wanted, self._envelopes):
            origin = f"{name}:{place}{inner.place}" if place else f"{name}{inner.place}"
            if inner.skipped == PASSED_OVER:
                self._aside.put(inner, origin)
                self._pass(1)
            elif inner.skipped:
                self._counts.skipped += 1
            else:
                yield from self._event(inner, origin)
                if self._interest is not None:
                    yield from self._taken_back(self._aside.wanted(self._interest))

    def _taken_back(self, events: Iterator[tuple[Inner, str]]) -> Iterator[Event | ReadError]:
        """Read what was passed over and is wanted after all: a use that was logged before its mint."""
        for inner, origin in events:
            self._pass(-1)
            for again in unwrap(inner, self._limits, more=self._envelopes):
                yield from self._event(again, origin)

    def _event(self, inner: Inner, origin: str) -> Iterator[Event | ReadError]:
        if isinstance(inner.record, ReadError):
            yield inner.record.at(origin)
            return
        try:
            event = parse_event(inner.record, platform=inner.context.platform or self._platform, origin=origin)
        except ReadError as error:
            yield error.with_traceback(None)  # its frames hold the record, and a token perhaps
        else:
            yield _within(event, inner.context)


def _within(event: Event, context: Context) -> Event:
    """Add what the wrapper told about an event."""
    if context.cluster or context.account or context.region or context.lost:
        return complete(
            event, cluster=context.cluster, account=context.account, region=context.region, lost=context.lost
        )
    return event
