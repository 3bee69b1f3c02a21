# SPDX-License-Identifier: Apache-2.0
"""Observed mints, from events or findings, and how a snapshot of the cluster explains each."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from datetime import datetime

import attrs

from k8stokendetect.cluster import Cluster, Grant, WayKind
from k8stokendetect.convert.structure import plain
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import Exclusion, verdict
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS
from k8stokendetect.exclusions.index import Named
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import REASON, ServiceAccount
from k8stokendetect.incidents.advice import ReasonedBinding
from k8stokendetect.incidents.story import RequestKey, asked_for, issued, moment, request_key

_IMPERSONATES = frozenset({WayKind.IMPERSONATE_ACCOUNT, WayKind.IMPERSONATE_USER, WayKind.IMPERSONATE_GROUP})


@attrs.frozen
class Mint:
    """A token that was really issued for a known account.

    Arguments:
        ref: the request.
        account: whose token.
        groups: of the caller; None where they were not logged.
        reason: what the API server gave as the reason to allow it; None where it was not logged.
        expected_by: the exclusion that excuses it; empty for none.

    """

    ref: EventRef
    account: ServiceAccount
    groups: tuple[str, ...] | None = None
    reason: str | None = None
    expected_by: str = ""

    @property
    def user(self) -> str:
        """Who called."""
        return self.ref.user

    @property
    def time(self) -> datetime | None:
        """When, in UTC; None where no time was logged."""
        return moment(self.ref)

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


@attrs.frozen
class Explanation:
    """How a mint was possible by the snapshot.

    Arguments:
        grants: each of them alone gives the right; empty where the snapshot shows none.
        cause: why it shows none; None where it does.
        why: the same in words, as the end of a sentence about the caller.

    """

    grants: tuple[Grant, ...] = ()
    cause: Cause | None = None
    why: str = ""


def explain(cluster: Cluster, mint: Mint, /) -> Explanation:
    """Say through which bindings a caller could mint, or why the snapshot does not show it."""
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
    named = ReasonedBinding.of(mint.reason or "")
    if named is not None:
        exists = any(str(binding) == str(named) for binding in cluster.bindings)
        what = "gives it no more" if exists else "is not in the snapshot"
        return Cause.CHANGED, f"had the right through {named}, which {what}"
    if mint.user.startswith("system:node:") and not mint.reason:
        return Cause.NODE, "is a node: the Node authorizer lets it mint for its own pods"
    if mint.reason:
        return Cause.OTHER_AUTHORIZER, f"was allowed by another authorizer than RBAC: {mint.reason[:100]}"
    if mint.groups is None and ServiceAccount.of_username(mint.user) is None:
        return Cause.GROUPS_UNKNOWN, "may have it through a group; the groups were not logged"
    return Cause.UNKNOWN, "has no such right in the snapshot: it was taken away since, or another authorizer gave it"


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
    named = Named(exclusions)
    found: dict[RequestKey, Mint] = {}
    nameless: set[RequestKey] = set()
    for item in items:
        ref, mint = _of_event(item, named) if isinstance(item, Event) else _of_finding(item)
        key = request_key(ref)
        if mint is not None:
            found[key] = _merged(found[key], mint) if key in found else mint
        elif ref.minted_credential is not None:
            nameless.add(key)
    in_order = sorted(found.values(), key=lambda mint: (mint.time is not None, mint.time, str(mint.account)))
    return in_order, len(nameless)


def _of_event(event: Event, named: Named) -> tuple[EventRef, Mint | None]:
    ref, account = EventRef.of(event), event.service_account
    if not event.mints_token or account is None:
        return ref, None
    verdicts = (verdict(exclusion, event) for exclusion in named.of(event.user.username))
    expected = next((judged.exclusion.id for judged in verdicts if judged and judged.excuses), "")
    return ref, Mint(ref, account, event.user.groups or None, event.annotations.get(REASON), expected)


def _of_finding(finding: object) -> tuple[EventRef, Mint | None]:
    if not isinstance(finding, Finding):
        raise ConfigError(f"neither a Finding nor an Event: {type(finding).__name__}")
    ref = finding.event
    account = asked_for(ref) if issued(ref) else None
    if account is None:
        return ref, None
    facts = {item.path: plain(item.value) for item in finding.evidence}
    groups, reason = facts.get("user.groups"), facts.get(f"annotations['{REASON}']")
    return ref, Mint(
        ref,
        account,
        tuple(groups) if isinstance(groups, list | tuple) and groups else None,
        reason if isinstance(reason, str) else None,
        finding.excluded_by or "",
    )


def _merged(first: Mint, second: Mint) -> Mint:
    """Join what two findings tell of one request; what one rule reports is not expected."""
    return attrs.evolve(
        first,
        groups=second.groups if first.groups is None else first.groups,
        reason=second.reason if first.reason is None else first.reason,
        expected_by=first.expected_by and second.expected_by,
    )
