# SPDX-License-Identifier: Apache-2.0
"""Mapping to Event and back: strict, complete, with the JSON path in every error, and never a token."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, token_request
from k8stokendetect import Event, ReadError, User, parse_event
from k8stokendetect.convert.converter import go_name
from k8stokendetect.convert.structure import event_to_mapping
from k8stokendetect.convert.times import parse_time
from k8stokendetect.events import BoundObjectRef, ObjectRef, ResponseStatus, TokenGrant, TokenRequestSpec
from recordings import METADATA, REQUEST_RESPONSE, records
from strategies import JWT, audit_events, damaged_events, json_values

GO_TYPE = {  # k8s.io/apiserver pkg/apis/audit/v1/types.go:72-150
    "apiVersion level auditID stage requestURI verb user impersonatedUser authenticationMetadata sourceIPs userAgent "
    "objectRef responseStatus requestObject responseObject requestReceivedTimestamp stageTimestamp annotations": Event,
    "username uid groups extra": User,
    "resource namespace name uid apiGroup apiVersion resourceVersion subresource": ObjectRef,
    "metadata status message reason details code": ResponseStatus,
    "audiences expirationSeconds boundObjectRef": TokenRequestSpec,
    "kind apiVersion name uid": BoundObjectRef,
}
OWN_FIELDS = {"token_request", "token_grant", "carried_token", "platform", "origin"} | {
    "cluster",
    "account",
    "region",
    "lost",
    "contradicted",
    "usual",
}


@pytest.mark.parametrize("go_fields", GO_TYPE, ids=lambda fields: GO_TYPE[fields].__name__)
def test_every_field_of_the_go_type_is_there(go_fields: str) -> None:
    """By its Go name in snake_case."""
    fields = {go_name(f.name) for f in attrs.fields(GO_TYPE[go_fields]) if f.init and f.name not in OWN_FIELDS}

    assert set(go_fields.split()) == fields


@pytest.mark.parametrize("name", sorted(OWN_FIELDS | {"resource", "mints_token", "minted_credential"}))
def test_no_record_sets_a_field_of_our_own(name: str) -> None:
    """Under that name it is one of the unknown fields, which say nothing."""
    for value in ("x", ["x"], {"x": "y"}, True):
        assert parse_event(token_request() | {go_name(name): value, name: value}) == parse_event(token_request())


def test_a_full_event_is_read_field_by_field() -> None:
    """A mint under impersonation at level RequestResponse."""
    record = token_request(
        level="RequestResponse",
        impersonatedUser={"username": "bob", "uid": "7", "groups": ["g"], "extra": {"k": ["v", "w"]}},
        authenticationMetadata={"impersonationConstraint": "impersonate:user-info"},
        requestObject=body(seconds=600, audiences=("vault",), bound={"kind": "Pod", "name": "p", "uid": "u"}),
        responseObject={
            "kind": "TokenRequest",
            "spec": {"audiences": ["vault"], "expirationSeconds": 600},
            "status": {"token": JWT, "expirationTimestamp": "2026-11-23T21:53:45Z"},
        },
    )
    event = parse_event(record, platform="eks", origin="audit.log:1")

    assert User("bob", "7", ("g",), {"k": ("v", "w")}) == event.assumed
    assert event.authentication_metadata is not None
    assert event.authentication_metadata.impersonation_constraint == "impersonate:user-info"
    assert TokenRequestSpec(("vault",), 600, BoundObjectRef("Pod", "", "p", "u")) == event.token_request
    assert (
        TokenGrant(TokenRequestSpec(("vault",), 600), datetime(2026, 11, 23, 21, 53, 45, tzinfo=UTC))
        == event.token_grant
    )
    assert (event.carried_token, event.platform, event.origin) == (True, "eks", "audit.log:1")
    assert datetime(2026, 11, 23, 21, 43, 45, 581827, tzinfo=UTC) == event.time


def test_what_was_not_logged_stays_absent() -> None:
    """A 401 is logged with `user: {}`; null is absent, nothing is invented."""
    event = parse_event({"auditID": "a", "verb": "get", "user": {}, "objectRef": None, "sourceIPs": None})

    assert Event(audit_id="a", verb="get") == event
    assert (event.peer_ip, event.time, event.code, event.resource, event.succeeded) == (None, None, None, "", False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auditID": None}, "required field missing @ $.auditID"),
        ({"verb": None}, "required field missing @ $.verb"),
        ({"auditID": 7}, "expected a string, got a number @ $.auditID"),
        ({"user": "root"}, "expected an object, got a string @ $.user"),
        ({"user": {"groups": "root"}}, "expected a list of strings, got a string @ $.user.groups"),
        ({"user": {"groups": ["a", 1]}}, "expected a list of strings, got a number @ $.user.groups"),
        ({"user": {"extra": {"k": "v"}}}, "expected a list of strings, got a string @ $.user.extra"),
        ({"responseStatus": {"code": "201"}}, "expected an integer, got a string @ $.responseStatus.code"),
        ({"responseStatus": {"code": True}}, "expected an integer, got a boolean @ $.responseStatus.code"),
        ({"responseStatus": {"code": 201.0}}, "expected an integer, got a number @ $.responseStatus.code"),
        ({"objectRef": {"resource": ["x"]}}, "expected a string, got a list @ $.objectRef.resource"),
        ({"annotations": {"a": 1}}, "expected an object of strings, got a number @ $.annotations"),
        ({"sourceIPs": {}}, "expected a list of strings, got an object @ $.sourceIPs"),
        (
            {"requestObject": {"spec": {"audiences": "vault"}}},
            "expected a list of strings, got a string @ $.requestObject.spec.audiences",
        ),
        (
            {"responseObject": {"status": {"expirationTimestamp": "x"}}},
            "not a timestamp @ $.responseObject.status.expirationTimestamp",
        ),
    ],
)
def test_wrong_types_are_errors_with_their_path(change: dict[str, Any], message: str) -> None:
    """Nothing is coerced: cattrs alone would make `('r', 'o', 'o', 't')` of the groups "root"."""
    record = token_request(**{"user": {}} | {k: v for k, v in change.items() if v is not None})
    for key in [key for key, value in change.items() if value is None]:
        del record[key]
    with pytest.raises(ReadError) as raised:
        parse_event(record, origin="audit.log:7")

    assert f"audit.log:7: {message}" == str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_truncated_bodies_are_no_token_request() -> None:
    """AKS writes a string in place of a body that is too big; a refused call has a Status."""
    event = parse_event(
        token_request(requestObject="skipped-too-big-size-object", responseObject={"kind": "Status", "code": 403})
    )
    assert (event.token_request, event.token_grant) == (None, None)


@pytest.mark.parametrize(
    "key",
    [
        "authentication.kubernetes.io/issued-credential-id",
        "authentication.k8s.io/issued-credential-id",
        "authentication.kubernetes.io/credential-id",
    ],
)
def test_every_annotation_key_of_the_issued_credential(key: str) -> None:
    """Of 1.30 and later, of KEP-4193, and of 1.29 with the alpha gate."""
    event = parse_event(token_request(issued=None, annotations={key: "JTI=1"}))

    assert event.minted_credential == "JTI=1"


def test_a_credential_id_is_never_taken_from_whom_the_caller_claims_to_be() -> None:
    """`impersonatedUser.extra` is chosen by the caller."""
    forged = {"username": "x", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=forged"]}}
    event = parse_event(token_request(impersonatedUser=forged))

    assert event.used_credential is None


@pytest.mark.parametrize(
    ("stage", "code", "issued", "minted"),
    [
        ("ResponseComplete", 201, "JTI=1", True),
        ("ResponseComplete", 201, None, True),
        ("ResponseComplete", 200, None, True),
        ("ResponseComplete", None, "JTI=1", True),
        ("Panic", 500, "JTI=1", True),
        ("RequestReceived", None, None, False),
        ("ResponseComplete", None, None, False),
        ("ResponseComplete", 403, None, False),
        ("ResponseComplete", 404, None, False),
        ("ResponseStarted", 401, None, False),
    ],
)
def test_when_a_token_was_really_issued(stage: str, code: int | None, issued: str | None, *, minted: bool) -> None:
    """By the answer or the annotation, never by the authorization decision."""
    event = parse_event(token_request(stage=stage, code=code, issued=issued))

    assert minted is event.mints_token


def test_the_vocabulary() -> None:
    """A detector reads like a sentence."""
    event = parse_event(token_request(sourceIPs=["10.0.0.1", "192.0.2.7"], code=403, issued=None))

    assert event.does("create", "serviceaccounts/token")
    assert not event.does("get", "serviceaccounts/token")
    assert not event.does("create", "serviceaccounts")
    assert event.denied
    assert not event.succeeded
    assert (event.actor.username, event.assumed, event.peer_ip) == ("alice", None, "192.0.2.7")
    assert str(event.service_account) == "prod/payments-sa"


def test_v1beta1_is_read() -> None:
    """Its extra fields are ignored, its names are v1's."""
    event = parse_event(
        token_request(
            apiVersion="audit.k8s.io/v1beta1",
            metadata={"creationTimestamp": "2019-09-20T11:52:19Z"},
            timestamp="2019-09-20T11:52:19Z",
        )
    )
    assert event.api_version == "audit.k8s.io/v1beta1"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T21:43:45.581827Z", datetime(2026, 11, 23, 21, 43, 45, 581827, tzinfo=UTC)),
        ("2026-11-23T23:43:45+02:00", datetime(2026, 11, 23, 21, 43, 45, tzinfo=UTC)),
        ("2025-10-07T16:19:19.647880072Z", datetime(2025, 10, 7, 16, 19, 19, 647880, tzinfo=UTC)),
        ("2022-11-29 22:34:06.892", datetime(2022, 11, 29, 22, 34, 6, 892000, tzinfo=UTC)),
        ("5/30/2025, 6:50:55.347 PM", datetime(2025, 5, 30, 18, 50, 55, 347000, tzinfo=UTC)),
        ("Tue, 24 Nov 2026 18:58:58 GMT", datetime(2026, 11, 24, 18, 58, 58, tzinfo=UTC)),
    ],
)
def test_timestamps_as_they_are_met(text: str, moment: datetime) -> None:
    """Go's, the clouds', and Log Analytics' form; without a zone they are UTC."""
    assert moment == parse_time(text)


@pytest.mark.parametrize(
    "text", ["", "10:30", "20 Nov", "Nov 2025", "Friday", "2025-13-01", "0001-01-01T00:00:00+14:00", "5/30/2025", "1e9"]
)
def test_no_time_is_ever_invented(text: str) -> None:
    """What dateutil would complete from today's date is refused."""
    with pytest.raises(ValueError, match="not a timestamp"):
        parse_time(text)


def test_the_record_of_the_caller_is_not_changed() -> None:
    """Redaction works on a copy."""
    record = token_request(responseObject={"kind": "TokenRequest", "status": {"token": JWT}}, userAgent=JWT)
    before = copy.deepcopy(record)
    parse_event(record)

    assert before == record


def test_any_mapping_will_do() -> None:
    """Not only dicts."""
    record = token_request()
    nested = MappingProxyType({**record, "user": MappingProxyType(record["user"])})

    assert parse_event(record) == parse_event(nested)


@given(json_values | audit_events | damaged_events())
def test_any_json_gives_an_event_or_a_read_error(value: Any) -> None:
    """And nothing else."""
    try:
        assert isinstance(parse_event(value), Event)
    except ReadError as error:
        assert error.reason


@given(audit_events)
def test_structure_after_unstructure_is_the_identity(record: dict[str, Any]) -> None:
    """An Event written as JSON and read again is the same Event."""
    try:
        event = parse_event(record)
    except ReadError:  # a drawn body may be a malformed TokenRequest
        return
    assert event == parse_event(event_to_mapping(event))
    assert event == pickle.loads(pickle.dumps(event))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("path", [METADATA, REQUEST_RESPONSE], ids=lambda path: path.name)
def test_recorded_events_survive_the_round_trip(path: Any) -> None:
    """Nothing of a real event is lost, but its token."""
    for record in records(path):
        event = parse_event(record)
        assert attrs.evolve(event, carried_token=False) == parse_event(event_to_mapping(event))


@given(st.data(), audit_events)
def test_no_token_survives_structuring(data: st.DataObject, record: dict[str, Any]) -> None:
    """Wherever a JWT stands in a record (value, key, inside other text), no Event and no error repeats it."""
    wrapped = data.draw(st.sampled_from([JWT, f"Bearer {JWT}", f"?access_token={JWT}&x=1", {"data": {JWT: JWT}}]))
    field = data.draw(st.sampled_from([*record, "userAgent", "requestURI", "requestObject", "annotations"]))
    record = record | {field: data.draw(st.sampled_from([wrapped, [wrapped], {"a": wrapped}, {JWT: "x"}]))}
    try:
        shown = repr(parse_event(record)) + str(event_to_mapping(parse_event(record)))
    except ReadError as error:
        shown = repr(error) + str(error)
        assert error.__cause__ is None
        assert error.__context__ is None
    assert JWT not in shown
    assert "eyJ" not in shown
