# SPDX-License-Identifier: Apache-2.0
"""Subjects that can mint in words, similar ones together: what the text, the drawing and reports share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs

from k8stokendetect.cluster import AttackPath, BlastRadius, Grant, Level, Minter, PolicyRule, Role, Status
from k8stokendetect.words import listed


@attrs.frozen
class Entry:
    """Similar subjects: roles of the same names open the same kinds of paths, in one place or several.

    Arguments:
        minter: the first of them.
        others: the rest.

    """

    minter: Minter
    others: tuple[Minter, ...] = ()


def folded(minters: Iterable[Minter], /) -> tuple[Entry, ...]:
    """Group similar subjects, the worst first; one that covers everybody or every account stays alone."""
    found: dict[object, list[Minter]] = {}
    for minter in minters:
        found.setdefault(minter.subject if minter.meaning else _shape(minter), []).append(minter)
    return tuple(Entry(first, tuple(others)) for first, *others in found.values())


def _shape(minter: Minter) -> tuple[object, ...]:
    ways = Counter((way.kind, *(role_name(grant.role) for grant in way.grants), _scope(way)) for way in minter.ways)
    several = frozenset((way, times > 1) for way, times in ways.items())
    return (minter.subject.kind, minter.status, minter.reach.level, several)


def _scope(way: AttackPath) -> str:
    return f"{'one' if way.namespace else 'all'} {'named' if way.accounts else 'whole'}"


def role_name(role: Role, /) -> str:
    """Name a role without its namespace."""
    return f"{role.kind} {role.name}"


def whom(way: AttackPath, /) -> str:
    """Say which service accounts a path reaches."""
    if not way.accounts:
        return f"every service account of {way.namespace}" if way.namespace else "every service account"
    if way.namespace:
        return listed(f"{way.namespace}/{name}" for name in way.accounts)
    return f"{listed(way.accounts)} of every namespace"


def expectation(minter: Minter, /) -> str:
    """Say whether a subject is expected to mint, and what it is granted beyond that."""
    names = listed(one.id for one in minter.exclusions)
    if minter.is_kubelet and minter.status is Status.EXPECTED:
        return "mints by design: the Node authorizer lets a kubelet mint for the accounts of the pods on its node"
    if minter.status is Status.EXPECTED:
        return f"mints by design, and no more than exclusion {names} allows"
    if not minter.exclusions:
        return "not a component that mints by design"
    allowed = listed(
        f"{place}/{name}"
        for one in minter.exclusions
        for place in one.component.namespaces
        for name in one.component.names
    )
    if not minter.direct:
        return f"has the name of a component (exclusion {names}), and no right to mint"
    beyond = listed(map(whom, minter.beyond))
    return f"has the name of a component that mints for {allowed} (exclusion {names}); granted beyond that: {beyond}"


_ATTESTS: Final = "taken for the API server by admission webhooks"


def worth(reach: BlastRadius, /) -> str:
    """Say how many accounts are reached, and their value; those that make it so high are named, where they are few."""
    if reach.at_least:
        return "service accounts that the snapshot does not have"
    if not reach.accounts:
        return "no service account that is there now"
    is_one = reach.accounts == 1
    text = f"{reach.accounts:,} service account{'' if is_one else 's'} ({', '.join(reach.worst)}"
    text += ", …)" if reach.accounts > len(reach.worst) else ")"
    counts = (
        (reach.cluster_admins, "has all rights", "have all rights"),
        (reach.escalating, "has rights that lead to more", "have rights that lead to more"),
        (reach.cloud, "has a cloud identity", "have a cloud identity"),
        (reach.attesting, f"is {_ATTESTS}", f"are {_ATTESTS}"),
    )
    parts = [(count, one if count == 1 else many) for count, one, many in counts if count]
    if not parts:
        return text
    if is_one:
        return f"{text}, which {' and '.join(said for _, said in parts)}"
    count, first = parts[0]
    is_named = reach.level > Level.ACCOUNT and count <= len(reach.worst)
    names = f": {', '.join(reach.worst[:count])}" if is_named else ""
    return f"{text}; {', '.join((f'{count:,} {first}{names}', *(f'{number:,} {said}' for number, said in parts[1:])))}"


def by_binding(ways: Iterable[AttackPath], /) -> list[list[AttackPath]]:
    """Group paths by the binding that opens them, in order."""
    found: dict[object, list[AttackPath]] = {}
    for way in ways:
        found.setdefault(way.binding, []).append(way)
    return list(found.values())


def path(grants: Iterable[Grant], /) -> str:
    """Say through which bindings and roles a path leads."""
    return " and ".join(f"{grant.binding}, which gives {grant.role}{_assumed(grant.role)}" for grant in grants)


def _assumed(role: Role) -> str:
    return f" (not in the snapshot: as Kubernetes {role.assumed} has it)" if role.assumed else ""


def rule_text(rule: PolicyRule, /) -> str:
    """Summarise a rule: verbs, resources, names, API groups."""
    names = f" named {listed(rule.resource_names)}" if rule.resource_names else ""
    groups = [group for group in rule.api_groups if group]
    of = f" of {_all('API groups', groups)}" if groups and rule.resources else ""
    what = _all("resources", rule.resources) if rule.resources else _all("URLs", rule.non_resource_urls)
    return f"{_all('verbs', rule.verbs)} on {what}{names}{of}"


def _all(what: str, values: Iterable[str]) -> str:
    found = tuple(values)
    return f"all {what}" if "*" in found else listed(found)
