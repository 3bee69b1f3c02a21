# SPDX-License-Identifier: Apache-2.0
"""The smallest changes of an audit policy that let a detector work, as rules and as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from k8stokendetect.audit_policy.needs import Need
from k8stokendetect.audit_policy.policy import Level, Logged, PolicyRule
from k8stokendetect.audit_policy.policy_yaml import AuditPolicy
from k8stokendetect.convert.yaml import write
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP


@attrs.frozen
class Change:
    """A rule to add to a policy.

    Arguments:
        rule: the rule.
        before: the index of the rule to insert it before; the number of rules for the end.
        keep_stages: what to remove from the policy's own `omitStages`, which no rule can override.
        in_place: it logs what the rule at `before` hides, and comes after anything else inserted there.

    """

    rule: PolicyRule
    before: int = 0
    keep_stages: tuple[str, ...] = ()
    in_place: bool = False

    def to_yaml(self) -> str:
        """Return the rule as YAML, an item of the list `rules`."""
        rule = self.rule
        resources = [
            {"group": item.group, **_given(resources=item.resources, resourceNames=item.resource_names)}
            for item in rule.resources
        ]
        who = _given(users=rule.users, userGroups=rule.user_groups, verbs=rule.verbs, namespaces=rule.namespaces)
        fields = {"level": str(rule.level), **who, **_given(resources=resources)}
        return write([fields | {"omitStages": list(rule.omit_stages)}], is_flow=True)


def _given(**fields: Sequence[Any]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in fields.items() if values}


def changes_for(policy: AuditPolicy, need: Need, missed: Sequence[Logged], highest: Level, /) -> Iterator[Change]:
    """Yield the rules to add so that nothing is missed.

    Arguments:
        policy: the policy.
        need: what a detector needs.
        missed: how the requests that it misses are logged.
        highest: the level at which other such requests are logged; no change lowers it, except to keep credentials
            out of the log.

    """
    act = need.act
    kept = (act.stage,) if act.stage in policy.omit_stages else ()
    if act.fix:
        yield Change(attrs.evolve(act.fix, level=max(need.level, min(act.most, highest))), 0, kept)
        return
    for index in sorted({len(policy.rules) if item.rule is None else item.rule for item in missed}):
        hiding = policy.rules[index] if index < len(policy.rules) else PolicyRule(Level.NONE)
        named = hiding.users or hiding.user_groups
        rule = attrs.evolve(
            hiding,
            level=need.level,
            user_groups=hiding.user_groups if named else (SERVICE_ACCOUNTS_GROUP,),
            omit_stages=("RequestReceived",),
            omit_managed_fields=None,
        )
        yield Change(rule, index, kept, in_place=True)


def changed(policy: AuditPolicy, changes: Iterable[Change], /) -> AuditPolicy:
    """Return the policy with these changes; of several of one kind, with the one that logs most."""
    rules = list(policy.rules)
    wanted = merged(changes)
    for change in sorted(wanted, key=lambda change: (change.before, change.in_place), reverse=True):
        rules.insert(change.before, change.rule)
    kept = {stage for change in wanted for stage in change.keep_stages}
    return attrs.evolve(
        policy,
        rules=tuple(rules),
        omit_stages=tuple(stage for stage in policy.omit_stages if stage not in kept),
    )


def merged(changes: Iterable[Change], /) -> tuple[Change, ...]:
    """Drop each change that another includes; return the others by position."""
    found: dict[Change, Change] = {}
    for change in changes:
        kind = attrs.evolve(change, rule=attrs.evolve(change.rule, level=Level.NONE), keep_stages=())
        other = found.get(kind, change)
        higher = max(other, change, key=lambda one: one.rule.level)
        stages = tuple(sorted({*other.keep_stages, *change.keep_stages}))
        found[kind] = attrs.evolve(higher, keep_stages=stages)
    return tuple(sorted(found.values(), key=lambda change: (change.before, change.in_place)))
