# SPDX-License-Identifier: Apache-2.0
"""The last resort: looks for audit events among the values of a record that no wrapper recognises.

What it finds says so: nobody knows what an unknown wrapper leaves out.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from k8stokendetect.convert.broken import revealed
from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.envelopes.base import Claims, Context, Envelope, Inner, text_of
from k8stokendetect.envelopes.pods import claims_of
from k8stokendetect.errors import ReadError
from k8stokendetect.input.damage import BAD, loads
from k8stokendetect.input.limits import GZIP, Limits, decompress

DEEPEST: Final = 32
"""Maximum number of objects and lists around a value that is looked at."""

MOST_VALUES: Final = 1_000_000
"""Maximum number of values of a record that are looked at."""

UNKNOWN: Final = "what an unknown wrapper leaves out"

_BASE64: Final = re.compile(r"(?:H4sI|eyJ|eyA|ewo)[A-Za-z0-9+/]{60,}={0,2}")
"""How gzip and JSON objects begin in base64."""

_SHORTEST_BYTES: Final = 60
"""A list of so many numbers holds no event as bytes."""

_COPIED: Final = ("auditID", "stage", "verb", "requestURI")
"""What is the same in an event and in a copy of it, whatever a shipper made of the rest."""


@attrs.frozen
class _Row:
    """What an object holds outside of its lists: a shipper may keep one event twice there, as text and decoded."""

    texts: list[Inner] = attrs.Factory(list)
    objects: list[Inner] = attrs.Factory(list)
    lists: list[tuple[list[Any], str, Claims, int]] = attrs.Factory(list)


class Search:
    """Searches one record.

    Arguments:
        known: wrappers; an object that one of them recognises is for that one.
        limits: how much may come out of compressed data.

    """

    def __init__(self, known: Iterable[Envelope], limits: Limits) -> None:
        self._known = tuple(known)
        self._limits = limits
        self._looked_at = 0
        self._missed: str | None = None

    def events(self, record: Any, /) -> Iterator[Inner]:
        """Yield every value that speaks of an audit event, and an error if not all of them could be looked at."""
        yield from self._of(record, "", (), 0, is_record=True)
        if self._missed:
            yield Inner(ReadError(self._missed))

    def _of(self, value: Any, place: str, claims: Claims, depth: int, *, is_record: bool = False) -> Iterator[Inner]:
        row = _Row()
        self._collect(value, place, claims, depth, row, is_record=is_record)
        yield from _without_copies(row)
        for items, where, whose, deep in row.lists:
            for index, item in enumerate(items):
                yield from self._of(item, f"{where}[{index}]", whose, deep)

    def _collect(
        self, value: Any, place: str, claims: Claims, depth: int, row: _Row, *, is_record: bool = False
    ) -> None:
        self._looked_at += 1
        value = _bytes(value) or value
        if self._looked_at > MOST_VALUES or depth > DEEPEST:
            if speaks_of_event(value):
                what = (
                    f"deeper than {DEEPEST} levels" if depth > DEEPEST else f"beyond its {MOST_VALUES:,} first values"
                )
                self._missed = f"a record of an unknown form speaks of an audit event {what}"
        elif isinstance(value, str | bytes):
            text = self._text(value)
            if text is not None:
                row.texts.append(Inner(text, place, _context(claims)))
        elif isinstance(value, Mapping):
            claims += _claims(value)
            if not is_record and self._is_known(value):
                row.objects.append(Inner(value, place, _context(claims)))
            elif not _is_kubernetes_object(value):
                for key, inner in value.items():
                    self._collect(inner, f"{place}.{_name(key)}", claims, depth + 1, row)
        elif isinstance(value, list | tuple):
            row.lists.append((list(value), place, claims, depth + 1))

    def _is_known(self, value: Mapping[str, Any]) -> bool:
        record = value if isinstance(value, dict) else dict(value)
        return any(envelope.recognises(record) for envelope in self._known) and speaks_of_event(record)

    def _text(self, value: str | bytes) -> str | bytes | None:
        """Return a text that speaks of an audit event, decoded where it is base64."""
        if isinstance(value, str) and _BASE64.match(value):
            packed = value.strip()
            try:
                value = base64.b64decode(packed, validate=True)
            except ValueError:
                value = packed
        if isinstance(value, bytes) and value.startswith(GZIP):
            try:
                value = decompress(value, self._limits)
            except ReadError as error:
                self._missed = error.reason
                return None
        return value if speaks_of_event(value) else None


def _without_copies(row: _Row) -> Iterator[Inner]:
    """Leave out the copies: the cut beginning of a text, and an object that a text holds, or a text that is cut.

    A client chooses its audit id and its agent's name, so an object is a text's copy only if both tell of one request.
    """
    texts = [
        inner
        for inner, longer in itertools.zip_longest(*_neighbours(row.texts))
        if longer is None or not _is_beginning(_as_bytes(inner), _as_bytes(longer))
    ]
    if not row.objects:
        yield from texts
        return
    decoded = [(inner, loads(_as_bytes(inner))) for inner in texts]
    held = {_request(value) for _, value in decoded if isinstance(value, dict) and text_of(value, "auditID")}
    objects = [inner for inner in row.objects if _request(inner.record) not in held]
    shown = {text_of(inner.record, "auditID") for inner in objects} - {None}
    for inner, value in decoded:
        if value is not BAD or revealed(_as_bytes(inner)).get("auditID") not in shown:
            yield inner
    yield from objects


def _request(event: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(text_of(dict(event), name) for name in _COPIED)


def _is_beginning(text: bytes, longer: bytes) -> bool:
    """Tell a copy, whole or cut; what is whole by itself is not a beginning of something else."""
    return longer.startswith(text) and (longer == text or loads(text) is BAD)


def _neighbours(texts: list[Inner]) -> tuple[list[Inner], list[Inner]]:
    """Return texts in order, and the same without the first: what begins another stands before it."""
    ordered = sorted(texts, key=_as_bytes)
    return ordered, ordered[1:]


def _as_bytes(inner: Inner) -> bytes:
    return inner.record if isinstance(inner.record, bytes) else inner.record.encode("utf-8", "replace")


def _context(claims: Claims) -> Context:
    return Context(lost=frozenset({UNKNOWN}), claims=claims)


def _name(key: Any) -> str:
    """Return a key as part of a place; no key that a record chose makes it long."""
    return str(key)[:64]


def _claims(value: Mapping[str, Any]) -> Claims:
    """Return the pods that an object names, also as OpenTelemetry's attributes (opentelemetry.io, logs data model)."""
    found: Claims = ()
    for holder in (value, value.get("resource")):
        if isinstance(holder, Mapping):
            found += claims_of(_attributes(holder.get("attributes"))) + claims_of(holder)
    return found


def _attributes(attributes: Any) -> Any:
    """Return attributes as a mapping; OTLP's JSON has a list of keys and values."""
    if not isinstance(attributes, list):
        return attributes
    pairs = (item for item in attributes if isinstance(item, dict))
    return {
        item.get("key"): text_of(item, "value", "stringValue") for item in pairs if isinstance(item.get("key"), str)
    }


def _bytes(value: Any) -> bytes | None:
    """Return the bytes that a list of numbers stands for, as journald's JSON writes what is not UTF-8."""
    if not (isinstance(value, list) and len(value) > _SHORTEST_BYTES and type(value[0]) is int):
        return None
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return None


def _is_kubernetes_object(value: Mapping[str, Any]) -> bool:
    """Tell an object of the API: what a ConfigMap holds is not a log."""
    return "kind" in value and "apiVersion" in value and "metadata" in value
