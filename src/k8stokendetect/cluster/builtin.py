# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes installs by itself: its roles where a snapshot lacks them, and whether a grant is one of its own.

The objects of `builtin-1.36.json` are those that a kube-apiserver 1.36.2 made on an empty etcd
(tests/data/rbac/README.md), and what https://github.com/kubernetes/kubernetes/blob/v1.36.2/plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go
and controller_policy.go beside it say. Aggregated roles are without rules there: they are computed, so that roles that
were added to them count.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Final, TypeAlias

import msgspec

from k8stokendetect.cluster.capabilities import CapabilityIndex
from k8stokendetect.cluster.rbac import Binding, Grant, PolicyRule, Role, RoleRef, Subject
from k8stokendetect.cluster.structure import Unfilled, read_object

VERSION: Final = "1.36"
"""The Kubernetes version of the rules."""

_FILE: Final = f"builtin-{VERSION}.json"
_BOOTSTRAPPERS: Final = Subject("Group", "system:bootstrappers:kubeadm:default-node-token")
_MIGRATOR: Final = "system:controller:storage-version-migrator-controller"

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
    ("", _MIGRATOR): (
        PolicyRule(("list", "watch", "create", "patch"), ("*",), ("*",)),
        PolicyRule(("list", "create", "patch"), ("*",), ("*",)),  # before `watch` was added
    )
}

_Rule: TypeAlias = tuple[frozenset[str], ...]


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

    A grant is Kubernetes' own when binding, role and subject are, and no rule of the role that leads to a token
    differs from Kubernetes'. A subject that was added, and everything that an edited role gives, is not.
    """

    def __init__(self) -> None:
        self._index = CapabilityIndex()
        self._known: dict[int, tuple[Role, bool]] = {}

    def has(self, grants: Iterable[Grant], /) -> bool:
        """Tell whether all grants are Kubernetes' own."""
        return all(self._has(grant) for grant in grants)

    def _has(self, grant: Grant) -> bool:
        binding = grant.binding
        known = _bindings().get((binding.kind, binding.namespace, binding.name))
        if known is None or known[0] != binding.role_ref or grant.subject.identity not in known[1]:
            return False
        checked = self._known.get(id(grant.role))
        if checked is None:  # the stored role keeps its id unique
            checked = self._known[id(grant.role)] = (grant.role, self._is_unchanged(grant.role))
        return checked[1]

    def _is_unchanged(self, role: Role) -> bool:
        ours = _rules().get((role.namespace, role.name), frozenset())
        return all(_plain(rule) in ours for rule in role.rules if self._index.of(rule))


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
def _rules() -> Mapping[tuple[str, str], frozenset[_Rule]]:
    found = {key: frozenset(map(_plain, _role_of(one).rules)) for key, one in _roles().items()}
    return found | {key: frozenset(map(_plain, rules)) for key, rules in _ADDED_RULES.items()}


def _plain(rule: PolicyRule) -> _Rule:
    """Return what a rule says, whatever the order of its lists."""
    lists = (rule.verbs, rule.api_groups, rule.resources, rule.resource_names, rule.non_resource_urls)
    return tuple(map(frozenset, lists))
