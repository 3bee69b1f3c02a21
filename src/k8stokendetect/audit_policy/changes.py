# SPDX-License-Identifier: Apache-2.0
"""What to change in an audit policy: the smallest rules that let a detector work, and what else is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.audit_policy.needs import Need, callers_of, namespaces_of, requests_of
from k8stokendetect.audit_policy.policy import AuditPolicy
from k8stokendetect.audit_policy.rules import Level, Logged, PolicyRule, Request
from k8stokendetect.audit_policy.warnings import warning
from k8stokendetect.convert.yaml import write
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP
from k8stokendetect.reprs import with_short_repr


@with_short_repr
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
    kind = need.kind
    kept = (kind.stage,) if kind.stage in policy.omit_stages else ()
    if kind.fix:
        yield Change(attrs.evolve(kind.fix, level=max(need.level, min(kind.most, highest))), 0, kept)
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
    """Return the policy with these changes; of several of one kind, with the one that logs most.

    It is the policy as it runs: what the API server ignores in the file is not part of it.
    """
    rules = list(policy.rules)
    wanted = merged(changes)
    for change in sorted(wanted, key=lambda change: (change.before, change.in_place), reverse=True):
        rules.insert(change.before, change.rule)
    kept = {stage for change in wanted for stage in change.keep_stages}
    return attrs.evolve(
        policy,
        rules=tuple(rules),
        omit_stages=tuple(stage for stage in policy.omit_stages if stage not in kept),
        ignored=(),
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


_BODIES: Final = (
    ("", "serviceaccounts/token", Level.REQUEST_RESPONSE, "each new token is in the response, in plain text"),
    ("authentication.k8s.io", "tokenreviews", Level.REQUEST, "each token to be reviewed is in the request"),
    ("", "secrets", Level.REQUEST, "what is written into Secrets is in the request"),
)
"""Group, resource, the level from which a credential is logged, and where."""


def hints(policy: AuditPolicy, /) -> tuple[str, ...]:
    """Return a sentence for every problem; rules are named by index.

    What the API server ignores comes first, with what that causes. Then live tokens: anyone who reads the log can
    use them. Then what is logged twice, and rules that do not mean what they seem to mean.
    """
    return (
        *(warning(policy, found) for found in policy.ignored),
        *_written(policy),
        *_doubled(policy),
        *_idle(policy),
    )


def _written(policy: AuditPolicy) -> Iterator[str]:
    for group, resource, level, why in _BODIES:
        deciding = {
            (logged.rule, logged.level)
            for caller in callers_of(policy, "anybody")
            for request in requests_of(policy, caller, [("create", group, resource)])
            if (logged := policy.decide(request)).level >= level
        }
        for rule, found in sorted(deciding, key=str):
            yield (
                f"rules[{rule}] logs {resource} at level {found}: {why}, for anyone who reads the log; an earlier rule "
                f"should log it at level {Level(level - 1)}"
            )


def _doubled(policy: AuditPolicy) -> Iterator[str]:
    for caller in callers_of(policy, "anybody")[:1]:
        logged = policy.decide(Request(user=caller.user, groups=caller.groups, namespace=namespaces_of(policy)[0]))
        if logged.at("RequestReceived") and logged.at("ResponseComplete"):
            yield (
                f"rules[{logged.rule}] logs token requests twice, at RequestReceived and at ResponseComplete: a "
                "SIEM rule that looks at no stage alerts twice; omitStages: [RequestReceived] halves the log"
            )


def _idle(policy: AuditPolicy) -> Iterator[str]:
    for index, rule in enumerate(policy.rules):
        for key, values in (
            ("users", rule.users),
            ("userGroups", rule.user_groups),
            ("verbs", rule.verbs),
            ("namespaces", rule.namespaces),
        ):
            for value in values:
                if "*" in value:
                    yield f"rules[{index}]: {value!r} in {key} matches nothing: names are compared literally"
        yield from _idle_resources(index, rule)


def _idle_resources(index: int, rule: PolicyRule) -> Iterator[str]:
    for item in rule.resources:
        for name in item.resources:
            inner = name.removeprefix("*/").removesuffix("/*")
            if name != "*" and ("*" in inner or inner.count("/") > 1):
                yield f"rules[{index}]: {name!r} in resources matches nothing"
        if not item.group and "serviceaccounts" in item.resources:
            covered = {"serviceaccounts/token", "serviceaccounts/*", "*/token", "*"} & {*item.resources}
            if not covered:
                yield (
                    f"rules[{index}]: 'serviceaccounts' does not include the subresource 'serviceaccounts/token': "
                    "this rule is not about token requests"
                )
