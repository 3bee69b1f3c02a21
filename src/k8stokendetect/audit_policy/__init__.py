# SPDX-License-Identifier: Apache-2.0
"""Reads from a Kubernetes audit policy which detectors work, whom they miss, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import attrs

from k8stokendetect.audit_policy.changes import Change, changed, changes_for, hints, merged
from k8stokendetect.audit_policy.clouds import CLOUD_LOGS, CloudLog
from k8stokendetect.audit_policy.ignored import Ignored
from k8stokendetect.audit_policy.needs import (
    NEEDS,
    Caller,
    Need,
    RequestKind,
    callers_of,
    names_of,
    namespaces_of,
    requests_of,
)
from k8stokendetect.audit_policy.policy import AuditPolicy
from k8stokendetect.audit_policy.rules import GroupResources, Level, Logged, PolicyRule, Request
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.words import listed

Verdict = Literal["works", "works in part", "blind"]


@with_short_repr
@attrs.frozen
class Unseen:
    """Requests that are logged at too low a level, or not at all.

    Arguments:
        who: whose, in words.
        what: such as `create serviceaccounts/token`.
        where: the namespaces and names, in words.
        level: the level at which the needed stage is logged.
        rule: the index of the deciding rule; None where none matches.

    """

    who: str
    what: tuple[str, ...]
    where: str
    level: Level
    rule: int | None

    def __str__(self) -> str:
        by = "no rule matches" if self.rule is None else f"rules[{self.rule}]"
        return f"{self.who}: {listed(self.what)} {self.where}: level {self.level} ({by})"


@with_short_repr
@attrs.frozen
class Review:
    """What a policy means for one detector.

    Arguments:
        rule_id: the detector's rule.
        verdict: `works`, `works in part` or `blind`: blind where an ordinary caller's requests are never seen.
        why: what it needs and lacks; empty where it works.
        unseen: whose requests it misses.
        changes: what to change; empty where it works.

    """

    rule_id: str
    verdict: Verdict
    why: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    changes: tuple[Change, ...] = ()


@attrs.frozen
class _Tried:
    caller: Caller
    request: Request
    logged: Logged


@attrs.frozen
class _Shortfall:
    """A need that a policy does not meet."""

    need: Need
    unseen: tuple[Unseen, ...]
    blind: bool
    changes: tuple[Change, ...]


def review(policy: AuditPolicy, /) -> tuple[Review, ...]:
    """Tell for each built-in detector whether it works with the log that this policy produces.

    Every user, group, namespace and name in the policy is tried, and the system's own. Names and groups can be
    obtained: a rule that hides a user hides anyone with that name, by a certificate or an OIDC claim.

    Arguments:
        policy: of the API server; it does not show what a provider or a wrapper drops later.

    """
    return tuple(_reviewed(policy, rule_id, needs) for rule_id, needs in NEEDS.items())


def _reviewed(policy: AuditPolicy, rule_id: str, needs: Sequence[Need]) -> Review:
    short = [found for need in needs if (found := _shortfall(policy, need))]
    if not short:
        return Review(rule_id, "works")
    blind = any(found.blind and found.need.essential for found in short)
    return Review(
        rule_id,
        "blind" if blind else "works in part",
        tuple(found.need.why for found in short),
        tuple(dict.fromkeys(item for found in short for item in found.unseen)),
        merged(change for found in short for change in found.changes),
    )


def _shortfall(policy: AuditPolicy, need: Need) -> _Shortfall | None:
    kind = need.kind
    callers = callers_of(policy, kind.callers)
    tried = [
        _Tried(caller, request, policy.decide(request))
        for caller in callers
        for request in requests_of(policy, caller, kind.requests)
    ]
    missed = [one for one in tried if one.logged.at(kind.stage) < need.level]
    if not missed:
        return None
    ordinary = [one for one in tried if one.caller is callers[0]]
    blind = all(one in missed for one in ordinary)
    highest = max(one.logged.level for one in tried)
    changes = tuple(changes_for(policy, need, [one.logged for one in missed], highest))
    return _Shortfall(need, tuple(_unseen(policy, kind, missed, callers)), blind, changes)


def _unseen(
    policy: AuditPolicy, kind: RequestKind, missed: Sequence[_Tried], callers: Sequence[Caller]
) -> Iterator[Unseen]:
    """Merge what is missed: callers treated like an ordinary one are not named again."""
    alike: dict[tuple[Level, int | None, tuple[Request, ...]], list[Caller]] = {}
    for caller in callers:
        mine: dict[tuple[Level, int | None], list[Request]] = {}
        for one in missed:
            if one.caller is caller:
                request = attrs.evolve(one.request, user=None, groups=())
                mine.setdefault((one.logged.at(kind.stage), one.logged.rule), []).append(request)
        for (level, rule), found in mine.items():
            alike.setdefault((level, rule, tuple(found)), []).append(caller)
    for (level, rule, requests), who in alike.items():
        what = tuple(dict.fromkeys(f"{one.verb} {one.resource}" for one in requests))
        yield Unseen(_who(kind, who, callers), what, _where(policy, requests), level, rule)


def _who(kind: RequestKind, who: Sequence[Caller], callers: Sequence[Caller]) -> str:
    """Name callers; where the ordinary one is among them, name the exceptions instead."""
    if callers[0] not in who or len(callers) == 1:
        return ", ".join(caller.label for caller in who)
    everybody = "every service account" if kind.callers == "service accounts" else "everybody"
    others = ", ".join(caller.label for caller in callers if caller not in who)
    return f"{everybody} but {others}" if others else everybody


def _where(policy: AuditPolicy, requests: Sequence[Request]) -> str:
    namespaces = [name for name in dict.fromkeys(request.namespace for request in requests) if name]
    names = list(dict.fromkeys(request.name for request in requests))
    all_namespaces, all_names = namespaces_of(policy), names_of(policy)
    if set(namespaces) in ({*all_namespaces}, set()):
        place = "in every namespace" if namespaces else "cluster-wide"
    elif all_namespaces[0] in namespaces:
        seen = [name for name in all_namespaces if name not in namespaces]
        place = f"in every namespace but {', '.join(seen)}"
    else:
        place = f"in {', '.join(namespaces)}"
    if set(names) == {*all_names}:
        return place
    if all_names[0] in names:
        return f"{place} but for {', '.join(name for name in all_names if name not in names)}"
    return f"{place} for {', '.join(names)}"


__all__ = [
    "CLOUD_LOGS",
    "AuditPolicy",
    "Change",
    "CloudLog",
    "GroupResources",
    "Ignored",
    "Level",
    "Logged",
    "PolicyRule",
    "Request",
    "Review",
    "Unseen",
    "changed",
    "hints",
    "merged",
    "review",
]
