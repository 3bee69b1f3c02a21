# SPDX-License-Identifier: Apache-2.0
"""Recodes UTF-16 and UTF-32 to UTF-8 as it is read, with a byte order mark or without."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Final

from k8stokendetect.errors import ReadError

_CHUNK: Final = 64 * 1024

_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ASCII: Final = rb"[\t\r\n -~]"
_WIDE: Final = {
    re.compile(rb"(?:%b\0){8}" % _ASCII): "utf-16-le",
    re.compile(rb"(?:\0%b){8}" % _ASCII): "utf-16-be",
    re.compile(rb"(?:%b\0\0\0){8}" % _ASCII): "utf-32-le",
    re.compile(rb"(?:\0\0\0%b){8}" % _ASCII): "utf-32-be",
}
"""Eight letters of ASCII. What begins with zeros alone is a log that a crash or a truncation left."""


def encoding_of(head: bytes, /) -> tuple[str, int] | None:
    """Return the encoding of a text that begins so, and the length of its mark; None for UTF-8 without a mark.

    Without a mark, the first line has to end in the same encoding: a damaged first line costs itself alone.
    """
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    encodings = (encoding for pattern, encoding in _WIDE.items() if pattern.match(head))
    return next(((encoding, 0) for encoding in encodings if _ends_line(head, encoding)), None)


def is_open(head: bytes, /) -> bool:
    """Tell whether a text without a mark looks wide, and more of its first line is needed to know."""
    if head.startswith(tuple(_MARKS)):
        return False
    place = head.find(b"\n")
    return any(
        place < 0 or len(head) - place < len(end := "\n".encode(encoding)) - end.index(b"\n")
        for pattern, encoding in _WIDE.items()
        if pattern.match(head)
    )


def _ends_line(head: bytes, encoding: str) -> bool:
    """Tell whether the first line ends in this encoding, as far as its end is there."""
    place = head.find(b"\n")
    if place < 0:
        return True
    end = "\n".encode(encoding)
    start = place - end.index(b"\n")
    return start % len(end) == 0 and end.startswith(head[start : start + len(end)])


_OTHER: Final = re.compile(rb"\n(\0{1,3})?[ -~]{16}")
"""A line of UTF-8 in a text of wider characters: somebody appended to it with another tool."""

_OTHER_PERHAPS: Final = re.compile(rb"\n\0{0,3}[ -~]{0,15}\Z")


class Recoded:
    """Reads a text as UTF-8; U+FFFD stands for whatever is not a character. From a line that is UTF-8 on, it stays so.

    Arguments:
        read: gives up to so many bytes of the source, as soon as there are any; none at its end.
        encoding: of the source.
        mark: bytes of the source that are skipped.

    """

    def __init__(self, read: Callable[[int], bytes], encoding: str, mark: int) -> None:
        self._read = read
        self._encoding = encoding
        self._mark = mark
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._is_recoded = encoding != "utf-8"
        self._tail = self._ready = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end.

        Raises:
            ReadError: when the source ends within a character.

        """
        while not self._ready and (data := self._next()):
            self._ready = self._recoded(data) if self._is_recoded else data
        if not self._ready:
            self._ready, self._tail = self._decoded(self._tail), b""
        if not self._ready and self._decoder.getstate()[0]:
            self._decoder.reset()
            raise ReadError(f"the {self._encoding[:6].upper()} text ends within a character")
        end = size if size > 0 else len(self._ready)
        data, self._ready = self._ready[:end], self._ready[end:]
        return data

    def _next(self) -> bytes:
        """Read on behind the mark."""
        while (data := self._read(_CHUNK)) and self._mark:
            data, self._mark = data[self._mark :], max(0, self._mark - len(data))
            if data:
                break
        return data

    def _recoded(self, data: bytes) -> bytes:
        data = self._tail + data
        if other := _OTHER.search(data):
            self._is_recoded, self._tail = False, b""
            end = other.end(1) if other[1] else other.start()
            before = self._decoded(data[:end])
            self._decoder.reset()
            return before + data[end:]
        perhaps = _OTHER_PERHAPS.search(data)
        end = perhaps.start() if perhaps else len(data)
        self._tail = data[end:]
        return self._decoded(data[:end])

    def _decoded(self, data: bytes) -> bytes:
        return self._decoder.decode(data).encode("utf-8", "replace")
