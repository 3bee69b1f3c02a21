# SPDX-License-Identifier: Apache-2.0
"""How a service account's token leads to the whole cluster, by a snapshot of it: at once or step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from k8stokendetect.cluster.account_profile import RightKind
from k8stokendetect.cluster.attack_paths import NEEDS_POD, AttackPath, AttackPathKind
from k8stokendetect.exclusions.base import AUTHENTICATED
from k8stokendetect.findings import Evidence
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, ServiceAccount
from k8stokendetect.reprs import with_short_repr

if TYPE_CHECKING:
    from k8stokendetect.cluster import Account, Cluster, Grant

EVERYTHING: Final = "may do everything in the cluster"
_EVERYONE: Final = "every service account"

_SYSTEM: Final = "kube-system"
_CLIENTS: Final = ("kubernetes.io/kube-apiserver-client", "kubernetes.io/*")
"""How the signers are called whose certificates the API server takes for users and nodes."""

_MOST: Final = 3


@with_short_repr
@attrs.frozen
class EscalationPath:
    """How a token leads to the whole cluster; without `power` it does not.

    Arguments:
        power: what the holder of the token may do; the end of a sentence.
        evidence: the bindings and roles that give it, and the steps on the way.

    """

    power: str = ""
    evidence: tuple[Evidence, ...] = ()


@attrs.frozen
class _Step:
    """From one service account to the next."""

    account: ServiceAccount
    way: AttackPath
    to: ServiceAccount


class EscalationPaths:
    """Answers for one account after another; each answer is kept.

    Arguments:
        cluster: the snapshot.

    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._there: dict[str, list[Account]] = {}
        for account in cluster.accounts:
            self._there.setdefault(account.namespace, []).append(account)
        self._known: dict[ServiceAccount, EscalationPath] = {}

    def of(self, start: ServiceAccount, /) -> EscalationPath | None:
        """Return the shortest way from a service account's token to the whole cluster.

        What every authenticated user may do is left out: the caller can do that without the token.

        Returns:
            None when the snapshot cannot tell: it does not have the account, or no bindings at all.

        """
        if not self.cluster.bindings or self.cluster.service_account(start) is None:
            return None
        if start not in self._known:
            self._known[start] = self._shortest(start)
        return self._known[start]

    def _shortest(self, start: ServiceAccount) -> EscalationPath:
        path: dict[ServiceAccount, tuple[_Step, ...]] = {start: ()}
        ahead = deque([start])
        taken: set[tuple[object, ...]] = set()
        while ahead:
            account = ahead.popleft()
            user = f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}"
            ways = self.cluster.ways(user, account.groups)
            powers = _powers(self.cluster, account, ways)
            if powers:
                return _described(path[account], account, powers)
            for way in ways:
                scope = (way.kind, way.namespace, way.accounts)
                for other in self._reached(way) if scope not in taken else ():
                    if other not in path:
                        path[other] = (*path[account], _Step(account, way, other))
                        ahead.append(other)
                taken.add(scope)
        return EscalationPath()

    def _reached(self, way: AttackPath) -> Iterator[ServiceAccount]:
        """Yield whose tokens a way really leads to, as far as the snapshot shows pods and Secrets with such."""
        places = [way.namespace] if way.namespace else [*self._there]
        for account in (one for place in places for one in self._there.get(place, ()) if way.reaches(one.ref)):
            pods = self.cluster.pods and way.kind in NEEDS_POD
            has_pod = not pods or any(pod.audiences for pod in self.cluster.pods_of(account.ref))
            if has_pod and (way.kind is not AttackPathKind.READ_SECRET or account.secrets):
                yield account.ref


def _powers(cluster: Cluster, account: ServiceAccount, ways: tuple[AttackPath, ...]) -> dict[str, tuple[Grant, ...]]:
    """Return what of it is worth the whole cluster, and what gives it; where that is everything, that alone."""
    worth = cluster.service_account(account)
    rights = [one for one in worth.rights if one.grant.subject.name != AUTHENTICATED] if worth else []
    everything = tuple(one.grant for one in rights if one.kind is RightKind.ADMIN and not one.namespace)
    if everything:
        return {EVERYTHING: everything}
    powers: dict[str, tuple[Grant, ...]] = {}
    for right in rights:
        is_client = not right.names or any(name.startswith(_CLIENTS) for name in right.names)
        if right.kind is RightKind.CERTIFICATES and is_client:
            powers.setdefault("may approve certificates of clients for anyone", (right.grant,))
    for way in ways:
        if way.accounts or not way.grants:
            continue
        if way.kind is AttackPathKind.READ_SECRET and way.namespace in {"", _SYSTEM}:
            powers.setdefault(f"may read the Secrets of {way.namespace or 'every namespace'}", way.grants)
        elif not way.namespace:
            powers.setdefault(way.power(_EVERYONE), way.grants)
    return powers


def _described(path: tuple[_Step, ...], last: ServiceAccount, powers: dict[str, tuple[Grant, ...]]) -> EscalationPath:
    more = len(powers) - _MOST
    what = "; ".join([*powers][:_MOST]) + (f"; and {more} more" if more > 0 else "")
    steps = [(step.account, step.way.power(step.to), step.way.grants) for step in path]
    evidence: dict[tuple[str, str], str] = {}
    for account, power, grants in (*steps, *((last, power, grants) for power, grants in powers.items())):
        for grant in grants:
            evidence.setdefault((f"cluster: {grant.binding}", str(grant.role)), f"why {account} {power}")
    chain = "".join(f"{power}, which " for _, power, _ in steps)
    return EscalationPath(
        f"{chain}{what}", tuple(Evidence(place, role, why) for (place, role), why in evidence.items())
    )
