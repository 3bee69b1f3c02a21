# SPDX-License-Identifier: Apache-2.0
"""CloudWatch Logs and what is fed by it: nothing is lost, nothing raises, nothing vanishes."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import ReadError, parse_event
from k8stokendetect.envelopes import cloudwatch, native, unwrap
from k8stokendetect.envelopes.base import Context, Inner
from recordings import METADATA, records
from strategies import json_values
from wrappings.cloudwatch import (
    ACCOUNT,
    CLUSTER,
    GROUP,
    REGION,
    STREAM,
    WRAPPINGS,
    filtered_event,
    firehose,
    kinesis,
    log_event,
    packed,
    panther,
    panther_key,
    payload,
    row,
    sentinel,
    text,
)

PANTHER = "panther Amazon.EKS.Audit"
TOKEN_REQUESTS = [event for event in records(METADATA) if event.get("objectRef", {}).get("subresource") == "token"]
EVENT = token_request(user={"username": "alice", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}})
EKS = Context("eks")
IN_GROUP = Context("eks", CLUSTER, ACCOUNT)
IN_REGION = Context("eks", CLUSTER, ACCOUNT, REGION)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this wrapper before the native one."""
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (cloudwatch, native))


def delivered(name: str, events: list[dict[str, Any]]) -> list[Any]:
    """Return the records of a file."""
    return [json.loads(line) for line in WRAPPINGS[name](events).splitlines()]


def unwrapped(name: str, events: list[dict[str, Any]]) -> list[Inner]:
    """Unwrap what a source delivers."""
    return [inner for record in delivered(name, events) for inner in unwrap(record)]


def read(record: Any) -> list[Inner]:
    """Return what this wrapper alone takes out of a record that it recognises."""
    assert cloudwatch.recognises(record)
    return list(cloudwatch.events(record))


def errors(record: Any) -> list[tuple[str, str]]:
    """Return what is wrong where."""
    return [(inner.place, str(inner.record)) for inner in unwrap(record) if isinstance(inner.record, ReadError)]


@pytest.mark.parametrize("name", [name for name in WRAPPINGS if name != PANTHER])
def test_every_event_comes_back_as_it_was(name: str) -> None:
    """CloudWatch Logs, its deliveries and Sentinel lose nothing."""
    inners = unwrapped(name, TOKEN_REQUESTS)

    assert [inner.record for inner in inners] == TOKEN_REQUESTS
    assert all(inner.is_event and inner.context.platform == "eks" and not inner.context.lost for inner in inners)


def test_panther_keeps_all_but_half_of_the_fraction_of_a_second() -> None:
    """Times end at the millisecond, and an empty `metadata` is gone; every other field comes back."""

    def kept(event: dict[str, Any]) -> dict[str, Any]:
        status = {key: value for key, value in event["responseStatus"].items() if key != "metadata"}
        return event | {"responseStatus": status, "requestReceivedTimestamp": "cut", "stageTimestamp": "cut"}

    inners = unwrapped(PANTHER, TOKEN_REQUESTS)

    assert [kept(event) for event in TOKEN_REQUESTS] == [kept(inner.record) for inner in inners]
    for event, inner in zip(TOKEN_REQUESTS, inners, strict=True):
        before, after = parse_event(event).time, parse_event(inner.record).time
        assert before is not None
        assert before.replace(microsecond=before.microsecond // 1000 * 1000) == after
        assert inner.record["stageTimestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("cloudwatch log events", EKS),
        ("cloudwatch filter-log-events", EKS),
        ("cloudwatch get-log-events", EKS),
        ("cloudwatch insights results", IN_GROUP),
        ("cloudwatch insights rows", IN_GROUP),
        ("cloudwatch subscription", IN_GROUP),
        ("cloudwatch subscription, decoded", IN_GROUP),
        ("cloudwatch kinesis", IN_GROUP),
        ("cloudwatch firehose", IN_GROUP),
        ("sentinel AWSEKSLogs", IN_REGION),
        ("sentinel AWSEKSLogs, RawEvent as text", IN_REGION),
        (PANTHER, EKS),
    ],
)
def test_the_wrapper_tells_where_the_events_come_from(name: str, context: Context) -> None:
    """The log group names the cluster, `owner` the account; where neither is told, it stays absent."""
    assert [inner.context for inner in unwrapped(name, [EVENT, EVENT])] == [context, context]


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"logGroup": GROUP}, Context("eks", CLUSTER)),
        ({"logGroupName": GROUP, "owner": ACCOUNT}, IN_GROUP),
        ({"logGroupIdentifier": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{GROUP}"}, IN_REGION),
        ({"logGroup": "/our/clusters"}, Context()),
        ({"logGroup": "/our/clusters", "logStream": "node-1"}, Context()),
        ({"logGroup": "/our/clusters", "logStream": STREAM}, EKS),
    ],
)
def test_a_log_event_may_name_its_group(fields: dict[str, str], context: Context) -> None:
    """By name or ARN; a group of another name says nothing of EKS, unless its stream does."""
    [inner] = read(log_event(EVENT) | fields)

    assert inner.context == context


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (filtered_event(EVENT), ".message"),
        ({"events": [log_event(EVENT)]}, ".events[0].message"),
        (row(EVENT), "[1].value"),
        ({"results": [row(EVENT)]}, ".results[0][1].value"),
        ({"awslogs": {"data": packed(payload([EVENT]))}}, ".awslogs.data.logEvents[0].message"),
        (kinesis([EVENT]), ".Records[0].kinesis.data.logEvents[0].message"),
        (firehose([EVENT]), ".records[0].data.logEvents[0].message"),
        (sentinel(EVENT), ".RawEvent"),
        (panther(EVENT), ""),
    ],
)
def test_the_place_of_an_event_is_told(record: Any, place: str) -> None:
    """As a path into the record; what base64 and gzip hold follows on the field that holds it."""
    assert [(place, True)] == [(inner.place, inner.is_event) for inner in unwrap(record)]


def test_a_message_cut_off_is_handed_on_as_text() -> None:
    """What EKS cut off ends in `[Truncated...]`; the caller says what its beginning reveals."""
    cut = text(EVENT)[:300] + "[Truncated...]"

    [inner] = read(log_event(EVENT) | {"message": cut})

    assert Inner(cut, ".message", EKS) == inner
    assert errors(log_event(EVENT) | {"message": cut}) == [(".message", "text in a wrapper that is not JSON")]


def test_a_message_may_have_been_decoded() -> None:
    """Some tools decode a message that is JSON."""
    assert [Inner(EVENT, ".message", EKS)] == read(log_event(EVENT) | {"message": EVENT})


def test_data_may_have_been_decompressed() -> None:
    """Firehose can decompress before it hands on."""
    plain = base64.b64encode(text(payload([EVENT])).encode()).decode()

    assert [inner.record for inner in unwrap({"records": [{"recordId": "1", "data": plain}]})] == [EVENT]


@pytest.mark.parametrize(
    "record",
    [
        {
            "messageType": "CONTROL_MESSAGE",
            "owner": "CloudwatchLogs",
            "logGroup": "",
            "logStream": "",
            "subscriptionFilters": [],
            "logEvents": [{"id": "", "timestamp": 1, "message": "CWL CONTROL MESSAGE: Checking health"}],
        },
        payload([{}]) | {"logStream": "authenticator-0a1b"},
        payload([{}]) | {"logStream": "kube-apiserver-0a1b"},
        payload([{}]) | {"logStream": "a-log-of-next-year"},
        payload([]),
        filtered_event({}) | {"logStreamName": "kube-scheduler-0a1b"},
        {"logStreamName": "kube-scheduler-0a1b", "message": "I0101", "timestamp": "2026-01-01T00:00:00Z"},
        {"events": [], "searchedLogStreams": []},
        {"results": [], "statistics": {}, "status": "Complete"},
        [{"field": "@message", "value": "I0101"}, {"field": "@logStream", "value": "kube-scheduler-0a1b"}],
    ],
)
def test_what_is_rightly_no_audit_event_is_skipped(record: Any) -> None:
    """Control messages, other logs of the control plane, empty answers: counted, no error."""
    [inner] = unwrap(record)

    assert inner.record is None
    assert inner.skipped


def test_a_foreign_log_group_is_read_whatever_its_streams_are_called() -> None:
    """Whoever ships an audit log to CloudWatch chooses both names; nothing of it may vanish."""
    record = payload([EVENT]) | {"logGroup": "/our/clusters", "logStream": "kube-apiserver-node-1"}

    assert [inner.record for inner in unwrap(record)] == [EVENT]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (log_event(EVENT) | {"message": None}, [".message"]),
        ({"events": 1, "searchedLogStreams": []}, [".events"]),
        ({"events": ["x", log_event(EVENT), {}]}, [".events[0]", ".events[2].message"]),
        (payload([EVENT]) | {"logEvents": {}}, [".logEvents"]),
        (payload([EVENT]) | {"logEvents": [7]}, [".logEvents[0]"]),
        ({"results": None, "statistics": {}, "status": "Complete"}, [".results"]),
        ({"results": [row(EVENT), []]}, [".results[1]"]),
        ([{"field": "user.username", "value": "alice"}], [""]),
        ([{"field": "@message", "value": ["x"]}], ["[0].value"]),
        ({"awslogs": {"data": 1}}, [".awslogs.data"]),
        ({"awslogs": {"data": "\u00e9"}}, [".awslogs.data"]),
        ({"awslogs": {"data": "e30"}}, [".awslogs.data"]),
        ({"awslogs": {"data": "H4sI"}}, [".awslogs.data"]),
        ({"awslogs": {"data": packed(payload([EVENT]))[:40]}}, [".awslogs.data"]),
        ({"awslogs": {"data": base64.b64encode(gzip.compress(b"x")[:10] + b"\xff" * 9).decode()}}, [".awslogs.data"]),
        ({"Records": [None, {"kinesis": None}, {"kinesis": {}}]}, [f".Records[{n}].kinesis.data" for n in range(3)]),
        ({"records": [{"data": "!"}, {"data": None}, "x"]}, [f".records[{n}].data" for n in range(3)]),
        (sentinel(EVENT) | {"RawEvent": None}, [".RawEvent"]),
    ],
)
def test_what_is_malformed_is_told_in_its_place(record: Any, expected: list[str]) -> None:
    """One ReadError for each thing that cannot be read; what stands beside it is read."""
    assert cloudwatch.recognises(record)
    assert expected == [place for place, _ in errors(record)]


def test_a_gzip_bomb_is_not_unpacked() -> None:
    """At most 200 times its size comes out of a payload above 1 MiB; several gzip members count together."""
    bomb = gzip.compress(bytes(20 << 20)) * 2

    [inner] = unwrap({"awslogs": {"data": base64.b64encode(bomb).decode()}})

    assert f"larger than {200 * len(bomb)} bytes when decompressed (limit max_ratio)" in str(inner.record)


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        EVENT | {"timestamp": 1, "message": "x", "logGroup": GROUP, "events": [log_event(EVENT)]},
        [],
        [EVENT],
        {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [EVENT]},
        {"timestamp": "2026-11-23T21:42:42Z", "message": text(EVENT)},
        {"timestamp": 1, "message": text(EVENT), "host": "cp-1", "source_type": "file"},
        {"timestamp": True, "message": text(EVENT)},
        {"message": {"data": "e30="}, "subscription": "projects/p/subscriptions/s"},
        {"records": [{"category": "kube-audit", "data": "e30=", "properties": {"log": text(EVENT)}}]},
        {"records": []},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"results": [{"_raw": text(EVENT)}], "preview": False},
        {"events": [EVENT]},
        {"RawEvent": EVENT},
        {"p_log_type": "Azure.MonitorActivity", "properties": {"log": text(EVENT)}},
        None,
        "text",
    ],
)
def test_the_records_of_others_are_left_to_them(record: Any) -> None:
    """Audit events, shippers, Azure, Google, Splunk, CloudTrail."""
    assert not cloudwatch.recognises(record)
    assert not list(cloudwatch.events(record))


@example({"a_b_slash_c": None, "a.b_slash_c": None})
@given(
    st.dictionaries(st.text("ab_./", max_size=4) | st.sampled_from(["a_b_slash_c", "a.b/c", "x_slash_y"]), st.none())
)
def test_panthers_keys_never_become_one(extra: dict[str, None]) -> None:
    """What cannot be told apart keeps the name Panther gave it."""
    [inner] = read(panther(EVENT) | {"user": {"extra": extra}})

    assert len(inner.record["user"]["extra"]) == len(extra)


@pytest.mark.parametrize(
    "key",
    ["authentication.kubernetes.io/pod-name", "sigs.k8s.io/aws-iam-authenticator/principalId", "canonicalArn", "a_b"],
)
def test_panthers_keys_get_their_names_back(key: str) -> None:
    """Dots before the slash, every slash, and keys that never had one."""
    [inner] = read(panther(EVENT) | {"user": {"extra": {panther_key(key): ["x"]}}})

    assert inner.record["user"] == {"extra": {key: ["x"]}}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with one value replaced."""
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


SAMPLES = [delivered(name, [EVENT])[0] for name in WRAPPINGS]
PLACES = [(sample, path) for sample in SAMPLES for path in paths(sample)]


def check(record: Any) -> None:
    """Check that a record gives something, and nothing but events, errors and skips."""
    assert not cloudwatch.recognises(record) or list(cloudwatch.events(record))
    for inner in unwrap(record):
        assert inner.is_event or inner.skipped or isinstance(inner.record, ReadError)


@given(st.sampled_from(PLACES), json_values)
def test_a_damaged_record_raises_nothing_and_does_not_vanish(place: tuple[Any, tuple[Any, ...]], new: Any) -> None:
    """With any JSON in the place of any value."""
    check(replaced(*place, new))


@given(json_values)
def test_any_json_raises_nothing(value: Any) -> None:
    """Alone, and under every name that this wrapper looks at."""
    check(value)
    for key in ("message", "events", "logEvents", "results", "awslogs", "Records", "records", "RawEvent"):
        check({key: value, "timestamp": 1, "messageType": value, "searchedLogStreams": value})
