# SPDX-License-Identifier: Apache-2.0
"""Finds where JSON elements end, by brackets outside of strings and nothing else; holds one element at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

TOKEN: Final = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
IN_STRING: Final = re.compile(rb'\\.|"', re.DOTALL)


class Scanner:
    """Finds where the elements of an array end, or an object, or many that follow each other."""

    def __init__(self, *, array: bool, many: bool = False, depth: int = 0) -> None:
        self.array = array
        self.many = many
        self.depth = depth
        self.closed = False
        self.broken = False
        self.is_mismatched = False
        self.held = 0
        self.rest = b""
        self._in_string = False
        self._parts: list[bytes] = []
        self.begin = 0
        self.index = 0

    @property
    def text(self) -> bytes:
        """What is held of the element that has not ended."""
        return b"".join(self._parts)

    def feed(self, piece: bytes, number: int) -> Iterator[tuple[int, int, bytes]]:
        """Take the next piece of the document; yield every element it completes: line, index, text."""
        start = position = 0
        while match := (IN_STRING if self._in_string else TOKEN).search(piece, position):
            position = match.end()
            ends_element = self._step(match[0])
            if self.array and self.depth == 1 and match[0] == b"[" and not self._in_string:
                start = position
            if ends_element:
                self._hold(piece[start : match.start() if self.array else position], number)
                text = self.text.strip()
                start = position
                begin, self._parts, self.held = self.begin, [], 0
                if text:
                    yield begin, self.index, text
                    self.index += 1
            if self.closed and not self.many:
                self.rest = piece[position:]
                return
        self._hold(piece[start:], number)
        self.broken = self._in_string and piece.endswith(b"\n")

    def _hold(self, part: bytes, number: int) -> None:
        if self.held or not part.isspace():
            self.begin = self.begin if self.held else number
            self._parts.append(part)
            self.held += len(part)

    def _step(self, token: bytes) -> bool:
        """Take one token; tell whether an element ends here."""
        if token == b'"':
            self._in_string = not self._in_string
        elif self._in_string or token[:1] == b"\\":
            pass
        elif token in b"[{":
            self.depth += 1
        elif token in b"]}":
            self.depth = max(0, self.depth - 1)
            self.closed = self.depth == 0
            self.is_mismatched = self.closed and (token == b"]") != self.array
            return self.closed
        else:
            return self.array and self.depth == 1
        return False
