# SPDX-License-Identifier: Apache-2.0
"""`read()`: files, folders, gzip, streams, bytes and mappings become an AuditLog, an iterable of Events."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from k8stokendetect._records import MAX_RECORD, split_records
from k8stokendetect._streams import BinaryFile, ByteStream
from k8stokendetect._structure import parse_event
from k8stokendetect.envelopes import unwrap
from k8stokendetect.errors import ConfigError, OnError, ReadError, raise_error
from k8stokendetect.events import PLATFORMS, Event, JsonValue, Platform

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryFile | Mapping[str, JsonValue] | Event | AuditLog | Iterable[Any]"
)
"""A path, an open binary file, bytes (content), one mapping, one Event, an AuditLog, or an iterable of such."""


def read(
    source: Source,
    *,
    platform: Platform | None = None,
    on_error: OnError = raise_error,
    max_record: int = MAX_RECORD,
) -> AuditLog:
    """Turn a source into an AuditLog; nothing is read until it is iterated.

    Arguments:
        source: told by its type, never guessed from content. A `str` is a path: a file, a gzip file, or a folder
            whose files (but for dot files) are read in the order of their first events. `bytes` are content.
        platform: where the records come from, where they do not say so themselves; it decides which provider's
            exclusions apply.
        on_error: called with a ReadError for every record that cannot be read; the default raises it.
        max_record: longest record, in bytes; at most this much is held in memory.

    Raises:
        ConfigError: when the source is of no such type or the platform is unknown.

    """
    return AuditLog(source, platform=platform, on_error=on_error, max_record=max_record)


class AuditLog:
    """The Events of a source; iterating twice reads twice, where the source can be read twice.

    Attributes:
        bytes_read: how many bytes have been read from files and streams so far, before decompression.

    """

    def __init__(
        self,
        source: Source,
        *,
        platform: Platform | None = None,
        on_error: OnError = raise_error,
        max_record: int = MAX_RECORD,
    ) -> None:
        _check_source(source)
        if platform is not None and platform not in PLATFORMS:
            raise ConfigError(f"unknown platform {platform!r}; known: {', '.join(PLATFORMS)}")
        self.platform = platform
        self.on_error = on_error
        self.bytes_read = 0
        self._source = source
        self._max_record = max_record

    def __iter__(self) -> Iterator[Event]:
        return self.events(self.on_error)

    def events(self, on_error: OnError, /) -> Iterator[Event]:
        """Iterate, reporting unreadable records to this `on_error` instead."""
        return self._from(self._source, on_error, itertools.count(1))

    def _from(self, source: Any, on_error: OnError, number: Iterator[int]) -> Iterator[Event]:
        if isinstance(source, Event):
            yield source if source.platform else attrs.evolve(source, platform=self.platform)
        elif isinstance(source, AuditLog):
            yield from source.events(on_error)
        elif isinstance(source, str | os.PathLike):
            yield from self._from_path(Path(source), on_error)
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._from_stream(io.BytesIO(source), "<bytes>", on_error)
        elif isinstance(source, Mapping):
            yield from self._parse("", source, f"record {next(number)}", on_error)
        elif hasattr(source, "read"):
            yield from self._from_stream(source, _name(source), on_error)
        elif isinstance(source, Iterable):
            for item in source:
                yield from self._from(item, on_error, number)
        else:
            on_error(ReadError(f"cannot read an event from {type(source).__name__}", f"record {next(number)}"))

    def _from_path(self, path: Path, on_error: OnError) -> Iterator[Event]:
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            yield from self._from_file(path, on_error)
            return
        files = _files(path, on_error)
        if not files:
            on_error(ReadError("the folder holds no log files", str(path)))
        for file in sorted(files, key=self._first_time):
            yield from self._from_file(file, on_error)

    def _first_time(self, path: Path) -> tuple[datetime, str]:
        """When the first dated event of a file came in: rotated files are read in this order, whatever their names."""
        peeked = AuditLog(path, on_error=lambda _: None, max_record=self._max_record)
        times = (event.time for event in itertools.islice(peeked, 100))
        return next((time for time in times if time), datetime.max.replace(tzinfo=UTC)), str(path)

    def _from_file(self, path: Path, on_error: OnError) -> Iterator[Event]:
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            reason = f"cannot be opened: {error.strerror}"
        except ValueError:  # a NUL byte in the name
            reason = "cannot be opened: not a file name"
        else:
            with file:
                yield from self._from_stream(file, str(path), on_error)
            return
        on_error(ReadError(reason, str(path)))

    def _from_stream(self, source: BinaryFile, name: str, on_error: OnError) -> Iterator[Event]:
        try:
            stream = ByteStream(source, self._count)
        except ReadError as error:
            on_error(ReadError(error.reason, name))
            return
        place = ""
        for place, value in split_records(stream.buffer, self._max_record):
            yield from self._parse(place, value, name, on_error)
        if stream.failure:
            on_error(ReadError(f"{stream.failure}; what comes after is not read", f"{name}:{place}".rstrip(":")))

    def _count(self, size: int) -> None:
        self.bytes_read += size

    def _parse(self, place: str, value: Any, name: str, on_error: OnError) -> Iterator[Event]:
        """Make Events of one record; whatever it holds that is none goes to `on_error`."""
        for where, inner in [("", value)] if isinstance(value, ReadError) else unwrap(value):
            origin = f"{name}:{place}{where}" if place else f"{name}{where}"
            try:
                if isinstance(inner, ReadError):
                    raise ReadError(inner.reason, origin, inner.path)  # noqa: TRY301 - one way for both
                event = parse_event(inner, platform=self.platform, origin=origin)
            except ReadError as error:
                trouble = error
            else:
                yield event
                continue
            on_error(trouble)


def _check_source(source: Any) -> None:
    if isinstance(source, io.TextIOBase):
        raise ConfigError("the file is open in text mode: open it with 'rb'")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | Mapping | Event | Iterable):
        if not hasattr(source, "read"):
            raise ConfigError(f"cannot read audit events from {type(source).__name__}")
    elif isinstance(source, str | os.PathLike) and not os.fspath(source):
        raise ConfigError("the path is empty")


def _name(source: Any) -> str:
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"


def _files(folder: Path, on_error: OnError) -> list[Path]:
    """Return every file below a folder but dot files; what cannot be listed is reported."""
    found = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: on_error(_cannot_list(error))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return found


def _cannot_list(error: OSError) -> ReadError:
    return ReadError(f"cannot be listed: {error.strerror}", str(error.filename))
