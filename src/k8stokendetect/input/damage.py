# SPDX-License-Identifier: Apache-2.0
"""Takes whole records out of lines that are not JSON as they stand: behind a prefix, glued together, half cut off."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from k8stokendetect.convert.broken import readable_part, revealed
from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, Shortened, decode
from k8stokendetect.input.scanner import Scanner

MOST_TRIES: Final = 4
"""Maximum number of brackets in a line that are tried in vain as the beginning of a record; each costs its rest."""

MOST_INNER: Final = 20
"""Maximum number of other requests that are looked for in a damaged line."""

BAD: Final = object()
"""Stands for what is not JSON."""

BOM: Final = b"\xef\xbb\xbf"
_EVENT: Final = re.compile(rb'(?=\{\s*"kind"\s*:\s*"Event)')
_EVENT_ALONE: Final = re.compile(rb'\{\s*"kind"\s*:\s*"Event"')
_GOES_ON: Final = re.compile(rb'\s*(?:[}":]|,\s*"|[^\s\]{,][^{]*(?:":|\}\}))')
"""What follows an object that is part of another, or that a damaged bracket ended."""

_LIST: Final = b"[], \t\r\n"
_OBJECT: Final = re.compile(rb'\{\s*"')
_ID: Final = re.compile(
    rb'(?i:auditid)\\*"\s*:|AUDIT: id=|"methodName\\*"\s*:|"class_uid"|"eventSource\\*"\s*:|"Records"'
)
"""What tells a record from the parts of one: an audit event's id, Google's method, OCSF's class, AWS's service."""

_JSON: Final = re.compile(rb'":|\}\}|\}\]|\]\}|[\0-\x08\x80-\xff]')
"""Marks of a record that lost its beginning or end."""


def bare(line: bytes, /) -> bytes:
    """Return a line without white space, the byte order mark of Windows tools, and the NULs of copy-truncation."""
    return line.strip(b"\0 \t\r\n").removeprefix(BOM).lstrip()


def loads(text: bytes, /) -> Any:
    """Decode JSON; `BAD` for what is not JSON."""
    try:
        return decode(text)
    except NotJSONError:
        return BAD


def whole_records(line: bytes, /) -> tuple[list[Any], bytes]:
    """Return the records that a line holds, and what of the rest is damage: nothing where that is but a prefix.

    Many programs put words before a line: a node's name, a time, syslog's header, the labels of a stream. Nobody puts
    any behind it: where words follow, a program quoted somebody. What stands in a damaged event is part of it, since
    a client may write into a body whatever looks like an event.
    """
    records: list[Any] = []
    rest: list[bytes] = []
    tries = MOST_TRIES
    for piece in _not_nested(_EVENT.split(line)):
        value = loads(bare(piece).rstrip(b","))
        if isinstance(value, dict | list | Shortened) and (piece == line or speaks_of_event(piece)):
            records.append(value)
            rest.append(b"")
        else:
            tries = _search(piece, tries, records, rest)
    if records and rest[-1].strip(_LIST) and not (_JSON.search(rest[-1]) or b"{" in rest[-1]):
        return [], line
    return records, b" ".join(part for part in rest if not (records and _is_prefix(part)))


def _not_nested(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Put back together what is split within a damaged event: where a value of it may stand, no other event begins."""
    held = b""
    for piece in pieces:
        if held.rstrip()[-1:] in (b":", b",", b"[") and _ID.search(held) and not _first(held)[0]:
            held += piece
        else:
            if held:
                yield held
            held = piece
    yield held


def _first(text: bytes) -> tuple[bytes, bytes]:
    """Return the object that a text begins with, by its brackets, and what follows; nothing if it does not end."""
    scanner = Scanner(array=False)
    elements = [element for _, _, element in scanner.feed(text, 0)]
    return elements[0] if elements else b"", scanner.rest


def _search(text: bytes, tries: int, records: list[Any], rest: list[bytes]) -> int:
    """Take records out of a text that is not one by itself; return how many tries are left."""
    start = position = 0
    while tries and (found := _OBJECT.search(text, position)):
        element, after = _first(text[found.start() :])
        is_inside = _ID.search(text, start, found.start()) is not None
        is_inside = is_inside or _GOES_ON.match(after) is not None
        value = loads(element) if not is_inside and _ID.search(element) else BAD
        if isinstance(value, dict | Shortened):
            records.append(value)
            rest.append(text[start : found.start()])
            start = position = len(text) - len(after)
        elif is_inside or _EVENT_ALONE.match(text, found.start()):
            break
        else:
            tries -= 1
            position = found.end()
    rest.append(text[start:])
    return tries


def _is_prefix(text: bytes) -> bool:
    """Tell words of another program from a piece of a record."""
    text = text.strip(_LIST)
    balanced = text.count(b'"') % 2 == 0 and text.count(b"{") == text.count(b"}")
    return balanced and not _JSON.search(text) and not speaks_of_event(text)


def as_far_as_it_goes(text: bytes | str, reason: str, /) -> Shortened | ReadError:
    """Return the part of a broken record that tells who did what and how it ended, or an error."""
    part = readable_part(text)
    return Shortened(*part) if part else ReadError(reason, revealed=revealed(text))


def damaged_parts(damage: bytes, reason: str, /) -> Iterator[Shortened | ReadError]:
    """Yield what is left of damage, and an error for what may be another request in it: a body, or the next record."""
    yield as_far_as_it_goes(damage, reason)
    for piece in itertools.islice(_EVENT.split(damage), 2, 2 + MOST_INNER):
        inner = revealed(piece)
        if "requestURI" in inner:
            yield ReadError(reason, revealed=inner)


def is_record(line: bytes, /) -> bool:
    """Tell whether a line is whole JSON, and more than brackets; before a comma it may be an element of a list."""
    value = loads(line.removesuffix(b","))
    is_whole = isinstance(value, dict | list | Shortened) and bool(value)
    return is_whole and not (line.endswith(b",") and not speaks_of_event(line))
