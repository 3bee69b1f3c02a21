# SPDX-License-Identifier: Apache-2.0
"""Audit events out of Elastic documents."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import ReadError, parse_event
from k8stokendetect.envelopes import Context, Inner, elastic, native, unwrap
from recordings import METADATA, REQUEST_RESPONSE, records
from strategies import json_values
from wrappings import elastic as wrapped

TOKEN_REQUESTS = [
    record
    for path in (METADATA, REQUEST_RESPONSE)
    for record in records(path)
    if record.get("objectRef", {}).get("subresource") == "token"
]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (elastic, native))


def unwrapped(content: bytes) -> Iterator[Inner]:
    """Unwrap every line of a file."""
    for line in content.splitlines():
        yield from unwrap(json.loads(line))


def kept(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the ingest pipelines keep: nothing empty, no metadata of bodies; all else is as it was logged."""
    rest: dict[str, Any] = wrapped.without_empty(event)
    for part in ("requestObject", "responseObject"):
        rest.get(part, {}).pop("metadata", None)
    rest.setdefault("verb", "")  # dropped for being empty, and put back
    return rest


@pytest.mark.parametrize("name", wrapped.WRAPPINGS)
def test_every_token_request_comes_back(name: str) -> None:
    """Each field is as logged, but for what the pipelines drop: empty values and the metadata of bodies."""
    found = list(unwrapped(wrapped.WRAPPINGS[name](TOKEN_REQUESTS)))
    assert [kept(event) for event in TOKEN_REQUESTS] == [inner.record for inner in found]
    assert all(inner.is_event for inner in found)


def test_what_is_lost_is_an_empty_reason_and_nothing_else_a_detector_asks_for() -> None:
    """An Event of a document differs from the native one in empty annotations and the status's and bodies' metadata."""
    for event in TOKEN_REQUESTS:
        (inner,) = unwrap(wrapped.kubernetes(event))
        native_event, found = parse_event(event), parse_event(inner.record)
        assert found.user == native_event.user
        assert found.code == native_event.code
        assert found.token_request == native_event.token_request
        assert found.annotations == {key: value for key, value in native_event.annotations.items() if value}


@pytest.mark.parametrize(
    ("document", "context"),
    [
        (
            wrapped.kubernetes(token_request()),
            Context(cluster=wrapped.CLUSTER, account=wrapped.ACCOUNT, region=wrapped.REGION),
        ),
        (
            wrapped.eks(token_request()),
            Context("eks", wrapped.CLUSTER, wrapped.ACCOUNT, wrapped.REGION),
        ),
        (
            wrapped.hit(fields=wrapped.listed(wrapped.eks(token_request()))),
            Context("eks", wrapped.CLUSTER, wrapped.ACCOUNT, wrapped.REGION),
        ),
        (
            wrapped.aks(token_request()),
            Context("aks", wrapped.CLUSTER, wrapped.SUBSCRIPTION, wrapped.REGION),
        ),
        (
            wrapped.kubernetes(token_request())
            | {
                "orchestrator": {},
                "aws.cloudwatch.log_group": "arn:aws:logs:eu-central-1:1:log-group:/aws/eks/c/cluster",
            },
            Context("eks", "c", wrapped.ACCOUNT, wrapped.REGION),
        ),
        ({"kubernetes.audit": token_request()}, Context()),
    ],
)
def test_context(document: dict[str, Any], context: Context) -> None:
    """Cluster, account and region are told; the platform only where it is certain, not by where an agent ran."""
    assert [context] == [inner.context for inner in unwrap(document)]


def test_eks_keys_and_group_are_put_back() -> None:
    """Underscores of the domain are dots again, those after the slash stay; `core` is no API group."""
    extra = {"sigs_k8s_io/aws-iam-authenticator/principalId": ["A"], "arn": "b"}
    event = token_request(annotations={"mutation_webhook_admission_k8s_io/round_0_index_0": "x", "plain_key": "y"})
    event["user"]["extra"] = extra
    event["objectRef"]["apiGroup"] = "core"
    (inner,) = unwrap({"aws": {"eks": {"audit": event}}})
    assert inner.record["annotations"] == {"mutation.webhook.admission.k8s.io/round_0_index_0": "x", "plain_key": "y"}
    assert inner.record["user"]["extra"] == {"sigs.k8s.io/aws-iam-authenticator/principalId": ["A"], "arn": ["b"]}
    assert "apiGroup" not in inner.record["objectRef"]
    (inner,) = unwrap({"kubernetes": {"audit": event}})
    assert set(inner.record["user"]["extra"]) == set(extra), "kubernetes.audit_logs leaves the keys of extra alone"


def test_the_document_is_left_alone() -> None:
    """Nothing in the caller's record changes, whatever its spelling."""
    for document in (wrapped.eks(token_request()), wrapped.aks(token_request())):
        document["kubernetes.audit.user.username"] = document["aws.eks.audit.user.extra.a_b/c"] = "x"
        before = copy.deepcopy(document)
        assert list(unwrap(document))
        assert before == document


def test_spellings_may_be_mixed() -> None:
    """Nested here, dotted there: one event."""
    event = token_request()
    user = event.pop("user")
    status = event.pop("responseStatus")
    document = {
        "kubernetes": {"audit": event | {"user.username": user["username"]}, "audit.user": {"groups": user["groups"]}},
        "kubernetes.audit.responseStatus.code": str(status["code"]),
        "kubernetes.audit.user": {"uid": "u"},
    }
    (inner,) = unwrap(document)
    assert inner.record == event | {"user": user | {"uid": "u"}, "responseStatus": {"code": 201}}
    dots = {
        "kubernetes.audit.annotations.authorization.k8s.io/decision": "allow",
        "kubernetes.audit.user.extra.a.b/c": "d",
    }
    (inner,) = unwrap(dots)
    assert inner.record == {
        "annotations": {"authorization.k8s.io/decision": "allow"},
        "user": {"extra": {"a.b/c": ["d"]}},
    }


def test_only_a_flattened_code_becomes_a_number() -> None:
    """A text in a nested document stands as it was logged, and is refused later; so is any text but digits."""
    event = token_request()
    event["responseStatus"]["code"] = "201"
    (inner,) = unwrap({"kubernetes": {"audit": event}})
    assert inner.record["responseStatus"]["code"] == "201"
    for text in ("9" * 5000, "\u0662", "20x", ""):
        (inner,) = unwrap({"kubernetes.audit.responseStatus.code": text})
        assert inner.record == {"responseStatus": {"code": text}}


def test_two_values_where_one_belongs_stay_a_list() -> None:
    """`fields` with more than one verb is not read as either of them."""
    (inner,) = unwrap({"fields": {"kubernetes.audit.verb": ["create", "get"]}})
    assert inner.record == {"verb": ["create", "get"]}


def test_a_log_entry_of_gke_is_handed_on() -> None:
    """What the integration keeps of GKE is put together as Cloud Logging had it."""
    payload = {"serviceName": "k8s.io", "methodName": "io.k8s.core.v1.serviceaccounts.token.create"}
    audit = {
        "protoPayload": payload,
        "auditID": "i",
        "annotations": {"authorization_k8s_io/decision": "allow"},
        "responseStatus": {"code": 7},
        "stageTimestamp": "2026-11-23T21:43:45.590000Z",
        "requestReceivedTimestamp": "2026-11-23T21:43:46.590000Z",
        "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "c"}},
    }
    expected = {
        "protoPayload": payload | {"status": {"code": 7}},
        "insertId": "i",
        "labels": {"authorization.k8s.io/decision": "allow"},
        "timestamp": audit["stageTimestamp"],
        "receiveTimestamp": audit["requestReceivedTimestamp"],
        "resource": audit["resource"],
    }
    document = {"kubernetes": {"audit": audit}, "orchestrator": {"cluster": {"name": "c"}}}
    (inner,) = elastic.events(document)
    assert inner == Inner(expected, ".kubernetes.audit", Context("gke", "c"))
    (inner,) = elastic.events({"fields": wrapped.listed(document)})
    assert inner.record == expected
    listed = {"kubernetes.audit.protoPayload.authorizationInfo.granted": [True], "kubernetes.audit.auditID": ["i"]}
    (inner,) = elastic.events({"fields": listed})
    assert inner.record == {"insertId": "i", "protoPayload": {"authorizationInfo": [{"granted": True}]}}


@pytest.mark.parametrize("payload", ["x", None, []])
def test_a_damaged_log_entry_is_handed_on_as_it_is(payload: object) -> None:
    """It is for the reader of log entries to say what is wrong."""
    (inner,) = elastic.events({"kubernetes": {"audit": {"protoPayload": payload, "responseStatus": {"code": 7}}}})
    assert inner.record == {"protoPayload": payload}


def test_what_the_pipeline_could_not_read_is_taken_from_the_original() -> None:
    """A document of the data set without audit fields has event.original, or is reported."""
    failed = {"event": {"kind": "pipeline_error", "original": json.dumps(token_request())}}
    (inner,) = unwrap(failed | {"data_stream": {"dataset": "aws.eks_audit"}})
    assert (inner.record, inner.place) == (token_request(), ".event.original")
    assert inner.context.platform == "eks"
    assert not elastic.recognises(failed)
    (inner,) = unwrap({"fields": {"data_stream.dataset": ["kubernetes.audit_logs"], "event.original": ["{}x"]}})
    assert isinstance(inner.record, ReadError)
    (inner,) = unwrap({"event.dataset": "kubernetes.audit_logs", "message": "x"})
    assert str(inner.record) == "an Elastic audit document without audit fields or event.original"


@pytest.mark.parametrize(
    "document",
    [
        {"kubernetes": {"audit": "secret"}},
        {"kubernetes.audit": ["secret"]},
        {"kubernetes.audit.": "secret"},
        {"kubernetes.audit.user": "secret", "kubernetes.audit.user.username": "secret"},
        {"kubernetes.audit": {"verb": "secret"}, "kubernetes.audit.verb": "secret"},
    ],
)
def test_fields_that_form_no_object_are_an_error(document: dict[str, Any]) -> None:
    """A path that runs through a value, or two values of one field: nobody guesses, nothing is repeated."""
    (inner,) = unwrap(document)
    assert isinstance(inner.record, ReadError)
    assert str(inner.record) == "an Elastic document whose audit fields do not form an object"


def test_other_hits_are_handed_on_or_skipped() -> None:
    """A search over several indices finds other documents; one may find nothing."""
    assert [Inner({"message": "{}"}, "._source")] == list(elastic.events({"_source": {"message": "{}"}}))
    assert [Inner(1, ".hits.hits[0]")] == list(elastic.events({"hits": {"hits": [1]}}))
    (inner,) = unwrap({"hits": {"hits": []}})
    assert inner.skipped == "a search without hits"
    both = {"_source": {"@timestamp": "x"}, "fields": wrapped.listed(wrapped.kubernetes(token_request()))}
    (inner,) = unwrap(both)
    assert inner.is_event


@pytest.mark.parametrize(
    "record",
    [
        token_request(),
        token_request() | {"kubernetes": {"audit": {}}},
        {"log": "{}", "kubernetes": {"pod_name": "kube-apiserver", "namespace_name": "kube-system"}},
        {"records": []},
        {"_source": {}},
        {"_source": "x"},
        {"fields": {"cluster": "c"}, "event": {}},
        {"hits": 3},
        {},
        [],
        None,
        {1: 2},
    ],
)
def test_records_of_others_are_left_to_them(record: object) -> None:
    """Neither a native event nor what a shipper adds about a pod looks like an Elastic document."""
    assert not elastic.recognises(record)


def test_a_field_name_of_any_depth_makes_no_deep_event() -> None:
    """A name of a hundred thousand dots is cut into a few steps."""
    (inner,) = unwrap({"kubernetes.audit." + "a." * 100_000 + "b": 1})
    assert str(inner.record).count("{") < 50


PLACES = st.sampled_from(
    [
        wrapped.kubernetes(token_request(requestObject=body())),
        wrapped.dotted(wrapped.eks(token_request())),
        wrapped.hit(fields=wrapped.listed(wrapped.eks(token_request()))),
        wrapped.aks(token_request()),
        wrapped.answer([wrapped.hit(_source=wrapped.eks(token_request()))]),
        {"kubernetes": {"audit": {"protoPayload": {"status": {}}, "responseStatus": {"code": 7}}}},
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a document of which one value, at any depth, is any JSON."""
    document: Any = copy.deepcopy(draw(PLACES))
    node = document
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key]) or draw(st.integers(0, 3)) == 0:
            node[key] = draw(json_values)
            return document
        node = node[key]


@given(damaged() | json_values)
def test_no_json_raises_and_nothing_vanishes(record: Any) -> None:
    """Whatever is recognised yields something, and no other exception than a ReadError in a record's stead."""
    if elastic.recognises(record):
        for inner in elastic.events(record):
            if inner.is_event:
                try:
                    parse_event(inner.record)
                except ReadError as error:
                    assert error.reason
        assert list(unwrap(record))
