# SPDX-License-Identifier: Apache-2.0
"""Opens files and streams as one buffered byte stream: decompressed, counted, and never losing a line to an error."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from k8stokendetect.errors import ReadError
from k8stokendetect.input.budget import Budget
from k8stokendetect.input.encodings import Recoded, encoding_of, is_open
from k8stokendetect.input.frames import Frames, begins_frame, check_package
from k8stokendetect.input.gunzip import Gunzip
from k8stokendetect.input.kinds import advice
from k8stokendetect.input.limits import GZIP

BUFFER: Final = 1024 * 1024

_HEAD: Final = 512
"""Bytes that are looked at: a header of tar."""

_LONGEST_MAGIC: Final = 6
_SAMPLE: Final = 64 * 1024
"""Bytes that are searched for a sign of an audit event, where a stream does not begin like a log."""

_JSON: Final = re.compile(rb"\s*[{\[][^\0]")
_ZIP: Final = b"PK\x03\x04", b"PK\x05\x06"  # a file, or the end of an empty archive (APPNOTE.TXT, 4.3.7 and 4.3.16)
_TAR: Final = slice(257, 262), b"ustar"  # pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html


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

    def head(self, size: int, *, lines: bool = True) -> bytes:
        """Return the first bytes, which are still to be read.

        Arguments:
            size: how many; fewer at the end.
            lines: a line may be enough: no more is awaited from a slow source.

        """
        head = self._head
        while len(head) < size and not (lines and len(head) >= _LONGEST_MAGIC and _is_enough(head)):
            more = self._next(part := bytearray(size - len(head)))
            if not more:
                break
            head += part[:more]
        self._head = head
        return head

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
            raise ReadError("read() returned more than it was asked for")
        buffer[: len(data)] = data
        return len(data)


class ByteStream:
    """A buffered stream of UTF-8, decompressed and recoded; its form is told by its first bytes, whatever its name.

    Arguments:
        source: an open binary file; it is not closed.
        budget: what it may cost.
        buffer: bytes that are read at a time.
        depth: how often the source itself was compressed or packed into an archive.

    Attributes:
        archive: "zip" or "tar" where that is what the stream is.
        is_raw: the stream is the source, byte by byte.
        depth: how often this stream was compressed or packed.

    Raises:
        ReadError: when the source is compressed too often, or no log; the reason says what to do.

    """

    def __init__(self, source: BinaryFile, budget: Budget, buffer: int = BUFFER, depth: int = 0) -> None:
        first = _Source(source, budget.give, budget.excess) if depth else _Source(source, budget.take)
        self._layers = [first]
        self._size = buffer
        self._budget = budget
        self.depth = depth
        head = self._unpacked()
        self.is_raw = len(self._layers) == 1
        self.archive = _archive(head)
        if (encoding := encoding_of(head)) and (encoding := encoding_of(self._layers[-1].head(_SAMPLE))):
            packed = self._buffered()
            self._layers.append(_Source(Recoded(packed.read1, *encoding), lambda _: None))
        if self.archive is None:
            _check_kind(self._layers[-1])
        self.buffer = self._buffered()

    def _unpacked(self) -> bytes:
        """Decompress as often as it was compressed; return the first bytes of what comes out."""
        while True:
            head = self._layers[-1].head(_HEAD)
            reader = Gunzip if head.startswith(GZIP) else Frames if begins_frame(head) else None
            if reader is None:
                return head
            check_depth(self, self._budget)
            if reader is Frames:
                check_package(head)
            self.depth += 1
            self._layers.append(_Source(reader(self._buffered().read1), self._budget.give, self._budget.excess))

    def _buffered(self) -> io.BufferedReader[Any]:
        return io.BufferedReader(self._layers[-1], self._size)

    @property
    def failure(self) -> str | None:
        """Why the stream ended before its end; None when it was read whole."""
        return next((layer.failure for layer in self._layers if layer.failure), None)


def check_depth(stream: ByteStream, budget: Budget, /) -> None:
    """Raise ReadError where what is in a stream would be compressed or packed too often."""
    if stream.depth >= budget.limits.nesting:
        raise ReadError(f"compressed or archived more than {budget.limits.nesting} times, the limit max_nesting")


def is_packed(content: bytes, /) -> bool:
    """Tell whether a content begins like compressed data, an archive, or a text of wider characters than UTF-8."""
    if content[:1] in {b"{", b"["} and content[1:2] != b"\0":
        return False  # nearly all
    head = content[:_HEAD]
    is_text = _archive(head) is None and encoding_of(head) is None
    return head.startswith(GZIP) or begins_frame(head) or not is_text


def _is_enough(head: bytes) -> bool:
    """Tell whether no more is needed: a line, or the beginning of JSON or of compressed data."""
    if is_open(head):
        return False
    return b"\n" in head or _JSON.match(head) is not None or head.startswith(GZIP) or begins_frame(head)


def _check_kind(source: _Source) -> None:
    """Raise ReadError where a source holds no log."""
    head = source.head(_HEAD)
    if not _JSON.match(head) and advice(head) and (reason := advice(source.head(_SAMPLE, lines=False))):
        raise ReadError(reason)


def _archive(head: bytes) -> str | None:
    place, magic = _TAR
    return "zip" if head.startswith(_ZIP) else "tar" if head[place] == magic else None
