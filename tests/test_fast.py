# SPDX-License-Identifier: Apache-2.0
"""The quick way to an Event: it makes the Event that the strict converter makes, or leaves the record to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import ReadError
from k8stokendetect.convert.fast import UNUSUAL, Typed, decode_typed, typed
from k8stokendetect.convert.structure import parse_event, parse_quickly, parse_strictly
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records
from strategies import JWT, audit_events, damaged_events, json_values

FIELDS = sorted(
    "kind apiVersion level auditID stage requestURI verb user impersonatedUser authenticationMetadata sourceIPs "
    "userAgent objectRef responseStatus requestObject responseObject requestReceivedTimestamp stageTimestamp "
    "annotations".split()
)
TIMES = st.sampled_from(
    ["", "2026-11-23T21:43:45Z", "2026-11-23T21:43:45.1234567891Z", "2026-11-23T21:43:45.5+02:00", "2026-11-23", "x"]
)
LONG = "x" * 121


def strictly(record: dict[str, Any]) -> Any:
    """Return the converter's Event, or its error."""
    try:
        return parse_strictly(record)
    except ReadError as error:
        return error.args


def agree(record: dict[str, Any]) -> bool:
    """Compare both ways, of the mapping and of its text; tell whether the quick one took it."""
    expected = strictly(record)
    ways: list[tuple[Callable[[Any], Typed], Any]] = [(typed, record)]
    with contextlib.suppress(ValueError):
        ways.append((decode_typed, json.dumps(record)))
    taken = False
    for way, source in ways:
        try:
            event = parse_quickly(way(source))
        except UNUSUAL:
            continue
        if event is not None:
            assert event == expected
            taken = True
    return taken


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE])
def test_the_recordings_are_ordinary(path: Any) -> None:
    """Nearly every event takes the quick way; a third of them is looked at."""
    log = records(path)[::3]
    assert sum(map(agree, log)) > 0.97 * len(log)


@given(audit_events | damaged_events())
def test_any_event(record: dict[str, Any]) -> None:
    """Also with wrong types and missing fields: the error is the converter's."""
    agree(record)


@given(st.sampled_from(FIELDS), json_values | TIMES)
def test_any_value_in_any_field(field: str, value: Any) -> None:
    """Nulls, wrong types, odd times."""
    agree(token_request(requestObject=body()) | {field: value})


@given(
    st.sampled_from(["user", "impersonatedUser", "objectRef", "responseStatus", "requestObject", "annotations"]),
    st.sampled_from(
        "username uid groups extra resource name code status reason message details metadata spec x".split()
    ),
    json_values | TIMES | st.sampled_from([JWT, LONG, 201.0, True, [JWT], {"k": [JWT]}, {JWT: "x"}]),
)
def test_any_value_one_level_deeper(field: str, key: str, value: Any) -> None:
    """Tokens, long texts, numbers that are no integers."""
    record = token_request(requestObject=body())
    agree(record | {field: {**(record.get(field) or {}), key: value}})


@pytest.mark.parametrize(
    "change",
    [
        {"userAgent": JWT},
        {"requestURI": f"/x?t={JWT}"},
        {"annotations": {"x": JWT}},
        {"annotations": {"x": LONG, "y": JWT}},
        {"annotations": {JWT: "x"}},
        {"auditID": JWT},
        {"user": {"username": JWT}},
        {"user": {"groups": [JWT]}},
        {"user": {"extra": {"k": [JWT]}}},
        {"user": {"extra": {JWT: []}}},
        {"impersonatedUser": {"username": JWT}},
        {"objectRef": {"resource": "pods", "name": JWT}},
        {"sourceIPs": [JWT]},
        {"responseStatus": {"code": 422, "message": JWT}},
        {"responseStatus": {"code": 422, "details": {"causes": [{"message": JWT}]}}},
        {"responseStatus": {"code": 422, "metadata": {JWT: "x"}}},
        {"requestObject": {"spec": {"token": "opaque-token"}}},
        {"responseObject": {"status": {"token": JWT}}},
    ],
)
def test_no_token_gets_through(change: dict[str, Any]) -> None:
    """Wherever it stands."""
    record = token_request() | change
    agree(record)
    event = parse_event(record)
    assert event.carried_token
    assert not any(part in repr(event) for part in (*JWT.split("."), "opaque-token"))


@pytest.mark.parametrize("value", [b"x", object(), {1: "x"}])
def test_what_is_no_json_is_refused_in_every_part(value: Any) -> None:
    """A mapping that never was JSON."""
    for change in ({"requestObject": {"x": value}}, {"responseStatus": {"details": {"x": value}}}):
        with pytest.raises(ReadError, match="not a JSON value"):
            parse_event(token_request() | change)


def test_what_was_not_redacted_is_not_shown() -> None:
    """Not even in a traceback that prints its values."""
    assert JWT not in repr(typed(token_request(userAgent=JWT)))
