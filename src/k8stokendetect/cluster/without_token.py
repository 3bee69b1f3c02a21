# SPDX-License-Identifier: Apache-2.0
"""Removes the right to create service account tokens from rules, and says what is lost with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.cluster.rbac import PolicyRule
from k8stokendetect.events import TOKEN_SUBRESOURCE

_MEANT: Final = frozenset({TOKEN_SUBRESOURCE, "*/token"})


@attrs.frozen
class Split:
    """The rules of a role, split into the right and the rest.

    Arguments:
        kept: the index of each rule that gives the right, and the rules that replace it.
        loose: what is lost with the right: combinations in the same lists that mean nothing to Kubernetes (another
            verb or API group on the token subresource).
        is_wild: a rule has `*` as resource. RBAC cannot express all but one, so that rule has to go.

    """

    kept: tuple[tuple[int, tuple[PolicyRule, ...]], ...]
    loose: tuple[PolicyRule, ...]
    is_wild: bool


def split(rules: Sequence[PolicyRule], /) -> Split:
    """Split the rules that give the right from what else they give."""
    kept, loose, is_wild = [], [], False
    for index, rule in enumerate(rules):
        if not rule.mints:
            continue
        hit = tuple(name for name in rule.resources if name in _MEANT)
        others = tuple(name for name in rule.resources if name not in _MEANT)
        is_wild |= "*" in others
        kept.append((index, (attrs.evolve(rule, resources=others),) if others else ()))
        if set(rule.verbs) != {"create"} or set(rule.api_groups) != {""} or hit != (TOKEN_SUBRESOURCE,):
            loose.append(attrs.evolve(rule, resources=hit or (TOKEN_SUBRESOURCE,)))
    return Split(tuple(kept), tuple(loose), is_wild)


def rest_of(rules: Sequence[PolicyRule], parted: Split, /) -> tuple[PolicyRule, ...]:
    """Return the rules of a role without the right."""
    kept = dict(parted.kept)
    return tuple(one for index, rule in enumerate(rules) for one in kept.get(index, (rule,)))


def minting(names: Iterable[str] = (), /) -> PolicyRule:
    """Make the rule that gives the right for these names; without names, for all."""
    return PolicyRule(("create",), ("",), (TOKEN_SUBRESOURCE,), tuple(names))


def to_json(rule: PolicyRule, /) -> dict[str, Any]:
    """Return a rule as the API server writes it: only `verbs` may be empty."""
    fields = {
        "apiGroups": rule.api_groups,
        "nonResourceURLs": rule.non_resource_urls,
        "resourceNames": rule.resource_names,
        "resources": rule.resources,
    }
    return {name: list(values) for name, values in fields.items() if values} | {"verbs": list(rule.verbs)}
