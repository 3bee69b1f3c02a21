# SPDX-License-Identifier: Apache-2.0
"""Whether somebody mints by design: what the exclusions say that components mint for, and what these need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.events import Platform
from k8stokendetect.exclusions.base import Component, Exclusion, matches
from k8stokendetect.exclusions.index import ExclusionIndex
from k8stokendetect.identity import ServiceAccount

_RULE: Final = "token-request"


class ByDesign:
    """Compares what a subject may mint for with what the exclusions say that a component of its name mints for.

    RBAC knows a subject by its name alone, and a name proves nothing. So a component is expected to mint only where the
    exclusion allows it; whatever is granted beyond that is not expected. An exclusion whose actor the Node authorizer
    lets in needs no grant and allows none.

    Arguments:
        exclusions: those that do not apply are ignored.
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

    def beyond(self, username: str, ways: Iterable[AttackPath], /) -> tuple[AttackPath, ...]:
        """Return the direct paths that no exclusion of this name needs."""
        account = ServiceAccount.of_username(username)
        mine = self.of(username)
        return tuple(
            way
            for way in ways
            if way.direct
            and way.kind is not AttackPathKind.KUBELET
            and not any(_allows(one.component, way, account) for one in mine)
        )


MOST_NAMES: Final = 20
"""Maximum number of accounts that a role is advised to name."""


def _allows(component: Component, way: AttackPath, account: ServiceAccount | None) -> bool:
    if way.kind is AttackPathKind.MASTERS:
        return False
    if component.own_namespace and account and way.namespace != account.namespace:
        return False
    if way.namespace:
        is_there = any(matches(pattern, way.namespace) for pattern in component.namespaces)
    else:
        is_there = "*" in component.namespaces
    if not way.accounts:
        return is_there and _is_open(component)
    return is_there and all(any(matches(pattern, name) for pattern in component.names) for name in way.accounts)


def _is_open(component: Component) -> bool:
    """Tell whether no rule names the accounts: all, or more than anybody would keep up to date."""
    return "*" in component.names or len(component.names) > MOST_NAMES


def needed(exclusions: Iterable[Exclusion], /) -> dict[str, tuple[str, ...]] | None:
    """Return what components need, by namespace; None where an exclusion has a pattern, which no rule can have."""
    found: dict[str, tuple[str, ...]] = {}
    for one in (exclusion.component for exclusion in exclusions):
        names = () if _is_open(one) else one.names
        if any("*" in text for text in (*one.namespaces, *names)):
            return None
        for namespace in one.namespaces:
            before = found.get(namespace, names)
            found[namespace] = tuple(dict.fromkeys((*before, *names))) if before and names else ()
    return found or None
