# SPDX-License-Identifier: Apache-2.0
"""Passes over the lines of a log that concern no detector, without parsing them; every other form is left alone."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import orjson

from k8stokendetect.convert.byte_search import count
from k8stokendetect.input.records import Record, split_records
from k8stokendetect.reading.ahead import Ahead, range_end
from k8stokendetect.reading.interest import Interest, line_at
from k8stokendetect.reading.search import BETWEEN, BLOCK, EVENT_HUB, INNER, LONGEST, search

DEEPEST: Final = 3
"""So many wrappers may stand around an event that is passed over."""

KEPT: Final = 16 * BLOCK
"""So many bytes that were passed over are kept: a token's use may be logged before its mint."""


@attrs.define
class _Block:
    """A piece of a log in whole lines.

    Arguments:
        text: the lines.
        number: of its first line.
        events: how many it holds that were not read.
        native: its lines are events, in no wrapper.
        taken: where the records begin that were read.

    """

    text: bytes
    number: int
    events: int
    native: bool
    taken: set[int] = attrs.field(factory=set)


class Sieve:
    """Reads a stream in blocks, as long as it holds one compact record a line.

    Arguments:
        stream: the log.
        interest: what is wanted.
        passed: told how many events were passed over.
        limit: longest record, in bytes.
        ahead: what worker processes found out already.

    Attributes:
        number: of the line at which `rest` begins.
        rest: what is left when the log is of another form, to be read in full.

    """

    def __init__(
        self,
        stream: io.BufferedReader[Any],
        interest: Interest,
        passed: Callable[[int], object],
        limit: int,
        ahead: Ahead | None = None,
    ) -> None:
        self.number = 1
        self.rest: io.BufferedReader[Any] | Chained = stream
        self._stream = stream
        self._interest = interest
        self._passed = passed
        self._limit = limit
        self._ahead = ahead
        self._offset = 0
        self._kept: deque[_Block] = deque()
        self._size = 0
        self._known = len(interest.added)

    def records(self) -> Iterator[Record]:
        """Yield what is of interest, with its line, and what cannot be told from its bytes."""
        held = b""
        while True:
            read = self._stream.read1(BLOCK)  # what there is: a followed file goes on later
            held += read
            end = self._end(held, whole=not read or len(held) >= LONGEST)
            if read and not end and len(held) < LONGEST:
                continue
            text, held = held[:end], held[end:]
            if not text.startswith(b'{"'):  # its end, a long line, an array, an indented document
                yield from self._tail()
                self.rest = Chained(text + held, self._stream)
                return
            yield from self._block(text)

    def _end(self, held: bytes, *, whole: bool) -> int:
        """Return how much to look at: whole lines, of a range that others may have looked at already."""
        if self._ahead is not None:
            end = held.find(b"\n", range_end(self._offset) - self._offset - 1) + 1
            if end or not whole:
                return end
        return held.rfind(b"\n") + 1

    def _block(self, text: bytes) -> Iterator[Record]:
        searched = self._ahead.searched(self._offset, text) if self._ahead is not None else None
        if searched is None:
            searched = search(text, self._interest)
        if searched.events is None:  # a damaged line, or an unusual form: it is for the full reader to say
            yield from split_records(io.BytesIO(text), self._limit, first=self.number)
        else:
            block = _Block(text, self.number, searched.events, searched.native)
            yield from self._of_interest(block, sorted((*searched.places, *self._interest.of_followed(text))))
            self._keep(block)
            yield from self._late()
            self._passed(block.events)
        self.number += searched.lines
        self._offset += len(text)

    def _of_interest(self, block: _Block, places: list[int]) -> Iterator[Record]:
        """Yield the records in which these places are, each once."""
        number, counted, end, cut = block.number, 0, 0, _Cut()
        for place in places:
            if place < end:
                continue
            if place >= cut.line_end:
                start, end = line_at(block.text, place)
                number += count(block.text[counted:start], b"\n")
                counted, cut = start, _Cut.of(block, start, end)
            where = ""
            if cut.pieces:
                start, end, where = cut.piece(block.text, place)
            if start in block.taken:
                continue
            block.taken.add(start)
            text = block.text[start:end]
            block.events -= 1 if block.native or where else count(text, INNER)
            try:
                yield f"{number}{where}", orjson.loads(text)
            except orjson.JSONDecodeError:
                yield from split_records(io.BytesIO(text), self._limit, first=number)

    def _keep(self, block: _Block) -> None:
        """Keep a block, and of those before it as many bytes as are kept."""
        self._kept.append(block)
        self._size += len(block.text)
        while self._size - len(self._kept[0].text) >= KEPT:
            self._size -= len(self._kept.popleft().text)

    def _tail(self) -> Iterator[Record]:
        """Yield the uses of tokens in the last blocks: their mints may come in the next log, within a minute."""
        last: list[_Block] = []
        while self._interest.follows and self._kept and sum(len(block.text) for block in last) < BLOCK:
            last.insert(0, self._kept.pop())
        for block in last:
            before = block.events
            yield from self._of_interest(block, list(self._interest.uses(block.text, {b"JTI="})))
            self._passed(block.events - before)

    def _late(self) -> Iterator[Record]:
        """Yield what was passed over and is wanted now: a use that was logged before its mint."""
        while news := set(self._interest.added[self._known :]):
            self._known += len(news)
            for block in self._kept:
                before = block.events
                yield from self._of_interest(block, sorted(self._interest.uses(block.text, news)))
                if block is not self._kept[-1]:
                    self._passed(block.events - before)


@attrs.frozen
class _Cut:
    """A line of Azure's with many records: only those of interest are read.

    Arguments:
        line_start: where the line begins.
        line_end: where it ends.
        pieces: it can be cut.

    """

    line_start: int = 0
    line_end: int = 0
    pieces: bool = False

    @classmethod
    def of(cls, block: _Block, start: int, end: int) -> _Cut:
        """Tell whether each record of a line holds one event: then no string holds what stands between two."""
        text = block.text[start:end]
        return cls(start, end, text.startswith(EVENT_HUB) and count(text, BETWEEN) + 1 == count(text, INNER))

    def piece(self, text: bytes, place: int) -> tuple[int, int, str]:
        """Return where the record begins and ends that a place is in, and which of the line's it is."""
        first = self.line_start + len(EVENT_HUB)
        between = text.rfind(BETWEEN, first, place)
        after = text.find(BETWEEN, place, self.line_end)
        start = first if between < 0 else between + 2
        end = text.rfind(b"]", 0, self.line_end) if after < 0 else after + 1
        return start, end, f".records[{count(text[first : start + 2], BETWEEN)}]"


class Chained:
    """What was read already, and then the stream."""

    def __init__(self, held: bytes, stream: io.BufferedReader[Any]) -> None:
        self._held = io.BytesIO(held)
        self._stream = stream

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or so many bytes of it."""
        line = self._held.readline(size)
        if line.endswith(b"\n") or size <= len(line):
            return line
        return line + self._stream.readline(size - len(line))
