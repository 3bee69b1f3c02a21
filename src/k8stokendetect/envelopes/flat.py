# SPDX-License-Identifier: Apache-2.0
"""Flattened audit events: one key a value, `objectRef.resource` or `objectRef_resource`, or objects that became text.

Rows of tables and queries have this form: Logs Insights with chosen fields, Splunk, LogQL's json stage,
pandas.json_normalize, columns of databases. The keys may have a prefix, such as `log.` or `json.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from k8stokendetect.convert.redaction import shown
from k8stokendetect.envelopes import cells, whole
from k8stokendetect.envelopes.base import Context, Inner, is_json, text_of
from k8stokendetect.envelopes.keys import (
    BODIES,
    CODE,
    FREE,
    LISTS,
    MAPS,
    OBJECTS,
    Place,
    is_nested,
    place_of,
    prefix_of,
    restored,
)
from k8stokendetect.envelopes.lines import object_ref
from k8stokendetect.errors import ReadError
from k8stokendetect.identity import DECISION, REASON

_ALWAYS: Final = ("level", "stage", "requestURI", "sourceIPs", "stageTimestamp")
"""What every event has (types.go): without one of them, an export chose what to keep."""

_LOSSES: Final = {
    "groups": ("user.groups",),
    "extra": ("user.extra",),
    "impersonation": ("impersonatedUser",),
    "annotations": ("annotations",),
    "source IPs": ("sourceIPs",),
    "code": ("responseStatus.code",),
    "stage": ("stage",),
    "bodies": BODIES,
}
"""What is not there and may have been left out: the word for `Context.lost`, and the fields."""

_SAYING: Final = ("verb", "user.username", "objectRef.resource", "requestURI")
"""What says something about a call, besides its id."""

_KNOWN: Final = (*OBJECTS, *MAPS, *LISTS)
_DEEPEST: Final = 4


def recognises(record: Any, /) -> bool:
    """Tell keys of an audit event that were flattened, and an event whose objects became text."""
    if (type(record) is not dict and not isinstance(record, Mapping)) or is_nested(record):
        return False
    prefix = prefix_of(record)
    if prefix is None:
        return False
    if prefix or "auditID" not in record:
        return _is_told(record, prefix)
    return _is_flattened(record)


def _is_told(record: Mapping[Any, Any], prefix: str) -> bool:
    """Tell whether more than an id is there: verb, caller or object."""
    places = (place_of(key[len(prefix) :]) for key in record if isinstance(key, str) and key.startswith(prefix))
    return any(
        place and place.path in ("verb", "user.username", "objectRef.resource", "requestURI") for place in places
    )


def _is_flattened(record: Mapping[Any, Any]) -> bool:
    """Tell one key at least that the API server does not write so."""
    for key, value in record.items():
        place = place_of(key) if isinstance(key, str) else None
        if place is None:
            continue
        if place.rest is not None or place.index is not None or key != place.path or "." in key:
            return True
        if _is_text(place.path, value):
            return True
        if place.path in OBJECTS and isinstance(value, Mapping):
            inner = ((f"{place.path}.{name}", item) for name, item in value.items())
            if any(path in _KNOWN and _is_text(path, item) for path, item in inner):
                return True
    return False


def _is_text(path: str, value: Any) -> bool:
    """Tell a text where an object or a list belongs, and that holds one."""
    return isinstance(value, str) and value.lstrip()[:1] == ("[" if path in LISTS else "{") and path in _KNOWN


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the event that a cell holds whole, else the one that the keys make together."""
    prefix = prefix_of(record) if isinstance(record, Mapping) else None
    if prefix is None:
        return
    identity = next((value for key, value in record.items() if _path(key, prefix) == "auditID"), None)
    for key in whole.KEYS:
        value = record.get(key)
        if isinstance(value, str) and is_json(value) and isinstance(identity, str) and identity in value:
            yield Inner(value, f".{key}")
            return
    yield _event(record, prefix)


def _path(key: Any, prefix: str) -> str | None:
    place = place_of(key[len(prefix) :]) if isinstance(key, str) and key.startswith(prefix) else None
    return place.path if place else None


@attrs.define
class _Parts:
    """What was found so far, by field."""

    values: dict[str, Any] = attrs.field(factory=dict)
    lists: dict[str, dict[int, Any]] = attrs.field(factory=dict)
    entries: dict[tuple[str, str], Any] = attrs.field(factory=dict)
    numbered: dict[tuple[str, str], dict[int, Any]] = attrs.field(factory=dict)
    bodies: dict[str, list[tuple[str, Any]]] = attrs.field(factory=dict)
    columns: set[str | None] = attrs.field(factory=set)


def _event(record: Mapping[str, Any], prefix: str) -> Inner:
    """Make the event of the keys with this prefix; an error where two of them contradict each other."""
    parts = _Parts()
    path = ""
    try:
        for key, value in _leaves(record, prefix, _DEEPEST):
            place = place_of(key)
            if place is not None:
                path = place.path
                _put(parts, place, value)
        event = _put_together(parts)
    except cells.CellError as error:
        seen = {_path(key, prefix) or "": value for key, value in record.items()}
        revealed = shown({**seen, "username": seen.get("user.username", parts.values.get("user.username"))})
        return Inner(ReadError(f"a flattened event: {error}", path=f"$.{path}", revealed=revealed))
    reason = _unclear(event, parts.columns)
    if reason is not None:
        return Inner(ReadError(reason, revealed=_revealed(event)))
    return Inner(event, context=Context(lost=frozenset(_lost(event))), is_event=True)


def _leaves(record: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield keys without their prefix and values; of a field that is an object, those of its own fields."""
    for name, value in record.items():
        if not isinstance(name, str) or not name.startswith(prefix):
            continue
        key = name[len(prefix) :]
        place = place_of(key) if depth else None
        if place is not None and place.path in OBJECTS and place.rest is None:
            value = cells.decoded(value)  # noqa: PLW2901 - a cell
            if isinstance(value, Mapping):
                yield from ((f"{key}.{inner}", item) for inner, item in _leaves(value, "", depth - 1))
                continue
        yield key, value


def _put(parts: _Parts, place: Place, value: Any) -> None:
    """Keep a value for its field.

    Raises:
        CellError: when there is another already, or it is not a value of that field.

    """
    path = place.path
    parts.columns |= {path, place.rest} - {None}
    if (value == "" or value is None) if path == "user.username" else cells.is_absent(value):
        return
    if path in MAPS:
        _put_entry(parts, place, value)
    elif path in FREE and place.rest is not None:
        parts.bodies.setdefault(path, []).append((place.rest, value))
    elif place.index is not None:
        _once(parts.lists.setdefault(path, {}), place.index, value)
    elif path in LISTS:
        _once(parts.values, path, cells.texts(value))
    elif path in FREE:
        _once(parts.values, path, _body(path, value))
    else:
        _once(parts.values, path, cells.number(value) if path == CODE else cells.text(value))


def _put_entry(parts: _Parts, place: Place, value: Any) -> None:
    """Keep one annotation, one value of `user.extra`, or all of either."""
    if place.rest is None:
        mapping = cells.decoded(value)
        if not isinstance(mapping, Mapping):
            raise cells.CellError("expected an object")
        for key, item in mapping.items():
            if item is not None:
                _put_entry(parts, Place(place.path, restored(str(key))), item)
    elif place.index is not None:
        _once(parts.numbered.setdefault((place.path, place.rest), {}), place.index, value)
    elif place.path == "annotations":
        _once(parts.entries, (place.path, place.rest), cells.text(value))
    else:
        _once(parts.entries, (place.path, place.rest), cells.texts(value))


def _body(path: str, value: Any) -> Any:
    """Return a body; one that is neither JSON nor empty says why there is none (`skipped-too-big-size-object`)."""
    try:
        return cells.decoded(value)
    except cells.CellError:
        if path in BODIES:
            return value
        raise


def _once(found: dict[Any, Any], key: Any, value: Any) -> None:
    if key in found and found[key] != value:
        raise cells.CellError("two values for one field")
    found[key] = value


def _put_together(parts: _Parts) -> dict[str, Any]:
    for path, items in parts.lists.items():
        _once(parts.values, path, [items[index] for index in sorted(items)])
    for entry, items in parts.numbered.items():
        _once(parts.entries, entry, [items[index] for index in sorted(items)])
    for path, pairs in parts.bodies.items():
        _once(parts.values, path, cells.tree(pairs))
    event: dict[str, Any] = {}
    for path, value in parts.values.items():
        _node(event, path)[path.rpartition(".")[2]] = value
    for (path, key), value in parts.entries.items():
        _node(event, f"{path}.")[key] = value
    notes = event.get("annotations", {})
    if REASON in parts.columns and DECISION in notes:
        notes.setdefault(REASON, "")  # which the API server writes with every decision
    if "verb" in parts.columns:
        event.setdefault("verb", "")  # OPTIONS is logged with an empty verb
    return event


def _node(event: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the object in which the last step of a path stands."""
    node = event
    for step in path.split(".")[:-1]:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            raise cells.CellError("a value where an object was expected")
    return node


def _unclear(event: Mapping[str, Any], columns: set[str | None]) -> str | None:
    """Say why a row is not enough to tell what was done; None where it is."""
    if "auditID" not in event:
        return "a flattened event without auditID: export that field, too"
    ref, uri = event.get("objectRef"), event.get("requestURI")
    if uri is None and ref is None:
        return "a flattened event with neither objectRef nor requestURI: export one of them"
    is_account = event.get("verb") == "create" and text_of(event, "objectRef", "resource") == "serviceaccounts"
    if is_account and "objectRef.subresource" not in columns and not isinstance(uri, str):
        return "a flattened create on serviceaccounts, or on their tokens: export objectRef.subresource"
    if is_account and "subresource" not in event["objectRef"] and isinstance(uri, str):
        event["objectRef"].update(object_ref(uri) or {})
    return None


def _revealed(event: Mapping[str, Any]) -> dict[str, str]:
    """Say what a row shows; where it has no URI, its objectRef says the same."""
    seen = {**event, "username": text_of(event, "user", "username")}
    if "requestURI" not in seen:
        ref = event.get("objectRef") or {}
        steps = (f"namespaces/{ref.get('namespace')}", ref.get("resource"), ref.get("name"), ref.get("subresource"))
        seen["requestURI"] = "/" + "/".join(str(step) for step in steps if step)
    return shown(seen)


def _lost(event: Mapping[str, Any]) -> Iterator[str]:
    """Name what this row does not carry."""
    if any(key not in event for key in _ALWAYS):
        yield from (word for word, paths in _LOSSES.items() if not any(_has(event, path) for path in paths))
    if any("." not in key and "/" not in key for key in event.get("annotations", ())):
        yield "annotation keys"


def _has(event: Any, path: str) -> bool:
    for step in path.split("."):
        event = event.get(step) if isinstance(event, Mapping) else None
    return event is not None
