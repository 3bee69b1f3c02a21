# SPDX-License-Identifier: Apache-2.0
"""who_can_mint: agrees with the API server, excuses by the exclusions' own words, and its patches do what they say."""

from __future__ import annotations

import copy
import functools
import gzip
import itertools
import json
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from k8stokendetect import ConfigError
from k8stokendetect.cli.app import who_can_mint as command
from k8stokendetect.cluster import (
    BlastRadius,
    Change,
    ChangeKind,
    Cluster,
    Level,
    Minter,
    Status,
    Step,
    patch_for,
    who_can_mint,
)
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.outputs.mint_graph import ENTRIES, to_svg
from k8stokendetect.outputs.minter_words import folded, worth
from k8stokendetect.outputs.minters import MOST_ENTRIES, to_line, to_text
from rbac_objects import GROUP, OBJECTS, answers, asked, listed, made, recorded, rule

MINT = rule("create", "serviceaccounts/token")
EVE = {"apiGroup": GROUP, "kind": "User", "name": "eve"}
BOB = {"apiGroup": GROUP, "kind": "User", "name": "bob"}
TOKEN = ("create", "", "serviceaccounts/token")
Documents = dict[tuple[str, str, str], dict[str, Any]]


def account(name: str, namespace: str) -> dict[str, str]:
    """Make a subject that is a service account."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def bound(name: str, *subjects: dict[str, str], rules: Iterable[Any], namespace: str = "", **role: Any) -> list[Any]:
    """Make a ClusterRole and a binding of it, as the API server writes them."""
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return [
        made("ClusterRole", name, rules=list(rules), **role),
        made(kind, name, namespace, roleRef=ref, subjects=list(subjects)),
    ]


def of(name: str, minters: Iterable[Minter]) -> Minter:
    """Return the one of a name."""
    (found,) = (minter for minter in minters if str(minter.subject).endswith(name))
    return found


@functools.cache
def everybody() -> tuple[Minter, ...]:
    """Return who can mint in the recorded cluster."""
    return who_can_mint(recorded()[0])


def holders(question: dict[str, Any]) -> set[tuple[str, str]]:
    """Return what somebody who asks is: a user, and a member of groups."""
    return {("User", question["user"]), *(("Group", group) for group in question["groups"])}


def identity(minter: Minter) -> tuple[str, str]:
    """Return what a subject is to the API server."""
    name = minter.subject.username()
    return ("User", name) if name else ("Group", minter.subject.name)


def test_the_direct_ones_are_those_whom_the_api_server_lets_mint() -> None:
    """For each recorded question about one account: allowed by RBAC just when the asker or a group of his is listed."""
    direct = {identity(minter): minter.direct for minter in everybody()}
    asked = [
        one
        for one in answers()
        if (one["verb"], one["group"], one["resource"]) == TOKEN and one["namespace"] and one["name"]
    ]
    by_rbac = [one for one in asked if one["reason"] or not one["allowed"] or "system:masters" in one["groups"]]

    assert len(by_rbac) > 800
    for one in by_rbac:
        account_name = f"{one['namespace']}/{one['name']}"
        ways = [way for holder in holders(one) for way in direct.get(holder, ())]
        listed_there = any(
            way.namespace in {"", one["namespace"]} and (not way.accounts or one["name"] in way.accounts)
            for way in ways
        )
        assert listed_there is one["allowed"], (one["user"], account_name)


def by_key(document: dict[str, Any]) -> Documents:
    """Sort the items of a List by kind, namespace and name."""
    return {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in document["items"]
    }


@functools.cache
def raw() -> Documents:
    """Return the recorded objects as JSON, without the pods."""
    with gzip.open(OBJECTS) as file:
        return {key: one for key, one in by_key(json.load(file)).items() if key[0] != "Pod"}


class ChangedError(Exception):
    """A `test` operation found something else."""


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply a JSON patch as RFC 6902 says: test, add, remove."""
    result = copy.deepcopy(document)
    for one in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
        place = result
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        key: Any = int(last) if isinstance(place, list) and last != "-" else last
        if one["op"] == "test":
            if (place[key] if isinstance(place, dict) else place[key : key + 1]) not in (one["value"], [one["value"]]):
                raise ChangedError(one["path"])
        elif one["op"] == "remove":
            del place[key]
        elif isinstance(place, list):
            place.insert(len(place) if key == "-" else key, one["value"])
        else:
            place[key] = one["value"]
    return result


def applied(documents: Documents, steps: Iterable[Step]) -> Documents:
    """Do what the steps say with copies of the objects."""
    result = dict(documents)
    for step in steps:
        key = (step.kind, step.namespace, step.name)
        if step.verb == "create":
            assert key not in result
            result[key] = step.body
        elif step.verb == "delete":
            assert not result.pop(key).get("subjects")
        else:
            result[key] = patched(result[key], step.body)
    return result


def loaded(documents: Documents) -> Cluster:
    """Load objects; the recorded ones have three bindings to roles that do not exist."""
    return Cluster.load(listed(*documents.values()), on_error=lambda _: None)


def is_lost(change: Change, one: dict[str, Any], namespace: str) -> bool:
    """Tell whether a question is about what a change says is lost."""
    place = not namespace or one["namespace"] == namespace
    return place and any(
        (one["verb"] in rule.verbs or "*" in rule.verbs)
        and (one["group"] in rule.api_groups or "*" in rule.api_groups)
        and ({one["resource"], "*", f"*/{one['resource'].partition('/')[2]}"} & set(rule.resources))
        and (not rule.resource_names or one["name"] in rule.resource_names)
        for rule in change.loses
    )


def changes() -> list[tuple[Minter, Any, Change]]:
    """Return each change against a direct way in the recorded cluster once: several ways can share a binding."""
    found = {}
    for minter in everybody():
        for way in minter.direct:
            change = minter.change(way)
            if change is not None:
                found[minter.subject, way.binding] = (minter, way.binding, change)
    return list(found.values())


def test_the_changes_of_the_recorded_cluster_are_of_every_kind() -> None:
    """So that what follows proves something."""
    kinds = {change.kind for _, _, change in changes()}

    assert kinds == set(ChangeKind)
    assert len(changes()) >= 60


def test_each_change_takes_the_right_from_its_subject_and_nothing_from_anybody_else() -> None:
    """Applied to the recorded objects: only his own answers change, to what the change says.

    Each change is asked all recorded questions of its subject and a twelfth of the others, in turn.
    """
    questions = {
        (one["user"], *one["groups"], one["verb"], one["group"], one["resource"], one["namespace"], one["name"]): one
        for one in answers()
        if "system:masters" not in one["groups"]
    }.values()
    cluster = loaded(raw())
    before = [(one, asked(cluster, one), holders(one)) for one in questions]
    turned = 0
    for number, (minter, binding, change) in enumerate(changes()):
        after = loaded(applied(raw(), change.steps))
        mine = identity(minter)
        left = [way for way in after.ways_of(minter.subject) if way.direct]
        assert str(binding) not in {str(way.binding) for way in left}
        for one, was, holding in before[number % 12 :: 12] + [item for item in before if mine in item[2]]:
            allowed = asked(after, one)
            if allowed is not was:
                assert was
                assert mine in holding
                is_mint = (one["verb"], one["group"], one["resource"]) == TOKEN
                assert is_mint or is_lost(change, one, binding.namespace), (one, change)
                turned += is_mint
        for target in ("prod/web", "dev/guest-book", "team-a/worker", "ci/builder", "vault/vault", "prod/app"):
            namespace, _, name = target.partition("/")
            others = [
                way
                for way in minter.direct
                if way.binding != binding
                and way.namespace in {"", namespace}
                and (not way.accounts or name in way.accounts)
            ]
            user, groups = (mine[1], ()) if mine[0] == "User" else ("", (mine[1],))
            allowed = after.allows(user, groups, "create", "serviceaccounts/token", namespace=namespace, name=name)
            assert allowed is bool(others), (minter.subject, target, change)

    assert turned > 150


def test_each_patch_fails_when_the_object_has_changed() -> None:
    """Another subject first, or another rule: the operation `test` stops it, and so nothing else is hit."""
    for _, _, change in changes():
        (step,) = (one for one in change.steps if one.verb == "patch")
        there = copy.deepcopy(raw()[step.kind, step.namespace, step.name])
        for field in ("subjects", "rules"):
            if field in there and step.body[0]["path"].startswith(f"/{field}"):
                there[field].insert(0, {"kind": "User", "name": "somebody-new"})
        with pytest.raises(ChangedError):
            patched(there, step.body)


def test_the_default_bindings_are_kept_from_being_restored() -> None:
    """Measured objects: a binding of Kubernetes' own gets autoupdate=false with the patch, and a warning."""
    minter = of("system:kube-controller-manager", everybody())
    change = minter.change(minter.direct[0])

    assert change
    assert any("puts back" in warning for warning in change.warnings)
    after = applied(raw(), change.steps)["ClusterRoleBinding", "", "system:kube-controller-manager"]
    assert after["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] == "false"
    assert "system:kube-controller-manager" not in [one["name"] for one in after["subjects"]]


def test_the_controller_manager_keeps_what_its_exclusion_says_it_needs() -> None:
    """The default role lets it mint everywhere, the exclusion knows kube-system: that is told, and is kept."""
    minter = of("system:kube-controller-manager", everybody())
    change = minter.change(minter.direct[0])

    assert minter.status is Status.BEYOND
    assert [way.namespace for way in minter.beyond] == [""]
    assert change
    assert change.keeps == "kube-system/*"
    after = loaded(applied(raw(), change.steps))
    question = (minter.subject.name, ["system:authenticated"], "create", "serviceaccounts/token")
    assert after.allows(*question, namespace="kube-system", name="job-controller")
    assert not after.allows(*question, namespace="prod", name="web")
    assert after.allows(minter.subject.name, [], "list", "secrets")


def test_no_object_gives_system_masters_their_rights() -> None:
    """They stand there also without a binding, with no change: removing cluster-admin's would not stop them."""
    (masters,) = who_can_mint(Cluster())

    assert str(masters.subject) == "Group system:masters"
    assert masters.change(masters.ways[0]) is None
    assert of("system:masters", everybody()).change(of("system:masters", everybody()).ways[1]) is None


def changed(*objects: Any, who: str = "eve", **keep: Iterable[str]) -> tuple[Change, Cluster]:
    """Return the change against the first direct way of somebody, and the cluster after it."""
    documents = by_key(listed(*objects))
    cluster = loaded(documents)
    minter = of(who, who_can_mint(cluster))
    change = patch_for(cluster, minter.direct[0].grants[0], keep=keep)
    return change, loaded(applied(documents, change.steps))


def mints(cluster: Cluster, name: str = "web", namespace: str = "prod", user: str = "eve") -> bool:
    """Ask whether somebody may mint."""
    return cluster.allows(user, [], "create", "serviceaccounts/token", namespace=namespace, name=name)


def test_a_role_of_its_own_is_narrowed_and_the_rest_of_the_rule_stays() -> None:
    """One subject, one binding: the rule loses the token, verbs and other resources stay."""
    both = rule("create get", "pods serviceaccounts/token", "", "web", "api")
    change, after = changed(bound("r", EVE, rules=[rule("get", "nodes"), both], namespace="prod"))

    assert change.kind is ChangeKind.NARROW_ROLE
    assert not mints(after)
    assert after.allows("eve", [], "create", "pods", namespace="prod", name="web")
    assert after.allows("eve", [], "get", "nodes", namespace="prod")
    assert [loss.resources for loss in change.loses] == [("serviceaccounts/token",)]


def test_every_rule_that_gives_the_right_is_changed() -> None:
    """Several in one role, one of which has to go: what stands behind it keeps its place."""
    rules = [MINT, rule("create", "pods serviceaccounts/token"), rule("get", "nodes"), rule("*", "*/token secrets")]
    change, after = changed(bound("r", EVE, rules=rules, namespace="prod"))

    assert change.kind is ChangeKind.NARROW_ROLE
    assert [one.resources for one in after.roles[0].rules] == [("pods",), ("nodes",), ("secrets",)]
    assert not mints(after)


def test_what_is_kept_never_goes_beyond_what_there_was() -> None:
    """A right in one namespace is not kept for another one."""
    change, after = changed(bound("r", EVE, rules=[MINT], namespace="prod"), dev=["web"])

    assert not change.keeps
    assert not mints(after, "web", "dev")
    assert len(change.steps) == 2


def test_urls_are_nothing_that_a_role_binding_gives() -> None:
    """A Role cannot hold them, so no role is made for their sake, and no loss is told."""
    urls = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    change, _ = changed(bound("r", EVE, BOB, rules=[MINT, urls], namespace="prod"))

    assert change.kind is ChangeKind.REMOVE_SUBJECT
    assert not change.loses


def test_a_right_can_be_narrowed_to_names() -> None:
    """`keep` leaves what is needed: in the rule, as resourceNames, or in a Role of that namespace."""
    rules = [MINT, rule("get", "pods")]
    for namespace, kind in (("prod", ChangeKind.NARROW_ROLE), ("", ChangeKind.NARROW_ROLE)):
        change, after = changed(bound("r", EVE, rules=rules, namespace=namespace), prod=["web"])
        assert change.kind is kind
        assert change.keeps == "prod/web"
        assert mints(after)
        assert not mints(after, "api")
        assert not mints(after, "web", "dev")
        assert after.allows("eve", [], "get", "pods", namespace="prod")


def test_a_role_that_others_have_is_replaced_for_this_subject_alone() -> None:
    """By a role without the token: others keep theirs, and a name that is taken is not used."""
    objects = [
        *bound("edit", EVE, BOB, rules=[MINT, rule("get", "pods")], namespace="prod"),
        made("Role", "edit-without-token", "prod", rules=[]),
    ]
    change, after = changed(objects)

    assert change.kind is ChangeKind.REPLACE_ROLE
    assert {step.name for step in change.steps if step.verb == "create"} == {"edit-without-token-2"}
    assert not mints(after)
    assert mints(after, user="bob")
    assert after.allows("eve", [], "get", "pods", namespace="prod")
    assert not change.loses


@pytest.mark.parametrize("why", ["aggregates", "is aggregated", "is Kubernetes' own"])
def test_a_role_that_is_not_only_ones_own_is_not_changed(why: str) -> None:
    """The controller would fill it again, others would lose, or the API server would restore it."""
    selector: Any = {"matchLabels": {"to": "x"}}
    aggregation: dict[str, Any] = {"aggregationRule": {"clusterRoleSelectors": [selector]}}
    own = {"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}}
    role: dict[str, dict[str, Any]] = {
        "aggregates": aggregation,
        "is aggregated": {"metadata": {"labels": {"to": "x"}}},
        "is Kubernetes' own": own,
    }
    objects = [
        *bound("r", EVE, rules=[MINT, rule("get", "pods")], **role[why]),
        made("ClusterRole", "top", **aggregation),
    ]
    change, after = changed(objects)

    assert change.kind is ChangeKind.REPLACE_ROLE
    assert not mints(after)
    assert after.allows("eve", [], "get", "pods", namespace="prod")


def test_a_rule_for_all_resources_cannot_be_narrowed() -> None:
    """RBAC cannot say all but one: the binding has to go, and the change says what goes with it."""
    change, after = changed(bound("r", EVE, rules=[rule("*", "*", "*")]))

    assert change.kind is ChangeKind.DELETE_BINDING
    assert [loss.resources for loss in change.loses] == [("*",)]
    assert "names all resources" in change.warnings[0]
    assert not after.bindings


def test_a_service_account_that_stands_there_as_a_user_too_is_taken_out_twice() -> None:
    """The API server sees one identity, and a subject that is written without a namespace."""
    twice = [{"kind": "ServiceAccount", "name": "w"}, BOB, EVE | {"name": "system:serviceaccount:prod:w"}]
    change, after = changed(bound("r", *twice, rules=[MINT], namespace="prod"), who="prod/w")

    assert [str(subject) for subject in after.subjects] == ["User bob"]
    assert change.kind is ChangeKind.REMOVE_SUBJECT
    cluster = loaded(by_key(listed(*bound("r", *twice, rules=[MINT], namespace="prod"))))
    names = [str(minter.subject) for minter in who_can_mint(cluster)]
    assert sorted(names) == ["Group system:masters", "ServiceAccount prod/w", "User bob"]


def test_what_patch_for_refuses() -> None:
    """A lone string as names, and a grant whose binding has another subject."""
    cluster = loaded(by_key(listed(*bound("r", EVE, rules=[MINT]))))
    (grant,) = cluster.grants("eve", [], "create", "serviceaccounts/token", namespace="prod")

    with pytest.raises(ConfigError, match="keep takes lists"):
        patch_for(cluster, grant, keep={"prod": "web"})
    with pytest.raises(ConfigError, match="does not have its subject"):
        patch_for(cluster, attrs.evolve(grant, subject=cluster.subjects[0].__class__("User", "mallory")))


CNI = rule("create", "serviceaccounts/token", "", "calico-cni-plugin")
CALICO = account("calico-node", "kube-system")


@pytest.mark.parametrize(
    ("subject", "rules", "namespace", "expected"),
    [
        (CALICO, [CNI], "kube-system", Status.EXPECTED),
        (CALICO, [MINT], "kube-system", Status.BEYOND),
        (CALICO, [CNI], "calico-system", Status.BEYOND),  # not its own namespace
        (CALICO, [CNI], "", Status.BEYOND),
        (CALICO, [rule("create", "pods")], "kube-system", Status.BEYOND),  # not what it is excused for
        (account("calico-node", "dev"), [CNI], "kube-system", Status.NOT_EXPECTED),
        (EVE | {"name": "system:node:n1"}, [MINT], "", Status.NOT_EXPECTED),  # the Node authorizer lets kubelets
        (EVE | {"name": "system:kube-controller-manager"}, [MINT], "kube-system", Status.EXPECTED),
        (EVE | {"name": "system:kube-controller-manager", "kind": "Group"}, [MINT], "", Status.NOT_EXPECTED),
        (account("external-secrets", "external-secrets"), [MINT], "", Status.NOT_EXPECTED),  # optional, off
    ],
)
def test_only_what_the_exclusion_allows_is_expected(
    subject: dict[str, str], rules: list[Any], namespace: str, expected: Status
) -> None:
    """A name that fits proves nothing: names and namespaces of the targets are compared with the exclusion's."""
    cluster = loaded(by_key(listed(*bound("r", subject, rules=rules, namespace=namespace))))

    assert of(subject["name"], who_can_mint(cluster)).status is expected


def test_exclusions_are_chosen_as_for_a_scan() -> None:
    """Optional ones by choice, a platform's on that platform, an expired one no more."""
    secrets = find_exclusion("external-secrets")
    eks = find_exclusion("openshift-pull-secrets")
    cluster = loaded(by_key(listed(*bound("r", account("external-secrets", "external-secrets"), rules=[MINT]))))
    puller = account("serviceaccount-pull-secrets-controller", "openshift-infra")
    openshift = loaded(by_key(listed(*bound("r", puller, rules=[MINT]))))
    ended = attrs.evolve(secrets, expires=date(2026, 1, 1))

    def status(of_cluster: Cluster, **arguments: Any) -> Status:
        return who_can_mint(of_cluster, **arguments)[-1].status

    assert status(cluster, exclusions=[secrets]) is Status.EXPECTED
    assert status(cluster, exclusions=[ended], today=date(2026, 1, 1)) is Status.EXPECTED
    assert status(cluster, exclusions=[ended], today=date(2026, 1, 2)) is Status.NOT_EXPECTED
    assert status(openshift, exclusions=[eks]) is Status.NOT_EXPECTED
    assert status(openshift, exclusions=[eks], platform="openshift") is Status.EXPECTED


def valued() -> Cluster:
    """Return a cluster with an account of each worth, and somebody who may mint for each."""
    cloud = {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"}}
    targets = ("admin", "raiser", "cloudy", "plain", "other")
    return loaded(
        by_key(
            listed(
                *(made("ServiceAccount", name, name, metadata=cloud if name == "cloudy" else {}) for name in targets),
                *bound("all", account("admin", "admin"), rules=[rule("*", "*", "*")]),
                *bound("raise", account("raiser", "raiser"), rules=[rule("impersonate", "users")]),
                *(
                    one
                    for name in (*targets, "nowhere")
                    for one in bound(f"mint-{name}", EVE | {"name": f"to-{name}"}, rules=[MINT], namespace=name)
                ),
                *bound("exec", EVE | {"name": "runner"}, rules=[rule("create", "pods/exec")], namespace="plain"),
            )
        )
    )


@pytest.mark.parametrize(
    ("reach", "said"),
    [
        (BlastRadius(5, cloud=1, worst=("a/b", "a/c", "a/d")), " (a/b, a/c, a/d, …); 1 has a cloud identity: a/b"),
        (BlastRadius(2, cloud=2, worst=("a/b", "a/c")), " (a/b, a/c); 2 have a cloud identity: a/b, a/c"),
        (BlastRadius(5, cloud=4, worst=("a/b", "a/c", "a/d")), " (a/b, a/c, a/d, …); 4 have a cloud identity"),
        (
            BlastRadius(3, 1, 2, 1, ("a/b", "a/c", "a/d")),
            " (a/b, a/c, a/d); 1 has all rights: a/b, 2 have rights that lead to more, 1 has a cloud identity",
        ),
        (
            BlastRadius(2, attesting=1, worst=("a/b", "a/c")),
            " (a/b, a/c); 1 is taken for the API server by admission webhooks",
        ),
        (BlastRadius(1, 1, cloud=1, worst=("a/b",)), " (a/b), which has all rights and has a cloud identity"),
        (BlastRadius(2, worst=("a/b", "a/c")), " (a/b, a/c)"),
    ],
)
def test_what_is_reached_and_what_that_is_worth(reach: BlastRadius, said: str) -> None:
    """Named are those of the highest value, which stand first: of the others it is not known which they are."""
    assert worth(reach) == f"{reach.accounts} service account{'s' if reach.accounts > 1 else ''}{said}"


def test_the_worst_come_first_by_what_the_targets_are_worth() -> None:
    """All rights, then rights to be had, then a cloud identity, then any, then none; direct before indirect."""
    names = [minter.subject.name for minter in who_can_mint(valued()) if minter.subject.kind == "User"]
    levels = {minter.subject.name: minter.reach.level for minter in who_can_mint(valued())}

    assert names == ["to-admin", "to-raiser", "to-cloudy", "to-other", "to-plain", "runner", "to-nowhere"]
    assert [levels[name] for name in names] == [
        *(Level.CLUSTER_ADMIN, Level.ESCALATION, Level.CLOUD, Level.ACCOUNT, Level.ACCOUNT, Level.ACCOUNT),
        Level.NOTHING,
    ]


def test_reach_counts_each_account_once() -> None:
    """Also where several ways lead there; a way through a pod needs one, where pods are known."""
    worker = {"serviceAccountName": "worker", "containers": []}
    everything = [
        *(made("ServiceAccount", name, "prod") for name in ("web", "worker", "idle")),
        made("ServiceAccount", "web", "dev"),
        *bound("c", EVE | {"name": "one"}, rules=[rule("create", TOKEN[2], "", "web")], namespace="prod"),
        *bound("a", EVE, rules=[MINT, rule("create", "serviceaccounts/token", "", "web", "ghost")], namespace="prod"),
        *bound("b", BOB, rules=[rule("create", "pods/exec")], namespace="prod"),
    ]
    without, with_pods = (
        loaded(by_key(listed(*everything, *pods))) for pods in ([], [made("Pod", "p", "prod", spec=worker)])
    )

    assert of("eve", who_can_mint(without)).reach.accounts == 3
    assert of("bob", who_can_mint(without)).reach.accounts == 3
    assert of("bob", who_can_mint(with_pods)).reach.worst == ("prod/worker",)
    assert of("one", who_can_mint(without)).reach.worst == ("prod/web",)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("system:authenticated", "everybody who is authenticated"),
        ("system:unauthenticated", "without any credential"),
        ("system:serviceaccounts", "every service account of the cluster"),
        ("system:serviceaccounts:dev", "every service account of dev"),
    ],
)
def test_groups_are_spelled_out(name: str, meaning: str) -> None:
    """In text, JSON and drawing; each stands alone, never folded with others."""
    minter = of(f"Group {name}", everybody())

    assert meaning in minter.meaning
    assert any(minter.meaning in line for line in to_text([minter]))
    assert json.loads(to_line(minter))["subject"]["meaning"] == minter.meaning
    assert minter.meaning.partition(":")[0] in to_svg([minter])


def large(namespaces: int) -> tuple[Minter, ...]:
    """Return who can mint where each namespace has its own group of editors, deployer and robot."""
    rules = [MINT, rule("create", "pods"), rule("get list", "secrets")]
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"}
    objects: list[Any] = [made("ClusterRole", "edit", rules=rules)]
    for number in range(namespaces):
        place = f"ns-{number}"
        group = {"apiGroup": GROUP, "kind": "Group", "name": f"team-{number}"}
        subjects = [group, account("deployer", place), account("robot", place)]
        objects += [made("ServiceAccount", name, place) for name in ("deployer", "robot")]
        objects.append(made("RoleBinding", "edit", place, roleRef=ref, subjects=subjects))
    return who_can_mint(loaded(by_key(listed(*objects))))


def test_subjects_that_are_alike_are_one_entry() -> None:
    """300 teams and 600 accounts with the same role in namespaces of their own: two entries, and both are counted."""
    minters = large(300)
    text = list(to_text(minters))

    assert len(minters) == 901
    assert [1 + len(entry.others) for entry in folded(minters)] == [1, 300, 600]
    assert len(text) < 40
    assert "901 can mint tokens of service accounts, 0 of them as components, by design" in text
    assert any("599 more that are alike" in line for line in text)


def test_who_stands_for_many_is_never_folded() -> None:
    """All service accounts of one namespace and of another are two entries."""
    groups = [EVE | {"kind": "Group", "name": f"system:serviceaccounts:{place}"} for place in ("dev", "prod")]
    minters = who_can_mint(loaded(by_key(listed(*bound("r", *groups, rules=[MINT])))))

    assert [len(entry.others) for entry in folded(minters)] == [0, 0, 0]


def test_a_subject_with_many_bindings_stays_readable() -> None:
    """The first few are printed, and the rest is counted."""
    objects = [one for number in range(9) for one in bound(f"r{number}", EVE, rules=[MINT])]
    text = list(to_text(who_can_mint(loaded(by_key(listed(*objects))))))

    assert "  … and 4 more bindings, 4 of them direct: see --format json" in text
    assert "1 bindings of the subjects above are not drawn" in to_svg(who_can_mint(loaded(by_key(listed(*objects)))))


def test_what_is_left_out_is_counted() -> None:
    """More entries than are shown: text and drawing say how many subjects are missing."""
    objects = [
        one for number in range(60) for one in bound(f"r{number:02}", EVE | {"name": f"u{number}"}, rules=[MINT])
    ]
    minters = who_can_mint(loaded(by_key(listed(made("ServiceAccount", "a", "prod"), *objects))))

    assert f"… and {61 - MOST_ENTRIES} more entries, about {61 - MOST_ENTRIES} subjects: see --format json" in to_text(
        minters
    )
    assert f"{61 - ENTRIES} entries about {61 - ENTRIES} subjects are not drawn" in to_svg(minters)


HOSTILE = ["</title><script>alert(1)</script>", "\x1b[31m\u202ex", "a' ; rm -rf / #", '"&<>', "-o", "$(id)"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_the_cluster_do_no_harm(name: str) -> None:
    """As text, in a shell, in JSON and in SVG: a name stays a name."""
    objects = bound(name, EVE | {"name": name}, BOB, rules=[MINT], namespace=name)
    minter = of(name, who_can_mint(loaded(by_key(listed(*objects)))))
    change = minter.change(minter.direct[0])
    assert change
    words = shlex.split(change.command)
    tree = ET.fromstring(to_svg([minter]))  # noqa: S314 - our own

    assert all(line.isprintable() for line in to_text([minter]))
    assert to_line(minter).isascii()
    assert json.loads(to_line(minter))["subject"]["name"] == name
    assert words[:3] == ["kubectl", "patch", f"rolebinding/{name}"]
    assert words[3] == f"--namespace={name}"
    assert json.loads(words[6])[0]["value"]["name"] == name
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
        "svg",
        "style",
        "g",
        "title",
        "rect",
        "text",
        "path",
    }
    assert not [key for element in tree.iter() for key in element.attrib if key.startswith("on") or "href" in key]


def test_the_drawing_leads_from_subject_to_role_to_targets() -> None:
    """A box each, lines that are drawn through for direct ways and dashed for others, and nothing overlaps."""
    tree = ET.fromstring(to_svg(everybody()))  # noqa: S314 - our own
    boxes = [
        (float(one.attrib["x"]), float(one.attrib["y"]))
        for one in tree.iter("{http://www.w3.org/2000/svg}rect")
        if one.attrib["class"] == "box"
    ]
    texts = ["".join(one.itertext()) for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    columns = {x for x, _ in boxes}

    assert len(columns) == 3
    for column in columns:
        ys = sorted(y for x, y in boxes if x == column)
        assert all(later - earlier >= 42 for earlier, later in itertools.pairwise(ys))
    assert {"Group break-glass", "ClusterRoleBinding extra-masters", "every service account"} <= set(texts)
    assert "prefers-color-scheme:dark" in to_svg(())


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)


def saved(tmp_path: Path, *objects: Any) -> Path:
    """Write objects as a file."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(listed(*objects)))
    return path


def test_the_command_says_by_its_status_whether_it_could_answer(tmp_path: Path) -> None:
    """0 for an answer, 2 for what cannot be read or for a wrong option; what can be read is answered."""
    path = saved(tmp_path, *bound("r", EVE, rules=[MINT], namespace="prod"))
    broken = tmp_path / "broken.json"
    broken.write_text("{")

    assert run(path).exit_code == 0
    assert "User eve" in run(path).stdout
    assert "bindings: 1" in run(path).stderr
    assert run(path, broken).exit_code == 2
    assert "User eve" in run(path, broken).stdout
    assert run(path, broken).stdout.startswith("INCOMPLETE: ")
    assert json.loads(run(path, broken, "--format", "json").stdout)["complete"] is False
    assert run("-", stdin=path.read_bytes()).stdout == run(path).stdout
    for wrong in (
        ("",),
        (),
        (path, "--context", "x"),
        (path, "--enable", "nothing"),
        (path, "--diff", "absent.json"),
        *(
            (path, "--fail-on", wrong)
            for wrong in ("", "drect", "nothing", "direct/cloud", "cloud/", "kubelet", "a/b/c")
        ),
        (path, "--exclusions", "absent.toml"),
        (path, "--graph", tmp_path),
    ):
        assert run(*wrong).exit_code == 2
        assert "error: " in run(*wrong).stderr


def test_a_binding_to_no_role_and_an_object_of_another_kind_are_warnings(tmp_path: Path) -> None:
    """Real clusters have such bindings; the rest is answered, and the status is as without."""
    good = bound("r", EVE, rules=[MINT], namespace="prod")
    dangling = [one for one in bound("gone", EVE, rules=[MINT], namespace="prod") if "Binding" in one["kind"]]
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 7, "namespace": "prod"}}
    result = run(saved(tmp_path, *good, *dangling, other))

    assert result.exit_code == 0
    assert result.stderr.count("warning: ") == 2
    assert "warnings: 2" in result.stderr
    assert "User eve" in result.stdout


def test_the_command_writes_json_lines_with_stable_names_and_a_drawing(tmp_path: Path) -> None:
    """One line for each subject; the names are those of docs/who-can-mint.md."""
    path = saved(tmp_path, made("ServiceAccount", "web", "prod"), *bound("r", EVE, rules=[MINT], namespace="prod"))
    result = run(path, "--format", "json", "--graph", tmp_path / "graph.svg")
    (eve,) = map(json.loads, result.stdout.splitlines())

    assert list(eve) == [
        *("subject", "status", "exclusions", "beyond", "level", "reach", "direct_reach", "ways", "changes", "complete"),
    ]
    assert eve["subject"] == {"kind": "User", "namespace": None, "name": "eve"}
    assert list(eve["ways"][0]) == ["kind", "direct", "why", "namespace", "accounts", "path", "change"]
    assert eve["ways"][0]["path"][0]["binding"] == {"kind": "RoleBinding", "namespace": "prod", "name": "r"}
    assert list(eve["changes"][eve["ways"][0]["change"]]) == ["kind", "command", "steps", "loses", "keeps", "warnings"]
    assert eve["reach"]["accounts"] == 1
    assert (tmp_path / "graph.svg").read_text().startswith("<svg ")
