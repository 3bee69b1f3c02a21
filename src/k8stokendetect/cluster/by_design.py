# SPDX-License-Identifier: Apache-2.0
"""Compares what a subject may mint for with what the exclusions say that a component of its name mints for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

from k8stokendetect.cluster.attack_paths import AttackPath as Way
from k8stokendetect.cluster.attack_paths import AttackPathKind as WayKind
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import Component, Exclusion, matches
from k8stokendetect.exclusions.verdict import ExclusionIndex
from k8stokendetect.identity import ServiceAccount

_RULE: Final = "token-request"


class ByDesign:
    """Exclusions as a measure of rights.

    The name of a subject proves nothing, and RBAC knows no more of it: so a component is expected to mint only where
    the exclusion allows it, and whatever is granted beyond that is not. An exclusion whose actor is let in by the Node
    authorizer needs no grant and allows none.

    Arguments:
        exclusions: those in force; the others of a list are left out here.
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

    def beyond(self, username: str, ways: Iterable[Way], /) -> tuple[Way, ...]:
        """Return the direct ways that no exclusion of this name needs."""
        account = ServiceAccount.of_username(username)
        mine = self.of(username)
        return tuple(
            way for way in ways if way.direct and not any(_allows(one.component, way, account) for one in mine)
        )


def _allows(component: Component, way: Way, account: ServiceAccount | None) -> bool:
    if way.kind is WayKind.MASTERS:
        return False
    if component.own_namespace and account and way.namespace != account.namespace:
        return False
    if way.namespace:
        is_there = any(matches(pattern, way.namespace) for pattern in component.namespaces)
    else:
        is_there = "*" in component.namespaces
    if not way.accounts:
        return is_there and "*" in component.names
    return is_there and all(any(matches(pattern, name) for pattern in component.names) for name in way.accounts)


def needed(exclusions: Iterable[Exclusion], /) -> dict[str, tuple[str, ...]] | None:
    """Return what components need, by namespace; None where an exclusion has a pattern, which no rule can have."""
    found: dict[str, tuple[str, ...]] = {}
    for one in (exclusion.component for exclusion in exclusions):
        names = () if "*" in one.names else one.names
        if any("*" in text for text in (*one.namespaces, *names)):
            return None
        for namespace in one.namespaces:
            before = found.get(namespace, names)
            found[namespace] = tuple(dict.fromkeys((*before, *names))) if before and names else ()
    return found or None
