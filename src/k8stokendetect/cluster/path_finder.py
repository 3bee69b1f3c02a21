# SPDX-License-Identifier: Apache-2.0
"""Combines a subject's capabilities into attack paths: one grant, two that need each other, or another's rights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.cluster.capabilities import (
    MODES,
    Capabilities,
    CapabilityIndex,
    HeldCapability,
    distinct,
    together,
)
from k8stokendetect.cluster.impersonation import Impersonation
from k8stokendetect.cluster.nodes import nodes_of
from k8stokendetect.cluster.objects import Account, Pod
from k8stokendetect.cluster.rbac import Bindings, Subject, groups_of
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.identity import ServiceAccount

_SIGNERS: Final = frozenset(
    f"kubernetes.io/{name}" for name in ("*", "kube-apiserver-client", "kube-apiserver-client-kubelet")
)
"""Signers whose certificates the API server accepts for users or nodes; the wildcard is checked, too.

k8s.io/kubernetes pkg/certauthorization/certauthorization.go, IsAuthorizedForSignerName.
"""

_CONSTRAINED: Final = frozenset(f"constrained-{what}" for what in ("user", "group", "account", "node", "own-node"))
_PAIRS: Final = (
    ({"create-secret"}, {"validating-webhook"}),
    ({"escalate-role"}, {"write-role"}),
    ({"escalate-cluster-role"}, {"write-cluster-role"}),
    ({"bind-role", "bind-cluster-role"}, {"write-binding", "write-cluster-binding"}),
    ({"create-csr"}, {"node-csr", "approve-csr", "approve-signer"}),
    ({"approve-csr"}, {"approve-signer"}),
    ({"impersonate-group"}, {"impersonate-user", "impersonate-account"}),
    (_CONSTRAINED, {f"{mode}:{kind}" for mode in MODES for kind in ("mint", "pod", "workload", "exec", "read-secret")}),
    ({"constrained-user"}, {"constrained-group"}),
)
"""Capabilities that open a path only together; to read Secrets is enough by itself."""

_BOOTSTRAPPERS: Final = "system:bootstrappers"


class PathFinder:
    """Finds attack paths: every rule is evaluated once for the whole cluster, every binding once per subject.

    Arguments:
        bindings: who is given which role.
        accounts: for the Secrets that they list.
        pods: which accounts a named pod or node leads to.

    """

    def __init__(self, bindings: Bindings, accounts: Sequence[Account], pods: Sequence[Pod]) -> None:
        self._bindings = bindings
        self.capabilities = CapabilityIndex()
        self._by_secret: dict[str, set[ServiceAccount]] = defaultdict(set)
        for account in accounts:
            for name in account.secrets:
                self._by_secret[name].add(account.ref)
        self._by_pod: dict[str, set[ServiceAccount]] = defaultdict(set)
        self._by_node: dict[str, set[ServiceAccount]] = defaultdict(set)
        for pod in pods:
            if pod.audiences:
                self._by_pod[pod.name].add(pod.ref)
                self._by_node[pod.node].add(pod.ref)
        self._bootstrappers = tuple(bindings.groups(_BOOTSTRAPPERS))
        refs = [account.ref for account in accounts]
        self._impersonation = Impersonation(self._held_by, self._known, refs, nodes_of(pods))
        self._kinds: dict[tuple[str, ...], frozenset[str]] = {}
        self._of: dict[tuple[str, tuple[str, ...]], Sequence[AttackPath]] = {}

    def of(self, user: str, groups: tuple[str, ...], /) -> Iterator[AttackPath]:
        """Yield every attack path of a user with these groups, direct ones first."""
        if MASTERS in groups:
            yield AttackPath(AttackPathKind.MASTERS)
        held = self.capabilities.held(self._bindings.of(user, groups))
        seen = set()
        for way in self._all(user, held) if held else ():
            key = (way.kind, way.namespace, way.accounts, *map(id, way.grants))  # a rule can open one path twice
            if key not in seen:
                seen.add(key)
                yield way

    def of_subject(self, subject: Subject, /) -> Iterator[AttackPath]:
        """Yield the paths that a subject's own bindings open, then those that also take a grant of a group of its.

        The latter only where neither side alone reaches the same accounts; what a group needs nobody else for is its.
        """
        user, groups = subject.username(), (subject.name,) if subject.kind == "Group" else ()
        own = tuple(self.of(user, groups))
        yield from own
        implied = tuple(group for group in groups_of(subject) if group not in groups)
        kinds = self._kinds.get(implied)
        if kinds is None:
            kinds = self._kinds[implied] = frozenset(self._held_by("", implied))
        if not _complete(self._held_by(user, groups).keys(), kinds):
            return
        others = {("Group", group) for group in implied}
        mixed = []
        for path in self.of(user, (*groups, *implied)):
            subjects = {grant.subject.identity for grant in path.grants}
            if subject.identity in subjects and not subjects.isdisjoint(others):
                mixed.append(path)
        theirs = tuple(self.of("", implied)) if mixed else ()
        yield from (path for path in mixed if not any(_reaches_all(one, path) for one in (*own, *theirs)))

    def _held_by(self, user: str, groups: tuple[str, ...]) -> Capabilities:
        return self.capabilities.held(self._bindings.of(user, groups))

    def _all(self, user: str, held: Capabilities) -> Iterator[AttackPath]:
        yield from self._own(user, held)
        yield from self._by_bootstrap_token(held)
        yield from self._impersonation.by_name(held)

    def _own(self, user: str, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths that need no other identity which has to be looked at in turn."""
        yield from _alone(held)
        yield from self._through_objects(held)
        yield from _paired(held)
        yield from self._by_bind(held)
        yield from self._impersonation.own(user, held)

    def _known(self, user: str, groups: tuple[str, ...]) -> Sequence[AttackPath]:
        """Return the paths of somebody who can be impersonated, found once."""
        key = (user, groups)
        if key not in self._of:
            held = self._held_by(user, groups)
            self._of[key] = (*self._own(user, held), *self._by_bootstrap_token(held))
        return self._of[key]

    def _through_objects(self, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths through pods, nodes and Secrets; named ones lead to the accounts behind them."""
        for power, kind, accounts in (
            ("exec", AttackPathKind.RUN_IN_POD, self._by_pod),
            ("kubelet", AttackPathKind.NODES_PROXY, self._by_node),
            ("read-secret", AttackPathKind.READ_SECRET, self._by_secret),
        ):
            for namespace, names, grant in held.get(power, ()):
                if not names:
                    yield AttackPath(kind, namespace, (), (grant,))
                    continue
                found = defaultdict(set)
                for account in (one for name in names for one in accounts.get(name, ())):
                    if namespace in {"", account.namespace}:
                        found[account.namespace].add(account.name)
                for place in sorted(found):
                    yield AttackPath(kind, place, tuple(sorted(found[place])), (grant,))

    def _by_bind(self, held: Capabilities) -> Iterator[AttackPath]:
        roles = [one for one in held.get("bind-role", ()) if self._leads_on(one, is_cluster_role=False)]
        cluster_roles = [one for one in held.get("bind-cluster-role", ()) if self._leads_on(one, is_cluster_role=True)]
        for namespace, grants in together((*roles, *cluster_roles), held.get("write-binding", ())):
            yield AttackPath(AttackPathKind.BIND, namespace, (), grants)
        everywhere = [one for one in cluster_roles if not one.namespace]
        for namespace, grants in together(everywhere, held.get("write-cluster-binding", ())):
            yield AttackPath(AttackPathKind.BIND, namespace, (), grants)

    def _by_bootstrap_token(self, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths of who may write a bootstrap token: it can be in any group of bootstrappers.

        Source: kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens, `auth-extra-groups`.
        """
        writes = [one for one in held.get("create-secret", ()) if one.namespace in {"", "kube-system"}]
        if writes and not (held.get("create-csr") and held.get("node-csr")):  # who has these needs no such token
            for group in self._bootstrappers:
                for path in self._own("", self._held_by("", (group,))):
                    grants = distinct(writes[0].grant, *path.grants)
                    yield AttackPath(path.kind, path.namespace, path.accounts, grants)

    def _leads_on(self, bind: HeldCapability, *, is_cluster_role: bool) -> bool:
        """Tell whether one of the roles that may be bound has any capability at all; `view` has none."""
        roles = [role for name in bind.names for role in self._bindings.roles_named(name)]
        if is_cluster_role:
            roles = [role for role in roles if not role.namespace]
        else:
            roles = [role for role in roles if role.namespace and bind.namespace in {"", role.namespace}]
        return not bind.names or any(self.capabilities.of(rule) for role in roles for rule in role.rules)


def _alone(held: Capabilities) -> Iterator[AttackPath]:
    """Yield the paths that one grant opens."""
    for power, kind in (
        ("mint", AttackPathKind.TOKEN_REQUEST),
        ("impersonate-account", AttackPathKind.IMPERSONATE_ACCOUNT),
    ):
        for namespace, names, grant in held.get(power, ()):
            yield AttackPath(kind, namespace, names, (grant,))
    for power, kind in (
        ("pod", AttackPathKind.CREATE_POD),
        ("workload", AttackPathKind.WRITE_WORKLOAD),
        ("webhook", AttackPathKind.MUTATING_WEBHOOK),
    ):
        for namespace, _, grant in held.get(power, ()):
            yield AttackPath(kind, namespace, (), (grant,))


def _paired(held: Capabilities) -> Iterator[AttackPath]:
    """Yield the paths that take two grants, and the certificate, which takes three."""
    for first, second, kind, is_same_object in (
        ("create-secret", "read-secret", AttackPathKind.CREATE_SECRET, False),
        ("create-secret", "validating-webhook", AttackPathKind.CREATE_SECRET, False),
        ("escalate-role", "write-role", AttackPathKind.ESCALATE, True),
        ("escalate-cluster-role", "write-cluster-role", AttackPathKind.ESCALATE, True),
    ):
        pairs = together(held.get(first, ()), held.get(second, ()), is_same_object=is_same_object)
        for namespace, grants in pairs:
            yield AttackPath(kind, namespace, (), grants)
    for _, grants in together(held.get("create-csr", ()), held.get("node-csr", ())):
        yield AttackPath(AttackPathKind.NODE_CERTIFICATE, "", (), grants)
    signers = [one for one in held.get("approve-signer", ()) if not one.names or _SIGNERS & set(one.names)]
    for _, grants in together(held.get("create-csr", ()), held.get("approve-csr", ())):
        if signers:
            yield AttackPath(AttackPathKind.CERTIFICATE, "", (), distinct(signers[0].grant, *grants))


def _complete(own: AbstractSet[str], theirs: AbstractSet[str]) -> bool:
    """Tell whether one side has half of a pair and the other side the other half."""
    return any((first & own and second & theirs) or (first & theirs and second & own) for first, second in _PAIRS)


def _reaches_all(path: AttackPath, other: AttackPath) -> bool:
    return path.namespace in {"", other.namespace} and (
        not path.accounts or (bool(other.accounts) and set(other.accounts) <= set(path.accounts))
    )
