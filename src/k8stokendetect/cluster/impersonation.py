# SPDX-License-Identifier: Apache-2.0
"""The attack paths through another identity: a user, a group, a service account or a node that may be impersonated.

Source: k8s.io/apiserver pkg/endpoints/filters/impersonation/mode.go. Plain impersonation gives all that the identity
may do. Constrained impersonation (KEP-5284) gives what both may do: the identity, and who impersonates it by
`impersonate-on:MODE:VERB`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.cluster.capabilities import Capabilities, HeldCapability, distinct, shared, together
from k8stokendetect.cluster.rbac import NODE_PREFIX, NODES_GROUP, Grant
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, ServiceAccount

HeldBy: TypeAlias = Callable[[str, tuple[str, ...]], Capabilities]
PathsOf: TypeAlias = Callable[[str, tuple[str, ...]], Sequence[AttackPath]]

_Named: TypeAlias = tuple[str, tuple[str, ...], tuple[Grant, ...]]

_ANYBODY: Final = {
    "impersonate-user": AttackPathKind.IMPERSONATE_USER,
    "impersonate-group": AttackPathKind.IMPERSONATE_GROUP,
}
_KINDS: Final = ("mint", "pod", "workload", "exec", "read-secret")


class Impersonation:
    """Finds the paths through identities that may be impersonated.

    Arguments:
        held_by: returns the capabilities of a user with groups.
        paths_of: returns the attack paths of a user with groups, but for those of `by_name`.
        accounts: every service account.
        by_node: the accounts of the pods of each node.

    """

    def __init__(
        self,
        held_by: HeldBy,
        paths_of: PathsOf,
        accounts: Sequence[ServiceAccount],
        by_node: Mapping[str, Sequence[ServiceAccount]],
    ) -> None:
        self._held_by = held_by
        self._paths_of = paths_of
        self._accounts = accounts
        self._by_node = by_node

    def own(self, user: str, held: Capabilities, /) -> Iterator[AttackPath]:
        """Yield the paths of a user with these capabilities but for those of `by_name`."""
        for kind in _ANYBODY:
            for one in held.get(kind, ()) if kind == "impersonate-user" or _bearers(held) else ():
                if not one.names or (kind == "impersonate-group" and MASTERS in one.names):
                    grants = (
                        (one.grant,) if kind == "impersonate-user" else distinct(one.grant, _bearers(held)[0].grant)
                    )
                    yield AttackPath(_ANYBODY[kind], "", (), grants)
        yield from self._as_constrained_user(held)
        yield from self._as_account(held)
        yield from self._as_node(user, held)

    def by_name(self, held: Capabilities, /) -> Iterator[AttackPath]:
        """Yield the paths of the users and groups that may be impersonated by name, and of those that these may."""
        for kind, first in _named(held):
            seen, ahead = {first[:2]}, [first]
            while ahead:
                user, groups, grants = ahead.pop()
                for path in self._paths_of(user, groups):
                    yield AttackPath(kind, path.namespace, path.accounts, distinct(*grants, *path.grants))
                for _, (name, theirs, more) in _named(self._held_by(user, groups)):
                    if (name, theirs) not in seen:
                        seen.add((name, theirs))
                        ahead.append((name, theirs, distinct(*grants, *more)))

    def _as_constrained_user(self, held: Capabilities) -> Iterator[AttackPath]:
        constrained = _others(held, "constrained-user", held.get("impersonate-user", ()))
        for one in constrained:
            if one.names:
                yield from self._limited(held, one, "user-info", [(name, ()) for name in one.names if _is_plain(name)])
            else:
                yield from _anything(held, one)
        for one in _others(held, "constrained-group", held.get("impersonate-group", ())) if constrained else ():
            yield from self._limited(held, one, "user-info", [("", (name,)) for name in one.names if name != MASTERS])

    def _as_account(self, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths of constrained impersonation of service accounts; plain impersonation is the account."""
        for one in _others(held, "constrained-account", held.get("impersonate-account", ())):
            for namespace, grants in together((one,), held.get("serviceaccount:mint", ())):
                yield AttackPath(AttackPathKind.IMPERSONATE_ACCOUNT, namespace, one.names, grants)
            if any(f"serviceaccount:{kind}" in held for kind in _KINDS):
                accounts = [ref for ref in self._accounts if _covers(one, ref)]
                others = [(f"{SERVICE_ACCOUNT_PREFIX}{ref.namespace}:{ref.name}", ref) for ref in accounts]
                users = [(name, (*ref.groups, AUTHENTICATED)) for name, ref in others]
                yield from self._limited(held, one, "serviceaccount", users)

    def _limited(
        self, held: Capabilities, one: HeldCapability, mode: str, others: Iterable[tuple[str, tuple[str, ...]]]
    ) -> Iterator[AttackPath]:
        """Yield what the impersonated identities may do, as far as it is allowed while impersonating."""
        kind = AttackPathKind.IMPERSONATE_ACCOUNT if mode == "serviceaccount" else AttackPathKind.IMPERSONATE_USER
        seen = set()
        for user, groups in others:
            theirs = self._held_by(user, groups)
            for what in _KINDS:
                for namespace, names, grants in shared(held.get(f"{mode}:{what}", ()), theirs.get(what, ())):
                    accounts = names if what == "mint" else ()
                    if (namespace, accounts) not in seen:
                        seen.add((namespace, accounts))
                        yield AttackPath(kind, namespace, accounts, distinct(one.grant, *grants))

    def _as_node(self, user: str, held: Capabilities) -> Iterator[AttackPath]:
        """Yield the paths through a node, which may mint for the accounts of its pods."""
        for one in held.get("constrained-node", ()):
            for _, grants in together((one,), held.get("arbitrary-node:mint", ())):
                yield from self._of_nodes(one.names, grants)
        for one in held.get("constrained-own-node", ()):
            # the API server asks about the name `*`, and only for a service account's own node
            if user.startswith(SERVICE_ACCOUNT_PREFIX) and (not one.names or "*" in one.names):
                for _, grants in together((one,), held.get("associated-node:mint", ())):
                    yield from self._of_nodes(self._nodes_of(user), grants)
        groups = [one for one in held.get("impersonate-group", ()) if not one.names or NODES_GROUP in one.names]
        for one in held.get("impersonate-user", ()) if groups else ():
            nodes = [name.removeprefix(NODE_PREFIX) for name in one.names if name.startswith(NODE_PREFIX)]
            if nodes:
                yield from self._of_nodes(nodes, distinct(one.grant, groups[0].grant))

    def _nodes_of(self, user: str) -> Sequence[str]:
        ref = ServiceAccount.of_username(user)
        return [node for node, accounts in self._by_node.items() if ref in accounts]

    def _of_nodes(self, names: Iterable[str], grants: tuple[Grant, ...]) -> Iterator[AttackPath]:
        if not names or not self._by_node:
            yield AttackPath(AttackPathKind.IMPERSONATE_NODE, "", (), grants)
            return
        found: dict[str, set[str]] = {}
        for account in (one for name in names for one in self._by_node.get(name, ())):
            found.setdefault(account.namespace, set()).add(account.name)
        for place in sorted(found):
            yield AttackPath(AttackPathKind.IMPERSONATE_NODE, place, tuple(sorted(found[place])), grants)


def _named(held: Capabilities) -> Iterator[tuple[AttackPathKind, _Named]]:
    """Yield the users and groups that may be impersonated by name.

    For the name of a service account the API server asks about the account, and a node needs its group as well.
    """
    for one in held.get("impersonate-user", ()):
        yield from ((_ANYBODY["impersonate-user"], (name, (), (one.grant,))) for name in one.names if _is_plain(name))
    bearers = _bearers(held)
    for one in held.get("impersonate-group", ()) if bearers else ():
        grants = distinct(one.grant, bearers[0].grant)
        yield from ((_ANYBODY["impersonate-group"], ("", (name,), grants)) for name in one.names if name != MASTERS)


def _bearers(held: Capabilities) -> tuple[HeldCapability, ...]:
    """Return what lets somebody impersonate a user or an account: a group can be impersonated only with one of them."""
    return (*held.get("impersonate-user", ()), *held.get("impersonate-account", ()))


def _others(held: Capabilities, kind: str, plain: Iterable[HeldCapability]) -> list[HeldCapability]:
    """Return the capabilities of a kind whose rules do not give plain impersonation, too."""
    known = {id(one.grant) for one in plain}
    return [one for one in held.get(kind, ()) if id(one.grant) not in known]


def _anything(held: Capabilities, one: HeldCapability) -> Iterator[AttackPath]:
    """Yield what somebody may do who may act as any user: one of them may do it."""
    seen = set()
    for kind in _KINDS:
        for namespace, grants in together((one,), held.get(f"user-info:{kind}", ())):
            if namespace not in seen:
                seen.add(namespace)
                yield AttackPath(AttackPathKind.IMPERSONATE_USER, namespace, (), grants)


def _is_plain(name: str) -> bool:
    return not name.startswith((SERVICE_ACCOUNT_PREFIX, NODE_PREFIX))


def _covers(one: HeldCapability, ref: ServiceAccount) -> bool:
    return one.namespace in {"", ref.namespace} and (not one.names or ref.name in one.names)
