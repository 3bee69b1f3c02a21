# SPDX-License-Identifier: Apache-2.0
"""What else is wrong with an audit policy: tokens written to the log, duplicates, patterns that match nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8stokendetect.audit_policy.callers import callers_of, names_of, namespaces_of
from k8stokendetect.audit_policy.policy import Level, PolicyRule, Request
from k8stokendetect.audit_policy.policy_yaml import AuditPolicy

_BODIES: Final = (
    ("", "serviceaccounts/token", Level.REQUEST_RESPONSE, "each new token stands in the answer, in clear"),
    ("authentication.k8s.io", "tokenreviews", Level.REQUEST, "each token to be reviewed stands in the request"),
    ("", "secrets", Level.REQUEST, "what is written into Secrets stands in the request"),
)
"""Group, resource, the level from which a credential is logged, and where."""


def hints(policy: AuditPolicy, /) -> tuple[str, ...]:
    """Return a sentence for every problem; rules are named by index.

    Live tokens come first: anyone who reads the log can use them. Then what is logged twice, and rules that do not mean
    what they seem to mean.
    """
    return (*_written(policy), *_doubled(policy), *_idle(policy))


def _written(policy: AuditPolicy) -> Iterator[str]:
    for group, resource, level, why in _BODIES:
        deciding = {
            (logged.rule, logged.level)
            for caller in callers_of(policy, "anybody")
            for namespace in namespaces_of(policy)
            for name in names_of(policy)
            if (
                logged := policy.level_for(
                    user=caller.user,
                    groups=caller.groups,
                    resource=resource,
                    group=group,
                    namespace=namespace if resource != "tokenreviews" else "",
                    name=name,
                )
            ).level
            >= level
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
                    yield f"rules[{index}]: {value!r} in {key} matches nothing: names are compared by letter"
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
