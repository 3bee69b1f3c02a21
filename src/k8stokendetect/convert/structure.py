# SPDX-License-Identifier: Apache-2.0
"""The one strict converter: mapping to Event and back; nothing is ever coerced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from k8stokendetect.convert.converter import as_mapping, class_hook, explain, go_name, strict_converter, strings
from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.convert.fast import UNUSUAL, Typed, event_of, typed
from k8stokendetect.convert.nesting import lost
from k8stokendetect.convert.redaction import redact, shown, without_deep_bodies
from k8stokendetect.convert.times import DayOrMonthError, format_time, moment_of
from k8stokendetect.errors import ReadError
from k8stokendetect.events import (
    TOKEN_SUBRESOURCE,
    Event,
    JsonValue,
    Platform,
    TokenGrant,
    TokenRequestSpec,
)

T = TypeVar("T")

_NOT_IN_RECORD = frozenset(
    "token_request token_grant carried_token platform origin cluster account region lost contradicted usual".split()
    + [field.name for field in attrs.fields(Event) if not field.init]
)


def _converter() -> cattrs.Converter:
    converter = strict_converter(classes=_is_of_an_event)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, tuple[str, ...]], _string_lists)
    converter.register_structure_hook_func(
        lambda kind: kind == Mapping[str, JsonValue], lambda value, _: dict(as_mapping(value))
    )
    converter.register_structure_hook(Event, class_hook(converter, Event, omit=_NOT_IN_RECORD))
    converter.register_unstructure_hook(datetime, format_time)
    converter.register_unstructure_hook_factory(_is_of_an_event, lambda kind: _unstructuring(converter, kind))
    return converter


def _string_lists(value: Any, kind: Any) -> dict[str, tuple[str, ...]]:
    """Take an object of lists of strings, as a user's extra is."""
    return {key: strings(item, kind) for key, item in as_mapping(value).items() if item is not None}


def _is_of_an_event(kind: Any) -> bool:
    return attrs.has(kind) and kind.__module__ == Event.__module__


def _unstructuring(converter: cattrs.Converter, kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Return how a class is written: under its Go names, without what is empty and what no record holds."""
    omitted = _NOT_IN_RECORD if kind is Event else frozenset[str]()
    names: Any = {
        field.name: override(omit=True) if field.name in omitted else override(rename=go_name(field.name))
        for field in attrs.fields(kind)
    }
    return make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True, **names)


CONVERTER = _converter()


def structure(value: Any, kind: type[T], path: str = "$") -> T:
    """Structure a value strictly; raises ReadError with the JSON path, and nothing else."""
    try:
        return CONVERTER.structure(value, kind)
    except Exception as error:  # noqa: BLE001 - hostile input: whatever goes wrong is told as a ReadError
        reason, where = explain(error, path)
    raise ReadError(reason, path=where)  # outside the handler: a chained exception would hold the record


def parse_event(
    record: Mapping[str, JsonValue], /, *, platform: Platform | None = None, origin: str | None = None
) -> Event:
    """Make an Event of one audit event as JSON gives it.

    Arguments:
        record: the decoded JSON object; it is not changed, nor are its bodies copied.
        platform: where it comes from, for the exclusions.
        origin: file and line, for errors and findings.

    Raises:
        ReadError: when the record is not an audit event or a field has a wrong type; says the JSON path.

    """
    if not isinstance(record, Mapping):
        raise ReadError("expected an audit event as a JSON object", origin)
    try:
        fields = typed(record)
    except UNUSUAL:
        event = None
    else:
        event = parse_quickly(fields, platform=platform, origin=origin)
    return parse_strictly(record, platform, origin) if event is None else event


def parse_quickly(fields: Typed, /, *, platform: Platform | None = None, origin: str | None = None) -> Event | None:
    """Make an Event of an ordinary record whose fields have the right types; None for any other."""
    try:
        event = event_of(fields, platform, origin)
        if event.request_object is None and event.response_object is None:
            return event
        request, grant = _token_bodies(event)
    except UNUSUAL:
        return None
    return complete(event, token_request=request, token_grant=grant)


def parse_strictly(
    record: Mapping[str, JsonValue], platform: Platform | None = None, origin: str | None = None, /
) -> Event:
    """Make an Event with the strict converter, or say what is wrong."""
    try:
        shallow, deep = without_deep_bodies(record)
        clean, carried_token = redact(shallow)
        clean, unread = _with_times(clean)
        event = structure(clean, Event)
        request, grant = _token_bodies(event)
    except ReadError as error:
        trouble = ReadError(error.reason, origin, error.path, _seen(record))
    else:
        return complete(
            event,
            token_request=request,
            token_grant=grant,
            carried_token=carried_token,
            platform=platform,
            origin=origin,
            lost=lost(deep) | unread,
        )
    del record
    raise trouble


TIMES: Final = ("requestReceivedTimestamp", "stageTimestamp")
UNDECIDED: Final = frozenset(f"{name} (day or month first?)" for name in TIMES)
"""What `Event.lost` says of dates that `read` has to be told how to read."""


def _with_times(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return a record with its times as Kubernetes writes them, and the names of those that cannot be read.

    Other fields tell enough about a call: a time that cannot be read is left out.
    """
    times: dict[str, str | None] = {}
    unread: set[str] = set()
    for name in TIMES:
        value = record.get(name)
        if value is None:
            continue
        times[name] = None
        try:
            moment = moment_of(value)
        except DayOrMonthError:
            unread.add(f"{name} (day or month first?)")
        except ValueError:
            unread.add(f"{name} (unreadable)")
        else:
            times[name] = format_time(moment) if moment else None
    return {**record, **times}, frozenset(unread)


def complete(event: Event, /, **fields: Any) -> Event:
    """Fill in what no record carries, in an Event that nobody else has seen yet: a copy would cost half the typing."""
    for name, value in fields.items():
        object.__setattr__(event, name, value)
    return event


def _seen(record: Mapping[str, JsonValue]) -> dict[str, str]:
    """Say what a record reveals that is not an Event: where no URI was logged (GKE), the objectRef says the same."""
    seen, ref = shown(record), record.get("objectRef")
    if "requestURI" not in seen and isinstance(ref, Mapping):
        parts = [ref.get(key) for key in ("namespace", "resource", "name", "subresource")]
        if all(isinstance(part, str) for part in parts):
            seen["requestURI"] = clean_text("/namespaces/{}/{}/{}/{}".format(*parts))
    return seen


def _token_bodies(event: Event) -> tuple[TokenRequestSpec | None, TokenGrant | None]:
    """Type the bodies of a TokenRequest where the level logged them and truncation left them."""
    if event.resource != TOKEN_SUBRESOURCE:
        return None, None
    asked = _token_request_body(event.request_object).get("spec")
    response = _token_request_body(event.response_object)
    spec = None if asked is None else structure(asked, TokenRequestSpec, "$.requestObject.spec")
    if response.get("status") is None:
        return spec, None
    grant = structure(response["status"], TokenGrant, "$.responseObject.status")
    if response.get("spec") is not None:
        granted = structure(response["spec"], TokenRequestSpec, "$.responseObject.spec")
        grant = attrs.evolve(grant, spec=granted)
    return spec, grant


def _token_request_body(body: JsonValue) -> Mapping[str, JsonValue]:
    """Return the body when it is a TokenRequest; a denied call's `Status` or a body that was cut away is missing."""
    return body if isinstance(body, Mapping) and body.get("kind", "TokenRequest") == "TokenRequest" else {}


def event_to_mapping(event: Event, /) -> dict[str, JsonValue]:
    """Return the audit event as JSON has it, under the Go names; what is empty is left out, as Go does."""
    mapping: dict[str, JsonValue] = {"kind": "Event", **CONVERTER.unstructure(event)}
    return mapping


def plain(value: Any, /) -> JsonValue:
    """Return a value as JSON has it: tuples as lists, times and attrs values as Kubernetes writes them."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return plain(CONVERTER.unstructure(value)) if attrs.has(type(value)) else value
