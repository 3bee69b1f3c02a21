# SPDX-License-Identifier: Apache-2.0
"""Google GKE: what Cloud Logging and Pub/Sub make of audit events."""

from __future__ import annotations

import base64
import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import ReadError, detect, parse_event, read
from k8stokendetect.envelopes import Context, Inner, azure, cloudwatch, elastic, gcp, native, shippers, unwrap
from k8stokendetect.errors import K8sTokenDetectError
from recordings import METADATA, REQUEST_RESPONSE, records
from strategies import JWT, json_values
from wrappings import azure as wrapped_azure
from wrappings import cloudwatch as wrapped_cloudwatch
from wrappings import elastic as wrapped_elastic
from wrappings import gcp as wrap
from wrappings import shippers as wrapped_shippers

LOST = frozenset({"groups", "extra", "impersonation", "source IPs"})
GKE = Context("gke", wrap.CLUSTER, wrap.PROJECT, wrap.LOCATION, LOST)
EVENT = token_request()
REF = EVENT["objectRef"]
KEPT = {"apiGroup", "apiVersion", "resource", "subresource", "namespace", "name"}
NEW_NAMESPACE = ("create", "namespaces")
CODES = {422: 400, 405: None, 500: None}
"""HTTP codes that Cloud Logging's gRPC codes do not tell."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (gcp, native, shippers))


@functools.cache
def token_requests() -> list[dict[str, Any]]:
    """Return the recorded calls to serviceaccounts/token, but for the stage that GKE does not log."""
    return [
        event
        for path in (METADATA, REQUEST_RESPONSE)
        for event in records(path)
        if event.get("objectRef", {}).get("subresource") == "token" and event["stage"] != "RequestReceived"
    ]


def unwrapped(content: bytes) -> Iterator[Inner]:
    """Unwrap a file of one JSON value, or every line of it."""
    for line in [content] if content[:1] == b"[" else content.splitlines():
        yield from unwrap(json.loads(line))


def told_code(event: dict[str, Any]) -> int | None:
    """Return the HTTP code that can be told: the recorded one where it is unambiguous, or stands in the response."""
    code: int = event["responseStatus"]["code"]
    return code if event.get("responseObject", {}).get("kind") == "Status" else CODES.get(code, code)


def left(event: dict[str, Any]) -> dict[str, Any]:
    """Return what Cloud Logging keeps of an event."""
    code = event["responseStatus"]["code"]
    kept = {
        key: event[key]
        for key in ("auditID", "verb", "userAgent", "requestObject", "responseObject", "annotations")
        if event.get(key) or key == "verb"
    }
    kept |= {"stage": "ResponseComplete", "requestReceivedTimestamp": event["requestReceivedTimestamp"]}
    kept["sourceIPs"] = event["sourceIPs"][:1]
    kept["responseStatus"] = {"message": event["responseStatus"].get("message", "refused")} if code >= 400 else {}
    told = told_code(event)
    kept["responseStatus"] |= {"reason": f"gRPC code {wrap.GRPC[code]}"} if told is None else {"code": told}
    if event["user"].get("username"):
        kept["user"] = {"username": event["user"]["username"]}
    if "objectRef" in event:
        kept["objectRef"] = {key: value for key, value in event["objectRef"].items() if key in KEPT}
    return kept


def audit(payload: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """Return the entry of a mint with other values in its protoPayload, or beside it."""
    made = wrap.entry(EVENT)
    return made | {"protoPayload": made["protoPayload"] | (payload or {})} | entry


def answer(payload: dict[str, Any]) -> Any:
    """Return the responseStatus that is read of an entry of a mint whose protoPayload has these values."""
    (inner,) = unwrap(audit(payload))
    return inner.record.get("responseStatus")


@pytest.mark.parametrize("name", sorted(set(wrap.WRAPPINGS) - wrap.AS_LOGGED))
def test_the_recorded_token_requests_come_back(name: str) -> None:
    """What Cloud Logging keeps is as recorded, in every form of delivery; what it loses is declared."""
    found = list(unwrapped(wrap.WRAPPINGS[name](token_requests())))

    assert [left(event) for event in token_requests()] == [inner.record for inner in found]
    assert all(inner.is_event for inner in found)
    for event, inner in zip(token_requests(), found, strict=True):
        lost = LOST
        lost |= set() if "requestObject" in event or "responseObject" in event else {"bodies"}
        lost |= set() if told_code(event) else {"code"}
        assert inner.context == Context("gke", wrap.CLUSTER, wrap.PROJECT, wrap.LOCATION, frozenset(lost))


@pytest.mark.parametrize("name", sorted(wrap.AS_LOGGED))
def test_what_an_agent_collected_comes_back_whole(name: str) -> None:
    """A self-managed cluster's own events are as logged; that it is GKE is not said, the cluster is."""
    found = list(unwrapped(wrap.WRAPPINGS[name](token_requests())))

    assert token_requests() == [inner.record for inner in found]
    assert {Context(None, wrap.CLUSTER, wrap.PROJECT, wrap.LOCATION)} == {inner.context for inner in found}


def test_the_same_mints_are_reported() -> None:
    """Of every recorded call, those that issued a token, by the same caller for the same service account."""
    events = [parse_event(event) for event in token_requests()]
    found = [parse_event(inner.record) for inner in unwrapped(wrap.WRAPPINGS["gke log entries"](token_requests()))]

    assert [event.mints_token for event in events] == [event.mints_token for event in found]
    assert [event.service_account for event in events] == [event.service_account for event in found]
    assert [event.actor.username for event in events] == [event.actor.username for event in found]
    assert [event.token_request for event in events] == [event.token_request for event in found]
    assert [event.time for event in events] == [event.time for event in found]
    assert [event.denied for event in events] == [event.denied for event in found]


def test_every_recorded_target_comes_back() -> None:
    """Cluster-wide and namespaced resources, collections, groups, subresources, and paths of no resource.

    Only the creation of a namespace differs: natively it has no namespace, which its URI alone would tell.
    """
    log = [event for event in records(METADATA) if event.get("objectRef", REF).get("resource")]
    log = [event for event in log if (event["verb"], event.get("objectRef", REF)["resource"]) != NEW_NAMESPACE]
    found = [inner.record.get("objectRef") for inner in unwrapped(wrap.WRAPPINGS["gke log entries"](log))]

    assert [left(event).get("objectRef") for event in log] == found
    assert None in found


def test_read_names_platform_cluster_project_and_location() -> None:
    """What the entry tells ends up on the Event, without an option."""
    (event,) = read(json.dumps(wrap.push(EVENT)).encode())

    assert (event.platform, event.cluster) == ("gke", wrap.CLUSTER)
    assert (event.account, event.region) == (wrap.PROJECT, wrap.LOCATION)
    assert event.lost == LOST | {"bodies"}


def test_places() -> None:
    """Which message of a pull."""
    content = wrap.WRAPPINGS["gke pub/sub pull"]([EVENT, EVENT])

    assert [inner.place for inner in unwrap(json.loads(content))] == [
        ".receivedMessages[0].message.data",
        ".receivedMessages[1].message.data",
    ]
    assert [inner.place for inner in unwrap(wrap.message(wrap.entry(EVENT)))] == [".data"]
    assert [inner.place for inner in unwrap(wrap.collected(jsonPayload=EVENT))] == [".jsonPayload"]


@pytest.mark.parametrize("drop", ["attributes", "messageId", "publishTime"])
def test_a_message_is_told_without_its_lesser_fields(drop: str) -> None:
    """Tools leave some of them out; or hand on the data decoded, or unwrapped."""
    message = wrap.message(wrap.entry(EVENT))
    del message[drop]

    assert [left(EVENT)] == [inner.record for inner in unwrap(message)]
    for data in (wrap.entry(EVENT), json.dumps(wrap.entry(EVENT))):
        assert [left(EVENT)] == [inner.record for inner in unwrap(message | {"data": data})]
        assert [left(EVENT)] == [inner.record for inner in unwrap({"message": message | {"data": data}})]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"status": {}}, 201),
        ({"status": {"code": 0}}, 201),
        ({"status": {"code": None}}, 201),
        ({"status": None}, 201),
        ({"status": {}, "authorizationInfo": None}, 201),
        ({"status": {}, "authorizationInfo": []}, 201),
        ({"status": {}, "methodName": "io.k8s.core.v1.serviceaccounts.token.get"}, 200),
        ({"status": None, "authorizationInfo": None}, None),
        ({"status": None, "authorizationInfo": []}, None),
        ({"status": {"code": 3}}, 400),
        ({"status": {"code": 16}, "authorizationInfo": None}, 401),
        ({"status": {"code": 7}}, 403),
        ({"status": {"code": 5}}, 404),
        ({"status": {"code": 6}}, 409),
        ({"status": {"code": 5}, "authorizationInfo": [{"granted": False}]}, 404),
        ({"status": {}, "authorizationInfo": [{}]}, 403),
        ({"status": {}, "authorizationInfo": [{"granted": None}]}, 403),
        ({"status": {"code": 0}, "authorizationInfo": [{"granted": True}, {"granted": False}]}, 403),
        ({"status": None, "authorizationInfo": [{"granted": False}]}, 403),
        ({"status": {"code": 13}, "authorizationInfo": [{"granted": False}]}, 403),
        ({"status": {}, "response": {"kind": "Status", "status": "Failure", "code": 422}}, 422),
        ({"status": {"code": 3}, "response": {"kind": "Status", "status": "Failure", "code": 422}}, 422),
        ({"status": {"code": 3}, "response": {"kind": "Status", "status": "Failure"}}, 400),
        ({"status": {}, "response": {"kind": "Status", "status": "Failure"}}, None),
        ({"status": {}, "response": {"kind": "Status", "status": "Success"}}, 201),
    ],
)
def test_the_answer(payload: dict[str, Any], code: int | None) -> None:
    """Success must be said and not contradicted; who was not granted it, was refused; the API's own answer is best."""
    assert (answer(payload) or {}).get("code") == code
    (inner,) = unwrap(audit(payload))
    assert ("code" in inner.context.lost) is (code is None)


@pytest.mark.parametrize("grpc", [1, 2, 9, 12, 13, 14, 99, -1])
def test_other_codes_are_no_http_code(grpc: int) -> None:
    """No code is invented, and nothing was minted; the message stays."""
    assert answer({"status": {"code": grpc, "message": "m"}}) == {"reason": f"gRPC code {grpc}", "message": "m"}


def test_an_issued_token_is_told_by_its_label_whatever_the_status() -> None:
    """The annotation with the credential id is a label here; the API server writes it for issued tokens only."""
    (inner,) = unwrap(audit({"status": None, "authorizationInfo": None}))

    assert "responseStatus" not in inner.record
    assert parse_event(inner.record).mints_token


@pytest.mark.parametrize(
    ("payload", "ref"),
    [
        ({}, REF),
        ({"methodName": "io.k8s.core.v1.serviceaccounts.create"}, REF),
        ({"resourceName": "core/v1/namespaces/prod/serviceaccounts/payments-sa"}, REF),
        ({"resourceName": "core/v1/namespaces/prod/serviceaccounts/a?b%2Fc/token"}, REF | {"name": "a?b%2Fc"}),
        ({"resourceName": None}, {"resource": "serviceaccounts", "subresource": "token"}),
        ({"resourceName": ""}, {"resource": "serviceaccounts", "subresource": "token"}),
        ({"resourceName": "core"}, {"resource": "serviceaccounts", "subresource": "token"}),
        ({"resourceName": "core/v1/pods/x"}, {"resource": "serviceaccounts", "subresource": "token"}),
        ({"methodName": "io.k8s.post"}, None),
        ({"methodName": "io.k8s.post", "resourceName": "api"}, None),
        ({"methodName": "", "resourceName": "///"}, None),
        (
            {"methodName": "io.k8s.core.v1.namespaces.status.update", "resourceName": "core/v1/namespaces/x/status"},
            {"resource": "namespaces", "namespace": "x", "name": "x", "subresource": "status", "apiVersion": "v1"},
        ),
        (
            {
                "methodName": "com.coreos.database.etcd.v1beta2.etcdbackups.create",
                "resourceName": "etcd.database.coreos.com/v1beta2/namespaces/n/etcdbackups",
            },
            {
                "resource": "etcdbackups",
                "namespace": "n",
                "apiGroup": "etcd.database.coreos.com",
                "apiVersion": "v1beta2",
            },
        ),
        (
            {"methodName": "io.x.v1.things.v2alpha1.widgets.scale.update", "resourceName": None},
            {"resource": "widgets", "subresource": "scale"},
        ),
    ],
)
def test_the_target(payload: dict[str, Any], ref: Any) -> None:
    """Resource and path must agree; a token request is one even where its path says nothing."""
    (inner,) = unwrap(audit(payload))
    assert inner.record.get("objectRef") == ref


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        (audit(operation={"id": "6f"}, insertId="230ba8"), "auditID", "6f"),
        (audit(operation={}), "auditID", EVENT["auditID"]),
        (audit(operation=None), "auditID", EVENT["auditID"]),
        (audit({"authenticationInfo": {"principalSubject": "principal://x"}}), "user", {"username": "principal://x"}),
        (audit({"requestMetadata": {"callerIP": "192.0.2.1"}}), "sourceIPs", ["192.0.2.1"]),
        (audit({"requestMetadata": None}), "sourceIPs", None),
        (audit({"authenticationInfo": None}), "user", None),
        (audit({"request": {"@type": "x"}}), "requestObject", None),
        (audit({"request": {"@type": "x", "spec": {}}}), "requestObject", {"spec": {}}),
        (audit(labels=None), "annotations", None),
    ],
)
def test_fields(entry: dict[str, Any], field: str, value: Any) -> None:
    """The id of the operation is the auditID, and what was not logged is not invented."""
    (inner,) = unwrap(entry)
    assert inner.record.get(field) == value
    assert "level" not in inner.record
    assert "requestURI" not in inner.record


@pytest.mark.parametrize(
    "entry",
    [
        audit({"methodName": 7}),
        audit({"methodName": None}),
        audit({"resourceName": ["secret"]}),
        audit({"resourceName": {"resource": "pods"}}),
        audit({"status": {"code": "7"}}),
        audit({"status": {"code": 7.0}}),
        audit({"status": {"code": True}}),
        audit({"status": {"code": ""}}),
        audit({"status": {"code": {}}}),
        audit({"authenticationInfo": {"principalEmail": ["secret"]}}),
        audit({"requestMetadata": {"callerIp": 7}}),
        audit(labels=["secret"]),
        audit(labels={"a": 1}),
        audit(operation={"id": 7}),
        audit(operation=None, insertId=None),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(entry: dict[str, Any]) -> None:
    """It is handed through for the strict reader to refuse, never dropped, and never repeated."""
    (inner,) = unwrap(entry)
    with pytest.raises(ReadError) as caught:
        parse_event(inner.record)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"status": "secret"}, "$.status"),
        ({"status": []}, "$.status"),
        ({"authenticationInfo": "secret"}, "$.authenticationInfo"),
        ({"requestMetadata": 7}, "$.requestMetadata"),
        ({"authorizationInfo": {"granted": False}}, "$.authorizationInfo"),
        ({"authorizationInfo": ["secret"]}, "$.authorizationInfo"),
        ({"authorizationInfo": [{"granted": "true"}]}, "$.authorizationInfo[*].granted"),
        ({"authorizationInfo": [{"granted": 1}]}, "$.authorizationInfo[*].granted"),
    ],
)
def test_a_part_of_another_form_is_an_error_that_still_names_the_call(payload: dict[str, Any], path: str) -> None:
    """Whether the call was refused cannot be told; that there was one, and whom it aimed at, is reported."""
    (inner,) = unwrap(audit(payload))
    assert isinstance(inner.record, ReadError)
    assert str(inner.record) == f"a part of a Cloud Audit Log of another form @ {path}"
    assert inner.place == ".protoPayload"
    assert inner.context == GKE
    findings = list(detect(json.dumps(audit(payload)).encode(), on_error=list[K8sTokenDetectError]().append))
    assert [(finding.rule.id, finding.event.target) for finding in findings] == [
        ("unreadable-token-request", "prod/payments-sa")
    ]


def test_an_error_reveals_no_token() -> None:
    """A client can put one into the path."""
    name = f"core/v1/namespaces/n/serviceaccounts/{JWT}/token"
    (inner,) = unwrap(audit({"status": 7, "resourceName": name, "methodName": 7}))
    assert isinstance(inner.record, ReadError)
    assert JWT not in str(inner.record.revealed)
    assert inner.record.revealed["username"] == "alice"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (audit() | {"protoPayload": "secret"}, ".protoPayload: a log entry whose protoPayload is not an object"),
        (audit() | {"protoPayload": []}, ".protoPayload: a log entry whose protoPayload is not an object"),
        ({"receivedMessages": {}}, ".receivedMessages: a Pub/Sub pull without a list of messages"),
        ({"receivedMessages": ["x"]}, ".receivedMessages[0]: a received Pub/Sub message that is not an object"),
        ({"message": {"messageId": "1", "data": 7}}, ".message.data: a Pub/Sub message without data"),
        (
            {"attributes": {"logging.googleapis.com/timestamp": "x"}, "messageId": "1"},
            ".data: a Pub/Sub message without data",
        ),
        ({"messageId": "1", "data": "secretat!"}, ".data: data of a Pub/Sub message that is not base64"),
        ({"messageId": "1", "data": "é"}, ".data: data of a Pub/Sub message that is not base64"),
        ({"messageId": "1", "data": "AAAA"}, ".data: text in a wrapper that is not JSON"),
    ],
)
def test_what_is_malformed_is_an_error(record: Any, error: str) -> None:
    """It says what is wrong and repeats nothing."""
    (inner,) = unwrap(record)
    assert f"{inner.place}: {inner.record}" == error


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (audit({"serviceName": "storage.googleapis.com", "methodName": 7}), "another service's Cloud Audit Log"),
        (wrap.collected(), "not an audit log entry"),
        (wrap.collected(protoPayload=None), "not an audit log entry"),
        (wrap.collected(textPayload="I1123 21:43:46.123456       1 autoscaler.go:230] x"), "not an audit log entry"),
        (wrap.collected(jsonPayload={"message": "hello", "level": "info"}), "not an audit log entry"),
        (wrap.collected(jsonPayload=7), "not an audit log entry"),
        ({"receivedMessages": []}, "a Pub/Sub pull without messages"),
    ],
)
def test_what_is_no_kubernetes_audit_event_is_skipped(record: Any, why: str) -> None:
    """Cloud Logging delivers every service's and every program's log."""
    assert [why] == [inner.skipped for inner in unwrap(record)]


@pytest.mark.parametrize("service", ["k8s.io", "", None, 7, "anthosgke.googleapis.com", "gkemulticloud.googleapis.com"])
def test_an_entry_is_read_for_its_method(service: Any) -> None:
    """Lost on the way, damaged, or of a cluster outside of Google's cloud: the method tells, and that is no GKE's."""
    (inner,) = unwrap(audit({"serviceName": service}))
    assert left(EVENT) == inner.record
    assert inner.context.platform == (None if str(service).endswith(".com") else "gke")


def test_a_list_of_events_or_a_parsed_line_in_json_payload_is_handed_on() -> None:
    """A webhook's body, and what Fluent Bit parsed of a line."""
    events = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [EVENT]}
    for payload in (events, {"log_processed": EVENT, "stream": "stdout"}):
        (inner,) = unwrap(wrap.collected(jsonPayload=payload))
        assert (inner.record, inner.is_event) == (EVENT, True)


def test_a_cut_off_event_in_text_payload_reveals_the_call() -> None:
    """Cloud Logging cuts at 256 KiB; a prefix before the event does not hide it either."""
    for prefix in ("", "audit: "):
        (inner,) = unwrap(wrap.collected(textPayload=prefix + json.dumps(EVENT)[:400]))
        assert isinstance(inner.record, ReadError)
        assert inner.record.revealed["requestURI"] == EVENT["requestURI"]


def test_the_entry_that_elastic_kept_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubernetes integration renames some keys and drops the name of the log."""
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (gcp, elastic, native))
    entry = wrap.entry(EVENT)
    kept = {key: entry[key] for key in ("protoPayload", "resource", "operation", "timestamp")}
    kept |= {"auditID": entry["insertId"], "annotations": entry["labels"]}
    (inner,) = unwrap({"kubernetes": {"audit": kept}})
    assert (inner.record, inner.context) == (left(EVENT), attrs.evolve(GKE, lost=LOST | {"bodies"}))


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        EVENT | wrap.entry(EVENT),
        EVENT | {"messageId": "1", "data": "e30="},
        {"message": EVENT, "messageId": "1"},
        {"message": json.dumps(EVENT), "subscription": "s"},
        {"records": [{"recordId": "1", "data": "e30="}]},
        {"recordId": "1", "data": "e30="},
        {"data": [], "attributes": {}},
        {"data": {}, "attributes": {1: 2}},
        {"jsonPayload": EVENT},
        {"insertId": "1", "resource": {}},
        {"message": {"data": "e30="}},
        {"class_uid": 6003, "resource": {}},
        {},
        {1: 2},
        [],
        None,
    ],
)
def test_records_of_others_are_left_to_them(record: Any) -> None:
    """Native events, Firehose, Datadog, shippers; whatever is not clearly Google's."""
    assert not gcp.recognises(record)


def test_no_record_of_another_wrapper_is_claimed_and_none_of_these_by_another() -> None:
    """Each form belongs to one wrapper, so the order in which they are asked does not matter."""
    for module in (wrapped_azure, wrapped_cloudwatch, wrapped_elastic, wrapped_shippers):
        for name, wrapping in module.WRAPPINGS.items():
            for line in wrapping([EVENT]).splitlines():
                assert not gcp.recognises(json.loads(line)), name
    for record in FORMS:
        assert gcp.recognises(record)
        assert not any(other.recognises(record) for other in (azure, cloudwatch, elastic, native, shippers))


def test_the_record_is_left_alone() -> None:
    """Nothing in the caller's record changes."""
    for record in FORMS:
        before = copy.deepcopy(record)
        assert list(unwrap(record))
        assert before == record


FORMS = [
    wrap.entry(token_request(requestObject=body(), responseObject=body())),
    wrap.entry(token_request(code=403)),
    wrap.push(EVENT),
    wrap.pulled(EVENT),
    wrap.message(wrap.entry(EVENT)),
    {"receivedMessages": [wrap.pulled(EVENT), wrap.pulled(EVENT)]},
    wrap.collected(jsonPayload=EVENT),
    wrap.collected(textPayload=json.dumps(EVENT)),
]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a record of which one value, at any depth, is any JSON."""
    record: Any = copy.deepcopy(draw(st.sampled_from(FORMS)))
    node = record
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key]) or draw(st.integers(0, 3)) == 0:
            node[key] = draw(json_values)
            return record
        node = node[key]


@given(damaged() | json_values)
def test_no_json_raises_and_nothing_vanishes(record: Any) -> None:
    """Whatever is recognised yields something, and no other exception than a ReadError in a record's stead."""
    inners = list(gcp.events(record)) if gcp.recognises(record) else []
    assert bool(inners) is gcp.recognises(record)
    for inner in inners:
        if inner.is_event:
            try:
                parse_event(inner.record)
            except ReadError as error:
                assert error.reason
    assert list(unwrap(record)) or not gcp.recognises(record)


@given(damaged_entry=st.data())
def test_damage_in_a_message_is_damage_of_its_entry(damaged_entry: st.DataObject) -> None:
    """What stands in base64 is read like what does not."""
    entry = damaged_entry.draw(damaged())
    data = base64.b64encode(json.dumps(entry).encode()).decode()
    direct, sent = list(unwrap(entry)), list(unwrap({"messageId": "1", "data": data}))
    assert [str(inner.record) for inner in direct] == [str(inner.record) for inner in sent]
