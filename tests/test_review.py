# SPDX-License-Identifier: Apache-2.0
"""review: what was granted beside what was seen."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import ConfigError, Event, Finding, detect, parse_event
from k8stokendetect.cluster import Cluster
from k8stokendetect.identity import REASON
from k8stokendetect.outputs.review import review_to_mapping, to_review_text
from k8stokendetect.outputs.text import neutral
from k8stokendetect.review import Cause, Review, Status, UsedRight, review
from rbac_objects import EVE, answers, given, listed, made, recorded, rule
from recordings import METADATA, events, labelled_token_requests

MINT = rule("create", "serviceaccounts/token")
API = made("ServiceAccount", "api", "prod")
CI = {"kind": "Group", "name": "ci"}
EVERYBODY = {"kind": "Group", "name": "system:authenticated"}
OF_PROD = {"kind": "Group", "name": "system:serviceaccounts:prod"}


def event(user: str = "eve", target: str = "prod/api", minute: int = 0, **fields: Any) -> Event:
    """Return a mint; the annotations hold no reason unless they are given."""
    time = (datetime(2026, 11, 25, tzinfo=UTC) + timedelta(minutes=minute)).isoformat()
    return parse_event(token_request(user, target, **{"requestReceivedTimestamp": time} | fields))


def reviewed(objects: Any, *mints: Event) -> Review:
    """Review a cluster of these objects, and a log of these events."""
    return review(Cluster.load(listed(API, objects)), mints)


def one(found: Review) -> UsedRight:
    """Return the only right."""
    (right,) = found.rights
    return right


def test_a_right_that_is_used() -> None:
    """By its subject, so often, for these accounts, from then to then; there is nothing to change."""
    right = one(reviewed(given("mint", EVE, MINT), event(), event(minute=5), event(target="dev/app", minute=9)))

    assert right.status is Status.USED
    assert (right.mints, right.users) == (3, (("eve", 3),))
    assert right.accounts == (("prod/api", 2), ("dev/app", 1))
    assert right.first == datetime(2026, 11, 25, tzinfo=UTC)
    assert right.last == datetime(2026, 11, 25, 0, 9, tzinfo=UTC)
    assert right.change is None


@pytest.mark.parametrize(
    "other",
    [
        event("alice"),
        event(target="dev/app"),
        event(code=403, issued=None),
        event(impersonatedUser={"username": "bob"}),
    ],
    ids=["another user", "another namespace", "refused", "impersonating"],
)
def test_a_right_that_is_never_used(other: Event) -> None:
    """By others, elsewhere, in vain or in another's name does not count; the change that removes it is there."""
    found = reviewed(given("mint", EVE, MINT, namespace="prod"), other)
    right = one(found)

    assert right.status is Status.NEVER_USED
    assert found.of(Status.NEVER_USED) == (right,)
    assert right.change
    assert "rolebinding/mint-prod" in right.change.command


def test_a_groups_right_is_used_by_its_members() -> None:
    """Who is in the group stands in the log alone; a group that somebody was put into is expected."""
    objects = given("mint", CI, MINT)
    right = one(reviewed(objects, event("pipeline", groups=("ci", "system:authenticated")), event("alice")))

    assert (right.status, right.users, right.unexpected) == (Status.USED, (("pipeline", 1),), ())


@pytest.mark.parametrize(
    ("group", "user", "groups"),
    [
        (EVERYBODY, "alice", ("system:authenticated",)),
        (OF_PROD, "system:serviceaccount:prod:web", ("system:serviceaccounts", "system:serviceaccounts:prod")),
    ],
)
def test_used_by_someone_unexpected(group: dict[str, str], user: str, groups: tuple[str, ...]) -> None:
    """Who has it only because everybody has it."""
    right = one(reviewed(given("mint", group, MINT), event(user, groups=groups)))

    assert (right.status, right.unexpected) == (Status.UNEXPECTED, (user,))
    assert right.change


def test_a_component_that_uses_what_everybody_has_is_expected() -> None:
    """The same exclusions as everywhere; without them it is not."""
    cluster = Cluster.load(listed(API, given("mint", EVERYBODY, MINT)))
    kubelet = event(
        "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux)"
    )

    assert one(review(cluster, [kubelet])).status is Status.USED
    assert one(review(cluster, [kubelet], exclusions=())).status is Status.UNEXPECTED


GONE = 'RBAC: allowed by RoleBinding "old/prod" of Role "minter" to User "alice"'
THERE = 'RBAC: allowed by ClusterRoleBinding "mint-" of ClusterRole "mint" to User "alice"'


@pytest.mark.parametrize(
    ("mint", "cause", "why"),
    [
        (
            event("alice", annotations={REASON: GONE}),
            Cause.CHANGED,
            "RoleBinding prod/old, which is not in the snapshot",
        ),
        (
            event("alice", annotations={REASON: THERE}),
            Cause.CHANGED,
            "ClusterRoleBinding mint-, which no longer gives it",
        ),
        (event("system:node:a", groups=("system:nodes",), annotations={REASON: ""}), Cause.NODE, "Node authorizer"),
        (event("system:node:a", groups=("system:nodes",), annotations={REASON: "EKS"}), Cause.OTHER_AUTHORIZER, "EKS"),
        (event("root", groups=("system:masters",)), Cause.MASTERS, "system:masters"),
        (event("alice", annotations={REASON: "EKS Access Policy: allowed"}), Cause.OTHER_AUTHORIZER, "EKS Access"),
        (event("alice", groups=()), Cause.GROUPS_UNKNOWN, "the groups were not logged"),
        (event("alice"), Cause.UNKNOWN, "since taken away"),
        (event("system:serviceaccount:prod:x", groups=()), Cause.UNKNOWN, "since taken away"),
    ],
)
def test_minted_although_the_snapshot_grants_nothing(mint: Event, cause: Cause, why: str) -> None:
    """Each with its cause, as far as the log tells."""
    found = reviewed(given("mint", EVE, MINT), mint)
    (unexplained,) = found.unexplained

    assert (unexplained.user, unexplained.account) == (mint.user.username, "prod/api")
    assert unexplained.cause is cause
    assert why in unexplained.why


def test_an_impersonated_mint_is_explained_by_the_right_to_impersonate() -> None:
    """That right is the caller's; the binding of whom it impersonated is the victim's."""
    mint = event("mallory", impersonatedUser={"username": "eve"})
    mallory = {"kind": "User", "name": "mallory"}
    may = given("act-as", mallory, rule("impersonate", "users", "", "eve"))

    assert not reviewed([*given("mint", EVE, MINT), *may], mint).unexplained
    assert reviewed(given("mint", EVE, MINT), mint).unexplained


def test_acting_as_somebody_is_no_use_of_the_own_right() -> None:
    """Also where one binding gives both."""
    mallory = {"kind": "User", "name": "mallory"}
    both = given("both", mallory, MINT, rule("impersonate", "users", "", "eve"))
    found = reviewed([*given("mint", EVE, MINT), *both], event("mallory", impersonatedUser={"username": "eve"}))

    assert {str(right.subject): right.mints for right in found.rights} == {"User eve": 0, "User mallory": 0}


def test_each_rule_of_a_role_is_a_right_of_its_own() -> None:
    """One is used, the other never."""
    rules = [rule("create", "serviceaccounts/token", "", name) for name in ("api", "web")]
    found = reviewed(given("mint", EVE, *rules), event())

    assert {right.way.accounts: right.mints for right in found.rights} == {("api",): 1, ("web",): 0}


def test_a_service_accounts_own_groups_need_not_be_logged() -> None:
    """The API server gives them to each of its tokens."""
    found = reviewed(given("mint", OF_PROD, MINT), event("system:serviceaccount:prod:web", groups=()))

    assert one(found).mints == 1
    assert not found.unexplained


def test_findings_complete_each_other() -> None:
    """Groups stand in one of them; what one rule reports is not excluded for another; a refusal is no mint."""
    cluster = Cluster.load(listed(API, given("mint", EVERYBODY, MINT)))
    (whole,) = detect([event("alice")], detectors=["token-request"])
    bare = attrs.evolve(whole, event=attrs.evolve(whole.event, groups=()), rule=attrs.evolve(whole.rule, id="other"))
    aside = attrs.evolve(whole, excluded_by="kubelet")
    (refused,) = detect([event("alice", code=403, issued=None)], detectors=["token-request-denied"])
    masters = attrs.evolve(whole, event=attrs.evolve(whole.event, groups=("system:masters",)))

    for findings in ([whole, bare], [bare, whole]):
        assert one(review(cluster, findings)).unexpected == ("alice",)
    for findings in ([masters, bare], [bare, masters]):
        assert [mint.cause for mint in review(cluster, findings).unexplained] == [Cause.MASTERS]
    assert one(review(cluster, [aside])).status is Status.USED
    for findings in ([whole, aside], [aside, whole]):
        assert one(review(cluster, findings)).status is Status.UNEXPECTED
    assert review(cluster, [refused]).mints == 0


def test_groups_that_findings_do_not_keep_may_have_given_the_right() -> None:
    """A directory gives a person hundreds of groups: events have them all, findings twenty."""
    directory = tuple(f"team-{number}" for number in range(30))
    mint = event("alice", groups=directory)
    cluster = Cluster.load(listed(API, given("mint", {"kind": "Group", "name": "team-29"}, MINT)))
    findings = list(detect([mint], detectors=["token-request"]))

    assert one(review(cluster, [mint])).mints == 1
    assert not review(cluster, [*findings, mint]).unexplained
    (unexplained,) = review(cluster, findings).unexplained
    assert (unexplained.cause, unexplained.why) == (
        Cause.GROUPS_UNKNOWN,
        "may have it through one of 10 groups that findings do not keep",
    )


def test_each_request_counts_once() -> None:
    """Several findings about one, an event and its findings, the same log twice; no time, no order."""
    cluster = Cluster.load(listed(API, given("mint", EVE, MINT)))
    mints = [event(), event(minute=1)]
    findings = list(detect(mints, keep_excluded=True))

    assert len(findings) > 2
    batches: list[list[Event | Finding]] = [
        [*mints],
        [*findings],
        [*mints, *findings],
        [*mints, *mints],
        [*findings[::-1]],
    ]
    for seen in batches:
        assert review(cluster, seen) == review(cluster, mints)
    assert one(reviewed(given("mint", EVE, MINT), event(requestReceivedTimestamp=None, stageTimestamp=None))).mints == 1


def test_a_token_for_an_account_that_was_not_logged_is_counted() -> None:
    """It cannot be joined with anything."""
    found = reviewed(given("mint", EVE, MINT), event(objectRef={"resource": "serviceaccounts", "subresource": "token"}))

    assert (found.mints, found.nameless) == (0, 1)
    assert "1 more for an account that was not logged" in to_review_text(found)


def test_it_agrees_with_the_api_server_about_who_may_mint() -> None:
    """Each recorded answer becomes a mint: those that RBAC allowed are explained, and no other."""
    cluster, _ = recorded()
    asked = [
        one
        for one in answers()
        if one["resource"] == "serviceaccounts/token"
        and (one["verb"], one["group"]) == ("create", "")
        and one["namespace"]
        and one["name"]
    ]
    mints = [
        event(one["user"], f"{one['namespace']}/{one['name']}", number, groups=tuple(one["groups"]))
        for number, one in enumerate(asked)
    ]
    found = review(cluster, mints)
    refused = {
        (one["user"], f"{one['namespace']}/{one['name']}") for one in asked if not one["reason"].startswith("RBAC: a")
    }

    assert found.mints == len(asked) > 500
    assert {(one.user, one.account) for one in found.unexplained} == refused


def test_the_recorded_log_beside_another_cluster_of_its_version() -> None:
    """Every mint of the log is counted once; its own bindings are told to be missing, those of Kubernetes are not."""
    cluster, _ = recorded()
    minted = [label for label in labelled_token_requests(METADATA).values() if label["kind"] == "mint-ok"]
    found = review(cluster, events(METADATA))
    causes = {(one.user, one.cause) for one in found.unexplained}

    assert found.mints + found.nameless == len(minted)
    assert ("alice", Cause.CHANGED) in causes
    assert ("system:node:worker-1", Cause.NODE) in causes
    assert "system:kube-controller-manager" not in {one.user for one in found.unexplained}
    manager = [one for one in found.rights if one.subject.name == "system:kube-controller-manager"]
    assert [one.status for one in manager] == [Status.USED]


def test_the_text_and_the_json_say_the_same() -> None:
    """Every right and every mint; no name steers the terminal, and the values travel to other processes."""
    hostile = {"kind": "User", "name": "x\x1b[2J"}
    objects = [*given("mint", EVE, MINT), *given("other", hostile, MINT, namespace="dev")]
    found = reviewed(objects, event(), event("alice"))
    text, mapping = to_review_text(found), json.loads(json.dumps(review_to_mapping(found)))

    assert [right["status"] for right in mapping["rights"]] == ["never-used", "used"]
    assert neutral(mapping["rights"][0]["command"]) in text
    assert [one["user"] for one in mapping["unexplained"]] == ["alice"]
    assert "\x1b" not in text
    assert "User eve may mint for every service account in every namespace" in text
    assert "alice minted once for prod/api" in text
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own


@pytest.mark.parametrize("seen", ["audit.log", None, [object()], [{}]])
def test_what_is_neither_finding_nor_event(seen: Any) -> None:
    """Refused by name."""
    with pytest.raises(ConfigError, match=r"[fF]inding"):
        review(Cluster.load(listed(API)), seen)


def test_other_wrong_arguments() -> None:
    """A path for the cluster, names for exclusions."""
    with pytest.raises(ConfigError, match="takes a Cluster"):
        review("objects.json", [])  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigError, match="takes Exclusions"):
        review(Cluster.load(listed(API)), [], exclusions=["kubelet"])  # type: ignore[list-item]  # the mistake
