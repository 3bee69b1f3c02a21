# SPDX-License-Identifier: Apache-2.0
"""What the beginning of a broken record shows of a call, read token by token: no text that a client chose is a key."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.convert.nesting import BODIES, is_deep

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
_TOKEN_PATH: Final = re.compile(
    r"(?:/api|core)/v1/namespaces/[^/\"\\\s]{1,253}/serviceaccounts/[^/\"\\\s]{1,253}/token(?![\w-])"
)
_ANSWERED: Final = {"auditID": str, "stage": str, "verb": str, "user": dict, "objectRef": dict, "responseStatus": dict}
_BEHIND: Final = {
    "requestObject": "bodies",
    "responseObject": "bodies",
    "stageTimestamp": "times",
    "annotations": "annotations",
}
_END: Final = "the end of the record, which was cut off"
_decode: Final = json.JSONDecoder(strict=False).raw_decode


def revealed(text: bytes | str, /) -> dict[str, str]:
    """Return the fields that the beginning of a broken record shows, the first of each; tokens are removed.

    An attacker can make an event too long or too deep on purpose. The record may stand in a string of a wrapper, and
    that in another: its quotes are then escaped once or more often. Where the record ends inside of a field, `cut`
    names it. A record whose own beginning is lost is searched for names of fields, then for the path of a token.
    """
    shown = _shown(text)
    found = next(filter(None, map(_told, _events(shown))), {})
    plain = _ESCAPES.sub("", shown)
    if not found:
        for name, value in _FIELD.findall(clean_text(plain)):
            found.setdefault(name, value)
    if "requestURI" not in found and (path := _TOKEN_PATH.search(unquote(plain))):
        found["requestURI"] = clean_text(path[0])
    return found


def _told(event: tuple[dict[str, Any], str, str]) -> dict[str, str]:
    """Return what the beginning of an event tells; nothing where it names neither a request nor its path."""
    fields, cut, rest = event
    found = {name: clean_text(value) for name, value in _texts(fields)}
    if cut:
        for name, value in _cut_field(cut, rest):
            found.setdefault(name, clean_text(value))
    return found if "auditID" in found or "requestURI" in found else {}


def readable_part(text: bytes | str, /) -> tuple[dict[str, Any], frozenset[str]] | None:
    """Return the whole fields of an event that is cut off behind its answer, and what is lost, as `Event.lost` says.

    Who asked for what, and how it ended, stand before the bodies and annotations (types.go, in the order of its
    fields). None where less is left than that.
    """
    shown = _shown(text)
    for fields, cut, _ in _events(shown):
        if cut and all(isinstance(fields.get(name), kind) for name, kind in _ANSWERED.items()):
            deep = BODIES if is_deep(shown.encode("utf-8", "replace")) else ()
            part = {name: value for name, value in fields.items() if name not in deep}
            return part, frozenset(lost for name, lost in _BEHIND.items() if name not in part) | {_END}
    return None


def _shown(text: bytes | str) -> str:
    shown = text[:LONGEST_LOOK]
    return shown.decode("utf-8", "replace") if isinstance(shown, bytes) else shown


def _events(shown: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield what may be an event: its whole fields, the name of the one in which it ends, and what there is of that."""
    for beginning in itertools.islice(_BEGINNING.finditer(shown), MOST_BEGINNINGS):
        yield _fields(_unescaped(shown[beginning.start() :], len(beginning[1])))


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


def _fields(text: str) -> tuple[dict[str, Any], str, str]:
    """Return the fields of an object as far as it goes, the first of each name; then the name that has half a value."""
    fields = dict[str, Any]()
    place = text.find("{") + 1
    while True:
        try:
            place = _after_space(text, place)
            name, place = _decode(text, place)
            place = _after_space(text, _after_space(text, place) + 1)
        except (ValueError, RecursionError):
            return fields, CUT if text[place:].strip()[:1] != "}" else "", ""
        if not isinstance(name, str):
            return fields, "", ""
        try:
            value, end = _decode(text, place)
        except (ValueError, RecursionError):
            return fields, name, text[place:]
        fields.setdefault(name, value)
        place = _after_space(text, end)
        if text[place : place + 1] != ",":
            return fields, "" if text[place : place + 1] == "}" else CUT, ""
        place += 1


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that say something about a call."""
    for name in _TEXTS:
        if isinstance(fields.get(name), str):
            yield name, fields[name]
    user = fields.get("user")
    if isinstance(user, dict) and isinstance(user.get("username"), str):
        yield "username", user["username"]


def _cut_field(name: str, rest: str) -> Iterator[tuple[str, str]]:
    """Yield what there is of the field in which a record ends."""
    if name != CUT:
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
