# SPDX-License-Identifier: Apache-2.0
"""How audit events are wrapped: one file a wrapper, two functions each (`recognises`, `events`).

A wrapper is told record by record, from the record itself; one may stand inside another.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from k8stokendetect.convert.broken import revealed
from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.convert.nesting import DEEP, lost
from k8stokendetect.envelopes import (
    azure,
    bigquery,
    cloudtrail,
    cloudwatch,
    elastic,
    entra,
    flat,
    gcp,
    native,
    ocsf,
    rows,
    shippers,
    whole,
)
from k8stokendetect.envelopes.base import Context, Envelope, Form, Inner, is_json
from k8stokendetect.envelopes.forms import FORMS
from k8stokendetect.envelopes.lines import LineFormats, object_ref
from k8stokendetect.envelopes.origin import settled
from k8stokendetect.envelopes.pods import claims_of, pods_of
from k8stokendetect.envelopes.unknown import Search
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, Shortened, decode
from k8stokendetect.input.limits import DEFAULT, GZIP, Limits, decompress
from k8stokendetect.input.records import split_records

ENVELOPES: Final[tuple[Envelope, ...]] = (
    *(cloudwatch, native, cloudtrail, entra, azure, bigquery, gcp, ocsf, elastic, rows, flat),
    shippers,
)
"""Every wrapper that `read` knows, asked in this order."""

_SURE: Final = (native, cloudtrail, entra, azure, gcp, ocsf)
"""Wrappers that are asked about the text of a row."""

FORM_NESTING: Final = 3
"""How many wrappers a `Form` may open at once."""

Skips: TypeAlias = Callable[[Inner], bool]
"""Called with what is still text or bytes in a wrapper; true leaves it out."""


Seen: TypeAlias = Callable[[str], object]
"""Called with the name of the wrapper that recognises a record."""

UNKNOWN_WRAPPER: Final = "unknown wrapper"


def unwrap(
    record: Any,
    /,
    limits: Limits = DEFAULT,
    skips: Skips | None = None,
    more: Sequence[Envelope] = (),
    seen: Seen | None = None,
) -> Iterator[Inner]:
    """Yield every audit event in a record (`is_event`), every record of a cloud's log (`cloud`), and what is neither.

    That is a ReadError instead of an event, or what is rightly skipped.

    Arguments:
        record: what one line, one array element or one message held, as decoded JSON; or why it could not be; or an
            Inner that a line format or a Form made; or a record without its deep bodies.
        limits: how deep wrappers may nest, how much may come out of compressed data.
        skips: asked about texts in wrappers.
        more: wrappers of others, asked about what none of `ENVELOPES` recognises, and about nothing else: no plug-in
            can take an event away from those.
        seen: called for every record that is opened, with the wrapper's name.

    """
    outer = record if isinstance(record, Inner) else Inner(record)
    depth = FORM_NESTING if outer is record and isinstance(outer.record, str) else 0
    yield from _unwrap(_without_bodies(outer), limits, depth, skips, more, seen)


def _unwrap(
    outer: Inner, limits: Limits, depth: int, skips: Skips | None, more: Sequence[Envelope], seen: Seen | None
) -> Iterator[Inner]:
    is_skipped = bool(outer.skipped)
    if is_skipped:
        if outer.record is None or not speaks_of_event(outer.record):
            yield outer.holding(None)
            return
        outer = attrs.evolve(outer, skipped=None)  # its label is wrong
    outer = _settled(outer)
    is_last = outer.is_event or outer.cloud is not None
    if depth > limits.nesting and not (is_last or isinstance(outer.record, ReadError)):
        yield outer.holding(ReadError(f"wrapped more than {limits.nesting} times, the limit max_nesting"))
    elif isinstance(outer.record, str | bytes) and (depth or speaks_of_event(outer.record)):
        if not (isinstance(outer.record, str) and depth and skips is not None and skips(outer)):
            for record in _in_text(outer.record, limits):
                inner = record.inside(outer) if isinstance(record, Inner) else outer.holding(record)
                yield from _unwrap(_without_bodies(inner), limits, depth + isinstance(record, str), skips, more, seen)
    elif isinstance(outer.record, ReadError) or outer.cloud is not None:
        yield outer
    elif outer.is_event:
        yield _with_object_ref(outer)
    else:
        outer = _with_pods(outer)
        opened = _searched(outer.record, limits, seen) if is_skipped else _inside(outer.record, limits, more, seen)
        for inner in opened:
            yield from _unwrap(inner.inside(outer), limits, depth + 1, skips, more, seen)


def _without_bodies(outer: Inner) -> Inner:
    """Note what was cut out of a record before it was decoded."""
    if not isinstance(outer.record, Shortened):
        return outer
    context = attrs.evolve(outer.context, lost=outer.context.lost | lost(outer.record.cut))
    return attrs.evolve(outer, record=outer.record.record, context=context)


def _with_pods(outer: Inner) -> Inner:
    """Note whose output a record is, whichever wrapper it looks like: the pod chose that."""
    claims = claims_of(outer.record)
    if not claims:
        return outer
    return attrs.evolve(outer, context=attrs.evolve(outer.context, claims=outer.context.claims + claims))


def _settled(outer: Inner) -> Inner:
    """Compare what was claimed about the pod with what is not a wrapper any more: an event, its text, an error."""
    record = outer.record
    if not outer.context.claims:
        return outer
    is_last = outer.is_event or outer.cloud is not None or isinstance(record, ReadError)
    if not (is_last or (isinstance(record, str | bytes) and speaks_of_event(record))):
        return outer
    content = record.revealed if isinstance(record, ReadError) else record
    return attrs.evolve(outer, context=settled(outer.context, content))


def _inside(record: Any, limits: Limits, more: Sequence[Envelope], seen: Seen | None) -> Iterable[Inner]:
    """Take out what is in a record, by the first wrapper that recognises it, or by looking through it."""
    texts = whole.texts_of(record)
    for envelope in ENVELOPES:
        if envelope.recognises(record):
            found: Iterable[Inner] = _or_elsewhere(envelope.events(record), record, limits)
            if texts:
                found = list(found)
                if not whole.carries(found, texts, record) and (line := _whole(record, texts, limits)):
                    envelope, found = shippers, [line]  # noqa: PLW2901 - the other keys say something else
            if seen is not None:
                seen(_name(envelope).rpartition(".")[2])
            return found
    if texts and not isinstance(record.get("metadata"), Mapping) and (line := _whole(record, texts, limits)):
        return [line]  # what an object of Kubernetes says is not a log line
    for envelope in more:
        taken = _taken_out(envelope, record)
        if taken is not None:
            if seen is not None:
                seen(_name(envelope).rpartition(".")[2])
            return taken
    return _searched(record, limits, seen)


def _or_elsewhere(found: Iterator[Inner], record: Any, limits: Limits) -> Iterable[Inner]:
    """Look through a record whose wrapper takes out texts that say nothing of an event, although the record does.

    A client may have written the key under which that wrapper keeps its text.
    """
    first = next(found, None)
    if first is None:
        return ()
    if isinstance(first.record, str | None) and not speaks_of_event(first.record) and isinstance(record, Mapping):
        taken = [first, *found]
        if not any(speaks_of_event(one.record) for one in taken) and speaks_of_event(record):
            others = list(Search(ENVELOPES[:-1], limits).events(record))
            return others if any(not isinstance(one.record, str) or is_json(one.record) for one in others) else taken
        return taken
    return itertools.chain([first], found)


def _whole(record: dict[str, Any], texts: dict[str, str], limits: Limits) -> Inner | None:
    """Return the first of these texts that holds a record of the audit log or of a cloud; None where none does."""
    for key, text in texts.items():
        if (is_json(text) and speaks_of_event(text)) or any(map(_is_known, _in_text(text, limits))):
            return attrs.evolve(shippers.line_in(record, key), skipped=None)
    return None


def _is_known(record: Any) -> bool:
    """Tell what says by itself what it is; of a cut record, the beginning does."""
    if isinstance(record, Inner):
        return record.is_event
    record = record.record if isinstance(record, Shortened) else record
    return isinstance(record, dict) and any(one.recognises(record) for one in _SURE)


def _searched(record: Any, limits: Limits, seen: Seen | None) -> Iterable[Inner]:
    """Look for events in a record that no wrapper recognises; an error where there is none."""
    found = list(Search(ENVELOPES[:-1], limits).events(record))
    if found and seen is not None:
        seen(UNKNOWN_WRAPPER)
    return found or [Inner(ReadError(_what_it_is(record), revealed=_shown(record)))]


def _name(envelope: Envelope) -> str:
    """Return the name of a wrapper: of its module, or of its class."""
    return str(getattr(envelope, "__name__", type(envelope).__name__))


def _taken_out(envelope: Envelope, record: Any) -> list[Inner] | None:
    """Return what somebody else's wrapper holds, an error where it fails; None where it is not recognised."""
    name = _name(envelope)
    try:
        found: list[Any] | None = list(envelope.events(record)) if envelope.recognises(record) else None
    except Exception as error:  # noqa: BLE001 - of its message nothing: it may hold the record
        return [Inner(ReadError(f"envelope {name} failed: {type(error).__name__}"))]
    if found == []:
        return [Inner(ReadError(f"envelope {name} yielded nothing for a record that it recognised"))]
    if found is not None and not all(isinstance(inner, Inner) for inner in found):
        return [Inner(ReadError(f"envelope {name} yielded something other than an Inner"))]
    return found


def _with_object_ref(event: Inner) -> Inner:
    """Put back an objectRef that was lost in transit: the API server parses it from the same path."""
    record = event.record
    if not isinstance(record, dict) or record.get("objectRef") is not None:
        return event
    uri = record.get("requestURI")
    ref = object_ref(uri) if isinstance(uri, str) else None
    if ref is None:
        return event
    context = attrs.evolve(event.context, lost=event.context.lost | {"objectRef (recovered from the request URI)"})
    return attrs.evolve(event, record=record | {"objectRef": ref}, context=context)


def _in_text(text: str | bytes, limits: Limits) -> list[Any]:
    """Return the records in a text: JSON, as in most wrappers, or lines; bytes may be compressed."""
    try:
        if isinstance(text, bytes) and text.startswith(GZIP):
            text = decompress(text, limits)
        return [decode(text)]
    except ReadError as error:
        return [error.with_traceback(None)]  # its frames hold the data
    except NotJSONError as error:
        if str(error) == DEEP:
            return [ReadError(f"text in a wrapper {DEEP}", revealed=revealed(text))]
    lines = LineFormats(limits.record)
    stream = io.BytesIO(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    found = [record for _, record in split_records(stream, limits.record, lines)] + list(lines.rest())
    told = [_of_wrapper(record) if isinstance(record, ReadError) else record for record in found]
    return told or [_of_wrapper(ReadError(""))]


def _of_wrapper(error: ReadError) -> ReadError:
    return ReadError("text in a wrapper that is not JSON", revealed=error.revealed)


def _shown(record: Any) -> dict[str, str]:
    try:
        return revealed(msgspec.json.encode(record))
    except (TypeError, ValueError, RecursionError):
        return {}


def _what_it_is(record: Any) -> str:
    """Say why a record is not an audit event, without repeating any of its values."""
    if not isinstance(record, dict):
        return "JSON, but not an audit event: not an object"
    if record.get("kind") == "Event":
        return "a Kubernetes Event of another API group than audit.k8s.io, not an audit event"
    if record.get("MESSAGE", "") is None:
        return "journalctl left out a long message: call it with `--all`"
    return (
        "JSON, but not an audit event: neither audit.k8s.io/v1 Event nor EventList, nor a known wrapper, and no value "
        "in it speaks of audit.k8s.io, auditID or io.k8s.; if it holds one, see `An unknown form` in docs/sources.md"
    )


__all__ = ["ENVELOPES", "FORMS", "FORM_NESTING", "Context", "Envelope", "Form", "Inner", "pods_of", "unwrap"]
