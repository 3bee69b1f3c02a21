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
from k8stokendetect.convert.credentials import clean_text, is_encoded, is_suspect
from k8stokendetect.convert.nesting import lost
from k8stokendetect.convert.redaction import redact, without_deep_bodies
from k8stokendetect.convert.times import parse_time
from k8stokendetect.errors import ReadError
from k8stokendetect.events import AuthenticationMetadata, Event, ObjectRef, Platform, ResponseStatus, User
from k8stokendetect.identity import (
    CREDENTIAL_ID,
    ISSUED_CREDENTIAL_ID,
    LEGACY_TOKEN,
    LONGEST_HARMLESS,
    POD_NAME,
    REASON,
)

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
    uri, agent, notes, carried, deep = found.request_uri, found.user_agent, found.annotations, False, _NONE
    texts = _texts(found)
    together = "|".join(texts)
    if is_suspect(together) or (max(map(len, texts)) > LONGEST_HARMLESS and is_encoded(together)):
        uri, agent, notes = _cleaned(found)
        carried = uri != found.request_uri or agent != found.user_agent or notes != found.annotations
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


_USUAL_KEYS: Final = frozenset(
    {
        *(REASON, "authorization.k8s.io/decision", LEGACY_TOKEN, *ISSUED_CREDENTIAL_ID, CREDENTIAL_ID, POD_NAME),
        *(f"authentication.kubernetes.io/{name}" for name in ("pod-uid", "node-name", "node-uid")),
    }
)
"""Keys of annotations and of a user's extra that hold nothing to look for."""


def _texts(found: Typed) -> list[str]:
    """List all texts of an event outside of its bodies, but for usual keys."""
    texts = [found.request_uri, found.user_agent, found.audit_id, found.verb, *found.source_ips]
    if notes := found.annotations:
        texts += notes.values()
        if not _USUAL_KEYS.issuperset(notes):
            texts += notes
    if (status := found.response_status) is not None:
        texts += (status.message, status.reason, status.status)
    for user in (found.user, found.impersonated_user):
        if user is not None:
            texts += (user.username, user.uid, *user.groups)
            for key, values in user.extra.items():
                texts += values
                if key not in _USUAL_KEYS:
                    texts.append(key)
    return texts


def _cleaned(found: Typed) -> tuple[str, str, dict[str, str] | None]:
    """Return URI, client's name and annotations without credentials; an event with one elsewhere is unusual."""
    notes = found.annotations and {key: clean_text(note) for key, note in found.annotations.items()}
    rest = _texts(
        msgspec.structs.replace(found, request_uri="", user_agent="", annotations=dict.fromkeys(notes or (), ""))
    )
    if any(clean_text(text) != text for text in rest):
        raise ValueError
    return clean_text(found.request_uri), clean_text(found.user_agent), notes


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
    for rest in (status.details, status.metadata):
        if rest and not (_KNOWN.issuperset(rest) and all(map(_is_harmless, rest.values()))) and redact({"": rest})[1]:
            raise ValueError
    return ResponseStatus(status.code, status.status, status.reason, status.message, status.details, status.metadata)


_KNOWN: Final = frozenset({"name", "group", "kind", "uid", "retryAfterSeconds", "resourceVersion", "continue"})
"""Fields of StatusDetails and ListMeta that hold one value: k8s.io/apimachinery pkg/apis/meta/v1/types.go."""


def _is_harmless(value: Any) -> bool:
    return type(value) is int or (type(value) is str and len(value) <= LONGEST_HARMLESS and not is_suspect(value))
