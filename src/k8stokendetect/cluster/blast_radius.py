# SPDX-License-Identifier: Apache-2.0
"""The service accounts that attack paths reach, counted by value; sets of accounts are bits of an integer."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from k8stokendetect.cluster.account_profile import AccountProfile
from k8stokendetect.cluster.attack_paths import NEEDS_POD, AttackPath

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster

MOST_NAMED: Final = 3


class Level(enum.IntEnum):
    """The value of the best target."""

    NOTHING = 0
    ACCOUNT = 1
    CLOUD = 2
    ESCALATION = 3
    CLUSTER_ADMIN = 4

    @property
    def label(self) -> str:
        """In words."""
        return self.name.lower().replace("_", "-")


@attrs.frozen
class BlastRadius:
    """The service accounts that somebody can act as, counted; one account can count in several fields.

    Arguments:
        accounts: all of them.
        cluster_admins: those that may do everything everywhere.
        escalating: those with a cluster-wide right that leads to further rights, such as `escalate`.
        cloud: those with a cloud identity.
        worst: names of a few, the most valuable first.

    """

    accounts: int = 0
    cluster_admins: int = 0
    escalating: int = 0
    cloud: int = 0
    worst: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """The value of the best of them."""
        for level, count in (
            (Level.CLUSTER_ADMIN, self.cluster_admins),
            (Level.ESCALATION, self.escalating),
            (Level.CLOUD, self.cloud),
            (Level.ACCOUNT, self.accounts),
        ):
            if count:
                return level
        return Level.NOTHING


class AccountIndex:
    """Every service account of a cluster by namespace, name and value, evaluated once."""

    def __init__(self, cluster: Cluster) -> None:
        self._refs = sorted((account.ref for account in cluster.accounts), key=str)
        self._in: dict[str, int] = defaultdict(int)
        self._named: dict[str, int] = defaultdict(int)
        self._of: dict[Level, int] = defaultdict(int)
        self._with_pod = 0
        for index, ref in enumerate(self._refs):
            bit = 1 << index
            self._in[ref.namespace] |= bit
            self._named[ref.name] |= bit
            if any(pod.audiences for pod in cluster.pods_of(ref)):
                self._with_pod |= bit
            for level in _levels(cluster.service_account(ref)):
                self._of[level] |= bit
        self._all = (1 << len(self._refs)) - 1
        if not cluster.pods:
            self._with_pod = self._all

    def reach(self, ways: Iterable[AttackPath], /) -> BlastRadius:
        """Count the accounts that these paths reach, each once."""
        found = 0
        for way in ways:
            found |= self._reached(way)
        admins, escalating, cloud = (
            found & self._of[level] for level in (Level.CLUSTER_ADMIN, Level.ESCALATION, Level.CLOUD)
        )
        worst = dict.fromkeys(name for bits in (admins, escalating, cloud, found) for name in self._names(bits))
        return BlastRadius(
            accounts=found.bit_count(),
            cluster_admins=admins.bit_count(),
            escalating=escalating.bit_count(),
            cloud=cloud.bit_count(),
            worst=tuple(worst)[:MOST_NAMED],
        )

    def _reached(self, way: AttackPath) -> int:
        found = self._in.get(way.namespace, 0) if way.namespace else self._all
        if way.accounts:
            named = 0
            for name in way.accounts:
                named |= self._named.get(name, 0)
            found &= named
        return found & self._with_pod if way.kind in NEEDS_POD else found

    def _names(self, bits: int) -> Iterator[str]:
        for _ in range(MOST_NAMED):
            if not bits:
                return
            lowest = bits & -bits
            yield str(self._refs[lowest.bit_length() - 1])
            bits ^= lowest


def _levels(worth: AccountProfile | None) -> Iterator[Level]:
    if worth is None:
        return
    if worth.is_cluster_admin:
        yield Level.CLUSTER_ADMIN
    if any(not right.namespace for right in worth.escalation_paths):
        yield Level.ESCALATION
    if worth.cloud:
        yield Level.CLOUD
