# SPDX-License-Identifier: Apache-2.0
"""Knows events again that differ from an earlier one only in their ids and times, as most mints of kubelets do.

Such an event is made from the earlier one, without typing and redacting the same texts again; and what was found out
about that one holds for it, as long as it rests on nothing but its kind.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

from k8stokendetect.convert.credentials import is_suspect
from k8stokendetect.convert.fast import Typed
from k8stokendetect.convert.times import parse_time
from k8stokendetect.events import Event, Platform
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID, LONGEST_AUDIT_ID

Shape: TypeAlias = tuple[Any, ...]
"""All that an event says, but for its ids and times."""

Kind: TypeAlias = tuple[Any, ...]
"""A shape, and what the log around an event says about it."""

MOST: Final = 4096
"""Maximum number of shapes that are remembered; then all are forgotten."""

_LONGEST: Final = 2048
"""Maximum length of the texts of any length in a shape that is remembered."""

_MOST_PARTS: Final = 100
"""Maximum number of parts of such a shape, all others of which are short."""

_ISSUED: Final = ISSUED_CREDENTIAL_ID[0]
_KIND: Final = len("JTI=")
"""Of an id, so many characters say what kind it is of."""

_AROUND: Final = ("lost", "usual", "cluster", "account", "region")
_around: Final = attrgetter(*_AROUND)
_facts: Final[dict[Shape, dict[str, Any]]] = {}


def shape_of(found: Typed, platform: Platform | None, /) -> Shape | None:
    """Return the shape of an event; None where nothing like it is to be expected, as with bodies."""
    user, status, notes = found.user, found.response_status, found.annotations or {}
    if (
        user is None
        or found.impersonated_user is not None
        or found.authentication_metadata is not None
        or found.request_object is not None
        or found.response_object is not None
        or len(found.audit_id) > LONGEST_AUDIT_ID
    ):
        return None
    answer: Shape = (None,)
    if status is not None:
        if status.details or status.metadata or type(status.code) is not int:
            return None
        answer = (
            status.code,
            status.status,
            status.reason,
            status.message,
            status.details is None,
            status.metadata is None,
        )
    return (
        *(platform, found.verb, found.level, found.stage, found.api_version, found.request_uri, found.user_agent),
        *(user.username, user.uid, user.groups, *user.extra.values(), *user.extra),
        *(found.object_ref, found.source_ips, *answer, *notes),
        *(notes | {_ISSUED: notes[_ISSUED][:_KIND]} if _ISSUED in notes else notes).values(),
        *(not found.audit_id, found.request_received_timestamp is None, found.stage_timestamp is None),
    )


def known(found: Typed, shape: Shape, origin: str | None, /) -> Event | None:
    """Make an Event of one of the same shape; None where there was none, or an id may be a credential.

    Raises:
        ValueError: when a time is none.

    """
    facts = _facts.get(shape)
    if facts is None:
        return None
    notes = found.annotations or {}
    issued = notes.get(_ISSUED, "")
    if len(issued) > LONGEST_AUDIT_ID or is_suspect(f"{found.audit_id}|{issued}"):
        return None
    received, reached = found.request_received_timestamp, found.stage_timestamp
    event = Event.__new__(Event)
    vars(event).update(facts)
    vars(event).update(
        audit_id=found.audit_id,
        annotations=notes,
        request_received_timestamp=None if received is None else parse_time(received),
        stage_timestamp=None if reached is None else parse_time(reached),
        origin=origin,
    )
    event.__attrs_post_init__()
    return event


def remember(event: Event, shape: Shape, /) -> None:
    """Remember the shape of an event that nobody else has seen yet, and that held no credential."""
    size, status = sum(map(len, event.annotations.values())), event.response_status
    size += len(event.request_uri) + len(event.user_agent) + (len(status.message) if status else 0)
    parts = len(shape) + len(event.user.groups) + len(event.source_ips) + sum(map(len, event.user.extra.values()))
    if event.carried_token or size > _LONGEST or parts > _MOST_PARTS:
        return
    if len(_facts) >= MOST:
        _facts.clear()
    vars(event)["_shape"] = object()  # which becomes another one when it is pickled
    _facts[shape] = dict(vars(event))


def kind_of(event: Event, /) -> Kind | None:
    """Return what an event has in common with others of its shape, as far as they are read from the same log."""
    shape = vars(event).get("_shape")
    return None if shape is None else (shape, *_around(event))


def within(event: Event, /, **around: Any) -> Event:
    """Return a copy of an event with something else around it, such as its cluster; it keeps its shape."""
    changed = attrs.evolve(event, **around)
    if "_shape" in vars(event) and around.keys() <= {*_AROUND}:
        vars(changed)["_shape"] = vars(event)["_shape"]
    return changed
