# SPDX-License-Identifier: Apache-2.0
"""Turns what a kube-apiserver posts, an EventList, into lines that may be kept: without live tokens, each bounded.

The body is written by Go's encoder as one JSON object (apiserver plugin/pkg/audit/webhook/webhook.go, client-go
rest/request.go: `Content-Type: application/json`, never compressed). Whatever else comes is refused before anything
looks into it: a reader that takes any log would search each bracket for what it may hold.
"""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec

from k8stokendetect.convert.broken import CUT, revealed
from k8stokendetect.convert.credentials import REDACTED, is_encoded, is_suspect
from k8stokendetect.convert.nesting import BODIES, MAX_NESTING, SHORT, is_deep
from k8stokendetect.convert.redaction import redact
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, Shortened, decode

MOST_EVENTS: Final = 20_000
"""In one batch; the API server sends 400, or what `--audit-webhook-batch-max-size` says."""

STAND_IN: Final = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ0b2tlbiByZW1vdmVkIn0.cmVtb3ZlZA"
"""A JWT that nobody signed and nothing accepts: stands where a token stood, so that its presence is still reported."""

_DEEP_BODY: Final = msgspec.Raw(b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1))
"""Stands where a body stood that was nested too deeply, so that the event still says that it is missing."""

DEEPEST: Final = 10_100
"""Levels of brackets in a batch; Go decodes no request with more than 10,000 (encoding/json, `maxNestingDepth`)."""

_HEAD: Final = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"'
_BEGINS: Final = b'{"level":"'
_BEGINS_LIST: Final = b'"items":[' + _BEGINS
_AFTER_BODIES: Final = b',"requestReceivedTimestamp":"'


class RefusedError(Exception):
    """A body that is not examined.

    Arguments:
        status: of the HTTP answer.
        reason: what is wrong with it; it repeats nothing of the body.

    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Batch(io.BytesIO):
    """A batch as an open file: its name is the origin of its events."""

    def __init__(self, number: int, lines: bytes) -> None:
        super().__init__(lines)
        self.name = f"batch {number}"


def number_of(origin: str | None, /) -> int | None:
    """Return the number of the batch that an event came in."""
    word, _, rest = (origin or "").partition(" ")
    number = rest.partition(":")[0]
    return int(number) if word == "batch" and number.isdecimal() else None


class _List(msgspec.Struct, gc=False):
    kind: str = ""
    version: str = msgspec.field(name="apiVersion", default="")
    items: list[msgspec.Raw] | None = None


_decode: Final = msgspec.json.Decoder(_List).decode


def lines_of(body: bytes, /) -> list[bytes]:
    """Return the events of a batch, a line of JSON for each, without live tokens.

    An event that cannot be read becomes a line of what it still shows, which the reader then reports.

    Raises:
        RefusedError: when the body is not an EventList, or holds too much.

    """
    if body[:64].lstrip()[:1] != b"{":
        raise RefusedError(400, "not an EventList")
    if is_deep(body, DEEPEST):
        raise RefusedError(400, "nested more deeply than by any API server")
    items = _shallow(body) if not is_deep(body) else _deep(body)
    if len(items) > MOST_EVENTS:
        raise RefusedError(413, f"more than {MOST_EVENTS} events in one batch")
    return [_line(item) for item in items]


def _shallow(body: bytes) -> list[bytes]:
    try:
        batch = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _deep(body)  # one event must not cost the others: Go takes more than msgspec
    _check(batch)
    return [bytes(item) for item in batch.items or ()]


def _check(batch: _List) -> None:
    if batch.kind != "EventList" or not batch.version.startswith("audit.k8s.io/"):
        raise RefusedError(400, "not an EventList of audit.k8s.io")


def _deep(body: bytes) -> list[bytes]:
    """Cut a batch into its events by counting brackets: one that is nested deeply, or no JSON, costs only itself.

    Go writes the fields of an event in the order of its struct, `level` first (apiserver pkg/apis/audit/v1/types.go),
    and escapes quotes in texts; so an event begins at each of these where the brackets before it match.
    """
    start = body.find(_BEGINS_LIST)
    end = body.rfind(b"]")
    if start < 0 or end < start:
        raise RefusedError(400, "not JSON as an API server writes it")
    start += len(_BEGINS_LIST) - len(_BEGINS)
    try:
        _check(_decode(body[:start] + body[end:]))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise RefusedError(400, "not JSON, or not an EventList") from None
    items: list[bytes] = []
    held: list[bytes] = []
    depth = 0
    first, *others = body[start:end].split(b"," + _BEGINS)
    for part in (first, *(_BEGINS + other for other in others)):
        held.append(part)
        depth += _balance(part)
        if depth == 0:
            items.append(b",".join(held))
            held = []
    if held:
        raise RefusedError(400, "its brackets do not match")
    return items


def _balance(text: bytes) -> int:
    """Return how many more brackets are opened than closed, outside of strings."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(text.split(b'"')[::2])
    opened = outside.count(b"{") + outside.count(b"[")
    return opened - outside.count(b"}") - outside.count(b"]")


def _without_bodies(item: bytes) -> tuple[bytes, frozenset[str]]:
    """Return an event with null for its bodies, and which it had, where they are too deep; else as it is.

    The bodies stand together, before the times. A key in another object that is called like one leaves brackets open.
    """
    start, end = item.find(b',"requestObject":'), item.rfind(_AFTER_BODIES)
    if start < 0:
        start = item.find(b',"responseObject":')
    if start < 0 or end < start or not is_deep(item[start:end]):
        return item, frozenset()
    names = frozenset(name for name in BODIES if f',"{name}":'.encode() in item[start:end])
    cut = item[:start] + b"".join(f',"{name}":null'.encode() for name in names) + item[end:]
    try:
        msgspec.json.decode(cut)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return item, frozenset()
    return cut, names


def _line(item: bytes) -> bytes:
    """Write an event as one line."""
    if _is_plain(item):
        return _HEAD + (b"," if item[1:2] == b'"' else b"") + item[1:]
    short, names = _without_bodies(item) if is_deep(item) else (item, frozenset[str]())
    try:
        value = decode(short)
    except NotJSONError:
        return _remains(item)
    cut = value.cut if isinstance(value, Shortened) else names
    record = value.record if isinstance(value, Shortened) else value
    if not isinstance(record, dict):
        return b"null"
    record = {"kind": "Event", "apiVersion": "audit.k8s.io/v1", **record}
    try:
        clean, had_token = redact(record)
        line = msgspec.json.encode({**clean, **{name: _DEEP_BODY for name in BODIES if name in cut}})
    except (ReadError, TypeError, ValueError, RecursionError):
        return _remains(item)
    return line.replace(REDACTED.encode(), STAND_IN.encode()) if had_token else line


def _is_plain(item: bytes) -> bool:
    """Tell quickly that an event of the usual form holds no credential: without bodies, and nothing looks like one."""
    if item[:1] != b"{" or b"\n" in item or b'"requestObject"' in item or b'"responseObject"' in item:
        return False
    try:
        text = item.decode()
    except UnicodeDecodeError:
        return False
    return len(item) <= SHORT and not is_suspect(text) and not is_encoded(text)


def _remains(item: bytes) -> bytes:
    """Write what a broken event still shows, itself broken off, so that the reader reports it with that."""
    shown: dict[str, Any] = {**revealed(item)}
    shown.pop(CUT, None)
    if "username" in shown:
        shown["user"] = {"username": shown.pop("username")}
    return _HEAD + b"," + msgspec.json.encode(shown)[1:-1] + b","
