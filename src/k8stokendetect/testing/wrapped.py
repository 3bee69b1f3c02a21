# SPDX-License-Identifier: Apache-2.0
"""Takes events out of wrapped records for the envelope suite, and compares them with the native ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from k8stokendetect.convert.structure import event_to_mapping, parse_event
from k8stokendetect.envelopes import Envelope, Inner, unwrap
from k8stokendetect.errors import ReadError
from k8stokendetect.testing.harness import failed

__tracebackhide__ = True  # pytest shows the message, not these lines

_LEVELS: Final = 2


def split(content: bytes) -> list[Any]:
    """Return the records of a content: one JSON document, or one a line."""
    try:
        return [msgspec.json.decode(content)]
    except (msgspec.MsgspecError, UnicodeError):
        return [msgspec.json.decode(line) for line in content.split(b"\n") if line.strip()]


def unwrapped(envelope: Envelope, record: Any) -> Iterator[Inner]:
    """Yield what `read` would make of a record, if this envelope were one that it knows."""
    for inner in listed(envelope, record):
        if inner.is_event or inner.skipped or isinstance(inner.record, ReadError):
            yield inner
            continue
        value = inner.record
        try:
            decoded = msgspec.json.decode(value) if isinstance(value, str | bytes) else value
        except (msgspec.MsgspecError, UnicodeError):
            decoded = value
        if decoded is not record and asked(envelope, decoded):
            yield from (each.inside(inner) for each in unwrapped(envelope, decoded))
        else:
            yield from unwrap([inner.record])  # a list: what is text in it is decoded, as in any wrapper


def asked(envelope: Envelope, record: Any) -> bool:
    """Ask an envelope whether it recognises a record; it never raises and says yes or no."""
    try:
        told: object = envelope.recognises(record)
    except Exception as error:
        raise failed(
            f"{name_of(envelope)}.recognises raised {type(error).__name__}: {error}",
            "look before you take: `isinstance(record, dict)`, then `.get(key)`; any value may be of any type, and in "
            "a damaged record what should be text may be a list, which no set holds",
            record,
        ) from error
    if not isinstance(told, bool):
        raise failed(
            f"{name_of(envelope)}.recognises gave {told!r}, neither True nor False",
            "return a comparison, or `bool(…)`",
            record,
        )
    return told


def listed(envelope: Envelope, record: Any) -> list[Inner]:
    """Return what an envelope yields; it never raises, and yields Inners only."""
    try:
        inners: list[object] = list(envelope.events(record))
    except Exception as error:
        raise failed(
            f"{name_of(envelope)}.events raised {type(error).__name__}: {error}",
            "look before you take, and yield `Inner(ReadError('what is wrong'), place)` for what is not as it should "
            "be; go on with the next one",
            record,
        ) from error
    for inner in inners:
        if not isinstance(inner, Inner):
            raise failed(
                f"{name_of(envelope)}.events gave a {type(inner).__name__}, not an Inner",
                "yield `Inner(record, place, context, is_event=True)`",
                record,
            )
    return [inner for inner in inners if isinstance(inner, Inner)]


def name_of(envelope: Any) -> str:
    """Return the name of a module or an object."""
    return str(getattr(envelope, "__name__", type(envelope).__name__)).rpartition(".")[2]


def comparable(record: Mapping[str, Any], loses: Iterable[str]) -> dict[str, Any]:
    """Return an event as it is typed, without what a wrapper loses and without what is empty."""
    mapping = copy.deepcopy(event_to_mapping(parse_event(record)))
    for path in loses:
        node: Any = mapping
        *steps, last = path.split(".")
        for step in steps:
            node = node.get(step) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    kept: dict[str, Any] = without_empty(mapping)
    return kept


def without_empty(value: Any) -> Any:
    """Drop None and empty values, inside out: absent and empty mean the same in an event."""
    if isinstance(value, Mapping):
        pruned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if item not in (None, "", {}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list | tuple) else value


def carriers(record: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the innermost containers and keys in a record at which an event stands, as text or as an object."""
    pairs = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in list(pairs):
        text = value if isinstance(value, str) else ""
        if '"auditID"' in text or (isinstance(value, dict) and {"auditID", "verb", "stage"} <= value.keys()):
            yield record, key
        else:
            yield from carriers(value)


def half(event: Any) -> Any:
    """Return the first half of an event, of its text or of its fields."""
    if isinstance(event, str):
        return event[: len(event) // 2]
    return dict(list(event.items())[: len(event) // 2])


def misshapen(record: Any, depth: int = 0) -> Iterator[Any]:
    """Yield copies of a record with each part, down to the third level, gone or of another type."""
    pairs = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in pairs:
        if isinstance(record, dict):
            yield {other: item for other, item in record.items() if other != key}
        inner = misshapen(value, depth + 1) if depth < _LEVELS else ()
        for bad in (None, 7, "x", [], {}, [{}], *inner):
            changed = copy.copy(record)
            changed[key] = bad
            yield changed
