# SPDX-License-Identifier: Apache-2.0
"""Reads parts of an archive: from a file in which any place can be read, or from a stream that goes forward only."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from k8stokendetect.errors import ReadError
from k8stokendetect.input.frames import Feed


class PartError(ReadError):
    """A part of an archive could not be read; what comes after it was."""


class PositionedFile(Protocol):
    """A file that can be read from any place, or from any place ahead."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes; fewer at the end."""
        ...

    def seek(self, position: int, /) -> int:
        """Let the next read begin elsewhere; return where it does."""
        ...

    def tell(self) -> int:
        """Return where the next read begins."""
        ...


class SeekableFile:
    """A file in which any place can be read; places are counted from where it stood when it was given.

    Arguments:
        source: an open file that can seek.
        start: where it stood.
        count: called with the number of bytes that were read.

    """

    def __init__(self, source: Any, start: int, count: Callable[[int], object]) -> None:
        self._source = source
        self._start = start
        self._count = count
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes; fewer at the end."""
        parts: list[bytes] = []
        self._source.seek(self._start + self._position)
        while size and (part := self._source.read(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self._position += len(data)
        self._count(len(data))
        return data

    def seekable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Let the next read begin elsewhere."""
        if whence == io.SEEK_END:
            position += self._source.seek(0, io.SEEK_END) - self._start
        elif whence == io.SEEK_CUR:
            position += self._position
        self._position = max(0, position)
        return self._position


class ForwardFile:
    """A stream as a file whose next place may be any that comes, or one byte before."""

    def __init__(self, source: Feed) -> None:
        self._source = source
        self._position = 0
        self._last = b""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes; fewer at the end."""
        parts: list[bytes] = []
        while size > 0 and (part := self._source.read(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self._position += len(data)
        self._last = data[-1:] or self._last
        return data

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, position: int, /) -> int:
        """Skip what comes before a place; where the stream ends before it, nothing is left to be read."""
        if position == self._position - 1 and self._last:
            self._source.give_back(self._last)
            self._position, self._last = position, b""
        while self._position < position and self.read(min(position - self._position, 1 << 16)):
            pass
        return self._position


class Slice:
    """Reads a part of a file.

    Arguments:
        file: is read from.
        start: where the part begins.
        size: its number of bytes.
        cut: returns why the file ended within it.

    """

    def __init__(self, file: PositionedFile, start: int, size: int, cut: Callable[[], str]) -> None:
        self._file = file
        self._at = start
        self._left = size
        self._cut = cut

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            ReadError: when the file ends before the part does.

        """
        wanted = min(size, self._left) if size > 0 else self._left
        if not wanted:
            return b""
        data = self._file.read(wanted) if self._file.seek(self._at) == self._at else b""
        if not data:
            raise ReadError(self._cut())
        self._at += len(data)
        self._left -= len(data)
        return data
