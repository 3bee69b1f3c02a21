# SPDX-License-Identifier: Apache-2.0
"""What the beginning of a broken record shows of a call, read token by token: no text that a client chose is a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.convert.credentials import clean_text

LONGEST_LOOK: Final = 1024 * 1024 + 64 * 1024
"""Maximum number of bytes read of a broken record: requestURI stands after auditID, before verb and user (types.go).

A client may fill its Audit-ID header as far as Go's limit on all headers, 1 MiB (net/http DefaultMaxHeaderBytes).
"""

MOST_BEGINNINGS: Final = 20
"""Maximum number of places that are tried as the beginning of an event: wrappers begin alike."""

CUT: Final = "cut"
"""The key of what `revealed` returns under which the field stands in which the record ends."""

_BEGINNING: Final = re.compile(r'\{\s*(\\*)"(?:kind|apiVersion|level|auditID|stage|requestURI|verb)\1"')
_STRING: Final = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_HALF_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_FIELD: Final = re.compile(r'"(auditID|requestURI|verb|username)"\s*:\s*"([^"\\]*)')
_ESCAPES: Final = re.compile(r"\\+(?=[\"/\\])")
_TEXTS: Final = ("auditID", "requestURI", "verb")
_decode: Final = json.JSONDecoder(strict=False).raw_decode


def revealed(text: bytes | str, /) -> dict[str, str]:
    """Return the fields that the beginning of a broken record shows, the first of each; tokens are removed.

    An attacker can make an event too long or too deep on purpose. The record may stand in a string of a wrapper, and
    that in another: its quotes are then escaped once or more often. Where the record ends inside of a field, `cut`
    names it. A record whose own beginning is lost is searched for names of fields.
    """
    shown = text[:LONGEST_LOOK]
    shown = shown.decode("utf-8", "replace") if isinstance(shown, bytes) else shown
    for number, beginning in enumerate(_BEGINNING.finditer(shown)):
        found = dict[str, str]()
        for name, value in _fields(_unescaped(shown[beginning.start() :], len(beginning[1]))):
            found.setdefault(name, clean_text(value))
        if "auditID" in found or "requestURI" in found:
            return found
        if number == MOST_BEGINNINGS:
            break
    found = {}
    for name, value in _FIELD.findall(clean_text(_ESCAPES.sub("", shown))):
        found.setdefault(name, value)
    return found


def _unescaped(text: str, backslashes: int) -> str:
    """Return what stands in a string, or in a string in a string; its quotes have that number of backslashes."""
    while backslashes:
        string = _STRING.match(text)
        body = _HALF_ESCAPE.sub("", string[0] if string else "")
        try:
            text = json.loads(f'"{body}"', strict=False)
        except ValueError:
            return ""
        backslashes //= 2
    return text


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of an object that say something about a call, as far as it goes."""
    place = text.find("{") + 1
    while True:
        try:
            place = _after_space(text, place)
            name, place = _decode(text, place)
            place = _after_space(text, _after_space(text, place) + 1)
        except (ValueError, RecursionError):
            return
        if not isinstance(name, str):
            return
        try:
            value, end = _decode(text, place)
        except (ValueError, RecursionError):
            yield from _cut_field(name, text[place:])
            return
        yield from _field(name, value)
        place = _after_space(text, end)
        if text[place : place + 1] != ",":
            return
        place += 1


def _field(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in _TEXTS and isinstance(value, str):
        yield name, value
    elif name == "user" and isinstance(value, dict) and isinstance(value.get("username"), str):
        yield "username", value["username"]


def _cut_field(name: str, rest: str) -> Iterator[tuple[str, str]]:
    """Yield what there is of the field in which a record ends."""
    yield CUT, name
    if name in _TEXTS and rest[:1] == '"':
        string = _STRING.match(rest, 1)
        try:
            yield name, json.loads(f'"{_HALF_ESCAPE.sub("", string[0] if string else "")}"', strict=False)
        except ValueError:
            return
    elif name == "user" and rest[:1] == "{":
        yield from _user(rest)


def _user(text: str) -> Iterator[tuple[str, str]]:
    """Yield the user's name, where it stands before the record ends."""
    found = re.match(r'\{\s*"username"\s*:\s*', text)
    if found is None:
        return
    try:
        value, _ = _decode(text, found.end())
    except (ValueError, RecursionError):
        return
    if isinstance(value, str):
        yield "username", value


def _after_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place
