# SPDX-License-Identifier: Apache-2.0
"""What a single RBAC rule contributes to an attack path: a table of verbs and resources.

Sources: kubernetes.io/docs/concepts/security/rbac-good-practices (workload creation, escalate, bind, impersonate,
nodes/proxy, CSRs, token request); k8s.io/apiserver pkg/endpoints/filters/impersonation/mode.go for impersonation.
Not in the table, because they give no token: `impersonate` on `userextras` and `uids` (RBAC looks at neither), writing
`serviceaccounts` (neither its Secrets list nor its annotations yield a token), `sign` (the certificate has to be made
with the signer's own key).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import attrs

from k8stokendetect.cluster.rbac import RBAC_GROUP, Bound, Grant, PolicyRule
from k8stokendetect.events import TOKEN_SUBRESOURCE

WRITE: Final = ("update", "patch")
_CERTIFICATES: Final = "certificates.k8s.io"
_AUTHENTICATION: Final = "authentication.k8s.io"
_WORKLOADS: Final = (
    ("apps", ("deployments", "daemonsets", "statefulsets", "replicasets")),
    ("batch", ("jobs", "cronjobs")),
    ("", ("replicationcontrollers",)),
)


class Capability(NamedTuple):
    """What a rule allows, and the object names it is limited to; empty for all."""

    kind: str
    names: tuple[str, ...]


@attrs.frozen
class _Row:
    """One line of the table.

    Arguments:
        kind: the capability.
        verbs: each of them gives it.
        api_group: of the resources.
        resources: each of them gives it.
        is_nameless: such a request is authorized without a name (`create` of an object): a rule with resourceNames
            does not allow it, except for the empty name.

    """

    kind: str
    verbs: tuple[str, ...]
    api_group: str
    resources: tuple[str, ...]
    is_nameless: bool = False


def _written(kind: str, api_group: str, *resources: str) -> tuple[_Row, _Row]:
    return (
        _Row(kind, ("create",), api_group, resources, is_nameless=True),
        _Row(kind, WRITE, api_group, resources),
    )


TABLE: Final = (
    _Row("mint", ("create",), "", (TOKEN_SUBRESOURCE,)),
    _Row("impersonate-account", ("impersonate",), "", ("serviceaccounts",)),
    _Row("impersonate-user", ("impersonate",), "", ("users",)),
    _Row("impersonate-group", ("impersonate",), "", ("groups",)),
    _Row("constrained-account", ("impersonate:serviceaccount",), _AUTHENTICATION, ("serviceaccounts",)),
    _Row("constrained-account-mint", ("impersonate-on:serviceaccount:create",), "", (TOKEN_SUBRESOURCE,)),
    _Row("constrained-user", ("impersonate:user-info",), _AUTHENTICATION, ("users",)),
    _Row("constrained-user-mint", ("impersonate-on:user-info:create",), "", (TOKEN_SUBRESOURCE,)),
    _Row("pod", ("create",), "", ("pods",), is_nameless=True),
    *(row for group, names in _WORKLOADS for row in _written("workload", group, *names)),
    _Row("exec", ("create", "get"), "", ("pods/exec", "pods/attach")),
    _Row("exec", WRITE, "", ("pods", "pods/ephemeralcontainers")),
    _Row("read-secret", ("get", "list", "watch"), "", ("secrets",)),
    _Row("create-secret", ("create",), "", ("secrets",), is_nameless=True),
    _Row("escalate-role", ("escalate",), RBAC_GROUP, ("roles",)),
    _Row("escalate-cluster-role", ("escalate",), RBAC_GROUP, ("clusterroles",)),
    _Row("bind-role", ("bind",), RBAC_GROUP, ("roles",)),
    _Row("bind-cluster-role", ("bind",), RBAC_GROUP, ("clusterroles",)),
    *_written("write-role", RBAC_GROUP, "roles"),
    *_written("write-cluster-role", RBAC_GROUP, "clusterroles"),
    *_written("write-binding", RBAC_GROUP, "rolebindings"),
    *_written("write-cluster-binding", RBAC_GROUP, "clusterrolebindings"),
    _Row("create-csr", ("create",), _CERTIFICATES, ("certificatesigningrequests",), is_nameless=True),
    _Row("approve-csr", WRITE, _CERTIFICATES, ("certificatesigningrequests/approval",)),
    _Row("approve-signer", ("approve",), _CERTIFICATES, ("signers",)),
    _Row("kubelet", ("create", "get"), "", ("nodes/proxy",)),
    *_written("webhook", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)
"""What a rule must allow; a subresource has its name in the path, so that resourceNames limit `create` on it too.

`get` on pods/exec opens a WebSocket up to 1.34; 1.35 asks for `create` as well (feature gate
AuthorizePodWebsocketUpgradeCreatePermission). `get` on nodes/proxy reaches the kubelet's exec. Updating a pod can
change its image while it runs.
"""

CLUSTER_WIDE: Final = frozenset(
    "impersonate-user impersonate-group constrained-user escalate-cluster-role write-cluster-role"
    " write-cluster-binding create-csr approve-csr approve-signer kubelet webhook".split()
)
"""These concern cluster-scoped objects: a RoleBinding does not grant them.

`bind` on clusterroles is not among them: it is checked in the namespace of the new binding
(k8s.io/kubernetes pkg/registry/rbac/escalation_check.go, BindingAuthorized).
"""


class HeldCapability(NamedTuple):
    """A capability of a subject: where, for which names, and by which grant."""

    namespace: str
    names: tuple[str, ...]
    grant: Grant


Capabilities: TypeAlias = Mapping[str, Sequence[HeldCapability]]


class CapabilityIndex:
    """The capabilities of rules and bindings, each evaluated once: subjects share bindings, and roles share rules."""

    def __init__(self) -> None:
        self._of_rule: dict[PolicyRule, tuple[Capability, ...]] = {}
        self._of_bound: dict[int, tuple[Bound, tuple[tuple[str, HeldCapability], ...]]] = {}

    def of(self, rule: PolicyRule, /) -> tuple[Capability, ...]:
        """Return the capabilities of a rule."""
        found = self._of_rule.get(rule)
        if found is None:
            found = self._of_rule[rule] = _powers(rule)
        return found

    def held(self, bounds: Iterable[Bound], /) -> Capabilities:
        """Group what is granted by kind of capability, without what a RoleBinding cannot grant."""
        found: dict[str, list[HeldCapability]] = {}
        for bound in bounds:
            known = self._of_bound.get(id(bound))
            if known is None:  # the stored object keeps its id unique
                known = self._of_bound[id(bound)] = (bound, tuple(self._given(bound)))
            for kind, held in known[1]:
                found.setdefault(kind, []).append(held)
        return found

    def _given(self, bound: Bound) -> Iterator[tuple[str, HeldCapability]]:
        namespace = bound.binding.namespace
        for rule in bound.role.rules:
            powers = self.of(rule)
            if powers:
                grant = bound.by(rule)
                for kind, names in powers:
                    if not namespace or kind not in CLUSTER_WIDE:
                        yield kind, HeldCapability(namespace, names, grant)


def _powers(rule: PolicyRule) -> tuple[Capability, ...]:
    found = dict.fromkeys(power for row in TABLE if (power := _power(row, rule)))
    return (*found, Capability("admin", ())) if rule.is_everything else tuple(found)


def _power(row: _Row, rule: PolicyRule) -> Capability | None:
    if not any(rule.covers(verb, row.api_group, name) for verb in row.verbs for name in row.resources):
        return None
    names = rule.resource_names
    if row.is_nameless:
        return Capability(row.kind, ()) if not names or "" in names else None
    named = tuple(dict.fromkeys(filter(None, names)))  # no object has the empty name
    return Capability(row.kind, named) if named or not names else None
