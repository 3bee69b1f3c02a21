# SPDX-License-Identifier: Apache-2.0
"""Rows of CloudTrail's records in Athena and CloudTrail Lake: names in small letters, objects that became text.

Athena writes a struct as `{type=AssumedRole, arn=…, sessioncontext={…}}`, an array as `[{…}, {…}]`, nothing as `null`.
The columns: https://docs.aws.amazon.com/athena/latest/ug/create-cloudtrail-table.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.convert.nesting import MAX_NESTING
from k8stokendetect.envelopes.base import Inner
from k8stokendetect.envelopes.keys import letters
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole

COLUMNS: Final = {
    letters(name): name
    for name in (
        *("eventVersion", "userIdentity", "eventTime", "eventSource", "eventName", "awsRegion", "sourceIPAddress"),
        *("userAgent", "errorCode", "errorMessage", "requestParameters", "responseElements", "eventID", "eventType"),
        *("readOnly", "resources", "recipientAccountId", "sharedEventID", "eventCategory"),
    )
}
NEEDED: Final = frozenset({"eventsource", "eventname"})
"""Columns without which nothing says that a table has calls of CloudTrail."""

_IDENTITY: Final = {
    letters(name): name
    for name in (
        *("type", "principalId", "arn", "accountId", "accessKeyId", "userName", "invokedBy", "identityProvider"),
        *("sessionContext", "sessionIssuer", "webIdFederationData", "federatedProvider"),
    )
}
_OBJECTS: Final = ("userIdentity", "requestParameters", "responseElements", "resources")
_TRUTH: Final = {"true": True, "false": False}
_JSON: Final = ('{"', '["', '[{"')
_DECODER: Final = json.JSONDecoder()
_KEY: Final = re.compile(r"([A-Za-z0-9_.:/-]+)=")
_END: Final = re.compile(r", (?=[A-Za-z0-9_.:/-]+=)|[}\]]")


class _NotAStructError(ValueError):
    """A text is not a struct of Athena's."""


def recognises(record: Any, /) -> bool:
    """Tell a row by its columns; one that holds the record as it was is for others."""
    if not isinstance(record, Mapping) or "auditID" in record or "_raw" in record:
        return False
    names = {letters(key) for key in record if isinstance(key, str)}
    return names >= NEEDED


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the record of a row."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        name = COLUMNS.get(letters(key)) if isinstance(key, str) else None
        if name is None or value in ("", "null", None):
            continue
        if name in row:
            yield Inner(ReadError("two columns of one name", path=f"$.{name}"))
            return
        try:
            row[name] = _cell(name, value)
        except (NotJSONError, _NotAStructError):
            yield Inner(ReadError("a column that is neither JSON nor a struct of Athena's", path=f"$.{name}"))
            return
    yield Inner(row, cloud="aws")


def _cell(name: str, value: Any) -> Any:
    if name == "readOnly" and isinstance(value, str):
        return _TRUTH.get(value.lower(), value)
    if name not in _OBJECTS:
        return value
    if isinstance(value, str):
        value = _decoded(value)
    return _renamed(value) if name == "userIdentity" else value


def _decoded(text: str) -> Any:
    """Decode JSON, or what Athena writes."""
    try:
        return decode_whole(text)
    except NotJSONError:
        value, end = _value(text, 0, MAX_NESTING)
    if end != len(text):
        raise _NotAStructError
    return value


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at a place, and where it ends."""
    if not depth:
        raise _NotAStructError
    if text.startswith(_JSON, at):  # CloudTrail Lake: an object within a map from text to text
        try:
            return _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise _NotAStructError from None
    if text[at : at + 1] == "{":
        return _struct(text, at + 1, depth)
    if text[at : at + 1] == "[":
        return _array(text, at + 1, depth)
    end = _END.search(text, at)
    if end is None:
        raise _NotAStructError
    scalar = text[at : end.start()]
    return (None if scalar == "null" else scalar), end.start()


def _struct(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while text[at : at + 1] != "}":
        key = _KEY.match(text, at)
        if key is None or key[1] in found:  # a value may hold what looks like another field: which is it?
            raise _NotAStructError
        found[key[1]], at = _value(text, key.end(), depth - 1)
        at = _next(text, at)
    return found, at + 1


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while text[at : at + 1] != "]":
        item, at = _value(text, at, depth - 1)
        found.append(item)
        at = _next(text, at)
    return found, at + 1


def _next(text: str, at: int) -> int:
    """Return where the next item begins, or the end of the list."""
    if text.startswith(", ", at):
        return at + 2
    if text[at : at + 1] in ("}", "]"):
        return at
    raise _NotAStructError


def _renamed(value: Any) -> Any:
    """Return an identity under CloudTrail's own names."""
    if not isinstance(value, Mapping):
        return value
    return {_IDENTITY.get(letters(str(key)), key): _renamed(item) for key, item in value.items()}
