# SPDX-License-Identifier: Apache-2.0
"""Mints in events and findings, and how a snapshot of the cluster explains one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from builders import body, token_request
from k8stokendetect import ConfigError, Event, Finding, detect, parse_event
from k8stokendetect.cluster import Cluster
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS
from k8stokendetect.findings import EventRef
from k8stokendetect.identity import REASON, ServiceAccount
from k8stokendetect.incidents.mints import Cause, Mint, explain_mint, observed
from rbac_objects import EVE, given, listed, made, rule

MINTER = rule("create", "serviceaccounts/token")
IMPERSONATOR = rule("impersonate", "serviceaccounts")
API = made("ServiceAccount", "api", "prod")
ACCOUNT = ServiceAccount("prod", "api")
CONTROLLER = token_request(
    "system:kube-controller-manager", "kube-system/replicaset-controller", groups=("system:authenticated",)
)
GONE = 'RBAC: allowed by RoleBinding "old/prod" of Role "minter" to User "eve"'
THERE = 'RBAC: allowed by ClusterRoleBinding "list-" of ClusterRole "list" to User "eve"'


def event(user: str = "eve", target: str = "prod/api", **fields: Any) -> Event:
    """Return a mint."""
    return parse_event(token_request(user, target, **fields))


def found(record: Event) -> Finding:
    """Return what token-request reports about a mint."""
    (finding,) = detect([record], detectors=["token-request"], exclusions=())
    return finding


def mint(user: str = "eve", *, groups: tuple[str, ...] | None = ("system:authenticated",), **fields: Any) -> Mint:
    """Return an observed mint."""
    known: dict[str, Any] = {
        "verb": "create",
        "code": 201,
        "resource": "serviceaccounts/token",
        "namespace": "prod",
        "name": "api",
    }
    return Mint(EventRef(audit_id="1", user=user, **known | fields), ACCOUNT, groups)


def cluster(*objects: Any) -> Cluster:
    """Return a snapshot."""
    return Cluster.load(listed(API, *objects))


def test_an_event_and_a_finding_tell_the_same_of_a_mint() -> None:
    """The facts are the request's."""
    record = event(level="Request", requestObject=body(), annotations={REASON: GONE})
    expected = Mint(EventRef.of(record), ACCOUNT, ("system:authenticated",))

    assert observed([record], ()) == ([expected], 0)
    assert observed([found(record)], ()) == ([expected], 0)
    assert observed([record, found(record), record], ()) == ([expected], 0)


def test_mints_are_in_the_order_of_time_and_those_without_one_come_first() -> None:
    """Whatever the order of the items."""
    late, early = (event(auditID=str(n), requestReceivedTimestamp=f"2026-11-23T21:0{n}:00Z") for n in (2, 1))
    timeless = event(auditID="3", requestReceivedTimestamp=None, stageTimestamp=None)

    assert [one.ref.audit_id for one in observed([late, timeless, early], ())[0]] == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("record", "nameless"),
    [
        (event(code=403, issued=None), 0),
        (event(verb="get"), 0),
        (parse_event(token_request(objectRef={"resource": "pods"}, issued=None)), 0),
        (parse_event(token_request(objectRef={"resource": "serviceaccounts", "subresource": "token"})), 1),
        (parse_event(token_request(objectRef={"resource": "pods"})), 1),
    ],
    ids=["refused", "not created", "another resource", "no name", "an issued credential"],
)
def test_what_is_no_mint_of_a_known_account(record: Event, nameless: int) -> None:
    """A token that was issued for nobody knows whom is counted."""
    record = attrs.evolve(record, annotations={}) if record.verb == "get" else record

    assert observed([record, record], ()) == ([], nameless)


def test_an_exclusion_expects_a_mint() -> None:
    """Events are judged here, findings were judged before; what one rule reports is not expected."""
    record = parse_event(CONTROLLER)
    (excluded,) = detect([record], detectors=["token-request"], keep_excluded=True)
    reported = attrs.evolve(excluded, excluded_by=None)

    def expected(*items: Event | Finding) -> str:
        ((only,), _) = observed(items, DEFAULT_EXCLUSIONS)
        return only.expected_by

    assert expected(record) == expected(excluded) == expected(record, excluded) == "kube-controller-manager"
    assert expected(reported) == expected(reported, excluded) == expected(excluded, reported) == ""


def test_an_event_knows_all_groups_and_a_finding_twenty() -> None:
    """Whichever came first."""
    record = event(groups=tuple(f"team-{number}" for number in range(30)))

    both: list[Event | Finding] = [record, found(record)]
    for items in (both, both[::-1]):
        ((only,), _) = observed(items, ())
        assert (len(only.groups or ()), only.more_groups) == (30, 0)
    ((short,), _) = observed([found(record)], ())
    assert (len(short.groups or ()), short.more_groups) == (20, 10)


def test_anything_else_is_refused() -> None:
    """By its type."""
    with pytest.raises(ConfigError, match="neither a Finding nor an Event: str"):
        observed(["x"], ())  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("groups", "user", "expected"),
    [
        (("a",), "eve", ("a",)),
        (None, "eve", ("system:authenticated",)),
        (
            None,
            "system:serviceaccount:dev:x",
            ("system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"),
        ),
    ],
)
def test_groups_that_were_not_logged_are_those_that_everybody_has(
    groups: tuple[str, ...] | None, user: str, expected: tuple[str, ...]
) -> None:
    """The API server gives them without a binding."""
    assert mint(user, groups=groups).effective_groups == expected


def test_every_binding_and_every_subject_that_gives_the_right_is_an_explanation() -> None:
    """All have to go."""
    everybody = {"kind": "Group", "name": "system:authenticated"}
    snapshot = cluster(
        given("a", EVE, MINTER), given("b", everybody, MINTER), given("c", EVE, MINTER, namespace="prod")
    )
    explanation = explain_mint(snapshot, mint())

    assert sorted((str(grant.binding), grant.subject.name) for grant in explanation.grants) == [
        ("ClusterRoleBinding a-", "eve"),
        ("ClusterRoleBinding b-", "system:authenticated"),
        ("RoleBinding prod/c-prod", "eve"),
    ]
    assert explanation.cause is None


def test_an_impersonated_mint_is_explained_by_the_right_to_impersonate() -> None:
    """The right to mint is the victim's."""
    snapshot = cluster(given("a", EVE, MINTER), given("b", EVE, IMPERSONATOR))
    victim = "system:serviceaccount:prod:api"

    assert [str(g.binding) for g in explain_mint(snapshot, mint(impersonating=victim)).grants] == [
        "ClusterRoleBinding b-"
    ]


@pytest.mark.parametrize(
    ("one", "cause", "why"),
    [
        (mint(groups=("system:masters",)), Cause.MASTERS, "is a member of system:masters, which no binding limits"),
        (mint(reason=GONE), Cause.CHANGED, "had the right through RoleBinding prod/old, which is not in the snapshot"),
        (mint(reason=THERE), Cause.CHANGED, "had the right through ClusterRoleBinding list-, which no longer gives it"),
        (
            mint("system:node:a", reason=""),
            Cause.NODE,
            "is a node: the Node authorizer lets it mint for its own pods",
        ),
        (mint(reason="EKS says"), Cause.OTHER_AUTHORIZER, "was allowed by another authorizer than RBAC: EKS says"),
        (
            attrs.evolve(mint(), more_groups=3),
            Cause.GROUPS_UNKNOWN,
            "may have it through one of 3 groups that findings do not keep",
        ),
        (mint(groups=None), Cause.GROUPS_UNKNOWN, "may have it through a group; the groups were not logged"),
        (
            mint("system:serviceaccount:dev:x", groups=None),
            Cause.UNKNOWN,
            "has no such right in the snapshot: it was since taken away, or another authorizer gave it",
        ),
        (
            mint(),
            Cause.UNKNOWN,
            "has no such right in the snapshot: it was since taken away, or another authorizer gave it",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Cause) else "",
)
def test_why_the_snapshot_shows_no_right(one: Mint, cause: Cause, why: str) -> None:
    """As the end of a sentence about the caller."""
    explanation = explain_mint(cluster(given("list", EVE, rule("list", "pods"))), one)

    assert (explanation.grants, explanation.cause, explanation.why) == ((), cause, why)
