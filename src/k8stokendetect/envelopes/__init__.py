# SPDX-License-Identifier: Apache-2.0
"""How audit events are wrapped: one file a wrapper, two functions each (`recognises`, `events`).

A wrapper is told record by record, from the record itself; one may stand inside another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import attrs
import orjson

from k8stokendetect.convert.revealed import revealed
from k8stokendetect.envelopes import azure, cloudwatch, elastic, gcp, native, ocsf, shippers
from k8stokendetect.envelopes.base import PASSED_OVER, Context, Envelope, Inner
from k8stokendetect.envelopes.lines import object_ref
from k8stokendetect.errors import ReadError
from k8stokendetect.input.limits import DEFAULT, GZIP, Limits, decompress

_NATIVE: Final = '{"kind":"Event",'
_END: Final = b',"stageTimestamp":'
"""The one field after all that a client chooses (types.go): a text that was cut off on the way lacks it."""

ENVELOPES: Final[tuple[Envelope, ...]] = (cloudwatch, native, azure, gcp, ocsf, elastic, shippers)
"""Every wrapper that `read` knows, asked in this order."""


Wanted = Callable[[bytes], bool]
"""Told the text of a native event; false passes it over."""


def unwrap(
    record: Any, /, limits: Limits = DEFAULT, wanted: Wanted | None = None, more: Sequence[Envelope] = ()
) -> Iterator[Inner]:
    """Yield every audit event in a record (`is_event`), a ReadError in its stead, or what is rightly skipped.

    Arguments:
        record: what one line, one array element or one message held, as decoded JSON; or why it could not be; or an
            Inner that a line format made.
        limits: how deep wrappers may nest, how much may come out of compressed data.
        wanted: asked about events that are still text; those that nobody wants are skipped, `PASSED_OVER`.
        more: wrappers of others, asked about what none of `ENVELOPES` recognises, and about nothing else: no plug-in
            can take an event away from those.

    """
    yield from _unwrap(record if isinstance(record, Inner) else Inner(record), limits, 0, wanted, more)


def _unwrap(
    outer: Inner, limits: Limits, depth: int, wanted: Wanted | None, more: Sequence[Envelope]
) -> Iterator[Inner]:
    if wanted is not None and isinstance(outer.record, str) and outer.record.startswith(_NATIVE):
        text = outer.record.encode("utf-8", "surrogatepass")
        if text.rstrip().endswith(b"}") and _END in text and not wanted(text):
            yield Inner(outer.record, outer.place, outer.context, skipped=PASSED_OVER)
            return
    record = _decoded(outer.record, limits) if depth else outer.record
    if outer.skipped or isinstance(record, ReadError):
        yield outer.holding(record)
        return
    if outer.is_event:
        yield _with_object_ref(outer)
        return
    if depth > limits.nesting:
        yield outer.holding(ReadError(f"wrapped more than {limits.nesting} times, the limit max_nesting"))
        return
    for inner in _inside(record, more):
        yield from _unwrap(inner.inside(outer), limits, depth + 1, wanted, more)


def _inside(record: Any, more: Sequence[Envelope]) -> Iterable[Inner]:
    """Take out what is in a record, by the first wrapper that recognises it; an error where none does."""
    for envelope in ENVELOPES:
        if envelope.recognises(record):
            return envelope.events(record)
    for envelope in more:
        found = _taken_out(envelope, record)
        if found is not None:
            return found
    return [Inner(ReadError(_what_it_is(record)))]


def _taken_out(envelope: Envelope, record: Any) -> list[Inner] | None:
    """Return what somebody else's wrapper holds, an error where it fails; None where it is not recognised."""
    name = getattr(envelope, "__name__", type(envelope).__name__)
    try:
        found: list[Any] | None = list(envelope.events(record)) if envelope.recognises(record) else None
    except Exception as error:  # noqa: BLE001 - of its message nothing: it may hold the record
        return [Inner(ReadError(f"envelope {name} failed: {type(error).__name__}"))]
    if found == []:
        return [Inner(ReadError(f"envelope {name} took nothing out of a record that it recognised"))]
    if found is not None and not all(isinstance(inner, Inner) for inner in found):
        return [Inner(ReadError(f"envelope {name} yielded something else than an Inner"))]
    return found


def _with_object_ref(event: Inner) -> Inner:
    """Put back an objectRef that was lost on the way: the API server parses it from the same path."""
    record = event.record
    if not isinstance(record, dict) or record.get("objectRef") is not None:
        return event
    uri = record.get("requestURI")
    ref = object_ref(uri) if isinstance(uri, str) else None
    if ref is None:
        return event
    context = attrs.evolve(event.context, lost=event.context.lost | {"objectRef (recovered from the request URI)"})
    return attrs.evolve(event, record=record | {"objectRef": ref}, context=context)


def _decoded(record: Any, limits: Limits) -> Any:
    """Decode a text that holds JSON, as most wrappers carry it; bytes may be compressed."""
    if not isinstance(record, str | bytes):
        return record
    try:
        if isinstance(record, bytes) and record.startswith(GZIP):
            record = decompress(record, limits)
        return orjson.loads(record)
    except ReadError as error:
        return error.with_traceback(None)  # its frames hold the data
    except orjson.JSONDecodeError:
        return ReadError("text in a wrapper that is not JSON", revealed=revealed(record))


def _what_it_is(record: Any) -> str:
    """Say why a record is no audit event, without repeating any of its values."""
    if not isinstance(record, dict):
        return "JSON, but no audit event: not an object"
    if record.get("kind") == "Event":
        return "a Kubernetes Event of another API group than audit.k8s.io, not an audit event"
    return "JSON, but no audit event: neither audit.k8s.io/v1 Event nor EventList, nor a known wrapper"


__all__ = ["ENVELOPES", "PASSED_OVER", "Context", "Envelope", "Inner", "unwrap"]
