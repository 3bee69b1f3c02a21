# SPDX-License-Identifier: Apache-2.0
"""Opens files and streams as one buffered byte stream: decompressed, counted, and never losing a line to an error."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from k8stokendetect._limits import GZIP
from k8stokendetect.errors import ReadError

_BUFFER: Final = 1024 * 1024
_OTHER_COMPRESSION: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
_LONGEST_MAGIC: Final = 6

_ALWAYS_READ: Final = 64 * 1024 * 1024
"""So many bytes are decompressed whatever the ratio: a short log of equal calls is no bomb."""


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
        head: bytes = b"",
        refused: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._read: Callable[[int], Any] = getattr(source, "read1", source.read)
        self._count = count
        self._head = head
        self._refused = refused
        self.failure: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = self._next(len(buffer))
            self._count(len(data))
            if len(data) > len(buffer):
                self.failure = "read() gave more than it was asked for"
                return 0
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        self.failure = self.failure or self._refused()
        if self.failure:
            return b""
        try:
            data = self._read(size)
        except EOFError:
            self.failure = "the gzip data is cut off"
        except (gzip.BadGzipFile, zlib.error):
            self.failure = "the gzip data is damaged"
        except Exception as error:  # noqa: BLE001 - any object may stand behind read()
            self.failure = f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
        else:
            if isinstance(data, bytes):
                return data
            self.failure = f"read() gave {type(data).__name__}, not bytes"
        return b""


def _ignore(_: int) -> None:
    """Count nothing: only the first layer reads the source."""


class ByteStream:
    """A buffered, decompressed stream; gzip is told by its first bytes, whatever the file is called.

    Arguments:
        source: an open binary file; it is not closed.
        count: told how many bytes were read from the source.
        max_ratio: so many times its size may come out of a gzip stream; beyond, `failure` says so and nothing more
            is read.

    Raises:
        ReadError: when the source is compressed in a way this library does not read.

    """

    def __init__(self, source: BinaryFile, count: Callable[[int], object], max_ratio: float) -> None:
        self._count = count
        self._max_ratio = max_ratio
        self._packed = self._unpacked = 0
        first = _Source(source, self._take)
        head = b""
        while len(head) < _LONGEST_MAGIC and (more := first.read(_LONGEST_MAGIC - len(head))):
            head += more
        for magic, name in _OTHER_COMPRESSION.items():
            if head.startswith(magic):
                raise ReadError(f"compressed with {name}: decompress it first, only gzip is read")
        last = _Source(first, _ignore, head)
        self._layers = [first, last]
        if head.startswith(GZIP):
            packed = gzip.GzipFile(fileobj=io.BufferedReader(last, _BUFFER))
            last = _Source(packed, self._give, refused=self._is_bomb)
            self._layers.append(last)
        self.buffer: io.BufferedReader[Any] = io.BufferedReader(last, _BUFFER)

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
