# SPDX-License-Identifier: Apache-2.0
"""The few fields of an audit event that decide whether it is read in full, decoded by msgspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from k8stokendetect.convert.converter import go_name
from k8stokendetect.identity import (
    CREDENTIAL_ID,
    ISSUED_CREDENTIAL_ID,
    LEGACY_TOKEN,
    LONGEST_AUDIT_ID,
    LONGEST_HARMLESS,
    POD_NAME,
)


class _ObjectRef(msgspec.Struct, gc=False, rename=go_name):
    resource: str = ""
    subresource: str = ""
    api_group: str = ""


class _Extra(msgspec.Struct, gc=False):
    credential: tuple[str, ...] = msgspec.field(name=CREDENTIAL_ID, default=())
    pod: tuple[str, ...] = msgspec.field(name=POD_NAME, default=())


class _User(msgspec.Struct, gc=False):
    username: str = ""
    extra: _Extra | None = None


_Note = str | msgspec.UnsetType
_Rare = Annotated[int, msgspec.Meta(ge=1, le=0)]
"""No value is of this type: an event with a field of it has no `Plain`."""

_Short = Annotated[str, msgspec.Meta(max_length=LONGEST_HARMLESS)]


class _NoAnnotations(msgspec.Struct, gc=False):
    issued: _Rare = msgspec.field(name=ISSUED_CREDENTIAL_ID[0], default=0)
    issued_by_kep: _Rare = msgspec.field(name=ISSUED_CREDENTIAL_ID[1], default=0)
    legacy: _Rare = msgspec.field(name=LEGACY_TOKEN, default=0)


class Annotations(msgspec.Struct, gc=False):
    """The annotations that matter; UNSET where an event does not have them."""

    issued: _Note = msgspec.field(name=ISSUED_CREDENTIAL_ID[0], default=msgspec.UNSET)
    issued_by_kep: _Note = msgspec.field(name=ISSUED_CREDENTIAL_ID[1], default=msgspec.UNSET)
    legacy: _Note = msgspec.field(name=LEGACY_TOKEN, default=msgspec.UNSET)


class _ShortStatus(msgspec.Struct, gc=False):
    message: _Short = ""


class _Status(msgspec.Struct, gc=False):
    message: str = ""


ABSENT: Final = msgspec.Raw()
"""Stands for a body that an event does not have."""


class Plain(msgspec.Struct, gc=False, rename=go_name):
    """The fields of an audit event without anything rare: no annotation that matters, nobody impersonated.

    Panther's `p_log_type` and Docker's `log` mark records that may look like events and are wrappers; the next six mark
    what a shipper merged into its record of a pod's output (`pods.MARKS`). An event without `user`, or with the last
    two, was flattened (`envelopes.flat`).
    """

    kind: Literal["Event"]
    api_version: Literal["audit.k8s.io/v1"]
    audit_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_AUDIT_ID)]
    verb: str
    user: _User | None
    request_uri: str = ""
    impersonated_user: _Rare = 0
    user_agent: _Short = ""
    object_ref: _ObjectRef | None = None
    response_status: _ShortStatus | None = None
    request_object: msgspec.Raw = ABSENT
    response_object: msgspec.Raw = ABSENT
    annotations: _NoAnnotations | None = None
    panther: None = msgspec.field(name="p_log_type", default=None)
    docker: None = msgspec.field(name="log", default=None)
    kubernetes: None = None
    pod: None = msgspec.field(name="kubernetes.pod.name", default=None)
    pod_name: None = msgspec.field(name="kubernetes.pod_name", default=None)
    flat_pod: None = msgspec.field(name="kubernetes_pod_name", default=None)
    column_pod: None = msgspec.field(name="kubernetes_pod_name_s", default=None)
    otel_pod: None = msgspec.field(name="k8s.pod.name", default=None)
    flat_ref: None = msgspec.field(name="objectRef.resource", default=None)
    column_ref: None = msgspec.field(name="objectRef_resource", default=None)


class Projection(msgspec.Struct, gc=False, rename=go_name):
    """The fields of an audit event that decide whether it is read in full; whatever is not a plain event fails."""

    kind: Literal["Event"]
    api_version: Literal["audit.k8s.io/v1"]
    audit_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_AUDIT_ID)]
    verb: str
    user: _User | None
    request_uri: str = ""
    impersonated_user: msgspec.Raw = ABSENT
    user_agent: str = ""
    object_ref: _ObjectRef | None = None
    response_status: _Status | None = None
    request_object: msgspec.Raw = ABSENT
    response_object: msgspec.Raw = ABSENT
    annotations: Annotations | None = None
    panther: None = msgspec.field(name="p_log_type", default=None)
    docker: None = msgspec.field(name="log", default=None)
    kubernetes: None = None
    pod: None = msgspec.field(name="kubernetes.pod.name", default=None)
    pod_name: None = msgspec.field(name="kubernetes.pod_name", default=None)
    flat_pod: None = msgspec.field(name="kubernetes_pod_name", default=None)
    column_pod: None = msgspec.field(name="kubernetes_pod_name_s", default=None)
    otel_pod: None = msgspec.field(name="k8s.pod.name", default=None)
    flat_ref: None = msgspec.field(name="objectRef.resource", default=None)
    column_ref: None = msgspec.field(name="objectRef_resource", default=None)


class _PlainRecord(Plain, gc=False, rename=go_name):
    """The same of a plain event that is decoded already."""

    request_object: Any = ABSENT
    response_object: Any = ABSENT


class _RecordProjection(Projection, gc=False, rename=go_name):
    """The same of an event that is decoded already."""

    impersonated_user: Any = ABSENT
    request_object: Any = ABSENT
    response_object: Any = ABSENT


class _EventProjection(_RecordProjection, gc=False, rename=go_name, kw_only=True):
    """The same of an event that came out of a wrapper, which may have dropped its type."""

    kind: Any = None
    api_version: Any = None
    user: _User | None = None


project_plain: Final = msgspec.json.Decoder(Plain).decode
"""Decodes the `Plain` of an event, as most have; raises one of `NO_PROJECTION`, and then `project` may not."""

project: Final = msgspec.json.Decoder(Projection).decode
"""Decodes the projection of an event; raises one of `NO_PROJECTION`."""

NO_PROJECTION: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
"""What is raised where there is no projection: the record is for the full reader."""


def project_plain_record(record: Mapping[str, Any], /) -> Plain:
    """Return the `Plain` of an event that is decoded already; raises one of `NO_PROJECTION`, as `project_plain`."""
    return msgspec.convert(record, _PlainRecord)


def project_record(record: Mapping[str, Any], /) -> Projection:
    """Return the projection of an event that is decoded already; raises one of `NO_PROJECTION`."""
    return msgspec.convert(record, _RecordProjection)


def project_event(record: Mapping[str, Any], /) -> Projection:
    """Return the projection of what is known to be an event; raises one of `NO_PROJECTION`."""
    return msgspec.convert(record, _EventProjection)
