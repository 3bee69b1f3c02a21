# SPDX-License-Identifier: Apache-2.0
"""Reads lines, or pieces of long ones, and tells which of them go on with a document that spans lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from k8stokendetect.input.damage import bare, is_record
from k8stokendetect.input.scanner import Scanner

PIECE: Final = 1024 * 1024
"""Bytes that are read at a time of a line that spans more."""

_JSON_GOES_ON: Final = re.compile(
    rb'\s*(?:[\[\]{}",:\0]|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[ \t\r]*(?:[,\]}\n]|$)|(?:true|false|null)\b|$)'
)
"""How a line may begin that goes on with JSON."""

LineReader: TypeAlias = Callable[[Callable[[int], bytes], int, int], "tuple[bytes, int, list[Any] | None]"]
"""Reads lines until one is worth something; called with `readline`, the number of lines read, and their limit.

Returns the last line that it read, its number, and the records in it: what decoding the line would give, or less where
that is not wanted; None for a line that it leaves to others.
"""


class LineStream(Protocol):
    """What lines are read from."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or so many bytes of it."""
        ...


class Lines:
    """Reads lines, or pieces of long lines, and counts them."""

    def __init__(self, stream: LineStream) -> None:
        self._readline = stream.readline
        self._inside = False
        self._back = b""
        self.number = 0

    def read(self, limit: int = PIECE) -> bytes:
        """Read to the end of the line, at most `limit` bytes and never half an escape sequence."""
        line, self._back = self._back, b""
        return self._counted(line if line.endswith(b"\n") else line + self._readline(limit - len(line)))

    def read_fast(self, fast: LineReader, limit: int) -> tuple[bytes, list[Any] | None]:
        """Let another reader go on, unless a line has begun; return the last line that it read, and what is in it."""
        if self._inside or self._back:
            return self.read(limit), None
        line, self.number, records = fast(self._readline, self.number, limit)
        if records is None:
            self.number -= 1
            return self._counted(line), None
        return line, records

    def _counted(self, piece: bytes) -> bytes:
        if not piece.endswith(b"\n"):
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
                piece += self._readline(1)
            self.number += bool(piece) and not self._inside
            self._inside = bool(piece) and not piece.endswith(b"\n")
        else:
            self.number += not self._inside
            self._inside = False
        return piece

    def begins(self, marks: bytes) -> bool:
        """Tell whether the next line begins with one of these; it is not skipped."""
        self._back = self._readline(PIECE)
        return bare(self._back)[:1] in marks

    def read_on(self, scanner: Scanner) -> bytes:
        """Read the next line of a document; nothing where it is none of it."""
        inside = self._inside
        line = self.read()
        if inside or not _begins_anew(line, scanner):
            return line
        self._back = line
        self._inside = False
        self.number -= 1
        return b""

    def more(self) -> bytes:
        """Read on in the line that has begun; nothing at its end."""
        return self.read() if self._inside else b""

    def skip(self) -> bool:
        """Skip the rest of the line; tell whether there was anything in it."""
        passed = False
        while piece := self.more():
            passed = passed or not piece.isspace()
        return passed


def _begins_anew(line: bytes, scanner: Scanner) -> bool:
    """Tell a record of its own from a line that goes on with a document: one that was cut off swallows no other."""
    if not _JSON_GOES_ON.match(line):
        return True
    if line[:1] not in (b"{", b"[") or (scanner.array and scanner.depth == 1 and not scanner.held):
        return False
    return is_record(bare(line))
