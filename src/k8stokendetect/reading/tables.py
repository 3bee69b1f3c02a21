# SPDX-License-Identifier: Apache-2.0
"""Reads tables: CSV, TSV and their like, told by their first line; each row becomes a mapping of texts.

A row may span lines. One that is cut off costs itself: reading goes on in its second line. No line is read more than
twice, since a line within an open cell has no quote of its own that could open another.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.convert.broken import revealed
from k8stokendetect.envelopes import Inner, athena, entra
from k8stokendetect.envelopes.bigquery import PAYLOAD
from k8stokendetect.envelopes.keys import letters, prefix_of
from k8stokendetect.errors import ReadError
from k8stokendetect.input.damage import BOM
from k8stokendetect.input.decoding import NotJSONError, decode
from k8stokendetect.input.line_reading import LineStream
from k8stokendetect.input.records import Record

_DELIMITERS: Final = (",", "\t", ";", "|")
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\r?\n?\Z", re.IGNORECASE)
"""A first line for Excel."""

_CARRIERS: Final = frozenset(
    "raw message line log logs msg body event rawevent logmessage eventoriginal propertieslog properties protopayload "
    "jsonpayload textpayload payload content document source record rawlog logevent".split()
)
"""Names, as `letters` gives them, of columns that hold the event as a whole, or a wrapper around it."""

_NAME: Final = re.compile(r"(?:[^\W\d]|[@_.$\"'`(*\[{#])[^\n\r\0]{0,300}|")
_NO_NAME: Final = re.compile(r"[{}]\s*\"|\"\s*:|\A\s*[{\[]\s*[\"{]")
_IDENTIFIER: Final = re.compile(r"[@_$.]*[^\W\d][\w.\-\[\]{}/:()'*@$]*")
"""A name without spaces and commas, as those are that decide."""

_BACKSLASHES: Final = re.compile(r'(?:\A|[,\t;|])"[{\[]\\"')
"""A cell whose quotes have a backslash, as Spark writes them, and not another quote."""


def delimiter_of(line: bytes, /) -> str | None:
    """Return what separates the names in the first line of a table; None for any other line."""
    text = line.removeprefix(BOM).decode("utf-8", "replace")
    if found := _SEPARATOR_LINE.match(text):
        return found[1]
    named = [(len(names), delimiter) for delimiter in _DELIMITERS if (names := _names(text, delimiter))]
    return max(named, key=lambda item: item[0])[1] if named else None


def _names(text: str, delimiter: str) -> list[str] | None:
    """Return the names of columns in a line; None where it has others than an audit log's."""
    try:
        (names,) = csv.reader([text.rstrip("\r\n")], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return None
    if not all(_NAME.fullmatch(name) and not _NO_NAME.search(name) for name in names) or not any(names):
        return None
    plain = [name for name in (name.removesuffix(" [UTC]") for name in names) if _IDENTIFIER.fullmatch(name)]
    known = any(letters(name) in _CARRIERS or PAYLOAD.fullmatch(name) for name in plain)
    return names if known or prefix_of(plain) is not None or _is_of_cloud(plain) else None


def _is_of_cloud(names: list[str]) -> bool:
    """Tell the columns of a cloud's log."""
    return athena.NEEDED.issubset(map(letters, names)) or entra.COLUMNS.issubset(names)


class _TooLongError(Exception):
    """A row exceeds the limit."""


class _Lines:
    """Hands lines to `csv`, and keeps those of the row that it is reading."""

    def __init__(self, stream: LineStream, limit: int) -> None:
        self._readline = stream.readline
        self._limit = limit
        self._number = self._size = 0
        self._back: deque[tuple[int, bytes]] = deque()
        self.was_given_up = False
        self.held: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._back:
            number, line = self._back.popleft()
        else:
            line = self._readline(self._limit + 1)
            self._number += 1
            number = self._number
            if number == 1:
                line = line.removeprefix(BOM)
        if not line:
            raise StopIteration
        self.held.append((number, line))
        self._size += len(line)
        if self._size > self._limit:
            raise _TooLongError
        return line.decode("utf-8", "replace")

    def begin(self) -> None:
        """Note that a row begins."""
        self.held.clear()
        self._size = 0
        self.was_given_up = False

    def give_up(self) -> tuple[int, bytes]:
        """Return the first line of the row, with its number; the others are read again."""
        first, *rest = self.held
        self.was_given_up = True
        if not rest and not first[1].endswith(b"\n"):
            while (more := self._readline(self._limit)) and not more.endswith(b"\n"):
                pass
        self._back.extendleft(reversed(rest))
        return first

    def again(self) -> None:
        """Read the lines of the row again."""
        self.was_given_up = True
        self._back.extendleft(reversed(self.held))


class Table:
    """One table.

    Arguments:
        stream: from its first line on.
        limit: longest row in bytes.
        delimiter: what separates its cells.

    """

    def __init__(self, stream: LineStream, limit: int, delimiter: str) -> None:
        # The limit on cells is the process's; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), limit))
        self._lines = _Lines(stream, limit)
        self._limit = limit
        self._delimiter = delimiter
        self._dialect: dict[str, Any] = {}
        self._names: list[str] = []
        self._is_damaged = False

    def records(self) -> Iterator[Record]:
        """Yield a mapping for each row, with the number of its first line, and an error for each that is not one."""
        reader, is_empty = self._reader(), True
        while True:
            self._lines.begin()
            found: Iterator[Record] = iter(())
            try:
                cells = next(reader)
                if cells and any(cells):
                    found = self._row(cells)
            except StopIteration:
                break
            except (csv.Error, _TooLongError) as error:
                found = self._damaged(too_long=isinstance(error, _TooLongError))
            for record in found:
                is_empty = False
                yield record
            if self._lines.was_given_up:
                reader = self._reader()
        if is_empty:
            yield "1", Inner(None, skipped="a table without rows")

    def _reader(self) -> Any:
        return csv.reader(self._lines, delimiter=self._delimiter, strict=True, **self._dialect)

    def _damaged(self, *, too_long: bool) -> Iterator[Record]:
        first = self._lines.held[0][1].decode("utf-8", "replace")
        if not self._dialect and not too_long and _BACKSLASHES.search(first):
            self._dialect = {"escapechar": "\\", "doublequote": False}
            self._lines.again()
            return
        whole = b"".join(line for _, line in self._lines.held)
        number, line = self._lines.give_up()
        value = _json(line)
        if value is not None:
            yield str(number), value
            return
        limit = f"record longer than {self._limit} bytes, the limit max_record"
        yield str(number), _error(limit if too_long else "a row of a table that is cut off or damaged", whole)
        self._is_damaged = True

    def _row(self, cells: list[str]) -> Iterator[Record]:
        number, line = self._lines.held[0]
        text = line.decode("utf-8", "replace")
        if not self._names:
            if _SEPARATOR_LINE.match(text):
                return
            self._names = cells
        elif cells == self._names:
            yield str(number), Inner(None, skipped="the table's column names again")
        elif cells[0][:1] == "{" and (value := _json(line)) is not None:
            yield str(number), value
        elif len(cells) == len(self._names):
            self._is_damaged = False
            row: dict[str, str] = {}
            for name, cell in zip(self._names, cells, strict=True):
                row.setdefault(name, cell)
            yield str(number), row
        elif (names := _names(text, self._delimiter)) is not None:
            self._names = names
        else:
            yield from self._misfit(cells, number)

    def _misfit(self, cells: list[str], number: int) -> Iterator[Record]:
        """Read the event that a cell holds whole; without one, what is missing cannot be known."""
        whole = [cell for cell in cells if cell[:1] == "{" and "auditID" in cell and _json(cell.encode()) is not None]
        if whole:
            yield from ((str(number), _json(cell.encode())) for cell in whole)
        elif not self._is_damaged:  # else it belongs to the row before
            line = b"".join(line for _, line in self._lines.held)
            yield str(number), _error(f"a row of {len(cells)} cells in a table of {len(self._names)} columns", line)


def _json(text: bytes) -> Any:
    """Return a JSON object; None for anything else."""
    text = text.strip()
    if text[:1] != b"{":
        return None
    try:
        return decode(text)
    except NotJSONError:
        return None


def _error(reason: str, line: bytes) -> ReadError:
    """Say what is wrong, and what the row shows of a call: its quotes are doubled."""
    return ReadError(reason, revealed=revealed(line.replace(b'""', b'"')))
