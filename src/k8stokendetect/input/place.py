# SPDX-License-Identifier: Apache-2.0
"""A place in a log file that is recognised by what stands around it, whatever the file is called by now."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import importlib
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import attrs

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.limits import GZIP

HEAD: Final = 4096
"""Number of first bytes by which a file is recognised."""

TAIL: Final = 4096
"""Number of bytes before a place by which it is recognised: more than the annotations that follow an event's times."""


def _zstd(raw: Any, mode: str) -> Any:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name).open(raw, mode)


def _lz4(raw: Any, mode: str) -> Any:
    return importlib.import_module("lz4.frame").open(raw, mode)


_PACKED: Final[Mapping[bytes, Callable[[Any, str], Any]]] = {
    GZIP: gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x04\x22\x4d\x18": _lz4,
}
"""What opens a compressed file that begins so; see `frames` for the sources."""

_UNREADABLE: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError)


class LogFile:
    """An open file of a log, read by offset; decompressed, where it is compressed with gzip, bzip2, xz, zstd or lz4.

    Arguments:
        path: of the file.

    Attributes:
        path: what it was called when it was opened.
        status: as it was then.
        is_packed: it is compressed.
        begin: the offset of its first byte that is not zero. What writes to an offset of its own, as the API server
            does, leaves a hole before it where the file was truncated: see `openNew`, without O_APPEND, in
            https://github.com/natefinch/lumberjack/blob/v2.2.1/lumberjack.go.
        head: the first bytes from there on, as they were when it was opened, at most `HEAD`.

    Raises:
        FileNotFoundError: when there is none. One that cannot be opened for another reason cannot be read, either.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problem = ""
        self._raw: Any = None
        self._stream: Any = None
        self.begin, self.head = 0, b""
        try:
            self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            raise
        except OSError as error:
            self.status = path.stat()
            self._problem = error.strerror or str(error)
            return
        self._raw = os.fdopen(self._handle, "rb") if stat.S_ISREG(os.fstat(self._handle).st_mode) else None
        self.status = os.fstat(self._handle)
        if self._raw is None:
            os.close(self._handle)
            self._problem = "not a file"
            return
        with contextlib.suppress(ReadError):
            magic = self.read_at(0, 6)
            self._stream = self._unpacked(
                next((unpack for known, unpack in _PACKED.items() if magic.startswith(known)), None)
            )
            self.begin = self._first()
            self.head = self.read_at(self.begin, HEAD)

    @property
    def is_packed(self) -> bool:
        """It is compressed."""
        return self._stream is not None

    def _unpacked(self, unpack: Callable[[Any, str], Any] | None) -> Any:
        """Return what decompresses this file; None where it is not compressed."""
        try:
            return unpack(self._raw, "rb") if unpack is not None else None
        except ImportError:
            self._problem = "it is compressed, and pip install 'k8stokendetect[compression]' is needed to read it"
        return None

    def _first(self) -> int:
        """Return the offset of the first byte that is not zero; 0 where there is none yet."""
        offset = 0
        if not self.is_packed and hasattr(os, "SEEK_DATA"):
            try:
                offset = os.lseek(self._handle, 0, os.SEEK_DATA)
            except OSError:
                return 0
        while data := self.read_at(offset, HEAD):
            if text := data.lstrip(b"\0"):
                return offset + len(data) - len(text)
            offset += len(data)
        return 0

    @property
    def is_begun(self) -> bool:
        """It held a line when it was opened, or enough of one to tell it from those of other files."""
        return b"\n" in self.head or len(self.head) == HEAD

    def is_prefix_of(self, other: LogFile, /) -> bool:
        """Tell whether all that is in this file is in the other one, too: it is a copy, or is going to be one."""
        shorter, longer = sorted((self.head, other.head), key=len)
        if not (self.is_begun and other.is_begun and longer.startswith(shorter)):
            return False
        try:
            end = self.end()
            last = max(0, end - TAIL)
            return self.read_at(last, end - last) == other.read_at(last, end - last)
        except ReadError:
            return False

    def end(self) -> int:
        """Return how many bytes it has now, after decompression.

        Raises:
            ReadError: when that cannot be told.

        """
        if self._stream is None:
            return self.size
        try:
            return int(self._stream.seek(0, os.SEEK_END))
        except _UNREADABLE as error:
            raise self._unreadable(error) from None

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Return so many bytes from a place on, fewer at the end.

        Raises:
            ReadError: when that is not possible: the disk fails, or the file is damaged.

        """
        if self._problem:
            raise ReadError(f"cannot be opened: {self._problem}", str(self.path))
        try:
            if self._stream is None:
                return os.pread(self._handle, size, offset)
            self._stream.seek(offset)
            return bytes(self._stream.read(size))
        except _UNREADABLE as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> ReadError:
        reason = getattr(error, "strerror", None) or "the compressed data is damaged or cut off"
        return ReadError(f"cannot be read: {reason}", str(self.path))

    @property
    def size(self) -> int:
        """How many bytes it has now, compressed where it is."""
        return self.status.st_size if self._problem else os.fstat(self._handle).st_size

    def is_at(self, path: Path, /) -> bool | None:
        """Tell whether this is the file of a name; None where there is none."""
        try:
            return os.path.samestat(path.stat(), self.status)
        except OSError:
            return None

    def close(self) -> None:
        """Close it."""
        if self._raw is not None:
            self._raw.close()


@attrs.frozen
class Place:
    """A place in a log; it holds hashes, no text.

    Arguments:
        offset: how many bytes stand before it.
        head_size: how many of the first bytes of the file `head` is about.
        head: their hash; the first is the first one that is not zero.
        tail: that of the last bytes before the place.
        modified: when the file was last written to, as far as that was seen, in nanoseconds.

    """

    offset: int
    head_size: int
    head: str
    tail: str
    modified: int

    @classmethod
    def of(cls, offset: int, head: bytes, before: bytes, modified: int, /) -> Self:
        """Describe a place.

        Arguments:
            offset: how many bytes stand before it.
            head: the first bytes of the file, also from beyond the place; `HEAD` of them are enough.
            before: the bytes before the place; `TAIL` of them are enough.
            modified: when the file was last written to.

        """
        head = head[:HEAD]
        return cls(offset, len(head), _hashed(head), _hashed(before[len(before) - min(TAIL, offset) :]), modified)

    @classmethod
    def at(cls, file: LogFile, offset: int, /) -> Self:
        """Describe a place in a file; raises ReadError when that cannot be read."""
        size = min(TAIL, offset)
        return cls.of(offset, file.head, file.read_at(offset - size, size), file.status.st_mtime_ns)

    def is_in(self, file: LogFile, /) -> bool:
        """Tell whether a file has this place; one that cannot be read has not."""
        size = min(TAIL, self.offset)
        try:
            return self._begins(file) and _hashed(file.read_at(self.offset - size, size)) == self.tail
        except ReadError:
            return False

    def is_behind(self, file: LogFile, /) -> bool:
        """Tell whether a file begins as that of this place does, and ends before it: it was copied before."""
        try:
            return self._begins(file) and file.end() < self.offset
        except ReadError:
            return False

    def is_about(self, file: LogFile, /) -> bool:
        """Tell whether a file has this place, or would have it if it had not been copied before."""
        return self.is_in(file) or self.is_behind(file)

    def _begins(self, file: LogFile) -> bool:
        return self.head_size > 0 and _hashed(file.read_at(file.begin, self.head_size)) == self.head

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, document: object, /) -> Self:
        """Make a place of what `to_dict` returned.

        Raises:
            ConfigError: when it is nothing of the kind.

        """
        kinds = {"offset": int, "head_size": int, "head": str, "tail": str, "modified": int}
        if not isinstance(document, Mapping) or any(type(document.get(key)) is not kinds[key] for key in kinds):
            raise ConfigError("not a place in a log")
        place = cls(**{key: document[key] for key in kinds})
        if place.offset < 0 or not 0 <= place.head_size <= HEAD:
            raise ConfigError("not a place in a log")
        return place


def _hashed(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
