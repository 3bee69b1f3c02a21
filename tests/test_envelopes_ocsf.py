# SPDX-License-Identifier: Apache-2.0
"""Audit events out of OCSF API Activity."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import AUDIT_ID, body, token_request
from k8stokendetect import Event, ReadError, parse_event
from k8stokendetect.envelopes import Context, Inner, native, ocsf, unwrap
from k8stokendetect.events import User
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records
from strategies import json_values
from wrappings import ocsf as wrapped

BLOBLANG = "ocsf v1.2 bloblang"
REASON = "authorization.k8s.io/reason"
TOKEN_REQUESTS = [
    record
    for path in (METADATA, METADATA_1_27, REQUEST_RESPONSE)
    for record in records(path)
    if record.get("objectRef", {}).get("subresource") == "token"
]
EKS_EXTRA = {
    "arn": ["arn:aws:sts::123456789012:assumed-role/admin/alice"],
    "canonicalArn": ["arn:aws:iam::123456789012:role/admin"],
    "sessionName": ["alice"],
    "accessKeyId": ["ASIAEXAMPLE"],
}
EKS_USER = {"username": "admin", "uid": "aws-iam-authenticator:1:A", "groups": ["system:masters"], "extra": EKS_EXTRA}
TRAIL = {
    "class_uid": 6003,
    "class_name": "API Activity",
    "category_uid": 6,
    "api": {"operation": "DescribeInstances", "request": {"uid": "1"}, "service": {"name": "ec2.amazonaws.com"}},
    "metadata": {"product": {"name": "CloudTrail", "vendor_name": "AWS", "feature": {"name": "Management"}}},
    "http_request": {"user_agent": "kubectl"},
}
FINDING = {
    "class_uid": 2004,
    "class_name": "Detection Finding",
    "category_uid": 2,
    "metadata": {"product": {"name": "GuardDuty"}},
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8stokendetect.envelopes.ENVELOPES", (ocsf, native))


def unwrapped(content: bytes) -> Iterator[Inner]:
    """Unwrap every line of a file."""
    for line in content.splitlines():
        yield from unwrap(json.loads(line))


def expected(event: dict[str, Any], name: str) -> Event:
    """Return what the mapping keeps of a recorded event, by its documentation."""
    whole = parse_event(event)
    changes: dict[str, Any] = {"api_version": ""}
    if whole.response_status:
        changes["response_status"] = attrs.evolve(whole.response_status, metadata=None, details=None)
    if name == BLOBLANG:
        changes["source_ips"] = whole.source_ips[:2]
    else:  # milliseconds
        for field in ("request_received_timestamp", "stage_timestamp"):
            moment = getattr(whole, field)
            changes[field] = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    if name == "ocsf v1.1":
        bodies = ("request_object", "response_object", "token_request", "token_grant")
        changes |= dict.fromkeys(bodies) | {"carried_token": False}
    elif name != BLOBLANG:
        reason = whole.annotations.get(REASON)
        changes["annotations"] = {REASON: reason} if reason else {}
    return attrs.evolve(whole, **changes)


@pytest.mark.parametrize("name", wrapped.WRAPPINGS)
def test_every_token_request_comes_back(name: str) -> None:
    """Each field is as logged, but for what the form does not carry."""
    found = list(unwrapped(wrapped.WRAPPINGS[name](TOKEN_REQUESTS)))
    assert all(inner.is_event for inner in found)
    assert [expected(event, name) for event in TOKEN_REQUESTS] == [parse_event(inner.record) for inner in found]


@pytest.mark.parametrize("name", wrapped.WRAPPINGS)
def test_an_impersonated_call_never_passes_as_its_own(name: str) -> None:
    """Whom a recorded caller impersonated is told in every form, nested or flat."""
    impersonated = [event for event in records(METADATA) if "impersonatedUser" in event]
    assert impersonated
    found = [parse_event(inner.record) for inner in unwrapped(wrapped.WRAPPINGS[name](impersonated))]
    assert [parse_event(event).assumed for event in impersonated] == [event.assumed for event in found]


@pytest.mark.parametrize(
    ("unmapped", "assumed"),
    [
        ({"impersonatedUser": '{"username":"bob","groups":["g"]}'}, User("bob", groups=("g",))),
        (
            {"impersonatedUser.username": "bob", "impersonatedUser.extra.a.b/c[]": "d"},
            User("bob", extra={"a.b/c": ("d",)}),
        ),
        ({"impersonatedUser.groups[]": "a,b"}, User(groups=("a", "b"))),
        ({"impersonatedUser_username": "bob"}, User()),
        ({"impersonatedUser": {"username": None, "groups": None}}, None),
        ({"impersonatedUser": "", "impersonatedUser.username": None}, None),
        ([["impersonatedUser.username", "bob"]], User("bob")),
        ([], None),
        (None, None),
    ],
)
def test_any_trace_of_an_impersonated_user_counts(unmapped: Any, assumed: User | None) -> None:
    """What is flat or cut short still tells that there was somebody; nothing but null and empty texts is nobody."""
    (inner,) = unwrap(wrapped.v1_5(token_request()) | {"unmapped": unmapped})
    assert parse_event(inner.record).assumed == assumed


@pytest.mark.parametrize("unmapped", ["{impersonatedUser.username=bob}", 7, [["a"], 3], {"impersonatedUser": "bob"}])
def test_an_impersonated_user_that_cannot_be_read_is_an_error(unmapped: Any) -> None:
    """Nothing is read as the caller's own call where the rest of the record is unreadable."""
    (inner,) = unwrap(wrapped.v1_5(token_request()) | {"unmapped": unmapped})
    if inner.is_event:
        with pytest.raises(ReadError):
            parse_event(inner.record)
    else:
        assert str(inner.record) == "an OCSF record with another value where an object was expected @ $.unmapped"


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("ocsf v1.1", {"bodies"}),
        (BLOBLANG, {"source IPs"}),
        ("ocsf v1.5", {"annotations", "impersonation"}),
        ("ocsf row", {"annotations", "impersonation"}),
    ],
)
def test_what_a_form_does_not_carry_is_told(name: str, lost: set[str]) -> None:
    """Flat bodies are none, bloblang stops after two addresses, v1.5.0 has dropped annotations."""
    user = {"username": "alice", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}}
    event = token_request(requestObject=body(), sourceIPs=["192.0.2.1", "192.0.2.2", "192.0.2.3"], user=user)
    (inner,) = unwrap(wrapped.FORMS[name](event))
    assert inner.context.lost == lost
    assert parse_event(inner.record).used_credential == "JTI=1"


def test_context() -> None:
    """Cluster and region are told; an ARN's account is the caller's, and no other product is EKS."""
    record = wrapped.v1_5(token_request(user=EKS_USER))
    lost = frozenset({"annotations", "extra, but for EKS's", "impersonation"})
    (inner,) = unwrap(record)
    assert inner.context == Context("eks", wrapped.CLUSTER, None, wrapped.REGION, lost)
    record["metadata"]["product"]["name"] = "AWS"
    (inner,) = unwrap(record)
    assert inner.context.platform == "eks"
    record["cloud"]["account"]["uid"] = "123456789012"
    record["metadata"]["product"] = {"name": "Kubernetes"}
    (inner,) = unwrap(record)
    assert inner.context == Context(None, wrapped.CLUSTER, "123456789012", wrapped.REGION, lost)


@pytest.mark.parametrize("name", wrapped.FORMS)
def test_who_called_by_aws_is_put_back(name: str) -> None:
    """The keys that EKS writes into `extra` have moved to the session and the account."""
    (inner,) = unwrap(wrapped.FORMS[name](token_request(user=EKS_USER)))
    assert inner.record["user"] == EKS_USER


def test_without_a_url_the_object_is_in_resources() -> None:
    """`type` is documented as resource and subresource in one; what joins them is not."""
    record = wrapped.v1_5(token_request())
    record["http_request"] = None
    record["resources"][0]["type"] = "serviceaccounts/token"
    (inner,) = unwrap(record)
    assert inner.record["objectRef"] == token_request()["objectRef"]


def test_a_token_request_whose_url_is_gone_is_an_error() -> None:
    """`type` says `serviceaccounts` for both, so a create on them may have been one; other calls are read."""
    record = wrapped.v1_5(token_request())
    record["http_request"]["url"]["path"] = None
    for kind in ("serviceaccountstoken", "serviceaccounts"):
        record["resources"][0]["type"] = kind
        (inner,) = unwrap(record)
        assert str(inner.record) == "an OCSF record of a create on serviceaccounts, or on their tokens"
        assert inner.record.revealed == {"verb": "create", "auditID": AUDIT_ID, "username": "alice"}
    record["api"]["operation"] = "get"
    (inner,) = unwrap(record)
    assert inner.record["objectRef"] == {
        "resource": "serviceaccounts",
        "namespace": "prod",
        "name": "payments-sa",
        "apiVersion": "v1",
    }


def test_the_url_tells_more_than_the_resource() -> None:
    """Encoded letters, several slashes, a query inside or beside the path: the API server reads them all."""
    record = wrapped.v1_2(token_request())
    url = record["http_request"]["url"]
    for path, query in (
        ("//api/v1/namespaces/prod/serviceaccounts/payments-sa/%74oken", None),
        ("/%61pi/v1/namespaces/prod/serviceaccounts/payments-sa/token?dryRun=All", "dryRun=All"),
        ("/api/v1/namespaces/prod/serviceaccounts/payments-sa/token", "dryRun=All"),
    ):
        url |= {"path": path, "query_string": query}
        (inner,) = unwrap(record)
        assert inner.record["objectRef"] == token_request()["objectRef"]
        (alone,) = unwrap(record | {"resources": None})
        assert alone.record["objectRef"] == token_request()["objectRef"]
        assert inner.record["requestURI"] == (path if "?" in path or not query else f"{path}?{query}")


@pytest.mark.parametrize("name", wrapped.FORMS)
def test_a_path_without_a_resource_is_read(name: str) -> None:
    """The API server takes `//namespaces/prod` for an object called namespaces; it is refused, and logged like that."""
    ref = {"name": "namespaces", "apiVersion": "v1", "subresource": "prod"}
    uri = "/api/v1//namespaces/prod/serviceaccounts/payments-sa/token"
    (inner,) = unwrap(wrapped.FORMS[name](token_request(requestURI=uri, objectRef=ref)))
    assert inner.record["objectRef"] == ref


@pytest.mark.parametrize("name", wrapped.FORMS)
def test_odd_paths_mean_what_they_meant_to_the_api_server(name: str) -> None:
    """Recorded probes: a doubled slash, a dot, something after `token`, each with the objectRef that was logged."""
    probes = [
        event
        for event in records(METADATA)
        if event["verb"] == "create"
        and "/serviceaccounts/payments-sa/" in event["requestURI"]
        and not event["requestURI"].partition("?")[0].endswith("sa/token")
    ]
    for end in ("//token", "/./token", "/token/extra"):
        assert any(event["requestURI"].endswith(end) for event in probes)
    found = [parse_event(inner.record) for inner in unwrapped(wrapped.WRAPPINGS[name](probes))]
    assert [parse_event(event).object_ref for event in probes] == [event.object_ref for event in found]


def test_the_name_of_a_created_object_is_beside_the_url() -> None:
    """It is not in the path of the request that creates it."""
    ref = {"resource": "pods", "namespace": "prod", "name": "p", "apiVersion": "v1"}
    event = token_request(requestURI="/api/v1/namespaces/prod/pods", objectRef=ref)
    for wrap in wrapped.FORMS.values():
        (inner,) = unwrap(wrap(event))
        assert inner.record["objectRef"] == ref


def test_a_request_that_is_about_no_resource() -> None:
    """`/healthz` has no objectRef in any form; bloblang writes an object of nulls."""
    event = token_request(verb="get", requestURI="/healthz", objectRef=None)
    for wrap in wrapped.FORMS.values():
        (inner,) = unwrap(wrap(event))
        assert inner.is_event
        assert "objectRef" not in inner.record


def test_times_are_milliseconds_or_microseconds() -> None:
    """The number stands in where the text is missing; one that is no time is not read as one."""
    record = wrapped.v1_2(token_request())
    record |= {"start_time_dt": None, "time_dt": None}
    (inner,) = unwrap(record)
    assert inner.record["requestReceivedTimestamp"] == "2026-11-23T21:43:45.581827Z"
    (inner,) = unwrap(record | {"start_time": record["start_time"] // 1000})
    assert inner.record["requestReceivedTimestamp"] == "2026-11-23T21:43:45.581000Z"
    (inner,) = unwrap(record | {"start_time": 10**30})
    event = parse_event(inner.record)
    assert event.request_received_timestamp is None
    assert event.lost == {"requestReceivedTimestamp (unreadable)"}


@pytest.mark.parametrize(
    ("message", "stage", "lost"),
    [("Panic", "Panic", False), ("a summary", "ResponseComplete", True), (None, "ResponseComplete", True)],
)
def test_the_stage_is_the_message(message: str | None, stage: str, lost: bool) -> None:  # noqa: FBT001
    """Any other message is none, and that is told."""
    (inner,) = unwrap(wrapped.v1_1(token_request()) | {"message": message})
    assert inner.record["stage"] == stage
    assert ("stage" in inner.context.lost) == lost


def test_the_addresses_that_were_left_over_are_all_of_them() -> None:
    """`sourceIPs[]` in unmapped is the whole list, when it begins with the address that was mapped."""
    record = wrapped.v1_5(token_request())
    record["unmapped"]["sourceIPs[]"] = "192.0.2.7,192.0.2.8"
    (inner,) = unwrap(record)
    assert inner.record["sourceIPs"] == ["192.0.2.7", "192.0.2.8"]
    record["unmapped"]["sourceIPs[]"] = "192.0.2.9"
    (inner,) = unwrap(record)
    assert inner.record["sourceIPs"] == ["192.0.2.7"]


def test_a_body_that_is_not_json_stays_text() -> None:
    """As one that was too large does; an object is taken as it is."""
    record = wrapped.v1_5(token_request())
    record["api"]["request"]["data"] = "skipped-too-big-size-object"
    record["api"]["response"]["data"] = body()
    (inner,) = unwrap(record)
    assert inner.record["requestObject"] == "skipped-too-big-size-object"
    assert inner.record["responseObject"] == body()


def test_other_classes_and_products_are_skipped() -> None:
    """CloudTrail is API Activity as well; findings and the rest are other classes."""
    assert [Inner(None, skipped="API activity of another product")] == list(unwrap(TRAIL))
    assert [Inner(None, skipped="OCSF class other than API activity")] == list(unwrap(FINDING))


@pytest.mark.parametrize(
    "damage",
    [
        {"metadata": None},
        {"metadata": {"product": {"name": "CloudTrail"}}},
        {"metadata": {"product": {"name": "AKS"}}, "http_request": None},
        {"metadata": {"product": {"name": "x", "version": "audit.k8s.io/v1"}}, "http_request": None},
        {"metadata": {"product": {"name": "x"}, "log_version": "audit.k8s.io/v1"}, "http_request": None},
        {"metadata": {"product": {"name": "x"}}, "http_request": {"url": {"path": "//%61pis/x"}}},
        {"class_uid": 3005},
        {"class_uid": "6003"},
        {"class_uid": 4002, "class_name": "HTTP Activity"},
    ],
)
def test_when_in_doubt_it_is_read(damage: dict[str, Any]) -> None:
    """One sign of Kubernetes is enough, and so is a product that nobody named."""
    (inner,) = unwrap(wrapped.v1_1(token_request()) | damage)
    assert inner.skipped is None
    assert inner.is_event or inner.record.reason.startswith("an OCSF record of a create")


@pytest.mark.parametrize("path", ["actor", "actor.user", "api.request", "http_request.url", "src_endpoint", "metadata"])
def test_something_else_where_an_object_belongs_is_an_error(path: str) -> None:
    """The error says where and shows what is still known of the call, and repeats nothing else."""
    record = wrapped.v1_1(token_request())
    *parents, last = path.split(".")
    holder = record
    for key in parents:
        holder = holder[key]
    holder[last] = "secret"
    (inner,) = unwrap(record)
    assert str(inner.record) == f"an OCSF record with another value where an object was expected @ $.{path}"
    assert inner.record.revealed["verb"] == "create"
    assert "secret" not in repr(inner)


@pytest.mark.parametrize(
    "record",
    [
        token_request(),
        wrapped.v1_1(token_request()) | {"auditID": "x"},
        {"class_uid": 6004},
        {"class_name": "API Activity"},
        {"metadata": {}, "category_uid": 6, "class_uid": True},
        {"records": []},
        {},
        [],
        None,
        {1: 2},
    ],
)
def test_records_of_others_are_left_to_them(record: Any) -> None:
    """A native event is none of OCSF's, nor is anything without a class."""
    assert not ocsf.recognises(record)
    assert not list(ocsf.events(record))


def test_the_record_is_left_alone() -> None:
    """Nothing in the caller's record changes."""
    for wrap in wrapped.FORMS.values():
        record = wrap(token_request(requestObject=body(), impersonatedUser={"username": "bob"}, user=EKS_USER))
        before = copy.deepcopy(record)
        assert list(unwrap(record))
        assert before == record


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a record of a token request of which one value, at any depth, is any JSON."""
    event = token_request(requestObject=body(), impersonatedUser={"username": "bob", "groups": ["g"]}, user=EKS_USER)
    record: Any = draw(st.sampled_from(list(wrapped.FORMS.values())))(copy.deepcopy(event))
    node = record
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key]) or draw(st.integers(0, 3)) == 0:
            node[key] = draw(json_values)
            return record
        node = node[key]


@given(damaged())
def test_no_damage_hides_a_token_request(record: Any) -> None:
    """It is told as one, or as an error; what was called is the same, unless the URL itself was replaced."""
    (inner,) = unwrap(record)
    assert inner.skipped is None
    if inner.is_event:
        try:
            event = parse_event(inner.record)
        except ReadError as error:
            assert error.reason
        else:
            replaced = event.request_uri != token_request()["requestURI"] or event.verb != "create"
            assert replaced or event.resource == "serviceaccounts/token"


@given(json_values | st.dictionaries(st.sampled_from(sorted(wrapped.v1_2(token_request()))), json_values))
def test_no_json_raises(record: Any) -> None:
    """What is recognised is answered for, and nothing else."""
    assert ocsf.recognises(record) == bool(list(ocsf.events(record)))
