# SPDX-License-Identifier: Apache-2.0
"""Makes an Event of an ordinary record in a few microseconds; whatever is unusual is left to the strict converter.

What this refuses, and every error, is the converter's. What this accepts, the converter would make the same Event of
(a law in the tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from k8stokendetect.convert.converter import go_name
from k8stokendetect.convert.nesting import lost
from k8stokendetect.convert.redaction import clean_text, redact, without_deep_bodies
from k8stokendetect.convert.times import parse_time
from k8stokendetect.errors import ReadError
from k8stokendetect.events import AuthenticationMetadata, Event, ObjectRef, Platform, ResponseStatus, User
from k8stokendetect.identity import LONGEST_HARMLESS

_Short = Annotated[str, msgspec.Meta(max_length=LONGEST_HARMLESS)]
"""A text that is too short for a token; longer ones are unusual in these fields."""


class _User(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    username: _Short = ""
    uid: _Short = ""
    groups: tuple[_Short, ...] = ()
    extra: dict[_Short, tuple[_Short, ...]] = {}


class _ObjectRef(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename=go_name):
    resource: _Short = ""
    namespace: _Short = ""
    name: _Short = ""
    uid: _Short = ""
    api_group: _Short = ""
    api_version: _Short = ""
    resource_version: _Short = ""
    subresource: _Short = ""


class _Status(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    code: Any = None
    status: _Short = ""
    reason: _Short = ""
    message: str = ""
    details: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Metadata(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename=go_name):
    impersonation_constraint: _Short = ""


class Typed(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename=go_name):
    """An audit event without unknown fields, all of the right types; it was not redacted yet."""

    audit_id: _Short
    verb: _Short
    kind: _Short = ""
    object_ref: _ObjectRef | None = None
    api_version: _Short = ""
    level: _Short = ""
    stage: _Short = ""
    request_uri: str = ""
    user: _User | None = None
    impersonated_user: _User | None = None
    authentication_metadata: _Metadata | None = None
    source_ips: tuple[_Short, ...] = ()
    user_agent: str = ""
    response_status: _Status | None = None
    request_object: Any = None
    response_object: Any = None
    request_received_timestamp: _Short | None = None
    stage_timestamp: _Short | None = None
    annotations: dict[_Short, str] | None = None

    def __repr__(self) -> str:
        return "<an event that was not redacted>"


UNUSUAL: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, ReadError)
"""What is raised for a record that is left to the strict converter."""

_NONE: Final[frozenset[str]] = frozenset()

decode_typed: Final = msgspec.json.Decoder(Typed).decode
"""Decodes the text of an event; raises one of `UNUSUAL`."""


def typed(record: Mapping[str, Any], /) -> Typed:
    """Return a decoded event with the right types; raises one of `UNUSUAL`."""
    found = msgspec.convert(record, Typed)
    msgspec.json.encode(found)  # no text that cannot be written, no value that JSON does not have
    return found


def event_of(found: Typed, platform: Platform | None, origin: str | None, /) -> Event:
    """Return the redacted Event, without the typed bodies of a TokenRequest; raises one of `UNUSUAL`."""
    uri, carried, deep = found.request_uri, False, _NONE
    if len(uri) > LONGEST_HARMLESS:
        uri = clean_text(uri)
        carried = uri != found.request_uri
    agent = found.user_agent
    if len(agent) > LONGEST_HARMLESS:
        agent = clean_text(agent)
        carried = carried or agent != found.user_agent
    notes = found.annotations
    for key, note in notes.items() if notes else ():
        if len(note) > LONGEST_HARMLESS and (cleaned := clean_text(note)) != note:
            notes, carried = {**(notes or {}), key: cleaned}, True
    request, response = found.request_object, found.response_object
    if request is not None or response is not None:
        bodies, deep = without_deep_bodies({"requestObject": request, "responseObject": response})
        bodies, found_in_bodies = redact(bodies)
        request, response, carried = bodies["requestObject"], bodies["responseObject"], carried or found_in_bodies
    ref, user, assumed, metadata = found.object_ref, found.user, found.impersonated_user, found.authentication_metadata
    received, reached = found.request_received_timestamp, found.stage_timestamp
    return Event(
        audit_id=found.audit_id,
        verb=found.verb,
        api_version=found.api_version,
        level=found.level,
        stage=found.stage,
        request_uri=uri,
        user=User() if user is None else _user(user),
        impersonated_user=None if assumed is None else _user(assumed),
        authentication_metadata=None if metadata is None else AuthenticationMetadata(metadata.impersonation_constraint),
        source_ips=found.source_ips,
        user_agent=agent,
        object_ref=None if ref is None else _object_ref(ref),
        response_status=None if found.response_status is None else _status(found.response_status),
        request_object=request,
        response_object=response,
        request_received_timestamp=None if received is None else parse_time(received),
        stage_timestamp=None if reached is None else parse_time(reached),
        annotations=notes or {},
        carried_token=carried,
        platform=platform,
        origin=origin,
        lost=lost(deep) if deep else deep,
    )


def _object_ref(ref: _ObjectRef) -> ObjectRef:
    return ObjectRef(
        ref.resource,
        ref.namespace,
        ref.name,
        ref.uid,
        ref.api_group,
        ref.api_version,
        ref.resource_version,
        ref.subresource,
    )


def _user(user: _User) -> User:
    return User(user.username, user.uid, user.groups, user.extra)


def _status(status: _Status) -> ResponseStatus:
    if status.code is not None and type(status.code) is not int:
        raise TypeError
    message = status.message
    if len(message) > LONGEST_HARMLESS and clean_text(message) != message:
        raise ValueError
    for rest in (status.details, status.metadata):
        if rest and not all(map(_is_harmless, (*rest, *rest.values()))) and redact({"": rest})[1]:
            raise ValueError
    return ResponseStatus(status.code, status.status, status.reason, message, status.details, status.metadata)


def _is_harmless(value: Any) -> bool:
    return type(value) is int or (type(value) is str and len(value) <= LONGEST_HARMLESS)
