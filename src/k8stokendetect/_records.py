# SPDX-License-Identifier: Apache-2.0
"""Cuts a byte stream into JSON records: one a line, and documents that span lines (indented JSON, large arrays).

Lines end at the byte 0x0A only: Go does not escape U+0085 or U+2028 and a client can put them into its user agent,
so `str.splitlines` would break a record apart there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, TypeAlias

import orjson

from k8stokendetect.errors import ReadError

Record: TypeAlias = tuple[str, Any]
"""Where it begins (`12`, or `12[3]` for element 3 of an array that begins in line 12) and the JSON value or error."""

MAX_RECORD: Final = 64 * 1024 * 1024
"""Longest record in bytes: Kubernetes requests are limited to 3 MiB, lists at level RequestResponse are larger."""

_PIECE: Final = 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_BAD: Final = object()


def split_records(stream: BinaryIO, limit: int = MAX_RECORD) -> Iterator[Record]:
    """Yield every record of a stream with its place, and a ReadError for each that is no JSON.

    Arguments:
        stream: an open binary stream.
        limit: longest record in bytes; a longer one is a ReadError and is skipped to its end.

    """
    lines = _Lines(stream)
    while line := lines.read(limit):
        value = _loads(line)
        if value is not _BAD:
            yield str(lines.number), value
        elif line.isspace():
            continue
        elif _begins_document(line):
            yield from _split_document(lines, line, limit)
        elif len(line) >= limit and not line.endswith(b"\n"):
            yield str(lines.number), ReadError(_too_long(limit))
            lines.skip()
        else:
            yield str(lines.number), ReadError(_why_not_json(line))


class _Lines:
    """Reads lines, or pieces of long lines, and counts them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inside = False
        self.number = 0

    def read(self, limit: int = _PIECE) -> bytes:
        """Read to the end of the line, at most `limit` bytes and never half an escape sequence."""
        piece = self._stream.readline(limit)
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece += self._stream.readline(1)
        if not self._inside and piece:
            self.number += 1
            if self.number == 1:
                piece = piece.removeprefix(_BOM) or b"\n"
        self._inside = bool(piece) and not piece.endswith(b"\n")
        return piece

    def skip(self) -> bool:
        """Pass over the rest of the line; tell whether there was anything in it."""
        passed = False
        while self._inside and (piece := self.read()):
            passed = passed or not piece.isspace()
        return passed


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _BAD


def _why_not_json(line: bytes) -> str:
    """Say why a line is no JSON, without repeating any of it."""
    if b"\x00" in line:
        return "not JSON: binary data"
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error.msg}"
    return "not JSON"


def _too_long(limit: int) -> str:
    return f"record longer than {limit} bytes"


def _begins_document(line: bytes) -> bool:
    """Tell an array, or the lone brace of an indented object, from a line that is merely broken."""
    text = line.strip()
    return text == b"{" or (text[:1] == b"[" and text[1:].lstrip()[:1] in {b"", b"{", b"[", b"]"})


def _split_document(lines: _Lines, line: bytes, limit: int) -> Iterator[Record]:
    """Read an array element by element, or one indented object; both may span lines."""
    scanner = _Scanner(array=line.lstrip()[:1] == b"[")
    while line:
        for number, index, text in scanner.feed(line, lines.number):
            value = _loads(text) if len(text) <= limit else ReadError(_too_long(limit))
            place = f"{number}[{index}]" if scanner.array else str(number)
            yield place, ReadError(_why_not_json(text)) if value is _BAD else value
        if scanner.closed or scanner.broken or scanner.held > limit:
            break
        line = lines.read()
    reason = "a string is not closed" if scanner.broken else "the document is not closed"
    yield from scanner.leftover(_too_long(limit) if scanner.held > limit else reason)
    if lines.skip() and scanner.closed:
        yield str(lines.number), ReadError("text after the end of a document")


_TOKEN = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_IN_STRING = re.compile(rb'\\.|"', re.DOTALL)


class _Scanner:
    """Finds where the elements of an array, or one object, end: brackets outside of strings, nothing else."""

    def __init__(self, *, array: bool) -> None:
        self.array = array
        self.closed = False
        self.broken = False
        self.held = 0
        self._depth = 0
        self._in_string = False
        self._parts: list[bytes] = []
        self._begin = 0
        self._index = 0

    def feed(self, piece: bytes, number: int) -> Iterator[tuple[int, int, bytes]]:
        """Take the next piece of the document; yield every element it completes: line, index, text."""
        start = position = 0
        while not self.closed:
            match = (_IN_STRING if self._in_string else _TOKEN).search(piece, position)
            if match is None:
                break
            position = match.end()
            ends_element = self._step(match[0])
            if match[0] == b"[" and self.array and self._depth == 1 and not self._in_string:
                start = position
            if ends_element:
                inside = match.start() if self.array else position
                self._hold(piece[start:inside], number)
                text = b"".join(self._parts).strip()
                start = position
                begin, self._parts, self.held = self._begin, [], 0
                if text:
                    yield begin, self._index, text
                    self._index += 1
        self._hold(piece[start:], number)
        self.broken = self._in_string and piece.endswith(b"\n")

    def _hold(self, part: bytes, number: int) -> None:
        if not self.held and not part.isspace():
            self._begin = number
        if part and (self.held or not part.isspace()):
            self._parts.append(part)
            self.held += len(part)

    def _step(self, token: bytes) -> bool:
        """Take one token; tell whether an element ends here."""
        if token == b'"':
            self._in_string = not self._in_string
        elif self._in_string or token[:1] == b"\\":
            pass
        elif token in b"[{":
            self._depth += 1
        elif token in b"]}":
            self._depth -= 1
            self.closed = self._depth == 0
            return self.closed
        else:
            return self.array and self._depth == 1
        return False

    def leftover(self, reason: str) -> Iterator[Record]:
        """Yield what an unclosed or broken document still holds: whole lines are records of their own.

        A record that was cut off swallows the lines after it until the brackets match; an attacker must not be able
        to hide there.
        """
        text = b"".join(self._parts)
        if self.closed:
            if text.strip():
                value = _loads(text)
                yield (
                    str(self._begin),
                    ReadError("text after the end of a document") if value is _BAD else value,
                )
            return
        whole = _loads(text.strip().rstrip(b","))
        if whole is not _BAD:
            yield f"{self._begin}[{self._index}]", whole
        yield str(self._begin), ReadError(reason)
        if whole is _BAD:
            for offset, line in enumerate(text.split(b"\n")):
                value = _loads(line.strip().rstrip(b","))
                if isinstance(value, dict | list):
                    yield str(self._begin + offset), value
