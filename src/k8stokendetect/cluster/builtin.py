# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes installs by itself: its roles where a snapshot lacks them, and whether a grant is one of its own.

The objects of `builtin-1.36.json` are those that a kube-apiserver 1.36.2 made on an empty etcd
(tests/data/rbac/README.md), and what https://github.com/kubernetes/kubernetes/blob/v1.36.2/plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go
and controller_policy.go next to it say. Aggregated roles are without rules there: they are computed, so that roles that
were added to them count.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Final

import attrs
import msgspec

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.cluster.capabilities import CapabilityIndex
from k8stokendetect.cluster.rbac import Binding, Grant, PolicyRule, Role, RoleRef, Subject
from k8stokendetect.cluster.structure import Unfilled, read_object
from k8stokendetect.events import Platform

VERSION: Final = "1.36"
"""The Kubernetes version of the rules."""

_FILE: Final = f"builtin-{VERSION}.json"
_KUBEADM: Final = "kubeadm:"
_BOOTSTRAPPERS: Final = Subject("Group", "system:bootstrappers:kubeadm:default-node-token")
_MIGRATOR: Final = "system:controller:storage-version-migrator-controller"

_GLUSTERFS: Final = PolicyRule(("get",), ("",), ("secrets",))

_ADDED: Final = (
    ("kubeadm:cluster-admins", "cluster-admin", Subject("Group", "kubeadm:cluster-admins")),
    ("kubeadm:apiserver-kubelet-client", "system:kubelet-api-admin", Subject("User", "kube-apiserver-kubelet-client")),
    ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", _BOOTSTRAPPERS),
    (
        "kubeadm:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        _BOOTSTRAPPERS,
    ),
    (_MIGRATOR, _MIGRATOR, Subject("ServiceAccount", "storage-version-migrator-controller", "kube-system")),
)
"""ClusterRoleBinding, ClusterRole and subject: of kubeadm those that open a path, and of a controller behind a gate.

https://github.com/kubernetes/kubernetes/blob/v1.36.2/cmd/kubeadm/app/constants/constants.go
(ClusterAdminsGroupAndClusterRoleBinding from 1.29, NodeKubeletBootstrap, NodeAutoApproveBootstrapClusterRoleBinding,
NodeBootstrapTokenAuthGroup); https://github.com/kubernetes/kubernetes/pull/138957 (the API server's kubelet client, in
1.33.12, 1.34.8, 1.35.5, 1.36.1 and later); controller_policy.go, StorageVersionMigrator.
"""

_ADDED_RULES: Final = {
    ("", _MIGRATOR): (PolicyRule(("list", "watch", "create", "patch"), ("*",), ("*",)),),
    ("", "system:controller:expand-controller"): (_GLUSTERFS,),
    ("", "system:controller:persistent-volume-binder"): (_GLUSTERFS,),
    ("", "system:kubelet-api-admin"): (
        PolicyRule(("*",), ("",), ("nodes/proxy", "nodes/metrics", "nodes/spec", "nodes/stats", "nodes/log")),
    ),
}
"""Rules that lead to a token and that 1.36 lacks: of a gate, of the removed glusterfs plug-in, of an older role.

controller_policy.go and policy.go as of 1.26 (commit 5ffe36c97a30b9fb7b699011569c3b6bf92e13f4) and 1.35.
"""


@functools.cache
def _objects() -> tuple[Role | Unfilled | Binding, ...]:
    items = msgspec.json.decode((files(__package__) / _FILE).read_bytes())["items"]
    read = (read_object(item, item["kind"], "$") for item in items)
    return tuple(one for one in read if isinstance(one, Role | Unfilled | Binding))


@functools.cache
def _roles() -> Mapping[tuple[str, str], Role | Unfilled]:
    found = {}
    for one in _objects():
        if not isinstance(one, Binding):
            role = one.role if isinstance(one, Unfilled) else one
            found[role.namespace, role.name] = one
    return found


def missing_roles(bindings: Iterable[Binding], known: Collection[tuple[str, str]], /) -> Iterator[Role | Unfilled]:
    """Yield Kubernetes' own roles that a snapshot's bindings give and that the snapshot lacks.

    The API server restores these roles when it starts, so a snapshot without them is one that left them out.

    Arguments:
        bindings: every binding.
        known: namespace and name of every role of the snapshot.

    """
    wanted = dict.fromkeys(
        (binding.namespace if ref.kind == "Role" else "", ref.name)
        for binding in bindings
        for ref in (binding.role_ref,)
        if ref.kind == "ClusterRole" or (ref.kind == "Role" and binding.namespace)
    )
    found = {key: _roles()[key] for key in wanted if key not in known and key in _roles()}
    if any(isinstance(one, Unfilled) for one in found.values()):  # then those that it collects are needed, too
        found |= {
            key: one
            for key, one in _roles().items()
            if key not in known and key not in found and "aggregate-to-" in str(_role_of(one).labels)
        }
    yield from found.values()


def _role_of(one: Role | Unfilled) -> Role:
    return one.role if isinstance(one, Unfilled) else one


class Defaults:
    """Tells grants that Kubernetes itself makes from all others, by content: a name proves nothing.

    A grant is Kubernetes' own when binding, role and subject are, and no rule of the role that leads to a token gives
    more than Kubernetes' own rules. A subject that was added, and everything that an edited role gives, is not.

    What kubeadm adds counts only where the platform is said to be Kubernetes: no object shows that kubeadm made a
    cluster. Anyone can plant all of its bindings on a managed one and have a certificate issued for their subjects.

    Arguments:
        platform: of the cluster; None if unknown.

    """

    def __init__(self, platform: Platform | None = None) -> None:
        self._has_kubeadm = platform == "kubernetes"
        self._index = CapabilityIndex()
        self._known: dict[int, tuple[Role, bool]] = {}

    def beyond(self, path: AttackPath, /) -> AttackPath | None:
        """Return a path that Kubernetes itself does not open, first the grant that is not its own; else None.

        Kubelets are not a default: who they reach depends on the pods.
        """
        if path.kind is AttackPathKind.KUBELET:
            return path
        others = [grant for grant in path.grants if not self._has(grant)]
        if not others or others[0] is path.grants[0]:
            return path if others else None
        if all(map(self._is_as_installed, others)):  # what Kubernetes' own subject can by kubeadm: shown with kubeadm's
            return None
        return attrs.evolve(path, grants=(*others, *(grant for grant in path.grants if grant not in others)))

    def _has(self, grant: Grant) -> bool:
        is_ours = self._has_kubeadm or not grant.binding.name.startswith(_KUBEADM)
        return is_ours and self._is_as_installed(grant)

    def _is_as_installed(self, grant: Grant) -> bool:
        if not _is_known(grant.binding, grant.subject):
            return False
        checked = self._known.get(id(grant.role))
        if checked is None:  # the stored role keeps its id unique
            checked = self._known[id(grant.role)] = (grant.role, self._is_unchanged(grant.role))
        return checked[1]

    def _is_unchanged(self, role: Role) -> bool:
        ours = _rules().get((role.namespace, role.name), ())
        return all(any(_covers(one, rule) for one in ours) for rule in role.rules if self._index.of(rule))


def is_like_kubeadm(binding: Binding, subject: Subject, /) -> bool:
    """Tell whether kubeadm makes this binding, with this role and subject; others can make the same."""
    return binding.name.startswith(_KUBEADM) and _is_known(binding, subject)


def _is_known(binding: Binding, subject: Subject) -> bool:
    known = _bindings().get((binding.kind, binding.namespace, binding.name))
    return known is not None and known[0] == binding.role_ref and subject.identity in known[1]


@functools.cache
def _bindings() -> Mapping[tuple[str, str, str], tuple[RoleRef, frozenset[tuple[str, str]]]]:
    found = {
        (one.kind, one.namespace, one.name): (one.role_ref, frozenset(subject.identity for subject in one.subjects))
        for one in _objects()
        if isinstance(one, Binding)
    }
    return found | {
        ("ClusterRoleBinding", "", name): (RoleRef("ClusterRole", role), frozenset({subject.identity}))
        for name, role, subject in _ADDED
    }


@functools.cache
def _rules() -> Mapping[tuple[str, str], tuple[PolicyRule, ...]]:
    return {key: (*_role_of(one).rules, *_ADDED_RULES.get(key, ())) for key, one in _roles().items()} | {
        key: rules for key, rules in _ADDED_RULES.items() if key not in _roles()
    }


def _covers(ours: PolicyRule, rule: PolicyRule) -> bool:
    """Tell whether a rule gives no more than one of ours: older versions give less here and there."""
    return (
        set(rule.verbs) <= set(ours.verbs)
        and set(rule.api_groups) <= set(ours.api_groups)
        and set(rule.resources) <= set(ours.resources)
        and (
            not ours.resource_names
            or (bool(rule.resource_names) and set(rule.resource_names) <= set(ours.resource_names))
        )
    )
