# SPDX-License-Identifier: Apache-2.0
"""An append-only journal on the disk: what was appended is there after a crash, whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from k8stokendetect.engine.state_file import sync_folder
from k8stokendetect.errors import ConfigError

SEGMENT: Final = 8 * 1024 * 1024
"""Bytes after which a new file is begun; old files are removed whole."""

_HEAD: Final = struct.Struct(">QII")
"""Number, length and CRC-32 of an entry."""

_MOST: Final = 256 * 1024 * 1024
"""Longest entry in bytes; more is damage."""


class Journal:
    """Entries of bytes, numbered from 1.

    Arguments:
        folder: where its files are; it is made.
        name: the beginning of their names.
        segment: bytes after which a new file is begun.
        report: called with what is damaged, and so lost.

    Attributes:
        end: the number of the next entry.

    Raises:
        ConfigError: when the folder cannot be used.

    """

    def __init__(
        self, folder: Path, name: str, segment: int = SEGMENT, report: Callable[[str], object] = lambda _: None
    ) -> None:
        self._folder = folder
        self._name = name
        self._segment = segment
        self._report = report
        self._file: int | None = None
        self._size = 0
        self._length = 0
        self._lock = threading.Lock()
        self._told: set[tuple[int, int]] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.end = self._repaired()
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be used: {error.strerror}") from None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}-*.journal"))

    def _first_of(self, path: Path) -> int:
        return int(path.stem.rpartition("-")[2])

    def _repaired(self) -> int:
        """Cut off what no whole entry stands in or behind, say so, and return the number that comes next."""
        paths = self._paths()
        if not paths:
            return 1
        first = self._first_of(paths[-1])
        number, good = first - 1, 0
        for number, _, good in _entries(paths[-1], first):  # noqa: B007 - the last of them
            pass
        size = paths[-1].stat().st_size
        if good < size:
            os.truncate(paths[-1], good)
            self._report(f"{paths[-1]}: its last {size - good} bytes are not a whole entry and were cut off")
        self._length = sum(path.stat().st_size for path in paths)
        return number + 1

    def expect(self, number: int, /) -> None:
        """Go on with this number at least: somebody has seen all entries before it, so that none may be new."""
        with self._lock:
            if number > self.end:
                self._report(f"{self._folder}: entries {self.end} to {number - 1} are missing: files were removed")
                self.end = number

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return self._length

    def append(self, entry: bytes, /) -> int:
        """Append an entry, wait until it is on the disk, and return its number.

        Raises:
            OSError: when it could not be written, or is longer than is read back; nothing of it is left.

        """
        if len(entry) > _MOST:
            raise OSError(errno.EFBIG, f"an entry of {len(entry)} bytes is too long")
        with self._lock:
            return self._append(entry)

    def _append(self, entry: bytes) -> int:
        file = self._writable()
        number = self.end
        data = _HEAD.pack(number, len(entry), zlib.crc32(entry, number & 0xFFFFFFFF)) + entry
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
            os.fdatasync(file)
        except OSError:
            os.ftruncate(file, self._size)
            raise
        self._size += len(data)
        self._length += len(data)
        self.end = number + 1
        return number

    def _writable(self) -> int:
        """Return the file to append to."""
        if self._file is not None and self._size < self._segment:
            return self._file
        self.close()
        paths = self._paths()
        path = paths[-1] if paths and paths[-1].stat().st_size < self._segment else self._path(self.end)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        sync_folder(self._folder)
        return self._file

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:020}.journal"

    def read(self, first: int, /) -> Iterator[tuple[int, bytes]]:
        """Yield entries from a number on, as far as they were appended before this call.

        What is damaged or missing is reported, once; whole entries behind it are yielded.
        """
        end, paths = self.end, self._paths()
        starts = [self._first_of(path) for path in paths]
        expected = max(first, starts[0] if starts else end) if first == 1 else first
        for path, start, following in zip(paths, starts, [*starts[1:], end], strict=False):
            if following <= first:
                continue
            for number, entry, _ in _entries(path, start):
                if number >= end:
                    break
                if number >= expected:
                    self._lost(expected, number)
                    expected = number + 1
                    yield number, entry
                if expected >= end:
                    return
        self._lost(expected, end)

    def _lost(self, first: int, end: int) -> None:
        if first < end and (first, end) not in self._told:
            self._told.add((first, end))
            self._report(f"{self._folder}: damaged or removed; entries {first} to {end - 1} are lost")

    def drop_before(self, number: int, /) -> None:
        """Remove the files whose entries all come before a number."""
        with self._lock:
            paths = self._paths()
            starts = [self._first_of(path) for path in paths]
            for path, following in zip(paths[:-1], starts[1:], strict=True):
                if following <= number:
                    self._length -= path.stat().st_size
                    path.unlink()

    def close(self) -> None:
        """Close the file that is appended to."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _entries(path: Path, first: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the number, the bytes and the end of each whole entry; numbers rise from the first on."""
    data = path.read_bytes()
    place: int | None = 0
    while place is not None:
        if found := _entry_at(data, place, first):
            yield found
            first, place = found[0] + 1, found[2]
        else:
            place = _whole_after(data, place, first)


def _entry_at(data: bytes, place: int, first: int) -> tuple[int, bytes, int] | None:
    if place + _HEAD.size > len(data):
        return None
    number, length, check = _HEAD.unpack_from(data, place)
    start, end = place + _HEAD.size, place + _HEAD.size + length
    if number < first or length > _MOST or end > len(data):
        return None
    entry = data[start:end]
    return (number, entry, end) if zlib.crc32(entry, number & 0xFFFFFFFF) == check else None


def _whole_after(data: bytes, place: int, first: int) -> int | None:
    """Find the next whole entry behind damage, by the first bytes of its number."""
    begins = re.compile(rb"(?=%b(?!\0\0\0))" % re.escape(first.to_bytes(8)[:5]))  # a file may end in many zeros
    places = (match.start() for match in begins.finditer(data, place + 1))
    return next((place for place in places if _entry_at(data, place, first)), None)
