# SPDX-License-Identifier: Apache-2.0
"""Cuts a byte stream into JSON records: one a line, and documents that span lines (indented JSON, large arrays).

Lines end at the byte 0x0A only: Go does not escape U+0085 or U+2028 and a client can put them into its user agent,
so `str.splitlines` would break a record apart there. Whatever is damaged costs itself and nothing else: whole events
in it and after it are still read, and one error says where it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from k8stokendetect.convert.broken import revealed
from k8stokendetect.errors import ReadError
from k8stokendetect.input.damage import BAD, bare, damaged_parts, loads, whole_records
from k8stokendetect.input.decoding import NotJSONError, Shortened, decode
from k8stokendetect.input.limits import DEFAULT
from k8stokendetect.input.line_reading import PIECE, LineReader, Lines, LineStream
from k8stokendetect.input.scanner import Scanner

Record: TypeAlias = tuple[str, Any]
"""Where it begins (`12`, or `12[3]` for element 3 of an array that begins in line 12) and the JSON value or error.

The value is a `Shortened` where deep bodies were cut out of it.
"""


def _no_format(_: bytes) -> None:
    return None


def split_records(
    stream: LineStream,
    limit: int = DEFAULT.record,
    other_format: Callable[[bytes], list[Any] | None] = _no_format,
    *,
    fast: LineReader | None = None,
    spans: bool = True,
) -> Iterator[Record]:
    """Yield every record of a stream with its place, and a ReadError for each that is not JSON.

    Arguments:
        stream: an open binary stream.
        limit: longest record in bytes; a longer one is a ReadError and is skipped to its end.
        other_format: given a line that is not JSON, returns the records in it, or None when it knows no such form.
        fast: reads the lines that begin a record, and leaves those to others that it does not know.
        spans: a document may span lines; false where each line is a record for sure.

    """
    lines = Lines(stream)
    while True:
        line, records = (lines.read(limit), None) if fast is None else lines.read_fast(fast, limit)
        if not line:
            return
        if records is None:
            yield from _read_line(lines, line, limit, other_format, spans=spans)
        else:
            for record in records:
                yield str(lines.number), record


def _read_line(
    lines: Lines, line: bytes, limit: int, other_format: Callable[[bytes], list[Any] | None], *, spans: bool
) -> Iterator[Record]:
    """Read what begins in a line, of whatever form it is."""
    text = bare(line)
    whole = len(line) < limit or line.endswith(b"\n")
    value = loads(text) if whole and not (spans and text[:1] == b"[" and len(text) > PIECE) else BAD
    if value is not BAD:
        yield str(lines.number), value
    elif not text:
        if b"\0" in line:  # blocks that a crash left unwritten: an event may have stood there
            yield str(lines.number), ReadError("not JSON: binary data")
    elif spans and (items := _ITEMS.match(text)):
        yield from _split_document(lines, line[line.index(text) + items.end() :], limit, wrapped=True)
    elif spans and ((text == b"{" and lines.begins(b'"}')) or _BEGINS_ARRAY.match(text)):
        yield from _split_document(lines, line[line.index(text) :], limit)  # without a byte order mark
    elif whole and (found := _concatenated(text) or other_format(text)) is not None:
        yield from ((str(lines.number), record) for record in found)
    elif whole:
        yield from _pieces(text, lines.number)
    elif text[:1] == b"{":
        yield from _split_long_line(lines, line, limit)
    else:
        yield str(lines.number), ReadError(_too_long(limit), revealed=revealed(text))
        lines.skip()


def _split_long_line(lines: Lines, line: bytes, limit: int) -> Iterator[Record]:
    """Read objects that stand in one line longer than the limit: Firehose puts no newline between them."""
    place, scanner = lines.number, Scanner(array=False, many=True)
    while line and scanner.held <= limit:
        for _, _, text in scanner.feed(line, place):
            value = _element(text, limit)
            yield from _pieces(text, place) if value is BAD else [(str(place), value)]
        line = lines.more()
    if bare(scanner.text):
        reason = _too_long(limit) if scanner.held > limit else "the document is not closed"
        yield str(place), ReadError(reason, revealed=revealed(scanner.text))
    lines.skip()


def _concatenated(text: bytes) -> list[Any] | None:
    """Decode several objects that stand in one line without a separator, as Firehose writes them; None unless all."""
    if text[:1] != b"{":
        return None
    scanner = Scanner(array=False, many=True)
    found = [loads(piece) for _, _, piece in scanner.feed(text, 0)]
    whole = len(found) > 1 and not bare(scanner.text) and all(isinstance(one, dict | Shortened) for one in found)
    return found if whole else None


_BEGINS_ARRAY: Final = re.compile(rb"\[\s*(?:[{\[\]]|$)")
_ITEMS: Final = re.compile(rb'\{(?:[^\[\]{}]|\{[^\[\]{}]*\}){0,400}?"(?:items|Records|Events)"\s*:\s*(?=\[)')
_ITEMS_LINE: Final = re.compile(rb'\s*"(?:items|Records|Events)"\s*:\s*(?=\[)')
"""Lists that are read element by element: of an EventList, a file of CloudTrail, a message of Kinesis, a lookup."""


def _element(text: bytes, limit: int) -> Any:
    return loads(text) if len(text) <= limit else ReadError(_too_long(limit), revealed=revealed(text))


def _why_not_json(text: bytes) -> str:
    """Say why a text is not JSON, without repeating any of it."""
    try:
        decode(text)
    except NotJSONError as error:
        return f"not JSON: {'binary data' if bytes(1) in text else error}"
    return "not JSON"


def _too_long(limit: int) -> str:
    return f"record longer than {limit} bytes, the limit max_record"


def _pieces(text: bytes, number: int) -> Iterator[Record]:
    """Yield the records that a damaged text still holds, whole or in part, line by line, and one error for the rest."""
    is_lost = False
    for offset, line in enumerate(text.split(b"\n")):
        if not bare(line):
            continue
        place = str(number + offset)
        records, damage = whole_records(line)
        yield from ((place, record) for record in records)
        for part in damaged_parts(damage, _why_not_json(line)) if bare(damage) else ():
            if isinstance(part, Shortened) or part.revealed:
                yield place, part
            else:
                is_lost = True
    if is_lost:
        yield str(number), ReadError(_why_not_json(text))


def _split_document(lines: Lines, line: bytes, limit: int, *, wrapped: bool = False) -> Iterator[Record]:
    """Read an array element by element, or one indented object; both may span lines.

    Arguments:
        lines: where the following lines come from.
        line: the first one, from its bracket on.
        limit: longest element in bytes.
        wrapped: the array is a list in an object, such as the `items` of an EventList.

    """
    scanner = Scanner(array=wrapped or bare(line)[:1] == b"[")
    while line:
        if not scanner.array and scanner.depth == 1 and (items := _ITEMS_LINE.match(line)):
            yield from _split_document(lines, line[items.end() :], limit, wrapped=True)
            return
        for number, index, text in scanner.feed(line, lines.number):
            place = f"{number}[{index}]" if scanner.array else str(number)
            value = _element(text, limit)
            if value is BAD:
                yield from _pieces(text, number)
            else:
                yield place, value
        if scanner.closed or scanner.broken or scanner.held > limit:
            break
        line = lines.read_on(scanner)
    yield from _end(lines, scanner, limit, wrapped=wrapped)


def _end(lines: Lines, scanner: Scanner, limit: int, *, wrapped: bool) -> Iterator[Record]:
    """Yield what is wrong with the end of a document, and read to the end of its line."""
    if not scanner.closed:
        yield from _leftover(scanner, _too_long(limit) if scanner.held > limit else None)
        lines.skip()
    elif scanner.is_mismatched:
        yield str(lines.number), ReadError("a bracket of another kind ends the document")
        lines.skip()
    elif wrapped and not _close_outer(scanner, lines):
        yield str(lines.number), ReadError("the list is not closed")
    elif bare(scanner.rest):
        yield from _pieces(scanner.rest, lines.number)
    elif lines.skip():
        yield str(lines.number), ReadError("text after the end of a document")


def _leftover(scanner: Scanner, reason: str | None) -> Iterator[Record]:
    """Yield what an unclosed or broken document still holds, and the error.

    A record that was cut off swallows the lines after it until the brackets match; an attacker must not be able
    to hide there.
    """
    reason = reason or ("a string is not closed" if scanner.broken else "the document is not closed")
    text = scanner.text
    whole = loads(bare(text).rstrip(b","))
    if whole is not BAD:
        yield f"{scanner.begin}[{scanner.index}]", whole
        yield str(scanner.begin), ReadError(reason)
        return
    is_told = False
    for place, record in _pieces(text, scanner.begin):
        if isinstance(record, ReadError):
            if not record.revealed:
                continue
            record = ReadError(reason, revealed=record.revealed)  # noqa: PLW2901 - of the same damage
        is_told = is_told or isinstance(record, ReadError | Shortened)
        yield place, record
    if not is_told:
        yield str(scanner.begin), ReadError(reason)


def _close_outer(scanner: Scanner, lines: Lines) -> bool:
    """Read on to the end of the object around this array; tell whether it came."""
    outer, line = Scanner(array=False, depth=1), scanner.rest
    while line and not any(True for _ in outer.feed(line, lines.number)):
        line = lines.read_on(outer)
    scanner.rest = outer.rest
    return outer.closed
