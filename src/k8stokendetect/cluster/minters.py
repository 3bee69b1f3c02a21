# SPDX-License-Identifier: Apache-2.0
"""Who can mint: every subject with an attack path to a token, whether that is expected, and the change that ends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Final

import attrs

from k8stokendetect.cluster.attack_paths import AccountIndex, AttackPath, AttackPathKind, BlastRadius
from k8stokendetect.cluster.builtin import Defaults
from k8stokendetect.cluster.by_design import ByDesign, needed
from k8stokendetect.cluster.changes import Changes
from k8stokendetect.cluster.nodes import kubelet_paths, nodes_of
from k8stokendetect.cluster.rbac import NODE_PREFIX, NODES_GROUP, Subject
from k8stokendetect.cluster.steps import Change
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Exclusion
from k8stokendetect.exclusions.catalogue import DEFAULT_EXCLUSIONS
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP, ServiceAccount
from k8stokendetect.reprs import with_short_repr

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster

_MEANINGS: Final = {
    ("Group", AUTHENTICATED): "everybody who is authenticated: every user, every service account, every node",
    ("Group", "system:unauthenticated"): "everybody, without any credential, where anonymous requests are allowed",
    ("User", "system:anonymous"): "everybody, without any credential, where anonymous requests are allowed",
    ("Group", SERVICE_ACCOUNTS_GROUP): "every service account of the cluster",
    ("Group", MASTERS): "may do everything: the API server does not ask an authorizer about its members",
    ("Group", NODES_GROUP): "every node",
}


_ALL_RIGHTS: Final = Subject("Group", MASTERS)


class Status(enum.StrEnum):
    """Whether somebody is expected to mint."""

    EXPECTED = "expected"
    BEYOND = "more-than-expected"
    NOT_EXPECTED = "not-expected"


@with_short_repr
@attrs.frozen
class Minter:
    """A subject that can obtain service account tokens.

    Arguments:
        subject: who; a user named like a service account is that service account.
        ways: its attack paths, direct ones first.
        reach: the blast radius of all paths.
        direct_reach: the blast radius of the direct ones.
        exclusions: those that name it.
        beyond: the direct paths that none of those exclusions needs.

    """

    subject: Subject
    ways: tuple[AttackPath, ...]
    reach: BlastRadius
    direct_reach: BlastRadius
    exclusions: tuple[Exclusion, ...] = ()
    beyond: tuple[AttackPath, ...] = ()
    _changes: Changes = attrs.field(kw_only=True, eq=False, repr=False)
    _accounts: AccountIndex = attrs.field(kw_only=True, eq=False, repr=False)

    @property
    def direct(self) -> tuple[AttackPath, ...]:
        """The paths on which it creates tokens itself."""
        return tuple(way for way in self.ways if way.direct)

    @property
    def unexpected(self) -> tuple[AttackPath, ...]:
        """The paths that are not by design: the direct ones that no exclusion needs, and the indirect ones."""
        return tuple(way for way in self.ways if not way.direct or way in self.beyond)

    def reach_of(self, ways: Iterable[AttackPath], /) -> BlastRadius:
        """Count the accounts that some of its paths reach."""
        return self._accounts.reach(ways)

    @property
    def is_kubelet(self) -> bool:
        """Whether it is a node that mints for the accounts of its pods."""
        return any(way.kind is AttackPathKind.KUBELET for way in self.ways)

    @property
    def status(self) -> Status:
        """Whether it is expected to mint; a subject with indirect paths only is not."""
        if all(way.kind is AttackPathKind.KUBELET for way in self.ways):
            return Status.EXPECTED
        if not self.exclusions:
            return Status.NOT_EXPECTED
        return Status.BEYOND if self.beyond or not self.direct else Status.EXPECTED

    @property
    def meaning(self) -> str:
        """Who that is, where it is more than one; empty for a user, and for a group that only the site knows."""
        subject = self.subject
        known = _MEANINGS.get((subject.kind, subject.name), "")
        if self.is_kubelet:
            return f"the kubelet of {subject.name.removeprefix(NODE_PREFIX)}, and anyone who has taken that node"
        if known or subject.kind != "Group":
            return known
        prefix, _, namespace = subject.name.rpartition(":")
        return f"every service account of {namespace}" if prefix == SERVICE_ACCOUNTS_GROUP and namespace else ""

    def change(self, way: AttackPath, /) -> Change | None:
        """Return the smallest change that closes a path of this subject; None for system:masters, which nothing stops.

        A component keeps what its exclusion says it needs, where that lists names rather than patterns. An indirect
        path is closed by removing the subject from the binding.
        """
        if not way.grants or self.subject == _ALL_RIGHTS:
            return None
        if not way.direct:
            return self._changes.removal(way.grants[0])
        return self._changes.for_grant(way.grants[0], keep=needed(self.exclusions))


@with_short_repr
@attrs.frozen
class Survey:
    """Who can mint in a cluster.

    Arguments:
        minters: everybody, the worst first and expected components last.
        defaults: the subjects of which something is left out, because Kubernetes itself installs it; groups first.

    """

    minters: tuple[Minter, ...] = ()
    defaults: tuple[Subject, ...] = ()


def who_can_mint(
    cluster: Cluster,
    *,
    exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    namespace: str = "",
    today: date | None = None,
) -> tuple[Minter, ...]:
    """Return everybody who can obtain service account tokens, the worst first and expected components last.

    Each subject of a binding appears once, with what its own bindings grant. Rights through a group appear with the
    group. Where pods were loaded, each node appears with the accounts of its pods, which the Node authorizer gives it.
    What a webhook or a cloud's IAM allows is not in RBAC and not here.

    Arguments:
        cluster: the cluster.
        exclusions: whose minting is expected, and for which service accounts.
        platform: of the cluster; without it the exclusions of single platforms are left out.
        namespace: only who can obtain tokens of its accounts, and how; by default of all.
        today: the day to compare expiry dates with; by default today, in UTC.

    """
    return survey(
        cluster, exclusions=exclusions, platform=platform, namespace=namespace, with_defaults=True, today=today
    ).minters


def survey(
    cluster: Cluster,
    *,
    exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    namespace: str = "",
    with_defaults: bool = False,
    today: date | None = None,
) -> Survey:
    """Return who can mint, as `who_can_mint` does, but without what Kubernetes itself installs.

    Left out is what the unchanged roles and bindings of Kubernetes give their own subjects, with the platform
    `kubernetes` also those of kubeadm, and what system:masters may do: the API server asks no authorizer about its
    members. What an edited role gives, and what an added subject has, stays.

    Arguments:
        cluster: the cluster.
        exclusions: as in `who_can_mint`.
        platform: as in `who_can_mint`.
        namespace: as in `who_can_mint`.
        with_defaults: leave nothing out.
        today: as in `who_can_mint`.

    """
    ours = Defaults(platform)
    accounts, changes = AccountIndex(cluster, namespace), Changes(cluster)
    by_design = ByDesign(exclusions, platform, today)
    found, left_out = [], []
    for subject, ways in _paths(cluster):
        reaching = [way for way in ways if not namespace or accounts.concerns(way, namespace)]
        shown = tuple(reaching) if with_defaults else tuple(filter(None, map(ours.beyond, reaching)))
        if len(shown) < len(reaching):
            left_out.append(subject)
        if shown:
            username = subject.username()
            found.append(
                Minter(
                    subject,
                    shown,
                    accounts.reach(shown),
                    accounts.reach(way for way in shown if way.direct),
                    by_design.of(username),
                    by_design.beyond(username, shown),
                    changes=changes,
                    accounts=accounts,
                )
            )
    return Survey(
        tuple(sorted(found, key=_urgency)), tuple(sorted(left_out, key=lambda one: (_KINDS.index(one.kind), one.name)))
    )


_KINDS: Final = ("Group", "User", "ServiceAccount")


def _paths(cluster: Cluster) -> Iterator[tuple[Subject, tuple[AttackPath, ...]]]:
    """Yield every subject with its paths, a node with those of its kubelet first."""
    nodes = {Subject("User", f"{NODE_PREFIX}{name}"): pods for name, pods in nodes_of(cluster.pods).items()}
    for subject in dict.fromkeys((*map(_plain, cluster.subjects), _ALL_RIGHTS, *nodes)):
        yield subject, (*kubelet_paths(nodes.get(subject, ())), *cluster.ways_of(subject))


def _urgency(minter: Minter) -> tuple[object, ...]:
    """Sort by expectation, value of the targets, directness, number of targets, and how many people it covers."""
    reach = minter.direct_reach if minter.direct else minter.reach
    return (
        minter.status is Status.EXPECTED,
        -minter.reach.level,
        not minter.direct,
        -reach.level,
        -reach.accounts,
        not minter.meaning,
        minter.subject.identity,
    )


def _plain(subject: Subject) -> Subject:
    """Return one subject for one identity: `User system:serviceaccount:ci:builder` is a service account."""
    account = ServiceAccount.of_username(subject.name) if subject.kind == "User" else None
    return Subject("ServiceAccount", account.name, account.namespace) if account else subject
