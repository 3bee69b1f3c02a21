# SPDX-License-Identifier: Apache-2.0
"""Opens files and streams as one buffered byte stream: decompressed, counted, and never losing a line to an error."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any, Final, Protocol

from k8stokendetect.errors import ReadError
from k8stokendetect.input.gunzip import Gunzip
from k8stokendetect.input.limits import GZIP

BUFFER: Final = 1024 * 1024
_OTHER_COMPRESSION: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
_LONGEST_MAGIC: Final = 6

_ALWAYS_READ: Final = 64 * 1024 * 1024
"""Bytes that are always decompressed, whatever the ratio: a short log of equal calls is no bomb."""


class BinaryFile(Protocol):
    """An open binary file: anything with a `read(n)` that returns bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


class _Source(io.RawIOBase):
    """Feeds a buffered reader. An error ends the stream and is kept: whole lines before it are still read."""

    def __init__(
        self,
        source: BinaryFile,
        count: Callable[[int], object],
        refused: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._read: Callable[[int], Any] = getattr(source, "read1", source.read)
        self._file = source if type(source) is io.FileIO else None  # a subclass may read in its own way
        self._count = count
        self._head = b""
        self._refused = refused
        self.failure: str | None = None

    def readable(self) -> bool:
        return True

    def head(self, size: int) -> bytes:
        """Return the first bytes, which are still to be read."""
        head = bytearray()
        while len(head) < size and (more := self._next(part := bytearray(size - len(head)))):
            head += part[:more]
        self._head = bytes(head)
        return self._head

    def readinto(self, buffer: Any, /) -> int:
        if not self._head:
            return self._next(buffer)
        size = min(len(self._head), len(buffer))
        buffer[:size], self._head = self._head[:size], self._head[size:]
        return size

    def _next(self, buffer: Any) -> int:
        self.failure = self.failure or self._refused()
        if self.failure:
            return 0
        try:
            size = self._fill(buffer)
        except EOFError:
            self.failure = "the gzip data is cut off"
        except gzip.BadGzipFile:
            self.failure = "the gzip data is damaged"
        except ReadError as error:
            self.failure = error.reason
        except Exception as error:  # noqa: BLE001 - any object may stand behind read()
            self.failure = f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
        else:
            self._count(size)
            return size
        return 0

    def _fill(self, buffer: Any) -> int:
        if self._file is not None:
            data: Any = self._file.readinto(buffer)  # 15 times faster than bytes that are copied
            if data is not None:
                return int(data)
        else:
            data = self._read(len(buffer))
        if not isinstance(data, bytes):
            raise ReadError(f"read() gave {type(data).__name__}, not bytes")
        if len(data) > len(buffer):
            raise ReadError("read() gave more than it was asked for")
        buffer[: len(data)] = data
        return len(data)


class ByteStream:
    """A buffered, decompressed stream; gzip is told by its first bytes, whatever the file is called.

    Arguments:
        source: an open binary file; it is not closed.
        count: told how many bytes were read from the source.
        max_ratio: so many times its size may come out of a gzip stream; beyond, `failure` says so and nothing more
            is read.
        buffer: bytes that are read at a time.

    Raises:
        ReadError: when the source is compressed in a way this library does not read.

    """

    def __init__(
        self, source: BinaryFile, count: Callable[[int], object], max_ratio: float, buffer: int = BUFFER
    ) -> None:
        self._count = count
        self._max_ratio = max_ratio
        self._packed = self._unpacked = 0
        last = _Source(source, self._take)
        head = last.head(_LONGEST_MAGIC)
        for magic, name in _OTHER_COMPRESSION.items():
            if head.startswith(magic):
                raise ReadError(f"compressed with {name}: decompress it first, only gzip is read")
        self._layers = [last]
        if head.startswith(GZIP):
            packed = io.BufferedReader(last, buffer)
            last = _Source(Gunzip(packed.read1), self._give, self._is_bomb)
            self._layers.append(last)
        self.buffer: io.BufferedReader[Any] = io.BufferedReader(last, buffer)

    def _take(self, size: int) -> None:
        self._packed += size
        self._count(size)

    def _give(self, size: int) -> None:
        self._unpacked += size

    def _is_bomb(self) -> str | None:
        if self._unpacked > _ALWAYS_READ and self._unpacked > self._max_ratio * self._packed:
            return f"decompressed to more than {self._max_ratio} times its size, the limit max_ratio"
        return None

    @property
    def failure(self) -> str | None:
        """Why the stream ended before its end; None when it was read whole."""
        return next((layer.failure for layer in self._layers if layer.failure), None)
