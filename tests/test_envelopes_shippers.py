# SPDX-License-Identifier: Apache-2.0
"""Audit events out of the records of log shippers and log stores."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import ReadError
from k8stokendetect.envelopes import Context, Inner, native, shippers, unwrap
from recordings import METADATA, records
from strategies import json_values
from wrappings import shippers as wrapped

TOKEN_REQUESTS = [record for record in records(METADATA) if record.get("objectRef", {}).get("subresource") == "token"]
EVENT = token_request()
TEXT = json.dumps(EVENT)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (native, shippers))


def unwrapped(content: bytes) -> Iterator[Inner]:
    """Unwrap every line of a file."""
    for line in content.splitlines():
        yield from unwrap(json.loads(line))


@pytest.mark.parametrize("name", wrapped.WRAPPINGS)
def test_every_token_request_comes_back(name: str) -> None:
    """Once, and the same in every field: a shipper loses nothing."""
    found = list(unwrapped(wrapped.WRAPPINGS[name](TOKEN_REQUESTS)))
    assert [inner.record for inner in found] == TOKEN_REQUESTS
    assert all(inner.is_event and not inner.context.lost for inner in found)


@pytest.mark.parametrize(
    ("record", "context"),
    [
        (wrapped.fluent_bit(EVENT), Context(pods=frozenset({"kube-system/kube-apiserver-cp-1"}))),
        (wrapped.hec(EVENT), Context(cluster=wrapped.CLUSTER)),
        (wrapped.openshift(EVENT), Context("openshift", wrapped.CLUSTER)),
        ({"streams": wrapped.loki_streams([EVENT])}, Context(cluster=wrapped.CLUSTER)),
        ({"data": [wrapped.datadog(EVENT, parsed=False)]}, Context(cluster=wrapped.CLUSTER)),
        ({"data": [wrapped.datadog(EVENT, parsed=True)]}, Context(cluster=wrapped.CLUSTER)),
        ({"message": TEXT, "tags": [3, "env:x"], "openshift": 3}, Context()),
        ({"message": TEXT, "tags": "kube_cluster_name:x", "fields": []}, Context()),
        ({"message": TEXT, "tags": ["kube_cluster_name:"]}, Context()),
    ],
)
def test_context(record: dict[str, Any], context: Context) -> None:
    """The cluster is told where the shipper names it, and OpenShift by its own logging's records."""
    (inner,) = unwrap(record)
    assert (inner.record, inner.context) == (EVENT, context)


def test_places() -> None:
    """Each event says where it stood."""
    rows: list[Any] = [
        {"data": [wrapped.datadog(EVENT, parsed=False)]},
        {"streams": wrapped.loki_streams([EVENT])},
        {"results": [wrapped.splunk_row(EVENT)]},
        {"result": wrapped.splunk_row(EVENT)},
        wrapped.hec(EVENT),
        wrapped.openshift(EVENT),
    ]
    assert [inner.place for row in rows for inner in unwrap(row)] == [
        ".data[0].attributes.message",
        ".streams[0].values[0]",
        ".results[0]._raw",
        ".result._raw",
        ".event",
        ".structured",
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"log": "I1123 21:43:46 started\n", "stream": "stderr"},
        {"level": "info", "msg": "reconciled"},
        {"message": ""},
        {"_raw": "<134>Nov 23 sshd"},
        {"event": "login", "sourcetype": "app"},
        {"event": "login", "time": 3},
        {"streams": [{"values": [["1", "x"]]}]},
        {"data": [{"attributes": {"message": "x", "attributes": {}}}]},
        {"log": {"file": {"path": "p"}}, "message": "x"},
        {"message": "x", "attributes": {"user": "x"}},
    ],
)
def test_another_containers_line_is_skipped(record: dict[str, Any]) -> None:
    """One shipper reads the logs of all pods: their lines are counted and no error."""
    (inner,) = unwrap(record)
    assert (inner.record, inner.skipped) == (None, "a log line of something else")


@pytest.mark.parametrize(
    "record", [{"streams": []}, {"preview": False, "results": []}, {"preview": True, "lastrow": True}]
)
def test_an_answer_that_found_nothing_is_skipped(record: dict[str, Any]) -> None:
    """It is counted, and no error."""
    (inner,) = unwrap(record)
    assert inner.skipped == "an answer without log lines"


@pytest.mark.parametrize(
    "text",
    [TEXT[:300], "x " + TEXT[:300], 'audit.k8s.io/v1 "secret"', '"auditID": secret', "{secret"],
)
def test_a_text_that_speaks_of_an_audit_event_is_an_error(text: str) -> None:
    """An event that was cut off is no other log's line, also behind a prefix; the reason repeats nothing of it."""
    for record in ({"log": text}, wrapped.hec({}) | {"event": text}, {"streams": [{"values": [["1", text]]}]}):
        (inner,) = unwrap(record)
        assert isinstance(inner.record, ReadError)
        assert inner.record.reason == "text in a wrapper that is not JSON"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"streams": ["secret"]}, "a Loki stream without a list of values"),
        ({"streams": [{"values": "secret"}]}, "a Loki stream without a list of values"),
        ({"streams": [{"values": ["secret"]}]}, "a Loki value without a time and a line"),
        ({"streams": [{"values": [["1"]]}]}, "a Loki value without a time and a line"),
        ({"streams": [{"values": [["1", 3]]}]}, "a Loki value without a time and a line"),
        ({"data": ["secret", wrapped.datadog(EVENT, parsed=True)]}, "a Datadog log without attributes"),
        ({"data": [{"attributes": 3}, wrapped.datadog(EVENT, parsed=True)]}, "a Datadog log without attributes"),
    ],
)
def test_malformed_rows_are_errors(record: dict[str, Any], reason: str) -> None:
    """What looks like an answer and holds something else is told, row by row."""
    first = next(iter(unwrap(record)))
    assert isinstance(first.record, ReadError)
    assert first.record.reason == reason


@pytest.mark.parametrize("other", [None, 7, "x", []])
def test_a_search_result_that_is_no_row_hides_no_other(other: Any) -> None:
    """Whoever edits an answer, or cuts it, may leave one."""
    inners = list(unwrap({"results": [other, wrapped.splunk_row(EVENT)]}))
    assert [inner.record["auditID"] for inner in inners if inner.is_event] == [EVENT["auditID"]]


def test_a_search_result_without_raw_is_an_error() -> None:
    """A table of a Splunk search has lost the event; nobody guesses it together."""
    for record in ({"preview": False, "result": {"verb": "create"}}, {"preview": False, "results": [3]}):
        (inner,) = unwrap(record)
        assert isinstance(inner.record, ReadError)


@pytest.mark.parametrize(
    "record",
    [
        {"message": "x", "log": TEXT},
        {"message": json.dumps({"a": 1}), "log_processed": EVENT},
        {"log": {"file": {}}, "message": TEXT},
        {"msg": "x", "event": EVENT, "source": "s"},
        {"message": {"a": 1}, "short_message": TEXT},
        {"message": "x", "attributes": EVENT},
    ],
)
def test_the_event_is_taken_whatever_stands_beside_it(record: dict[str, Any]) -> None:
    """A parsed event first, then JSON, then other text, then any object."""
    (inner,) = unwrap(record)
    assert inner.record == EVENT


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        EVENT | {"log": "x", "message": "x"},
        {"auditID": "a", "verb": "create", "message": TEXT},
        {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [], "message": "x"},
        {"kind": "Event", "apiVersion": "v1", "message": "pulled"},
        {"kind": "Status", "apiVersion": "v1", "message": "Unauthorized"},
        {"timestamp": 1795470053123, "message": TEXT},
        {"timestamp": 1795470053123, "message": TEXT, "ingestionTime": 1, "eventId": "3", "logStreamName": "s"},
        {"id": "3", "timestamp": 1795470053123, "message": TEXT},
        {"message": {"data": "e30=", "messageId": "1"}, "subscription": "projects/p/subscriptions/s"},
        {"records": [{"properties": {"log": TEXT}}]},
        {"category": "kube-audit", "properties": {"log": TEXT}},
        {"Category": "kube-audit", "log_s": TEXT},
        {"class_uid": 6003, "message": "ResponseComplete"},
        {"messageType": "DATA_MESSAGE", "logEvents": []},
        {"event": {"dataset": "kubernetes.audit_logs"}, "host": {"name": "h"}, "kubernetes": {"audit": EVENT}},
        {"data": {"resultType": "matrix", "result": []}},
        {"data": [{"attributes": {}}]},
        {"results": [[{"field": "@message", "value": TEXT}]]},
        {"log": 3},
        {"event": 3, "source": "x"},
        {},
        [],
        None,
        TEXT,
    ],
)
def test_records_of_others_are_left_to_them(record: object) -> None:
    """Native events, Kubernetes objects, CloudWatch, Azure, Pub/Sub, OCSF and Elastic have readers of their own."""
    assert not shippers.recognises(record)


BASES = st.sampled_from(
    [json.loads(line) for wrap in wrapped.WRAPPINGS.values() for line in wrap([EVENT]).splitlines()]
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a wrapper's record of which one value, at any depth, is any JSON."""
    record: Any = copy.deepcopy(draw(BASES))
    node = record
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key]) or draw(st.integers(0, 3)) == 0:
            node[key] = draw(json_values)
            return record
        node = node[key]


@given(damaged() | json_values)
def test_no_json_raises_and_nothing_vanishes(record: Any) -> None:
    """Whatever is recognised yields something; each thing is an event, an error, skipped, or handed on."""
    if shippers.recognises(record):
        assert list(shippers.events(record))
    for inner in unwrap(record):
        assert inner.is_event or inner.skipped or isinstance(inner.record, ReadError)
