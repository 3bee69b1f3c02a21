# SPDX-License-Identifier: Apache-2.0
"""The API server's own formats: Event, EventList (webhook bodies, whose items have no kind), arrays of either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k8stokendetect.envelopes import flat
from k8stokendetect.envelopes.base import Inner
from k8stokendetect.envelopes.keys import place_of
from k8stokendetect.errors import ReadError

_GROUP = "audit.k8s.io/"
_MISSING = object()
_UNKNOWN = "has an auditID, but no other key of an audit event: neither user nor objectRef nor requestURI"


def recognises(record: Any, /) -> bool:
    """Tell whether this is an audit Event, an EventList, or an array.

    Items of a webhook's EventList carry neither kind nor apiVersion: those are told by their auditID.
    """
    if type(record) is not dict:  # as nearly all are
        if isinstance(record, list):
            return True
        if not isinstance(record, Mapping):
            return False
    kind, version = record.get("kind"), record.get("apiVersion")
    if version is None:  # tuples below, not sets: in a damaged record kind may be a list
        mine = "auditID" in record and kind in (None, "Event")
    else:
        mine = kind in ("Event", "EventList") and isinstance(version, str) and version.startswith(_GROUP)
    return mine and ("auditID" not in record or not flat.recognises(record))


def events(record: Any, /) -> Iterator[Inner]:
    """Yield what is in it with its place; an Event yields itself."""
    if isinstance(record, list):
        items = record
    elif record.get("kind") != "EventList":
        yield Inner(ReadError(_UNKNOWN) if _is_foreign(record) else record, is_event=True)
        return
    else:
        items = [] if record.get("items", _MISSING) is None else record.get("items")  # Go writes an empty list as null
        if not isinstance(items, list):
            yield Inner(ReadError("an EventList without a list of items"))
            return
    if not items:
        yield Inner(None, skipped="an empty list of events")
    for index, item in enumerate(items):
        yield Inner(item, f"[{index}]")


def _is_foreign(record: Mapping[Any, Any]) -> bool:
    """Tell what has an event's id and nothing that says what was done, under keys that are nobody's."""
    if "user" in record or "objectRef" in record or "requestURI" in record:
        return False
    return any(not isinstance(key, str) or place_of(key) is None for key in record)
