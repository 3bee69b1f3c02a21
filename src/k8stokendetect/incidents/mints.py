# SPDX-License-Identifier: Apache-2.0
"""Observed mints, from events or findings, and the bindings through which each was allowed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from datetime import datetime

import attrs

from k8stokendetect.cluster import AttackPathKind, Cluster, Grant
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import Exclusion, ExclusionIndex
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import ReasonedBinding, ServiceAccount
from k8stokendetect.reprs import short_repr, with_short_repr
from k8stokendetect.words import brief

_IMPERSONATES = frozenset(
    {AttackPathKind.IMPERSONATE_ACCOUNT, AttackPathKind.IMPERSONATE_USER, AttackPathKind.IMPERSONATE_GROUP}
)


@attrs.frozen
class Mint:
    """A token that was really issued for a known account.

    Arguments:
        ref: the request.
        account: whose token.
        groups: of the caller; None where they were not logged.
        more_groups: how many others are not known, because a finding does not keep them all.
        expected_by: the exclusion that covers it; empty for none.

    """

    ref: EventRef
    account: ServiceAccount
    groups: tuple[str, ...] | None = None
    more_groups: int = 0
    expected_by: str = ""

    def __repr__(self) -> str:
        return short_repr(self, user=self.user, account=str(self.account), time=self.time and self.time.isoformat())

    @property
    def user(self) -> str:
        """Who called."""
        return self.ref.user

    @property
    def time(self) -> datetime | None:
        """When, in UTC; None where no time was logged."""
        return self.ref.time

    @property
    def effective_groups(self) -> tuple[str, ...]:
        """The groups, those included that the API server gives without a binding."""
        if self.groups is not None:
            return self.groups
        own = ServiceAccount.of_username(self.user)
        return (*(own.groups if own else ()), AUTHENTICATED)


class Cause(enum.StrEnum):
    """Why the snapshot shows no right to an observed mint."""

    MASTERS = "system-masters"
    NODE = "node-authorizer"
    OTHER_AUTHORIZER = "other-authorizer"
    CHANGED = "changed-since"
    GROUPS_UNKNOWN = "groups-unknown"
    UNKNOWN = "unknown"


@with_short_repr
@attrs.frozen
class Explanation:
    """What allowed a mint, by the snapshot of the cluster.

    Arguments:
        grants: each of them alone gives the right; empty where the snapshot shows none.
        cause: why it shows none; None where it does.
        why: the same in words, as the end of a sentence about the caller.

    """

    grants: tuple[Grant, ...] = ()
    cause: Cause | None = None
    why: str = ""


def explain_mint(cluster: Cluster, mint: Mint, /) -> Explanation:
    """Find the bindings through which a caller could mint, or the reason why the snapshot shows none."""
    account, groups = mint.account, mint.effective_groups
    if MASTERS in groups:
        return Explanation((), Cause.MASTERS, "is a member of system:masters, which no binding limits")
    if mint.ref.impersonating is not None:
        ways = cluster.ways(mint.user, groups, account)
        grants = tuple(way.grants[0] for way in ways if way.kind in _IMPERSONATES)
    else:
        place = {"namespace": account.namespace, "name": account.name}
        grants = cluster.grants(mint.user, groups, "create", TOKEN_SUBRESOURCE, **place)
    if grants:
        return Explanation(tuple(_each(grants, mint.user, groups)))
    return Explanation((), *_cause(cluster, mint))


def _each(grants: Iterable[Grant], user: str, groups: tuple[str, ...]) -> Iterator[Grant]:
    """Yield a grant for each binding and for each of its subjects that the caller is: all have to go."""
    first: dict[int, Grant] = {}
    for grant in grants:
        first.setdefault(id(grant.binding), grant)
    for grant in first.values():
        for subject in dict.fromkeys(grant.binding.subjects):
            if subject.name in groups if subject.kind == "Group" else subject.username() == user:
                yield attrs.evolve(grant, subject=subject)


def _cause(cluster: Cluster, mint: Mint) -> tuple[Cause, str]:
    reason = mint.ref.reason or ""
    named = ReasonedBinding.of(reason)
    if named is not None:
        exists = any(str(binding) == str(named) for binding in cluster.bindings)
        what = "no longer gives it" if exists else "is not in the snapshot"
        return Cause.CHANGED, f"had the right through {named}, which {what}"
    if mint.user.startswith("system:node:") and not reason:
        return Cause.NODE, "is a node: the Node authorizer lets it mint for its own pods"
    if reason:
        return Cause.OTHER_AUTHORIZER, f"was allowed by another authorizer than RBAC: {brief(reason)}"
    if mint.more_groups:
        return Cause.GROUPS_UNKNOWN, f"may have it through one of {mint.more_groups} groups that findings do not keep"
    if mint.groups is None and ServiceAccount.of_username(mint.user) is None:
        return Cause.GROUPS_UNKNOWN, "may have it through a group; the groups were not logged"
    return Cause.UNKNOWN, "has no such right in the snapshot: it was since taken away, or another authorizer gave it"


def observed(items: Iterable[Finding | Event], exclusions: Iterable[Exclusion], /) -> tuple[list[Mint], int]:
    """Collect the mints of events or findings, each request once, in the order of time.

    Arguments:
        items: events, findings, or both; several findings about one request complete each other.
        exclusions: by which events are judged; findings bring their verdict.

    Returns:
        The mints, and how many tokens were issued for an account that was not logged.

    Raises:
        ConfigError: when something else is among the items.

    """
    index = ExclusionIndex(exclusions)
    found: dict[str, Mint] = {}
    nameless: set[str] = set()
    for item in items:
        mint = _of_event(item, index) if isinstance(item, Event) else _of_finding(item)
        if isinstance(mint, Mint):
            id_ = mint.ref.request_id
            found[id_] = _merged(found[id_], mint) if id_ in found else mint
        elif mint is not None:
            nameless.add(mint.request_id)
    in_order = sorted(found.values(), key=lambda mint: (mint.time is not None, mint.time, str(mint.account)))
    return in_order, len(nameless)


def _of_event(event: Event, index: ExclusionIndex) -> Mint | EventRef | None:
    """Return the mint; its request alone where the account was not logged; None for any other event."""
    if not event.mints_token:
        return None
    ref = EventRef.of(event)
    if ref.token_account is None:
        return ref
    excluding = index.excluding(event)
    return Mint(ref, ref.token_account, event.user.groups or None, expected_by=excluding.id if excluding else "")


def _of_finding(finding: object) -> Mint | EventRef | None:
    """Return the same of a finding."""
    if not isinstance(finding, Finding):
        raise ConfigError(f"neither a Finding nor an Event: {type(finding).__name__}")
    ref = finding.event
    if not ref.mints_token:
        return None
    if ref.token_account is None:
        return ref
    return Mint(ref, ref.token_account, ref.groups or None, ref.more_groups, finding.excluded_by or "")


def _merged(first: Mint, second: Mint) -> Mint:
    """Join two items about one request: an event knows all groups, and what one rule reports is not expected."""
    best = min(first, second, key=lambda mint: (mint.groups is None, mint.more_groups))
    return attrs.evolve(best, expected_by=first.expected_by and second.expected_by)
