# SPDX-License-Identifier: Apache-2.0
"""How far a followed log has been read, and from where another process would have to read on."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import attrs

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.place import HEAD, TAIL, LogFile, Place

AGAIN: Final = 4 * 1024 * 1024
"""Bytes before the place where reading stopped that are read again after a restart: they hold the beginning of a record
that was cut, and uses of tokens that were logged before their mints."""

_BETWEEN: Final = 64 * 1024
"""Bytes between two places that are remembered at least."""


@attrs.frozen
class _Mark:
    """The beginning of a line: its number, how many bytes were delivered before it, and where it is."""

    line: int
    delivered: int
    place: Place


class Progress:
    """Where reading is in the present file, and where the lines began that were delivered.

    Arguments:
        start: the position before anything is read.
        replays: it is that of an earlier process, and what that has read is read again.

    Attributes:
        offset: how many bytes of the present file were delivered.
        tail: the last bytes that were delivered of it.
        is_open: what was delivered last does not end a line.
        replays_to: the place that an earlier process had reached, until it is reached again.

    """

    def __init__(self, start: Mapping[str, Any], *, replays: bool) -> None:
        self.offset = 0
        self.tail = b""
        self.is_open = False
        self._begin, self._head = 0, b""
        self.replays_to: Mapping[str, Any] | None = start["read"] if replays else None
        self._start = dict(start)
        self._modified = int(start["read"]["modified"])
        self._delivered = self._lines = 0
        self._marks: deque[_Mark] = deque()

    def enter(self, file: LogFile, offset: int, /) -> None:
        """Go on in a file, from a place on."""
        self.offset = max(offset, file.begin)
        self._begin, self._head, self.tail = file.begin, file.head, b""
        with contextlib.suppress(ReadError):
            self.tail = file.read_at(max(0, self.offset - TAIL), min(TAIL, self.offset))

    def is_still_in(self, file: LogFile, /) -> bool:
        """Tell whether what stands before this place is what was read there; else the file was truncated since."""
        is_first = self.offset == self._begin
        begin, known = (self._begin, self._head) if is_first else (self.offset - len(self.tail), self.tail)
        with contextlib.suppress(ReadError):
            return file.is_packed or file.read_at(begin, len(known)) == known
        return True

    def deliver(self, data: bytes, /) -> bytes:
        """Count what was read next, and return it."""
        if len(self._head) < HEAD:
            self._head = (self._head + data[self._begin + len(self._head) - self.offset :])[:HEAD]
        if self.offset == self._begin or not self._marks or self._marks[-1].delivered + _BETWEEN < self._delivered:
            self._mark(data)
        self.offset += len(data)
        self.tail = (self.tail + data)[-TAIL:]
        self._modified = time.time_ns()
        return self.insert(data)

    def insert(self, data: bytes, /) -> bytes:
        """Count what is delivered and does not stand at this place of the file, and return it."""
        self._delivered += len(data)
        self._lines += data.count(b"\n")
        self.is_open = not data.endswith(b"\n")
        return data

    def _mark(self, data: bytes) -> None:
        """Remember the first beginning of a line in what is delivered."""
        begin = data.find(b"\n") + 1 if self.is_open else 0
        if begin or not self.is_open:
            place = Place.of(self.offset + begin, self._head, self.tail + data[:begin], self._modified)
            self._marks.append(_Mark(self._lines + bool(begin) + 1, self._delivered + begin, place))

    def place(self) -> Place:
        """Return the present place."""
        return Place.of(self.offset, self._head, self.tail, self._modified)

    def position(self, oldest: int | None = None, /) -> dict[str, Any]:
        """Return from where to read on in another process, as JSON.

        Arguments:
            oldest: the number of the first line, of all that were delivered, that is still needed; None for none.

        """
        marks = self._marks
        if not marks:
            return self._start
        enough = self._delivered - AGAIN
        while len(marks) > 1 and marks[1].delivered <= enough and (oldest is None or marks[1].line <= oldest):
            marks.popleft()
        return {"from": marks[0].place.to_dict(), "read": self.replays_to or self.place().to_dict()}


@attrs.define
class Left:
    """A file that was read to its end, and left.

    Arguments:
        file: it, still open.
        offset: where its end was.

    """

    file: LogFile
    offset: int

    def late_lines(self) -> bytes:
        """Return whole lines that were written to it since, once."""
        if self.file.is_packed or self.file.size <= self.offset:
            return b""
        try:
            lines = self.file.read_at(self.offset, 1 << 20)
        except ReadError:
            return b""
        lines = lines[: lines.rfind(b"\n") + 1]
        self.offset += len(lines)
        return lines


def checked_position(document: object, /) -> Mapping[str, Any] | None:
    """Return what `Progress.position` returned and was saved, None for None; raises ConfigError for anything else."""
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise ConfigError("not a position in a log")
    for key in ("from", "read"):
        Place.from_dict(document.get(key))
    return document
