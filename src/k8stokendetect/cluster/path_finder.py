# SPDX-License-Identifier: Apache-2.0
"""Combines a subject's capabilities into attack paths: one grant, two that need each other, or another's rights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.cluster.capabilities import Capabilities, CapabilityIndex, HeldCapability
from k8stokendetect.cluster.objects import Account, Pod
from k8stokendetect.cluster.rbac import Bindings, Grant
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.identity import ServiceAccount

_SIGNERS: Final = frozenset(
    f"kubernetes.io/{name}" for name in ("*", "kube-apiserver-client", "kube-apiserver-client-kubelet")
)
"""Signers whose certificates the API server accepts for users or nodes; the wildcard is checked, too.

k8s.io/kubernetes pkg/certauthorization/certauthorization.go, IsAuthorizedForSignerName.
"""


class PathFinder:
    """Finds attack paths: every rule is evaluated once for the whole cluster, every binding once per subject.

    Arguments:
        bindings: who is given which role.
        accounts: for the Secrets that they list.
        pods: which accounts a named pod or node leads to.

    """

    def __init__(self, bindings: Bindings, accounts: Iterable[Account], pods: Iterable[Pod]) -> None:
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
        self._mints: dict[tuple[str, str], Sequence[HeldCapability]] = {}

    def of(self, user: str, groups: tuple[str, ...], /) -> Iterator[AttackPath]:
        """Yield every attack path of a user with these groups, direct ones first."""
        if MASTERS in groups:
            yield AttackPath(AttackPathKind.MASTERS)
        held = self.capabilities.held(self._bindings.of(user, groups))
        seen = set()
        for way in self._all(held) if held else ():
            key = (way.kind, way.namespace, way.accounts, *map(id, way.grants))  # a rule can open one path twice
            if key not in seen:
                seen.add(key)
                yield way

    def _all(self, held: Capabilities) -> Iterator[AttackPath]:
        yield from _alone(held)
        yield from self._through_objects(held)
        yield from _paired(held)
        yield from self._by_bind(held)
        yield from self._as_user(held)
        yield from self._as_group(held)

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

    def _leads_on(self, bind: HeldCapability, *, is_cluster_role: bool) -> bool:
        """Tell whether one of the roles that may be bound has any capability at all; `view` has none."""
        roles = [role for name in bind.names for role in self._bindings.roles_named(name)]
        if is_cluster_role:
            roles = [role for role in roles if not role.namespace]
        else:
            roles = [role for role in roles if role.namespace and bind.namespace in {"", role.namespace}]
        return not bind.names or any(self.capabilities.of(rule) for role in roles for rule in role.rules)

    def _as_user(self, held: Capabilities) -> Iterator[AttackPath]:
        plain = held.get("impersonate-user", ())
        for _, names, grant in plain:
            yield from self._as_named(AttackPathKind.IMPERSONATE_USER, "User", names, (grant,))
        known = {id(one.grant) for one in plain}
        constrained = [one for one in held.get("constrained-user", ()) if id(one.grant) not in known]
        for namespace, grants in together(constrained, held.get("constrained-user-mint", ())):
            yield AttackPath(AttackPathKind.IMPERSONATE_USER, namespace, (), grants)

    def _as_group(self, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths through a group; it can be impersonated only together with a user or a service account."""
        bearers = (*held.get("impersonate-user", ()), *held.get("impersonate-account", ()))
        if bearers:
            for _, names, grant in held.get("impersonate-group", ()):
                grants = _distinct(grant, bearers[0].grant)
                yield from self._as_named(AttackPathKind.IMPERSONATE_GROUP, "Group", names, grants)

    def _as_named(
        self, kind: AttackPathKind, of: str, names: Sequence[str], grants: tuple[Grant, ...]
    ) -> Iterator[AttackPath]:
        """Yield the paths of the identities that may be impersonated; without names all, including system:masters."""
        if not names or (of == "Group" and MASTERS in names):
            yield AttackPath(kind, "", (), grants)
            return
        for name in names:
            for mint in self._mints_of(of, name):
                yield AttackPath(kind, mint.namespace, mint.names, (*grants, mint.grant))

    def _mints_of(self, of: str, name: str) -> Sequence[HeldCapability]:
        """Return what a user or a group may mint by itself, beyond what every authenticated user may."""
        found = self._mints.get((of, name))
        if found is None:
            user, groups = (name, ()) if of == "User" else ("", (name,))
            found = self._mints[of, name] = self.capabilities.held(self._bindings.of(user, groups)).get("mint", ())
        return found


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
        ("escalate-role", "write-role", AttackPathKind.ESCALATE, True),
        ("escalate-cluster-role", "write-cluster-role", AttackPathKind.ESCALATE, True),
    ):
        pairs = together(held.get(first, ()), held.get(second, ()), is_same_object=is_same_object)
        for namespace, grants in pairs:
            yield AttackPath(kind, namespace, (), grants)
    legacy = {id(one.grant) for one in held.get("impersonate-account", ())}
    for one in held.get("constrained-account", ()):
        if id(one.grant) not in legacy:
            for namespace, grants in together((one,), held.get("constrained-account-mint", ())):
                yield AttackPath(AttackPathKind.IMPERSONATE_ACCOUNT, namespace, one.names, grants)
    signers = [one for one in held.get("approve-signer", ()) if not one.names or _SIGNERS & set(one.names)]
    for _, grants in together(held.get("create-csr", ()), held.get("approve-csr", ())):
        if signers:
            yield AttackPath(AttackPathKind.CERTIFICATE, "", (), _distinct(signers[0].grant, *grants))


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
                yield first.namespace or place, _distinct(first.grant, second.grant)


def _distinct(*grants: Grant) -> tuple[Grant, ...]:
    """Return each grant once: one rule can give both capabilities."""
    return tuple({id(grant): grant for grant in grants}.values())
