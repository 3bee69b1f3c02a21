# SPDX-License-Identifier: Apache-2.0
"""`read()`: files, folders, gzip, streams, bytes and mappings become an AuditLog, an iterable of Events."""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import orjson

from k8stokendetect._aside import Aside
from k8stokendetect._interest import Interest
from k8stokendetect._limits import DEFAULT, Limits
from k8stokendetect._merge import merged
from k8stokendetect._records import Record, split_records
from k8stokendetect._sieve import Sieve
from k8stokendetect._sources import check_source, files_in, is_file, name_of
from k8stokendetect._streams import BinaryFile, ByteStream
from k8stokendetect._structure import parse_event
from k8stokendetect.envelopes import PASSED_OVER, Context, Inner, unwrap
from k8stokendetect.envelopes.lines import LineFormats
from k8stokendetect.errors import ConfigError, OnError, ReadError, raise_error
from k8stokendetect.events import PLATFORMS, Event, JsonValue, Platform

Item: TypeAlias = "Mapping[str, JsonValue] | Event | bytes | os.PathLike[str] | BinaryFile | AuditLog"
Source: TypeAlias = "str | Item | Iterable[Item]"
"""A path, an open binary file, bytes (content), one mapping, one Event, an AuditLog, or an iterable of such.

A `str` is a path only where it stands alone: in an iterable it may be what somebody put on a queue, and no message may
choose which file is opened.
"""

_PEEK: Final = 100
"""So many records are looked at to learn when a rotated file begins."""


def read(
    source: Source,
    *,
    platform: Platform | None = None,
    on_error: OnError = raise_error,
    max_record: int = DEFAULT.record,
    max_nesting: int = DEFAULT.nesting,
    max_ratio: float = DEFAULT.ratio,
) -> AuditLog:
    """Turn a source into an AuditLog; nothing is read until it is iterated.

    Arguments:
        source: told by its type, never guessed from content. A `str` is a path: a file, a gzip file, or a folder
            whose files (but for dot files) are read in the order of their events: several API servers write a file
            each. So is a list of files. `bytes` are content.
        platform: where the records come from, where they do not say so themselves; it decides which provider's
            exclusions apply.
        on_error: called with a ReadError for every record that cannot be read; the default raises it.
        max_record: longest record, in bytes, decompressed; a few times this much is held in memory.
        max_nesting: how many wrappers may stand around one event.
        max_ratio: so many times its size may come out of compressed data.

    Raises:
        ConfigError: when the source is of no such type, the platform is unknown, or a limit is below 1.

    """
    return AuditLog(
        source,
        platform=platform,
        on_error=on_error,
        max_record=max_record,
        max_nesting=max_nesting,
        max_ratio=max_ratio,
    )


class AuditLog:
    """The Events of a source; iterating twice reads twice, where the source can be read twice.

    Attributes:
        platform: where the records come from, where they do not say so themselves.
        on_error: called with a ReadError for every record that cannot be read.
        bytes_read: how many bytes have been read from files and streams so far, before decompression.
        skipped: how many records of other logs a wrapper held, such as control messages; they are no audit events.
        interest: what `detect` wants to see; None for everything.

    """

    platform: Platform | None

    def __init__(
        self,
        source: Source,
        *,
        platform: Platform | None = None,
        on_error: OnError = raise_error,
        max_record: int = DEFAULT.record,
        max_nesting: int = DEFAULT.nesting,
        max_ratio: float = DEFAULT.ratio,
    ) -> None:
        check_source(source)
        if platform is not None and platform not in PLATFORMS:
            raise ConfigError(f"unknown platform {platform!r}; known: {', '.join(PLATFORMS)}")
        if not callable(on_error):
            raise ConfigError("on_error is not callable")
        self.platform = platform
        self.on_error = on_error
        self.bytes_read = 0
        self.skipped = 0
        self._aside = Aside()
        self._passed = 0
        self.interest: Interest | None = None
        self._source = source
        self._limits = Limits(record=max_record, nesting=max_nesting, ratio=max_ratio)

    def __iter__(self) -> Iterator[Event]:
        for item in self.stream():
            if isinstance(item, ReadError):
                self.on_error(item)
            else:
                yield item

    def stream(self) -> Iterator[Event | ReadError]:
        """Iterate over Events, with a ReadError in the place of each record that cannot be read."""
        yield from self._from(self._source, itertools.count(1))
        if self.interest is not None and self.interest.follows:
            for inner, origin in self._aside.tail():
                for again in unwrap(inner, self._limits):
                    yield from self._event(again, origin)

    def _from(self, source: Any, number: Iterator[int]) -> Iterator[Event | ReadError]:
        if isinstance(source, Mapping):
            yield from self._parse("", self._as_text(source), f"record {next(number)}")
        elif isinstance(source, Event):
            yield source if source.platform or not self.platform else attrs.evolve(source, platform=self.platform)
        elif isinstance(source, AuditLog):
            before = source.skipped
            yield from source.stream()
            self.skipped += source.skipped - before
        elif isinstance(source, str | os.PathLike):
            yield from self._from_path(Path(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._from_stream(io.BytesIO(source), "<bytes>")
        elif hasattr(source, "read"):
            yield from self._from_stream(source, name_of(source))
        else:
            yield from self._from_items(source, number)

    def _as_text(self, record: Mapping[str, Any]) -> Any:
        """Return a native event as text where that tells whether anybody wants it: a tenth of the cost of typing it."""
        if self.interest is None or record.get("kind") != "Event":
            return record
        try:
            text = orjson.dumps(record)
        except (TypeError, ValueError, RecursionError):
            return record
        return record if self.interest.concerns(text) else Inner(text.decode(), skipped=PASSED_OVER)

    def _from_items(self, items: Iterable[Any], number: Iterator[int]) -> Iterator[Event | ReadError]:
        if isinstance(items, list | tuple) and items and all(is_file(item) for item in items):
            yield from self._from_files(map(Path, items))
            return
        for item in items:
            if isinstance(item, str):
                reason = "a str in an iterable: give bytes for content, a Path for a file"
                yield ReadError(reason, f"record {next(number)}")
            elif isinstance(item, list):
                yield from self._parse("", item, f"record {next(number)}")
            elif isinstance(item, Mapping | Event | AuditLog | os.PathLike | bytes | bytearray | memoryview) or hasattr(
                item, "read"
            ):
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
        peeked = itertools.islice(self._alone(path).stream(), _PEEK)
        times = (item.time for item in peeked if isinstance(item, Event))
        return next((time for time in times if time), datetime.max.replace(tzinfo=UTC))

    def _alone(self, path: Path) -> AuditLog:
        limits = self._limits
        return AuditLog(path, max_record=limits.record, max_nesting=limits.nesting, max_ratio=limits.ratio)

    def _from_file(self, path: Path) -> Iterator[Event | ReadError]:
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            reason = f"cannot be opened: {error.strerror}"
        except ValueError:  # a NUL byte in the name
            reason = "cannot be opened: not a file name"
        else:
            with file:
                yield from self._from_stream(file, str(path))
            return
        yield ReadError(reason, str(path))

    def _from_stream(self, source: BinaryFile, name: str) -> Iterator[Event | ReadError]:
        try:
            stream = ByteStream(source, self._count, self._limits.ratio)
        except ReadError as error:
            yield error.at(name)
            return
        place, lines = "", LineFormats(self._limits.record)
        for place, value in self._records(stream.buffer, lines):
            for record in lines.joined(value):
                yield from self._parse(place, record, name)
        for unfinished in lines.rest():
            yield unfinished.at(f"{name}:{place}".rstrip(":"))
        if stream.failure:
            yield ReadError(f"{stream.failure}; what comes after is not read", f"{name}:{place}".rstrip(":"))

    def _records(self, stream: io.BufferedReader[Any], lines: LineFormats) -> Iterator[Record]:
        """Cut a stream into records; what concerns no detector is passed over where that is known."""
        limit = self._limits.record
        if self.interest is None:
            yield from split_records(stream, limit, lines)
            return
        sieve = Sieve(stream, self.interest, self._pass, limit)
        yield from sieve.records()
        yield from split_records(sieve.rest, limit, lines, first=sieve.number)

    @property
    def passed_over(self) -> int:
        """How many events were not parsed, because their bytes hold nothing that `interest` asks for."""
        return self._passed + self._aside.count

    def _pass(self, events: int) -> None:
        self._passed += events

    def _count(self, size: int) -> None:
        self.bytes_read += size

    def _parse(self, place: str, value: Any, name: str) -> Iterator[Event | ReadError]:
        """Make Events of one record; a ReadError in the place of whatever is none."""
        for inner in unwrap(value, self._limits, self.interest.concerns if self.interest else None):
            origin = f"{name}:{place}{inner.place}" if place else f"{name}{inner.place}"
            if inner.skipped == PASSED_OVER:
                self._aside.put(inner, origin)
            elif inner.skipped:
                self.skipped += 1
            else:
                yield from self._event(inner, origin)
                yield from self._late()

    def _late(self) -> Iterator[Event | ReadError]:
        """Yield what was passed over and is wanted now: a use that was logged before its mint."""
        if self.interest is not None:
            for inner, origin in self._aside.wanted(self.interest):
                for again in unwrap(inner, self._limits):
                    yield from self._event(again, origin)

    def _event(self, inner: Inner, origin: str) -> Iterator[Event | ReadError]:
        if isinstance(inner.record, ReadError):
            yield inner.record.at(origin)
            return
        try:
            event = parse_event(inner.record, platform=inner.context.platform or self.platform, origin=origin)
        except ReadError as error:
            yield error.with_traceback(None)  # its frames hold the record, and a token perhaps
        else:
            yield _within(event, inner.context)


def _within(event: Event, context: Context) -> Event:
    """Add what the wrapper told about an event."""
    if context.cluster or context.account or context.region or context.lost:
        return attrs.evolve(
            event, cluster=context.cluster, account=context.account, region=context.region, lost=context.lost
        )
    return event
