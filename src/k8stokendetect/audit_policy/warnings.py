# SPDX-License-Identifier: Apache-2.0
"""Says what each thing causes that the API server ignores in a policy file: which requests a rule then decides."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.audit_policy.ignored import Ignored
from k8stokendetect.audit_policy.needs import ROLES, USES, callers_of, requests_of
from k8stokendetect.audit_policy.policy import AuditPolicy
from k8stokendetect.audit_policy.rules import GroupResources, Level, PolicyRule
from k8stokendetect.words import listed

_TYPICAL = (*USES.requests, ("watch", "", "secrets"), *ROLES.requests)


def warning(policy: AuditPolicy, found: Ignored, /) -> str:
    """Return what is ignored, what was probably meant, and what the policy does without it."""
    hint = f" ({found.hint})" if found.hint else ""
    if found.kind == "more documents":
        return "the file holds several YAML documents: the API server reads the first and ignores the others"
    if found.kind == "unknown stage":
        return f"{found.path} is not a stage, so it omits nothing{hint}"
    if found.rule is None or found.rule >= len(policy.rules):
        return f"{_fault(found)}{'; it has no effect' if found.kind == 'unknown key' else ''}{hint}"
    return f"{_fault(found)}{hint}. {_effect(policy, found.rule, found.resource)}"


def _fault(found: Ignored) -> str:
    if found.kind == "null in a list":
        read_as = "an empty element" if found.is_element else "an empty text"
        return f"{found.path} is null, which the API server reads as {read_as}"
    if found.kind == "repeated key":
        return f"{found.path} appears twice: the API server uses the last one"
    place = found.path.removesuffix(found.key).removesuffix(".")
    return f"{place or 'the policy'}: the API server ignores the unknown key {found.key!r}"


def _effect(policy: AuditPolicy, index: int, place: int | None) -> str:
    """Say what a rule, or one element of its resources, decides as the API server reads it, and what reaches it."""
    rule = policy.rules[index]
    element = rule.resources[place] if place is not None and place < len(rule.resources) else None
    if element is not None:
        text = f"What is left of this element is {_element(element)}: rules[{index}] decides {_asked(rule)} on it"
    elif rule == PolicyRule(rule.level, omit_stages=rule.omit_stages, omit_managed_fields=rule.omit_managed_fields):
        text = f"rules[{index}] decides every request that reaches it"
    else:
        text = f"rules[{index}] decides {_asked(rule)} on {_what(rule)}"
    text += f", at level {rule.level}"
    if text.startswith(f"rules[{index}] decides every request") and index + 1 < len(policy.rules):
        text += f", so rules[{index + 1}] and what follows are never used"
    reached = listed(_reaching(policy, index, element), 6)
    if not reached:
        return text
    return f"{text}. {'Not logged, among other requests' if rule.level is Level.NONE else 'Among others'}: {reached}"


def _reaching(policy: AuditPolicy, index: int, element: GroupResources | None) -> Iterator[str]:
    """Yield typical requests that this rule decides, for an account and an object that no rule names."""
    caller = callers_of(policy, "service accounts")[0]
    for wanted in _TYPICAL:
        request = next(iter(requests_of(policy, caller, [wanted])))
        fits = element is None or element.matches(request.group, request.resource, request.name)
        if fits and policy.decide(request).rule == index:
            yield f"{request.verb} {request.resource}"


def _asked(rule: PolicyRule) -> str:
    """Say which verbs of whom a rule is about."""
    who = [f"users {listed(rule.users)}"] if rule.users else []
    who += [f"groups {listed(rule.user_groups)}"] if rule.user_groups else []
    verbs = listed(rule.verbs) if rule.verbs else "every verb"
    return f"{verbs} by {' in '.join(who) or 'anybody'}"


def _what(rule: PolicyRule) -> str:
    what = "; ".join(dict.fromkeys(map(_element, rule.resources))) or listed(rule.non_resource_urls) or "everything"
    return f"{what} in namespaces {listed(map(repr, rule.namespaces))}" if rule.namespaces else what


def _element(element: GroupResources) -> str:
    group = f"API group {element.group}" if element.group else "core API group"
    names = f", named {listed(element.resource_names)}" if element.resource_names else ""
    return f"{listed(element.resources)} in the {group}{names}" if element.resources else f"the whole {group}"
