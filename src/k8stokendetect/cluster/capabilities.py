# SPDX-License-Identifier: Apache-2.0
"""What a single RBAC rule contributes to an attack path: a table of verbs and resources.

Sources: kubernetes.io/docs/concepts/security/rbac-good-practices (workload creation, escalate, bind, impersonate,
nodes/proxy, CSRs, token request); k8s.io/apiserver pkg/endpoints/filters/impersonation/mode.go for impersonation
(constrained impersonation, KEP-5284: alpha in 1.35, on by default from 1.36).
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
_ADMISSION: Final = "admissionregistration.k8s.io"
_WORKLOADS: Final = (
    ("apps", ("deployments", "daemonsets", "statefulsets", "replicasets")),
    ("batch", ("jobs", "cronjobs")),
    ("", ("replicationcontrollers",)),
    ("apps.kruise.io", ("clonesets", "statefulsets", "daemonsets", "broadcastjobs", "advancedcronjobs")),
    ("apps.openshift.io", ("deploymentconfigs",)),
    ("argoproj.io", ("workflows", "cronworkflows", "rollouts")),
    ("batch.volcano.sh", ("jobs",)),
    ("jobset.x-k8s.io", ("jobsets",)),
    ("keda.sh", ("scaledjobs",)),
    ("kubeflow.org", ("notebooks", "tfjobs", "pytorchjobs", "mpijobs", "xgboostjobs")),
    ("leaderworkerset.x-k8s.io", ("leaderworkersets",)),
    ("monitoring.coreos.com", ("prometheuses", "alertmanagers", "thanosrulers", "prometheusagents")),
    ("ray.io", ("rayclusters", "rayjobs", "rayservices")),
    ("serving.knative.dev", ("services", "configurations")),
    ("sparkoperator.k8s.io", ("sparkapplications", "scheduledsparkapplications")),
    ("tekton.dev", ("taskruns", "pipelineruns")),
)
"""Resources whose spec names the service account of the pods that a controller then makes, each in its own reference.

Kubernetes' own in kubernetes.io/docs/concepts/workloads/controllers; the others are the custom resources that we know.
"""


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


_TOKEN_ROWS: Final = (
    _Row("mint", ("create",), "", (TOKEN_SUBRESOURCE,)),
    _Row("pod", ("create",), "", ("pods",), is_nameless=True),
    *(row for group, names in _WORKLOADS for row in _written("workload", group, *names)),
    _Row("exec", ("create", "get"), "", ("pods/exec", "pods/attach")),
    _Row("exec", WRITE, "", ("pods", "pods/ephemeralcontainers")),
    _Row("read-secret", ("get", "list", "watch"), "", ("secrets",)),
)
"""Each leads to a token by itself; `impersonate-on:MODE:VERB` gives the same while impersonating."""


MODES: Final = ("serviceaccount", "user-info", "arbitrary-node", "associated-node")
"""Modes of constrained impersonation, as verbs name them."""


def _on(mode: str, row: _Row) -> _Row:
    """Return the row of what somebody may do while impersonating (impersonateOnAttributes in mode.go)."""
    verbs = tuple(f"impersonate-on:{mode}:{verb}" for verb in row.verbs)
    return attrs.evolve(row, kind=f"{mode}:{row.kind}", verbs=verbs)


TABLE: Final = (
    _TOKEN_ROWS[0],
    _Row("impersonate-account", ("impersonate",), "", ("serviceaccounts",)),
    _Row("impersonate-user", ("impersonate",), "", ("users",)),
    _Row("impersonate-group", ("impersonate",), "", ("groups",)),
    _Row("constrained-account", ("impersonate:serviceaccount",), _AUTHENTICATION, ("serviceaccounts",)),
    _Row("constrained-user", ("impersonate:user-info",), _AUTHENTICATION, ("users",)),
    _Row("constrained-group", ("impersonate:user-info",), _AUTHENTICATION, ("groups",)),
    _Row("constrained-node", ("impersonate:arbitrary-node",), _AUTHENTICATION, ("nodes",)),
    _Row("constrained-own-node", ("impersonate:associated-node",), _AUTHENTICATION, ("nodes",)),
    *_TOKEN_ROWS[1:],
    *(_on(mode, row) for mode in MODES[:2] for row in _TOKEN_ROWS),
    *(_on(mode, _TOKEN_ROWS[0]) for mode in MODES[2:]),
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
    _Row("node-csr", ("create",), _CERTIFICATES, ("certificatesigningrequests/nodeclient",)),
    _Row("approve-csr", WRITE, _CERTIFICATES, ("certificatesigningrequests/approval",)),
    _Row("approve-signer", ("approve",), _CERTIFICATES, ("signers",)),
    _Row("kubelet", ("create", "get"), "", ("nodes/proxy",)),
    *_written("webhook", _ADMISSION, "mutatingwebhookconfigurations", "mutatingadmissionpolicies"),
    *_written("validating-webhook", _ADMISSION, "validatingwebhookconfigurations"),
    _Row("attest", ("attest",), _AUTHENTICATION, ("admissionReviewAPIGroups",)),
)
"""What a rule must allow; a subresource has its name in the path, so that resourceNames limit `create` on it too.

`get` on pods/exec opens a WebSocket up to 1.34; 1.35 asks for `create` as well (feature gate
AuthorizePodWebsocketUpgradeCreatePermission). `get` on nodes/proxy reaches the kubelet's exec. Updating a pod can
change its image while it runs. A MutatingAdmissionPolicy (beta in 1.34, stable in 1.36: KEP-3962) changes pods as a
mutating webhook does. A validating webhook is sent Secrets as they are written, with the tokens that the controller
puts into them. The controller manager approves the certificate of any node for who has
certificatesigningrequests/nodeclient (pkg/controller/certificates/approver/sarapprove.go, recognizers).
`attest` (1.37, KEP-6060) gives no token: a token of an account that has it authenticates the API server to admission
webhooks (pkg/registry/core/serviceaccount/storage/token.go, authorizeAdmissionWebhookAuthnTokenRequest).
"""

CLUSTER_WIDE: Final = frozenset(
    "impersonate-user impersonate-group constrained-user constrained-group constrained-node constrained-own-node"
    " escalate-cluster-role write-cluster-role write-cluster-binding create-csr node-csr approve-csr approve-signer"
    " kubelet webhook validating-webhook attest".split()
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
    if row.api_group not in rule.api_groups and "*" not in rule.api_groups:
        return None
    if not any(rule.covers(verb, row.api_group, name) for verb in row.verbs for name in row.resources):
        return None
    names = rule.resource_names
    if row.is_nameless:
        return Capability(row.kind, ()) if not names or "" in names else None
    named = tuple(dict.fromkeys(filter(None, names)))  # no object has the empty name
    return Capability(row.kind, named) if named or not names else None


def together(
    firsts: Iterable[HeldCapability], seconds: Iterable[HeldCapability], *, is_same_object: bool = False
) -> Iterator[tuple[str, tuple[Grant, ...]]]:
    """Yield where two capabilities combine and by which grants: each first one with one second in each place.

    Arguments:
        firsts: those that open the path.
        seconds: those that it also needs.
        is_same_object: both concern the same object, so their names must overlap.

    """
    by_place: dict[str, list[HeldCapability]] = {}
    for one in seconds:
        by_place.setdefault(one.namespace, []).append(one)
    for first in firsts:
        for place in ("",) if "" in by_place else (first.namespace,) if first.namespace else tuple(by_place):
            fitting = (
                one
                for one in by_place.get(place, ())
                if not (is_same_object and first.names and one.names) or set(first.names) & set(one.names)
            )
            second = next(fitting, None)
            if second:
                yield first.namespace or place, distinct(first.grant, second.grant)


def distinct(*grants: Grant) -> tuple[Grant, ...]:
    """Return each grant once: one rule can give both capabilities."""
    return tuple({id(grant): grant for grant in grants}.values())


def shared(
    firsts: Iterable[HeldCapability], seconds: Iterable[HeldCapability], /
) -> Iterator[tuple[str, tuple[str, ...], tuple[Grant, ...]]]:
    """Yield where and for which names both of two capabilities hold, and by which grants."""
    others = tuple(seconds)
    for first in firsts:
        for second in others:
            if first.namespace and second.namespace and first.namespace != second.namespace:
                continue
            names = first.names or second.names
            if first.names and second.names:
                names = tuple(name for name in first.names if name in second.names)
                if not names:
                    continue
            yield first.namespace or second.namespace, names, distinct(first.grant, second.grant)
