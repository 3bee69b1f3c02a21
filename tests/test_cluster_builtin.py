# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes installs by itself: known where a snapshot lacks it, and left out as long as it is unchanged."""

from __future__ import annotations

import copy
import functools
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from k8stokendetect.cluster import Cluster, Minter, PolicyRule, Survey, survey, who_can_mint
from k8stokendetect.cluster.builtin import missing_roles
from k8stokendetect.outputs.minters import LIKE_KUBEADM, to_text
from rbac_objects import EVE, GROUP, OBJECTS, given, listed, made, rule

MINT = rule("create", "serviceaccounts/token")
BOOTSTRAPPERS = "system:bootstrappers:kubeadm:default-node-token"


def bound(role: str, subject: dict[str, str], name: str = "b", namespace: str = "") -> dict[str, Any]:
    """Give a ClusterRole to a subject."""
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return made(kind, name, namespace, roleRef={"kind": "ClusterRole", "name": role}, subjects=[subject])


KUBEADM = [
    bound("cluster-admin", {"kind": "Group", "name": "kubeadm:cluster-admins"}, "kubeadm:cluster-admins"),
    bound(
        "system:kubelet-api-admin",
        {"kind": "User", "name": "kube-apiserver-kubelet-client"},
        "kubeadm:apiserver-kubelet-client",
    ),
    bound("system:node-bootstrapper", {"kind": "Group", "name": BOOTSTRAPPERS}, "kubeadm:kubelet-bootstrap"),
    bound(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        {"kind": "Group", "name": BOOTSTRAPPERS},
        "kubeadm:node-autoapprove-bootstrap",
    ),
]


@functools.cache
def installed() -> list[dict[str, Any]]:
    """Return what a recorded API server made by itself, its controllers' accounts, and what kubeadm adds."""
    with gzip.open(OBJECTS) as file:
        items = json.load(file)["items"]
    own = [
        one
        for one in items
        if one["metadata"].get("labels", {}).get("kubernetes.io/bootstrapping") == "rbac-defaults"
        or (one["kind"] == "ServiceAccount" and one["metadata"]["namespace"] == "kube-system")
    ]
    for one in own:  # the recording adds roles to these; an empty cluster has none
        if "aggregationRule" in one:
            one["rules"] = None
    return own + KUBEADM


def seen(*objects: Any, change: Callable[[dict[str, Any]], None] | None = None, **options: Any) -> Survey:
    """Return who can mint in an otherwise empty cluster of kubeadm, of which each object was changed so."""
    options = {"platform": "kubernetes"} | options
    items = copy.deepcopy(installed())
    for one in items if change else ():
        assert change
        change(one)
    return survey(Cluster.load(listed(items, *objects)), **options)


def names(minters: tuple[Minter, ...]) -> list[str]:
    """Return who."""
    return [str(minter.subject) for minter in minters]


def test_an_empty_cluster_has_nobody_to_show() -> None:
    """What a kube-apiserver and kubeadm install: nothing by default, and all of it when asked for."""
    assert names(seen().minters) == []
    assert len(seen().defaults) == 19
    assert len(seen(with_defaults=True).minters) == 19
    assert "Group system:masters" in map(str, seen().defaults)
    assert seen(with_defaults=True).defaults == ()


def edited(kind: str, name: str, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what adds something to a list of one object."""

    def change(one: dict[str, Any]) -> None:
        if (one["kind"], one["metadata"]["name"]) == (kind, name):
            one[field] = [*(one.get(field) or ()), value]

    return change


EVERYBODY = {"apiGroup": GROUP, "kind": "Group", "name": "system:authenticated"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (edited("ClusterRoleBinding", "system:node", "subjects", EVERYBODY), "Group system:authenticated"),
        (edited("ClusterRoleBinding", "cluster-admin", "subjects", EVE), "User eve"),
        (edited("ClusterRole", "system:discovery", "rules", MINT), "Group system:authenticated"),
        (
            edited("ClusterRole", "system:controller:cronjob-controller", "rules", rule("*", "*/token", "*")),
            "ServiceAccount kube-system/cronjob-controller",
        ),
        (edited("ClusterRole", "system:basic-user", "rules", rule("get", "secrets")), "Group system:authenticated"),
        (edited("Role", "system:controller:token-cleaner", "rules", MINT), "ServiceAccount kube-system/token-cleaner"),
        (
            edited("RoleBinding", "system:controller:token-cleaner", "subjects", EVE),
            "User eve",
        ),
    ],
)
def test_what_was_changed_in_it_is_shown(change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """An added subject, an added rule: that subject alone, and nothing of the others."""
    assert names(seen(change=change).minters) == [expected]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("namespace-controller", ["*"], rule("get list delete deletecollection", "*", "*")),  # 1.26
        ("persistent-volume-binder", ["pods"], rule("get", "secrets")),  # 1.26: glusterfs
    ],
)
def test_a_role_of_an_older_version_is_recognised(name: str, before: list[str], after: dict[str, Any]) -> None:
    """It gives less, or what is known of a plug-in that was removed."""

    def change(one: dict[str, Any]) -> None:
        if one["metadata"]["name"] == f"system:controller:{name}" and "rules" in one:
            one["rules"] = [kept for kept in one["rules"] if kept["resources"] != before] + [after]

    assert names(seen(change=change).minters) == []
    assert len(seen(change=change).defaults) == 19


def test_a_harmless_rule_of_another_version_changes_nothing() -> None:
    """Versions differ in what leads to no token: only rules that lead to one are compared."""
    change = edited("ClusterRole", "system:controller:cronjob-controller", "rules", rule("get", "configmaps"))

    assert names(seen(change=change).minters) == []


@pytest.mark.parametrize("platform", [None, "eks", "openshift"])
def test_what_kubeadm_makes_is_no_default_unless_the_cluster_is_said_to_be_one(platform: str | None) -> None:
    """Anyone can plant its bindings, all of them, and have certificates issued for their subjects."""
    own = seen(platform=platform)
    text = "\n".join(to_text(own.minters))

    assert names(own.minters) == [
        "Group kubeadm:cluster-admins",
        f"Group {BOOTSTRAPPERS}",
        "User kube-apiserver-kubelet-client",
    ]
    assert text.count(LIKE_KUBEADM) == len({way.binding for minter in own.minters for way in minter.ways})
    assert len(own.defaults) == 16
    assert names(seen(platform="kubernetes").minters) == []


def test_what_is_not_like_kubeadm_is_not_said_to_be() -> None:
    """Another subject of its binding, whatever the platform."""
    change = edited("ClusterRoleBinding", "kubeadm:cluster-admins", "subjects", EVE)
    (minter,) = seen(change=change).minters

    assert str(minter.subject) == "User eve"
    assert LIKE_KUBEADM not in "\n".join(to_text([minter]))


@pytest.mark.parametrize(
    "objects",
    [
        bound("system:kube-controller-manager", EVE, "system:kube-controller-manager-2"),
        bound("cluster-admin", {"kind": "User", "name": "eve"}, "kubeadm:cluster-admins", "prod"),
        bound("cluster-admin", EVE),
        given("system:node", EVE, MINT)[1],
    ],
)
def test_a_name_like_kubernetes_own_hides_nothing(objects: Any) -> None:
    """Another binding of the same role, the same name in a namespace."""
    assert names(seen(objects).minters) == ["User eve"]


def test_kubernetes_own_subject_is_shown_with_what_it_was_given_besides() -> None:
    """The controller manager bound to cluster-admin: that binding alone."""
    manager = {"kind": "User", "name": "system:kube-controller-manager"}
    (minter,) = seen(bound("cluster-admin", manager, "extra")).minters

    assert {str(way.binding) for way in minter.ways} == {"ClusterRoleBinding extra"}


def test_a_role_that_the_snapshot_lacks_is_the_built_in_one() -> None:
    """A manifest binds cluster-admin, edit or a system role: an answer, of which each role says that it is assumed."""
    users = {name: {"kind": "User", "name": name} for name in ("cluster-admin", "admin", "edit", "view")}
    errors: list[Exception] = []
    cluster = Cluster.load(
        listed(*(bound(name, user, name) for name, user in users.items()), bound("gone", EVE, "gone")),
        on_error=errors.append,
    )
    shown = {minter.subject.name: minter for minter in who_can_mint(cluster) if minter.subject.kind == "User"}

    assert [str(error) for error in errors] == [
        "ClusterRoleBinding gone: its ClusterRole gone does not exist @ $.items[4].roleRef"
    ]
    assert set(shown) == {"cluster-admin", "admin", "edit"}
    assert {way.grants[0].role.assumed for minter in shown.values() for way in minter.ways} == {"1.36"}
    assert cluster.allows("edit", [], "create", "serviceaccounts/token", namespace="prod", name="x")
    assert not cluster.allows("view", [], "get", "secrets", namespace="prod")


def test_roles_that_are_added_to_a_built_in_one_count() -> None:
    """`view` is not in the manifest, but what is aggregated into it is."""
    extra = made(
        "ClusterRole",
        "extra",
        metadata={"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        rules=[MINT],
    )
    (minter,) = survey(Cluster.load(listed(bound("view", EVE), extra))).minters

    assert str(minter.subject) == "User eve"


def test_a_role_that_was_read_is_not_replaced() -> None:
    """The snapshot's own `edit`, and a Role that a RoleBinding cannot find in another namespace."""
    local = made("RoleBinding", "b", "prod", roleRef={"kind": "Role", "name": "system:controller:token-cleaner"})
    cluster = Cluster.load(listed(made("ClusterRole", "edit", rules=[]), bound("edit", EVE)))
    errors: list[Exception] = []
    Cluster.load(listed(local), on_error=errors.append)

    assert not cluster.allows("eve", [], "create", "serviceaccounts/token", namespace="prod", name="x")
    assert len(errors) == 1
    assert list(missing_roles(cluster.bindings, {("", "edit")})) == []


def test_the_recorded_rules_are_those_of_the_recording() -> None:
    """What was written down for 1.36 is what the API server of the recording made."""
    own = Cluster.load(listed([one for one in installed() if one not in KUBEADM]))
    names_of = {(role.namespace, role.name) for role in own.roles if "openshift" not in role.name}
    refs = [binding for binding in own.bindings if "openshift" not in binding.name]
    assumed = {(role.namespace, role.name): role for role in Cluster.load(listed(*map(as_json, refs))).roles}

    assert len(names_of & set(assumed)) > 50
    for role in own.roles:
        found = assumed.get((role.namespace, role.name))
        assert found is None or set(map(plain, found.rules)) == set(map(plain, role.rules))


def as_json(binding: Any) -> dict[str, Any]:
    """Write a binding as an object."""
    ref = {"kind": binding.role_ref.kind, "name": binding.role_ref.name}
    return made(binding.kind, binding.name, binding.namespace, roleRef=ref)


def plain(one: PolicyRule) -> tuple[frozenset[str], ...]:
    """Return a rule without the order of its lists."""
    return tuple(map(frozenset, (one.verbs, one.api_groups, one.resources, one.resource_names, one.non_resource_urls)))
