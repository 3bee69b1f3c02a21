# SPDX-License-Identifier: Apache-2.0
"""Opens files, folders, archives and stores, and reads what is in them in the order of its events."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event
from k8stokendetect.input.archives import Archive, Packed, PackedFile, place_of
from k8stokendetect.input.budget import Budget
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.pool import FilePool
from k8stokendetect.input.remote import Remote, RemoteFile
from k8stokendetect.input.sources import files_in, opened
from k8stokendetect.input.streams import BinaryFile, ByteStream
from k8stokendetect.reading.merge import merged
from k8stokendetect.reading.skipping import Mark

Read: TypeAlias = Event | CloudEvent | ReadError | Mark
"""What a log yields: an event, a record of a cloud's log, an error instead of one, or how far it has been read."""

_BUFFERS: Final = 16 * 1024 * 1024
"""Bytes that the buffers of all files together may take that are read in step."""

SMALLEST_BUFFER: Final = 16 * 1024

_LATE: Final = timedelta(minutes=1)
"""`detect` waits so long for what comes late (docs/design.md, "in the order of time")."""

_LAST: Final = datetime.max.replace(tzinfo=UTC)

_OVERLAP: Final = (
    "the files in the archive overlap in time, and it is too large to be put in order: unpack it and give the folder, "
    "or the use of a token that was minted in another file may be missed"
)


class Files:
    """Opens what is read.

    Arguments:
        limits: against hostile input.
        count: called with the number of bytes that were read.
        buffer: bytes of a file that are read at a time.
        read: reads an open stream, given its name.
        first_time: returns when the first dated event of a path, a file in a store or an open file came in, if any.
        together: called when several files are read at once.

    """

    def __init__(
        self,
        limits: Limits,
        count: Callable[[int], object],
        buffer: int,
        read: Callable[[ByteStream, str], Iterator[Read]],
        first_time: Callable[[Any], datetime | None],
        together: Callable[[], object],
    ) -> None:
        self._limits = limits
        self._count = count
        self._buffer = buffer
        self._read = read
        self._first_time = first_time
        self._together = together
        self._pool = FilePool()

    def of_path(self, path: Path, /) -> Iterator[Read]:
        """Read a file, or the files in a folder."""
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            yield from self._of_file(path)
            return
        files, errors = files_in(path)
        yield from errors
        if not files and not errors:
            yield ReadError("the folder holds no log files", str(path))
        yield from self.of_files(files)

    def of_files(self, files: Iterable[Path | Remote | RemoteFile], /) -> Iterator[Read]:
        """Read several files in the order of their events, whatever their names."""
        sources: list[Path | RemoteFile] = []
        for file in files:
            if isinstance(file, Remote):
                found, errors = file.files()
                yield from errors
                sources += found
            else:
                sources.append(file)
        sources.sort(key=str)
        buffer = self._share(len(sources))
        yield from self._in_order([(source, functools.partial(self._of_pooled, source, buffer)) for source in sources])

    def of_stream(self, source: BinaryFile, name: str, /, buffer: int | None = None) -> Iterator[Read]:
        """Read an open file: a log, or an archive of logs."""
        packed = source if isinstance(source, PackedFile) else None
        budget = Budget(self._limits, self._count) if packed is None else packed.budget
        start = None if packed is not None else place_of(source)
        try:
            stream = ByteStream(source, budget, buffer or self._buffer, 0 if packed is None else packed.depth)
        except ReadError as error:
            yield error.at(name)
            return
        if stream.archive is None:
            yield from self._read(stream, name)
            return
        archive = Archive(stream, source, start, name, budget)
        if archive.in_any_order:
            files = list(archive.files())
            share = self._share(len(files))
            yield from self._in_order([(file, functools.partial(self._of_packed, file, share)) for file in files])
        else:
            yield from self._in_turn(archive, buffer or self._buffer)
        if (failure := archive.failure) is not None:
            yield failure

    def _in_order(self, sources: Sequence[tuple[Any, Callable[[], Iterator[Read]]]]) -> Iterator[Read]:
        """Read several sources in the order of their events."""
        if len(sources) == 1:
            yield from sources[0][1]()
            return
        self._together()
        yield from merged((self._begin(source), read) for source, read in sources)

    def _begin(self, source: Any) -> datetime:
        if isinstance(source, Packed):
            try:
                source = source.open()
            except ReadError:
                return _LAST
        if not isinstance(source, RemoteFile):
            return self._first_time(source) or _LAST
        file = source.open(self._pool)
        if isinstance(file, ReadError):
            return _LAST
        try:
            return self._first_time(file) or _LAST
        finally:
            file.close()

    def _in_turn(self, archive: Archive, buffer: int) -> Iterator[Read]:
        """Read the files of an archive one after the other, and report where that is not the order of their events."""
        latest: datetime | None = None
        in_order = True
        for file in archive.files():
            begun = False
            for item in self._of_packed(file, buffer):
                time = None if isinstance(item, ReadError) else item.time
                if time is not None:
                    if in_order and not begun and latest is not None and time < latest - _LATE:
                        in_order = False
                        yield ReadError(_OVERLAP, file.name.rpartition("!")[0])
                    begun, latest = True, max(time, latest or time)
                yield item

    def _of_packed(self, file: Packed, buffer: int) -> Iterator[Read]:
        try:
            source = file.open()
        except ReadError as error:
            yield error.at(file.name)
            return
        yield from self.of_stream(source, file.name, buffer)

    def _of_file(self, path: Path) -> Iterator[Read]:
        file = opened(path)
        if isinstance(file, ReadError):
            yield file
            return
        with file:
            yield from self.of_stream(file, str(path))

    def _of_pooled(self, source: Path | RemoteFile, buffer: int) -> Iterator[Read]:
        file = source.open(self._pool) if isinstance(source, RemoteFile) else self._pool.open(source)
        if isinstance(file, ReadError):
            yield file
            return
        try:
            yield from self.of_stream(file, str(source), buffer)
        finally:
            file.close()

    def _share(self, files: int) -> int:
        """Return how large the buffer of each of so many files may be."""
        return max(SMALLEST_BUFFER, min(self._buffer, _BUFFERS // max(1, files)))
