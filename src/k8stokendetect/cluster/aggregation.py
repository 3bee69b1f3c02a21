# SPDX-License-Identifier: Apache-2.0
"""Computes the rules of aggregated ClusterRoles from the roles that their selectors match."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from k8stokendetect.cluster.rbac import Role


def fill(roles: Collection[Role], unfilled: Collection[str], /) -> tuple[dict[str, Role], list[tuple[str, ...]]]:
    """Compute the rules of aggregated ClusterRoles where a file leaves them out, as the controller would.

    Source: k8s.io/kubernetes pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go,
    syncClusterRole: selectors in order, the roles of each by name, each rule once, never a role's own rules.

    Arguments:
        roles: every ClusterRole.
        unfilled: the names of those whose rules are to be computed; others are read as recorded.

    Returns:
        The computed roles by name, and the cycles of roles that aggregate each other, each by name. The rules of a
        cycle are computed, too: the controller repeats until nothing changes.

    """
    by_name = {role.name: role for role in sorted(roles, key=lambda role: role.name)}
    edges = {role.name: _selected(role, by_name.values()) for role in by_name.values() if role.selectors}
    computed = {name: role for name, role in by_name.items() if name in unfilled}
    own = {name: role.rules for name, role in computed.items()}  # none, or those of an object of the same name
    changed = True
    while changed:  # rules are only added, so this terminates
        changed = False
        for name, role in computed.items():
            collected = (rule for other in edges.get(name, ()) for rule in by_name[other].rules)
            rules = tuple(dict.fromkeys((*own[name], *collected)))
            if set(rules) != set(role.rules):
                computed[name] = by_name[name] = attrs.evolve(role, rules=rules)
                changed = True
    return computed, _circles(edges)


def _selected(role: Role, others: Iterable[Role]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for selector in role.selectors:
        found |= {other.name: None for other in others if selector.matches(other.labels) and other.name != role.name}
    return tuple(found)


def _circles(edges: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Return the groups of roles in which each aggregates every other, directly or not."""
    left = {name: {other for other in others if other in edges} for name, others in edges.items()}
    backwards: dict[str, set[str]] = {name: set() for name in left}
    for name, others in left.items():
        for other in others:
            backwards[other].add(name)
    found = []
    while left:
        name = next(iter(left))
        circle = _reached(name, left) & _reached(name, backwards)
        if circle:
            found.append(tuple(sorted(circle)))
        for done in circle or {name}:
            del left[done]
    return found


def _reached(name: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        for other in edges.get(ahead.pop(), ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return found
