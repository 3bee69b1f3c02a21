# SPDX-License-Identifier: Apache-2.0
"""Turns what is posted of a cloud's log into lines that may be kept: one a record, bounded, without credentials.

CloudTrail's files hold `{"Records": […]}`, EventBridge sends one event, Azure's diagnostic settings write
`{"records": […]}`, a Google subscription sends one entry: what stands in such a list becomes lines of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from k8stokendetect.convert.nesting import is_deep
from k8stokendetect.convert.redaction import redact
from k8stokendetect.errors import ReadError
from k8stokendetect.serve.batch import MOST_EVENTS, RefusedError

_LISTS: Final = ("Records", "records")

_SECRETS: Final = frozenset({"sessiontoken", "secretaccesskey", "accesstoken", "token"})
"""Keys of credentials in answers; with a session token alone nothing can be signed, but nothing is joined by it."""

_REMOVED: Final = "<removed>"


def cloud_lines_of(body: bytes, /) -> list[bytes]:
    """Return the records of a post, a line of JSON for each, without credentials.

    Raises:
        RefusedError: when the body is not a JSON object or list, is nested too deeply, or holds too much.

    """
    if is_deep(body):
        raise RefusedError(400, "nested more deeply than in any cloud's log")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RefusedError(400, "not JSON") from None
    records = list(_records(found))
    if len(records) > MOST_EVENTS:
        raise RefusedError(413, f"more than {MOST_EVENTS} records in one post")
    if not all(isinstance(record, dict) for record in records):
        raise RefusedError(400, "not records of a cloud's log")
    return [_line(record) for record in records]


def _records(found: Any) -> Iterator[Any]:
    if isinstance(found, list):
        yield from found
        return
    inside = [found[name] for name in _LISTS if isinstance(found.get(name), list)] if isinstance(found, dict) else []
    yield from inside[0] if inside else [found]


def _line(record: dict[str, Any]) -> bytes:
    try:
        clean, _ = redact(record)
    except ReadError:
        return b"null"
    return msgspec.json.encode(_without_secrets(clean))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _REMOVED if str(key).lower() in _SECRETS and isinstance(item, str) else _without_secrets(item)
            for key, item in value.items()
        }
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
