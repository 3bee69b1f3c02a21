# SPDX-License-Identifier: Apache-2.0
"""Who can mint: every subject with an attack path to a token, whether that is expected, and the change that ends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import attrs

from k8stokendetect.cluster.attack_paths import AccountIndex, AttackPath, AttackPathKind, BlastRadius
from k8stokendetect.cluster.changes import Changes
from k8stokendetect.cluster.rbac import Subject
from k8stokendetect.cluster.steps import Change
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Component, Exclusion, matches
from k8stokendetect.exclusions.catalogue import DEFAULT_EXCLUSIONS
from k8stokendetect.exclusions.index import ExclusionIndex
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP, ServiceAccount
from k8stokendetect.reprs import with_short_repr

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster

_RULE: Final = "token-request"


class ByDesign:
    """Compares what a subject may mint for with what the exclusions say that a component of its name mints for.

    RBAC knows a subject by its name alone, and a name proves nothing. So a component is expected to mint only where the
    exclusion allows it; whatever is granted beyond that is not expected. An exclusion whose actor the Node authorizer
    lets in needs no grant and allows none.

    Arguments:
        exclusions: those that do not apply are ignored.
        platform: of the cluster; without it the exclusions of single platforms are left out.
        today: the day to which `expires` is compared; by default today, in UTC.

    """

    def __init__(self, exclusions: Iterable[Exclusion], platform: Platform | None, today: date | None) -> None:
        day = today or datetime.now(UTC).date()
        self._index = ExclusionIndex(
            one
            for one in exclusions
            if (one.rules is None or _RULE in one.rules)
            and (not one.component.platforms or platform in one.component.platforms)
            and (one.expires is None or day <= one.expires)
            and one.component.actor.reason is None
        )

    def of(self, username: str, /) -> tuple[Exclusion, ...]:
        """Return the exclusions whose name a user has; groups have none."""
        return self._index.named(username) if username else ()

    def beyond(self, username: str, ways: Iterable[AttackPath], /) -> tuple[AttackPath, ...]:
        """Return the direct paths that no exclusion of this name needs."""
        account = ServiceAccount.of_username(username)
        mine = self.of(username)
        return tuple(
            way for way in ways if way.direct and not any(_allows(one.component, way, account) for one in mine)
        )


MOST_NAMES: Final = 20
"""Maximum number of accounts that a role is advised to name."""


def _allows(component: Component, way: AttackPath, account: ServiceAccount | None) -> bool:
    if way.kind is AttackPathKind.MASTERS:
        return False
    if component.own_namespace and account and way.namespace != account.namespace:
        return False
    if way.namespace:
        is_there = any(matches(pattern, way.namespace) for pattern in component.namespaces)
    else:
        is_there = "*" in component.namespaces
    if not way.accounts:
        return is_there and _is_open(component)
    return is_there and all(any(matches(pattern, name) for pattern in component.names) for name in way.accounts)


def _is_open(component: Component) -> bool:
    """Tell whether no rule names the accounts: all, or more than anybody would keep up to date."""
    return "*" in component.names or len(component.names) > MOST_NAMES


def needed(exclusions: Iterable[Exclusion], /) -> dict[str, tuple[str, ...]] | None:
    """Return what components need, by namespace; None where an exclusion has a pattern, which no rule can have."""
    found: dict[str, tuple[str, ...]] = {}
    for one in (exclusion.component for exclusion in exclusions):
        names = () if _is_open(one) else one.names
        if any("*" in text for text in (*one.namespaces, *names)):
            return None
        for namespace in one.namespaces:
            before = found.get(namespace, names)
            found[namespace] = tuple(dict.fromkeys((*before, *names))) if before and names else ()
    return found or None


_MEANINGS: Final = {
    ("Group", AUTHENTICATED): "everybody who is authenticated: every user, every service account, every node",
    ("Group", "system:unauthenticated"): "everybody, without any credential, where anonymous requests are let in",
    ("User", "system:anonymous"): "everybody, without any credential, where anonymous requests are let in",
    ("Group", SERVICE_ACCOUNTS_GROUP): "every service account of the cluster",
    ("Group", MASTERS): "may do everything: the API server asks no authorizer about its members",
    ("Group", "system:nodes"): "every node",
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

    @property
    def direct(self) -> tuple[AttackPath, ...]:
        """The paths on which it creates tokens itself."""
        return tuple(way for way in self.ways if way.direct)

    @property
    def status(self) -> Status:
        """Whether it is expected to mint; a subject with indirect paths only is not."""
        if not self.exclusions:
            return Status.NOT_EXPECTED
        return Status.BEYOND if self.beyond or not self.direct else Status.EXPECTED

    @property
    def meaning(self) -> str:
        """Who that is, where it is more than one; empty for a user, and for a group that only the site knows."""
        subject = self.subject
        known = _MEANINGS.get((subject.kind, subject.name), "")
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


def who_can_mint(
    cluster: Cluster,
    *,
    exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
    today: date | None = None,
) -> tuple[Minter, ...]:
    """Return everybody who can obtain service account tokens, the worst first and expected components last.

    Each subject of a binding appears once, with what its own bindings grant. Rights through a group appear with the
    group. What other authorizers allow (the Node authorizer, a webhook, a cloud's IAM) is not in RBAC and not here.

    Arguments:
        cluster: the cluster.
        exclusions: whose minting is expected, and for which service accounts.
        platform: of the cluster; without it the exclusions of single platforms are left out.
        today: the day to compare expiry dates with; by default today, in UTC.

    """
    accounts, changes, by_design = AccountIndex(cluster), Changes(cluster), ByDesign(exclusions, platform, today)
    found = []
    for subject in dict.fromkeys(_plain(subject) for subject in (*cluster.subjects, _ALL_RIGHTS)):
        ways = cluster.ways_of(subject)
        if not ways:
            continue
        username = subject.username()
        found.append(
            Minter(
                subject,
                ways,
                accounts.reach(ways),
                accounts.reach(way for way in ways if way.direct),
                by_design.of(username),
                by_design.beyond(username, ways),
                changes=changes,
            )
        )
    return tuple(sorted(found, key=_urgency))


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
