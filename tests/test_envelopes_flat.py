# SPDX-License-Identifier: Apache-2.0
"""Flattened audit events, put back together."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import Event, ReadError, Tally, detect, parse_event, read
from k8stokendetect.envelopes import flat, native, unwrap
from k8stokendetect.envelopes.keys import place_of
from k8stokendetect.testing import token_request
from recordings import METADATA, records
from strategies import json_values
from wrappings import flat as wrapped

EVENTS = [record for number, record in enumerate(records(METADATA)) if number % 40 == 0] + [token_request("bob")]
MINT = token_request("bob")
DOTTED = wrapped.WHOLE["json_normalize"](MINT)


def read_all(*rows: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """Return the events of JSON lines, and the errors."""
    errors: list[Any] = []
    return list(read(wrapped.lines(list(rows)), on_error=errors.append)), [error.reason for error in errors]


def facts(event: Event) -> tuple[Any, ...]:
    """Return the event without what says where it stood."""
    return (
        *(event.audit_id, event.verb, event.request_uri, event.user, event.impersonated_user, event.source_ips),
        *(event.user_agent, event.object_ref, event.time, event.code, event.stage, event.level),
        *(dict(event.annotations), event.token_request),
    )


@pytest.mark.parametrize("name", wrapped.WHOLE)
def test_every_field_comes_back(name: str) -> None:
    """And nothing is said to be lost."""
    events, errors = read_all(*map(wrapped.WHOLE[name], EVENTS))
    assert not errors
    assert list(map(facts, events)) == [facts(parse_event(event)) for event in EVENTS]
    assert not any(event.lost for event in events)


@pytest.mark.parametrize(
    ("key", "path", "rest", "index"),
    [
        ("objectRef.resource", "objectRef.resource", None, None),
        ("ObjectRef_Subresource", "objectRef.subresource", None, None),
        ("object_ref__api_group", "objectRef.apiGroup", None, None),
        ("REQUESTRECEIVEDTIMESTAMP", "requestReceivedTimestamp", None, None),
        ("sourceIPs.0", "sourceIPs", None, 0),
        ("user.groups[12]", "user.groups", None, 12),
        ("user.groups{}", "user.groups", None, None),
        (
            "annotations.authentication.kubernetes.io/issued-credential-id",
            "annotations",
            "authentication.kubernetes.io/issued-credential-id",
            None,
        ),
        (
            "annotations_authentication_kubernetes_io_issued_credential_id",
            "annotations",
            "authentication.kubernetes.io/issued-credential-id",
            None,
        ),
        ("annotations['authorization.k8s.io/reason']", "annotations", "authorization.k8s.io/reason", None),
        ("annotations.example.org/a.0", "annotations", "example.org/a.0", None),
        (
            "user.extra.authentication.kubernetes.io/credential-id.0",
            "user.extra",
            "authentication.kubernetes.io/credential-id",
            0,
        ),
        (
            "user_extra_authentication_kubernetes_io_pod_name_0",
            "user.extra",
            "authentication.kubernetes.io/pod-name",
            0,
        ),
        ("requestObject.spec.audiences.0", "requestObject", "spec.audiences.0", None),
    ],
)
def test_a_key_means_one_field(key: str, path: str, rest: str | None, index: int | None) -> None:
    """Whatever joins its parts; an annotation's key keeps its dots."""
    place = place_of(key)
    assert place is not None
    assert (place.path, place.rest, place.index) == (path, rest, index)


@pytest.mark.parametrize("key", ["name", "user.name", "kubernetes.pod_name", "host", "sourceIPs.x", "", "_"])
def test_other_keys_mean_none(key: str) -> None:
    """They stand next to the event."""
    assert place_of(key) is None


@pytest.mark.parametrize("name", ["splunk", "logql"])
def test_what_a_query_dropped_is_a_caveat(name: str) -> None:
    """LogQL's json stage drops lists, and with them groups, addresses and the id of the caller's credential."""
    row = {**wrapped.NO_BODIES, **wrapped.NO_LISTS}[name](MINT)
    (event,), errors = read_all(row)
    assert not errors
    lost = {"bodies", "extra", "groups", "impersonation", "source IPs"} if name == "logql" else set()
    assert event.lost == lost
    assert [finding.rule.id for finding in detect([row], detectors=["token-request"])] == ["token-request"]


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [
        (("auditID",), "required field missing"),
        (("verb",), "required field missing"),
        (("requestURI", "objectRef.subresource"), "export objectRef.subresource"),
        (tuple(key for key in DOTTED if key.startswith("objectRef") or key == "requestURI"), "export one of them"),
    ],
)
def test_a_row_that_does_not_say_enough_is_an_error(dropped: tuple[str, ...], reason: str) -> None:
    """Never a read event about which nobody says a word."""
    events, (error,) = read_all({key: value for key, value in DOTTED.items() if key not in dropped})
    assert not events
    assert reason in error


def test_the_subresource_is_taken_from_the_uri() -> None:
    """Without it, the request would create a service account."""
    (event,), _ = read_all({key: value for key, value in DOTTED.items() if key != "objectRef.subresource"})
    assert event.resource == "serviceaccounts/token"


@pytest.mark.parametrize(
    "row",
    [
        {"auditID": "1", "verb": "create", "caller": "bob"},
        {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "verb": "get", "who": {"name": "bob"}},
        {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1"},
    ],
)
def test_an_id_alone_is_no_event(row: dict[str, Any]) -> None:
    """What says neither who nor what is an error."""
    events, errors = read_all(row)
    assert (len(events), len(errors)) == (0, 1)


def test_two_values_for_one_field_are_an_error() -> None:
    """Neither wins, whatever order they stand in."""
    for row in ({**MINT, "user.username": "eve"}, {**DOTTED, "user_username": "eve"}):
        events, (error,) = read_all(row)
        assert (events, error) == ([], "a flattened event: two values for one field")
    assert len(read_all({**DOTTED, "user_username": "bob"})[0]) == 1


def test_a_partly_flattened_event_is_not_skipped() -> None:
    """The few fields that decide whether a line is read would show no resource."""
    row = {key: value for key, value in MINT.items() if key != "objectRef"}
    row |= {f"objectRef.{key}": value for key, value in MINT["objectRef"].items()}
    for log in (wrapped.lines([row]), [row]):
        assert [finding.rule.id for finding in detect(log, detectors=["token-request"])] == ["token-request"]


def test_the_whole_event_in_a_cell_wins_unless_a_client_wrote_it() -> None:
    """Splunk keeps `_raw` next to what it extracted; a user agent is not looked into."""
    row = {**wrapped.splunk(MINT), "_raw": json.dumps(MINT)}
    (inner,) = flat.events(row)
    assert (inner.record, inner.place, inner.is_event) == (row["_raw"], "._raw", False)
    row = {**DOTTED, "userAgent": json.dumps(token_request("eve"))}
    (event,), _ = read_all(row)
    assert event.user.username == "bob"
    (inner,) = flat.events({**DOTTED, "_raw": json.dumps(token_request("eve") | {"auditID": "other"})})
    assert inner.is_event


def test_native_events_are_not_flattened() -> None:
    """They are read as they are, and quickly."""
    assert not any(map(flat.recognises, EVENTS))
    assert all(map(native.recognises, EVENTS))


def test_absent_cells() -> None:
    """What exports write for nothing is nothing; a caller may be called so."""
    for nothing in ("", "-", "null", "None", "nan", "(null)", None):
        row = wrapped.splunk(MINT) | {"responseStatus.code": nothing, "annotations.x": nothing, "user.uid": nothing}
        (event,), errors = read_all(row)
        assert (event.code, "x" in event.annotations, event.user.uid, errors) == (None, False, "", [])
    (event,), _ = read_all(DOTTED | {"user.username": "-"})
    assert event.user.username == "-"


@given(json_values)
def test_any_value_of_any_field(value: Any) -> None:
    """An Event or one ReadError; the row is not changed."""
    for key in "user.username user.groups annotations user.extra.x.0 requestObject.spec responseStatus.code".split():
        row = {**DOTTED, key: value}
        before = copy.deepcopy(row)
        for inner in unwrap(row):
            if not isinstance(inner.record, ReadError):
                try:
                    parse_event(inner.record)
                except ReadError:
                    continue
        assert row == before


@given(st.dictionaries(st.sampled_from([*DOTTED, "requestObject.a.0", "requestObject.a", "user"]), json_values))
def test_any_row(row: dict[str, Any]) -> None:
    """Whatever is recognised is answered for."""
    if flat.recognises(row):
        assert list(flat.events(row))


def test_bodies_come_back() -> None:
    """With their lists, and numbers that became text."""
    bound = {"kind": "Pod", "name": "a.b"}
    mint = token_request("bob", level="RequestResponse", audiences=["vault", "other"], bound=bound)
    for lists in (".{}", "[{}]", None):
        row = wrapped.renamed(mint, str, lists=lists)
        if lists:
            row = {key: str(value) if isinstance(value, int) else value for key, value in row.items()}
        (event,), errors = read_all(row)
        assert not errors
        assert event.token_request == parse_event(mint).token_request


def test_the_tally_counts_what_was_read() -> None:
    """One event each."""
    tally = Tally()
    list(detect(wrapped.lines([DOTTED, wrapped.cells(MINT)]), tally=tally))
    assert (tally.events, tally.unreadable) == (2, 0)
