# SPDX-License-Identifier: Apache-2.0
"""The forms that most large wrapped logs have, decoded without what does not matter: `FORMS`.

Each accepts records of exactly one form, and gives what the `events` of its wrapper gives; whatever else a line holds
is for those. None has a field of any type, nor ignores one: so nothing deep is decoded, whatever a line holds.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from k8stokendetect.convert.converter import go_name
from k8stokendetect.envelopes.azure import AUDIT, by_category, context_of
from k8stokendetect.envelopes.base import Form, Inner
from k8stokendetect.envelopes.cloudwatch import AUDIT_STREAM, message_of
from k8stokendetect.input.limits import DEFAULT, GZIP, decompress


class _Log(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    log: str
    stream: str = ""
    pod: str = ""
    container: str = msgspec.field(name="containerID", default="")


class _Diagnostic(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A resource log record with no more keys than Azure writes: none that another wrapper is known by.

    Source: learn.microsoft.com/azure/azure-monitor/platform/resource-logs-schema, and what AKS adds (captured).
    """

    category: str
    properties: _Log
    resource_id: str = msgspec.field(name="resourceId", default="")
    operation: str = msgspec.field(name="operationName", default="")
    operation_version: str = msgspec.field(name="operationVersion", default="")
    build: str = msgspec.field(name="serviceBuild", default="")
    namespace: str = msgspec.field(name="ccpNamespace", default="")
    cloud: str = msgspec.field(name="Cloud", default="")
    environment: str = msgspec.field(name="Environment", default="")
    underlay: str = msgspec.field(name="UnderlayName", default="")
    underlay_class: str = msgspec.field(name="UnderlayClass", default="")
    level: str = ""
    location: str = ""
    time: str = ""


class _Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    records: list[_Diagnostic]


def _logs(message: _Message) -> list[str | None]:
    return [item.properties.log if item.category in AUDIT else None for item in message.records]


def _logged(message: _Message, index: int) -> Inner:
    item = message.records[index]
    place = f".records[{index}].properties.log"
    return by_category(item.category, item.properties.log, place, context_of(item.resource_id))


EVENT_HUB: Final = Form(msgspec.json.Decoder(_Message).decode, _logs, _logged)
"""A message whose records all hold their log as text."""


class _LogEvent(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename=go_name):
    """A log event with no more keys than CloudWatch's."""

    timestamp: int
    message: str
    ingestion_time: int | None = None
    event_id: str | None = None
    id: str | None = None
    owner: str | None = None
    log_group: str | None = None
    log_group_name: str | None = None
    log_group_identifier: str | None = None
    log_stream: str | None = None
    log_stream_name: str | None = None


_SOURCE: Final = {
    go_name(name): name
    for name in ("owner", "log_group", "log_group_name", "log_group_identifier", "log_stream", "log_stream_name")
}
"""Where a log event says where it comes from, by its names in JSON."""


def _texts(event: _LogEvent) -> Sequence[str | None]:
    stream = event.log_stream or event.log_stream_name
    return (event.message if stream is None or stream.startswith(AUDIT_STREAM) else None,)


def _told(event: _LogEvent, _: int) -> Inner:
    return message_of(event.message, ".message", {key: getattr(event, name) for key, name in _SOURCE.items()})


LOG_EVENT: Final = Form(msgspec.json.Decoder(_LogEvent).decode, _texts, _told)
"""A log event in a line of its own."""


class _Listed(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    message: str
    id: str | None = None
    timestamp: int | None = None


class _Payload(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename=go_name):
    """What a subscription's data holds."""

    log_events: list[_Listed]
    log_group: str
    log_stream: str
    message_type: Literal["DATA_MESSAGE"]
    owner: str | None = None
    subscription_filters: list[str] | None = None


class _Data(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: str


class _Subscription(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    awslogs: _Data


_read_subscribed: Final = msgspec.json.Decoder(_Subscription).decode
_decode_payload: Final = msgspec.json.Decoder(_Payload).decode


def _subscribed(line: bytes) -> _Payload:
    data = base64.b64decode(_read_subscribed(line).awslogs.data, validate=True)
    return _decode_payload(decompress(data, DEFAULT) if data.startswith(GZIP) else data)


def _listed_texts(payload: _Payload) -> Sequence[str | None]:
    if payload.log_events and payload.log_stream.startswith(AUDIT_STREAM):
        return [event.message for event in payload.log_events]
    raise ValueError  # nothing in it, or of another log: for `events` to say


def _listed_inner(payload: _Payload, index: int) -> Inner:
    source = {"owner": payload.owner, "logGroup": payload.log_group, "logStream": payload.log_stream}
    return message_of(payload.log_events[index].message, f".awslogs.data.logEvents[{index}].message", source)


SUBSCRIPTION: Final = Form(_subscribed, _listed_texts, _listed_inner)
"""What a subscription hands a Lambda function."""

FORMS: Final = (LOG_EVENT, EVENT_HUB, SUBSCRIPTION)
"""Every form, the most frequent first."""
