# SPDX-License-Identifier: Apache-2.0
"""Takes whole records out of lines that are no JSON as they stand: behind a prefix, glued together, half cut off."""

from __future__ import annotations

import re
from typing import Any, Final

from k8stokendetect.convert.broken import readable_part, revealed
from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, Shortened, decode
from k8stokendetect.input.scanner import Scanner

MOST_TRIES: Final = 32
"""Maximum number of brackets in a line that are tried in vain as the beginning of a record; each costs its rest."""

BAD: Final = object()
"""Stands for what is not JSON."""

_BOM: Final = b"\xef\xbb\xbf"
_EVENT: Final = re.compile(rb'(?=\{\s*"kind"\s*:\s*"Event)')
_OBJECT: Final = re.compile(rb'\{\s*"')
_ID: Final = re.compile(rb'(?i:auditid)\\*"\s*:|AUDIT: id=|"methodName|"class_uid"')
"""What tells a record from the parts of one: an audit event's id, a method of Google's, a class of OCSF."""

_JSON: Final = re.compile(rb'":|\}\}|\}\]|\]\}|[\0-\x08\x80-\xff]')
"""Marks of a record that lost its beginning or end."""


def bare(line: bytes, /) -> bytes:
    """Return a line without white space, the byte order mark of Windows tools, and the NULs of copy-truncation."""
    return line.strip(b"\0 \t\r\n").removeprefix(_BOM).lstrip()


def loads(text: bytes, /) -> Any:
    """Decode JSON; `BAD` for what is not JSON."""
    try:
        return decode(text)
    except NotJSONError:
        return BAD


def whole_records(line: bytes, /) -> tuple[list[Any], bytes]:
    """Return the records that a line holds, and what of the rest is damage: nothing where that is but a prefix.

    Many programs put words before a line: a node's name, a time, syslog's header, the labels of a stream.
    """
    records: list[Any] = []
    rest: list[bytes] = []
    tries = MOST_TRIES
    for piece in _EVENT.split(line):
        value = loads(bare(piece).rstrip(b","))
        if isinstance(value, dict | list | Shortened) and (piece == line or speaks_of_event(piece)):
            records.append(value)
        else:
            tries = _search(piece, tries, records, rest)
    damage = [part for part in rest if not (records and _is_prefix(part))]
    return records, b" ".join(damage)


def _search(text: bytes, tries: int, records: list[Any], rest: list[bytes]) -> int:
    """Take records out of a text that begins with something else; return how many tries are left."""
    start = position = 0
    while tries and (found := _OBJECT.search(text, position)):
        scanner = Scanner(array=False)
        element = next((element for _, _, element in scanner.feed(text[found.start() :], 0)), b"")
        value = loads(element) if _ID.search(element) else BAD
        if isinstance(value, dict | Shortened):
            records.append(value)
            rest.append(text[start : found.start()])
            start = position = len(text) - len(scanner.rest)
        else:
            tries -= 1
            position = found.end()
    rest.append(text[start:])
    return tries


def _is_prefix(text: bytes) -> bool:
    """Tell words of another program from a piece of a record."""
    text = text.strip(b"[], \t\r\n")
    balanced = text.count(b'"') % 2 == 0 and text.count(b"{") == text.count(b"}")
    return balanced and not _JSON.search(text) and not speaks_of_event(text)


def as_far_as_it_goes(text: bytes | str, reason: str, /) -> Shortened | ReadError:
    """Return the part of a broken record that tells who did what and how it ended, or an error."""
    part = readable_part(text)
    return Shortened(*part) if part else ReadError(reason, revealed=revealed(text))


def is_record(line: bytes, /) -> bool:
    """Tell whether a line is whole JSON, and more than brackets; before a comma it may be an element of a list."""
    value = loads(line.removesuffix(b","))
    is_whole = isinstance(value, dict | list | Shortened) and bool(value)
    return is_whole and not (line.endswith(b",") and not speaks_of_event(line))
