# SPDX-License-Identifier: Apache-2.0
"""What is kept of a request: its facts with their types, none of them longer than it may be, and its id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import about, body, token_request
from k8stokendetect import ReadError, parse_event
from k8stokendetect.bounds import LONGEST_NAME, cut, cut_user
from k8stokendetect.convert.structure import structure
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.events import BoundObjectRef
from k8stokendetect.identity import REASON, ServiceAccount
from recordings import METADATA, REQUEST_RESPONSE, events
from strategies import audit_events

ACCOUNT = ServiceAccount("prod", "payments-sa")
LONGEST_ACCOUNT = f"system:serviceaccount:{'n' * 63}:{'a' * 253}"


def ref_of(record: dict[str, Any]) -> EventRef:
    """Return what is kept of a record."""
    return EventRef.of(parse_event(record))


def test_the_facts_of_a_mint_have_types() -> None:
    """Nobody has to look for them in evidence, which is for people."""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "u"}
    mint = token_request(
        query="?x=1", level="Request", requestObject=body(seconds=7200, audiences=("vault",), bound=bound)
    )
    ref = ref_of(mint | {"annotations": mint["annotations"] | {REASON: "because"}})

    assert (ref.resource, ref.namespace, ref.name, ref.verb) == (
        "serviceaccounts/token",
        "prod",
        "payments-sa",
        "create",
    )
    assert (ref.user, ref.groups, ref.reason) == ("alice", ("system:authenticated",), "because")
    assert (ref.audiences, ref.expiration_seconds) == (("vault",), 7200)
    assert ref.bound_to == BoundObjectRef("Pod", "v1", "web-1", "u")
    assert ref.request_uri == "/api/v1/namespaces/prod/serviceaccounts/payments-sa/token?x=1"
    assert (ref.token_account, ref.mints_token, ref.target) == (ACCOUNT, True, "prod/payments-sa")


def test_what_was_granted_stands_for_what_was_asked_where_only_that_was_logged() -> None:
    """A pipeline may have dropped the request's body."""
    status = {"token": "x", "expirationTimestamp": "2026-11-23T22:43:45Z"}
    answer = {"kind": "TokenRequest", "spec": {"audiences": ["vault"], "expirationSeconds": 600}, "status": status}
    ref = ref_of(token_request(level="RequestResponse", responseObject=answer))

    assert (ref.audiences, ref.expiration_seconds) == (("vault",), 600)
    assert ref.expires == datetime(2026, 11, 23, 22, 43, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "account", "mints"),
    [
        (about("prod/payments-sa"), ACCOUNT, False),
        (about("prod/payments-sa") | {"code": 201}, ACCOUNT, True),
        (about("prod/payments-sa") | {"code": 403}, ACCOUNT, False),
        (about("prod/payments-sa") | {"verb": "get", "code": 200}, None, False),
        (about("prod/payments-sa") | {"verb": "", "minted_credential": "JTI=1"}, ACCOUNT, True),
        (about("prod/Odd") | {"code": 201}, None, True),
        ({"resource": "serviceaccounts/token", "code": 201}, None, True),
        (about("serviceaccounts prod/payments-sa") | {"code": 201}, None, False),
        (about("secrets prod/x") | {"code": 201}, None, False),
    ],
)
def test_whose_token_was_requested_and_whether_it_was_issued(
    fields: dict[str, Any], account: ServiceAccount | None, *, mints: bool
) -> None:
    """By the fields, whatever they look like when they are written one after the other."""
    ref = EventRef(audit_id="1", **{"verb": "create"} | fields)

    assert (ref.token_account, ref.mints_token) == (account, mints)


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, None),
        ({"resource": "pods"}, "pods"),
        ({"resource": "pods", "namespace": "prod"}, "pods prod"),
        ({"resource": "pods/exec", "namespace": "prod", "name": "web-1"}, "pods/exec prod/web-1"),
        ({"resource": "nodes", "name": "n1"}, "nodes n1"),
        ({"resource": "serviceaccounts/token"}, "serviceaccounts/token"),
        ({"resource": "serviceaccounts/token", "namespace": "prod"}, "serviceaccounts/token prod"),
    ],
)
def test_what_a_request_was_about_in_one_word(fields: dict[str, Any], target: str | None) -> None:
    """A token of a service account is named by that account alone."""
    assert EventRef(audit_id="1", **fields).target == target


@given(st.text(max_size=600), st.integers(60, 300))
def test_a_cut_text_has_its_length_and_says_that_it_was_cut(text: str, longest: int) -> None:
    """It keeps its beginning, and cutting it again changes nothing."""
    short = cut(text, longest)

    assert cut(short, longest) == short
    assert (short == text) == (len(text) <= longest)
    if short != text:
        assert len(short) == longest
        assert f"… (cut: {len(text)} characters, sha256 " in short
        assert text.startswith(short.partition("… (cut: ")[0])


def test_two_long_texts_that_begin_alike_stay_two() -> None:
    """Nobody becomes another caller by a long name."""
    assert cut("a" * 1000 + "b") != cut("a" * 1000 + "c")


def test_no_name_of_a_service_account_is_cut() -> None:
    """Tokens are matched by it; a longer one is no service account's."""
    assert cut_user(LONGEST_ACCOUNT) == LONGEST_ACCOUNT
    assert len(cut_user(f"{LONGEST_ACCOUNT}a")) == LONGEST_NAME
    assert ServiceAccount.of_username(cut_user(f"{LONGEST_ACCOUNT}a")) is None
    assert len(cut_user("a" * len(LONGEST_ACCOUNT))) == LONGEST_NAME


def test_the_groups_that_kubernetes_gives_are_kept_and_the_others_counted() -> None:
    """system:masters says more than three hundred groups of a directory."""
    ref = ref_of(token_request(groups=(*(f"team-{number}" for number in range(300)), "system:masters")))

    assert (len(ref.groups), ref.more_groups) == (20, 281)
    assert ref.groups[:2] == ("system:masters", "team-0")


def test_the_peer_is_kept_of_many_addresses() -> None:
    """A client writes all but the last."""
    ref = ref_of(token_request(sourceIPs=[*["192.0.2.1"] * 50, "198.51.100.7"]))

    assert (ref.peer_ip, ref.peer_path, len(ref.source_ips)) == ("198.51.100.7", "sourceIPs[50]", 20)


def test_no_reference_is_large_whatever_the_client_sends() -> None:
    """An alert has a bounded size."""
    long = "x" * 10_000
    mint = token_request(
        long,
        groups=(long,) * 400,
        auditID=long,
        verb=long,
        userAgent=long,
        requestURI=long,
        sourceIPs=[long] * 400,
        impersonatedUser={"username": long},
        objectRef={"resource": "serviceaccounts", "subresource": "token", "namespace": long, "name": long},
        annotations={REASON: long, "authentication.kubernetes.io/issued-credential-id": long},
        level="Request",
        requestObject=body(
            audiences=(long,) * 400, bound={"kind": long, "apiVersion": long, "name": long, "uid": long}
        ),
    )

    assert len(str(ref_of(mint).to_dict())) < 20 * 1024


LONG = "x" * 2000


@pytest.mark.parametrize("field", ["audit_id", "user", "impersonating", "name", "request_uri", "reason", "user_agent"])
def test_one_long_text_is_cut(field: str) -> None:
    """Whichever it is, and though all others are short."""
    fields: dict[str, Any] = {"audit_id": "1"} | {field: LONG}
    cut_text = getattr(EventRef(**fields), field)

    assert cut_text.startswith("xxx")
    assert len(cut_text) <= 1024
    assert "cut: 2000 characters" in cut_text


@pytest.mark.parametrize(("field", "longest"), [("groups", 256), ("audiences", 256), ("source_ips", 64)])
def test_one_long_text_in_a_list_is_cut(field: str, longest: int) -> None:
    """The others stay."""
    fields: dict[str, Any] = {"audit_id": "1", field: ("a", LONG)}
    short, long = getattr(EventRef(**fields), field)

    assert (short, len(long)) == ("a", longest)


@pytest.mark.parametrize(
    "long",
    [
        {"auditID": LONG},
        {"user": {"username": LONG}},
        {"user": {"username": f"{LONGEST_ACCOUNT}"}},
        {"impersonatedUser": {"username": LONG}},
        {"sourceIPs": ["x" * 100]},
        {"objectRef": {"resource": "pods", "namespace": LONG, "name": LONG}},
        {"annotations": {"authentication.kubernetes.io/issued-credential-id": LONG}},
    ],
    ids=lambda long: next(iter(long)),
)
def test_a_long_text_changes_the_id_of_a_request_in_one_way(long: dict[str, Any]) -> None:
    """The reference holds it cut, the event whole."""
    event = parse_event(token_request() | long)

    assert EventRef.of(event).request_id == request_id(event) != request_id(parse_event(token_request()))


def test_a_time_without_a_zone_is_in_utc() -> None:
    """As the API server writes it; two times can always be compared."""
    ref = EventRef(audit_id="1", time=datetime(2026, 11, 25), expires=datetime(2026, 11, 26))  # noqa: DTZ001 - as it says

    assert (ref.time, ref.expires) == (datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC))


@pytest.mark.parametrize("log", [METADATA, REQUEST_RESPONSE], ids=["Metadata", "RequestResponse"])
def test_a_reference_comes_back_from_json(log: Any) -> None:
    """States and native lines hold them."""
    for event in events(log)[:2000]:
        ref = EventRef.of(event)

        assert structure(ref.to_dict(), EventRef) == ref


@given(audit_events)
def test_the_id_of_a_request_is_the_same_before_and_after(record: Any) -> None:
    """Whoever has the event need not make a reference of it."""
    try:
        event = parse_event(record)
    except ReadError:
        return
    assert request_id(event) == EventRef.of(event).request_id


@pytest.mark.parametrize(
    "other",
    [
        {"auditID": "other"},
        {"requestReceivedTimestamp": "2026-11-23T21:43:45.582001Z"},
        {"user": {"username": "bob"}},
        {"impersonatedUser": {"username": "bob"}},
        {"sourceIPs": ["192.0.2.99"]},
        {"objectRef": {"resource": "serviceaccounts", "subresource": "token", "namespace": "prod", "name": "other"}},
        {"objectRef": {"resource": "serviceaccounts", "namespace": "prod", "name": "payments-sa"}},
        {"annotations": {"authentication.kubernetes.io/issued-credential-id": "JTI=other"}},
    ],
    ids="".join,
)
def test_two_requests_have_two_ids(other: dict[str, Any]) -> None:
    """The auditID alone would not do: a client may choose it."""
    assert ref_of(token_request() | other).request_id != ref_of(token_request()).request_id


@pytest.mark.parametrize("same", [{"stage": "Panic"}, {"level": "Request"}, {"userAgent": "x"}, {"annotations": {}}])
def test_the_level_and_the_client_do_not_change_the_id(same: dict[str, Any]) -> None:
    """It names the request, not what is known of it."""
    base = token_request(issued=None)

    assert ref_of(base | same).request_id == ref_of(base).request_id


def test_without_time_and_audit_id_the_place_tells_requests_apart() -> None:
    """As in a damaged record; it does not count otherwise, for one record is read at several places."""
    assert EventRef(audit_id="", origin="a:1").request_id != EventRef(audit_id="", origin="a:2").request_id
    assert EventRef(audit_id="1", origin="a:1").request_id == EventRef(audit_id="1", origin="a:2").request_id


@pytest.mark.parametrize(
    ("mint", "use", "expected"),
    [
        ({"minted_credential": "JTI=1"}, {"used_credential": "JTI=1", "user": "x"}, True),
        ({"minted_credential": "JTI=1"}, {"used_credential": "JTI=2"}, False),
        ({"minted_credential": "JTI=1"}, {}, True),
        ({"code": 201}, {}, True),
        ({"code": 403}, {}, False),
        ({"code": 201}, {"user": "system:serviceaccount:prod:other"}, False),
        ({"code": 201, "name": ""}, {}, False),
    ],
)
def test_whose_token_a_request_was_made_with(mint: dict[str, Any], use: dict[str, Any], *, expected: bool) -> None:
    """Ids decide, names where there are none."""
    first = EventRef(audit_id="1", verb="create", **about("prod/payments-sa") | mint)
    second = EventRef(audit_id="2", **{"user": "system:serviceaccount:prod:payments-sa"} | use)

    assert second.uses_token_of(first) is expected


def test_a_reference_is_written_in_one_line() -> None:
    """For a debugger: what was done, by whom and when, and not the rest."""
    assert repr(ref_of(token_request(requestReceivedTimestamp="2026-11-23T21:43:45Z"))) == (
        "EventRef(user='alice', verb='create', target='prod/payments-sa', code=201, "
        "time='2026-11-23T21:43:45+00:00', …)"
    )
    assert len(repr(ref_of(token_request("x" * 900, f"{'n' * 900}/{'a' * 900}", verb="v" * 900)))) < 360


def test_the_id_stays_the_same_from_release_to_release() -> None:
    """A SIEM joins on it; times of other zones and lone surrogates have one, too."""
    ref = EventRef(audit_id="\ud800", user="ä", time=datetime(2026, 11, 25, 1, tzinfo=timezone(timedelta(hours=1))))

    assert ref.request_id == attrs.evolve(ref, time=datetime(2026, 11, 25, tzinfo=UTC)).request_id
    assert ref.request_id == "af841c269a52e49aac582270a4d47be6"
