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
_EVIDENT: Final = {
    re.compile(rb"(?:%b\0){8}" % _ASCII): "utf-16-le",
    re.compile(rb"(?:\0%b){8}" % _ASCII): "utf-16-be",
    re.compile(rb"(?:%b\0\0\0){8}" % _ASCII): "utf-32-le",
    re.compile(rb"(?:\0\0\0%b){8}" % _ASCII): "utf-32-be",
}
"""Eight letters of ASCII. What begins with zeros alone is a log that a crash or a truncation left."""


_PLAIN: Final = re.compile(rb"\n(?=[ -~]{16})")
"""The beginning of a line of ASCII after all, as where one line was damaged so that it looks like another encoding."""


def encoding_of(head: bytes, /) -> tuple[str, int] | None:
    """Return the encoding of a text that begins so, and the length of its mark; None for UTF-8 without a mark."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    return next(((encoding, 0) for pattern, encoding in _EVIDENT.items() if pattern.match(head)), None)


class Recoded:
    """Reads a text as UTF-8; U+FFFD stands for whatever is no character.

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
        self._ready = b""
        self._is_plain = False

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end.

        Raises:
            ReadError: when the source ends within a character.

        """
        while not self._ready and (data := self._read(_CHUNK)):
            self._ready = data if self._is_plain else self._decoded(data)
        if not self._ready and not self._is_plain and self._decoder.getstate()[0]:
            self._decoder.reset()
            raise ReadError(f"the {self._encoding[:6].upper()} text ends within a character")
        end = size if size > 0 else len(self._ready)
        data, self._ready = self._ready[:end], self._ready[end:]
        return data

    def _decoded(self, data: bytes) -> bytes:
        """Decode a piece up to the first line that is plain after all."""
        data, self._mark = data[self._mark :], max(0, self._mark - len(data))
        plain = None if self._encoding == "utf-8" else _PLAIN.search(data)
        if plain is None:
            return self._decoder.decode(data).encode("utf-8", "replace")
        self._is_plain = True
        text = self._decoder.decode(data[: plain.start()], final=True)
        return text.encode("utf-8", "replace") + data[plain.start() :]
