# SPDX-License-Identifier: Apache-2.0
"""Who can mint, as text that groups similar subjects, and as JSON with stable names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.cluster import (
    AttackPath,
    Binding,
    BlastRadius,
    Change,
    ChangeKind,
    Grant,
    Minter,
    PolicyRule,
    Role,
    Status,
    Step,
    Subject,
)
from k8stokendetect.outputs.size import one_line
from k8stokendetect.outputs.text import neutral
from k8stokendetect.words import listed

MOST_ENTRIES: Final = 40
"""Maximum number of entries printed, each for all similar subjects; the others are counted."""

MOST_BINDINGS: Final = 5
"""Maximum number of bindings printed for an entry, direct ones first; the others are counted."""

LONGEST_COMMAND: Final = 1000
"""Longer commands appear only in the JSON form."""

_MOST_RULES: Final = 3
_WHOLE: Final = frozenset({ChangeKind.DELETE_BINDING, ChangeKind.REMOVE_SUBJECT})
"""These remove everything that a binding grants."""


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


def to_text(minters: Sequence[Minter], /) -> Iterator[str]:
    """Yield lines about everybody who can obtain a token, without line ends; no name can control the terminal."""
    entries = folded(minters)
    direct = [minter for minter in minters if minter.direct]
    expected = sum(minter.status is Status.EXPECTED for minter in direct)
    yield f"{len(direct):,} can mint tokens of service accounts, {expected:,} of them as components, by design"
    yield f"{len(minters) - len(direct):,} more can obtain such tokens indirectly"
    for entry in entries[:MOST_ENTRIES]:
        yield ""
        yield from map(neutral, _entry(entry))
    if rest := entries[MOST_ENTRIES:]:
        subjects = sum(1 + len(entry.others) for entry in rest)
        yield ""
        yield f"… and {len(rest):,} more entries, about {subjects:,} subjects: see --format json"


def _entry(entry: Entry) -> Iterator[str]:
    minter = entry.minter
    yield f"{minter.reach.level.label.upper()}  {minter.subject}" + (f" ({minter.meaning})" if minter.meaning else "")
    yield f"  {expectation(minter)}; reaches {worth(minter.reach)}"
    if entry.others:
        yield f"  and {len(entry.others):,} more that are alike: {listed(str(other.subject) for other in entry.others)}"
    bindings = by_binding(minter.ways)
    for ways in bindings[:MOST_BINDINGS]:
        yield from (f"  {line}" for line in _through(minter, ways))
    if rest := bindings[MOST_BINDINGS:]:
        direct = sum(any(way.direct for way in ways) for ways in rest)
        yield f"  … and {len(rest):,} more bindings, {direct:,} of them direct: see --format json"


def expectation(minter: Minter, /) -> str:
    """Say whether a subject is expected to mint, and what it is granted beyond that."""
    names = listed(one.id for one in minter.exclusions)
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


def worth(reach: BlastRadius, /) -> str:
    """Say how many accounts are reached, and their value."""
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (reach.cluster_admins, "with all rights"),
            (reach.escalating, "with rights that lead to more"),
            (reach.cloud, "with a cloud identity"),
        )
        if count
    ]
    if not reach.accounts:
        return "no service account that is there now"
    noun = "service account" if reach.accounts == 1 else "service accounts"
    of_these = f", of these {', '.join(parts)}" if parts else ""
    return (
        f"{reach.accounts:,} {noun}{of_these} ({', '.join(reach.worst)}{', …' * (reach.accounts > len(reach.worst))})"
    )


def by_binding(ways: Iterable[AttackPath], /) -> list[list[AttackPath]]:
    """Group paths by the binding that opens them, in order."""
    found: dict[object, list[AttackPath]] = {}
    for way in ways:
        found.setdefault(way.binding, []).append(way)
    return list(found.values())


def path(grants: Iterable[Grant], /) -> str:
    """Say through which bindings and roles a path leads."""
    return " and ".join(f"{grant.binding}, which gives {grant.role}" for grant in grants)


def _through(minter: Minter, ways: Sequence[AttackPath]) -> Iterator[str]:
    """Yield what a binding grants, and what would end it."""
    direct, indirect = ([way for way in ways if way.direct is is_direct] for is_direct in (True, False))
    yield f"by {path(ways[0].grants[:1])}:" if ways[0].grants else "by no object: membership in this group is enough"
    if direct:
        yield f"  creates tokens of {listed(map(whom, direct))}"
    for what, of_these in _alike(indirect).items():
        yield f"  {what} ({listed(of_these)})"
    changes = [minter.change(some[0]) for some in (direct, indirect) if some]
    if minter.status is Status.EXPECTED and direct:
        changes = changes[1:]
    seen: set[ChangeKind] = set()
    for change in changes:
        if change and not (seen & _WHOLE):
            yield from (f"  {line}" for line in _change(change, "all of it" if change.kind in _WHOLE else "minting"))
            seen.add(change.kind)


def _alike(ways: Iterable[AttackPath]) -> dict[str, list[str]]:
    """Group indirect paths by what they reach and what else they take."""
    found: dict[str, list[str]] = {}
    for way in ways:
        more = f", with {path(way.grants[1:])}" if len(way.grants) > 1 and _leaves(way) else ""
        found.setdefault(f"can obtain tokens of {whom(way)}{more}", []).append(str(way.kind))
    return found


def _leaves(way: AttackPath) -> bool:
    """Tell whether a path takes a second binding."""
    return any(grant.binding != way.binding for grant in way.grants)


def _change(change: Change, what: str) -> Iterator[str]:
    command = change.command
    is_long = len(command) > LONGEST_COMMAND
    yield f"to end {what} ({change.kind}): {'a long command, see --format json' if is_long else command}"
    if change.keeps:
        yield f"  keeps {change.keeps}"
    rules = [rule_text(rule) for rule in change.loses]
    more = f"; and {len(rules) - _MOST_RULES} rules more" if len(rules) > _MOST_RULES else ""
    yield f"  loses also: {'; '.join(rules[:_MOST_RULES])}{more}" if rules else "  loses nothing else"
    yield from (f"  warning: {warning}" for warning in change.warnings)


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


def to_line(minter: Minter, /) -> str:
    """Return everything about a subject as one line of JSON in printable ASCII, without the line end."""
    changes: dict[object, int] = {}
    found: list[dict[str, Any]] = []
    for way in minter.ways:
        key = (way.binding, way.direct)
        change = None if key in changes else minter.change(way)
        if change is not None:
            changes[key] = len(found)
            found.append(_change_fields(change))
    ways = [_way(way) | {"change": changes.get((way.binding, way.direct))} for way in minter.ways]
    beyond = [index for index, way in enumerate(minter.ways) if way in minter.beyond]
    return one_line(
        {
            "subject": _named(minter.subject) | ({"meaning": minter.meaning} if minter.meaning else {}),
            "status": str(minter.status),
            "exclusions": [one.id for one in minter.exclusions],
            "beyond": beyond if minter.exclusions else [],
            "level": minter.reach.level.label,
            "reach": attrs.asdict(minter.reach),
            "direct_reach": attrs.asdict(minter.direct_reach),
            "ways": ways,
            "changes": found,
        }
    )


def _way(way: AttackPath) -> dict[str, Any]:
    return {
        "kind": str(way.kind),
        "direct": way.direct,
        "why": way.power(whom(way)),
        "namespace": way.namespace or None,
        "accounts": list(way.accounts),
        "path": [
            {"binding": _named(one.binding), "role": _named(one.role), "rule": _rule(one.rule)} for one in way.grants
        ],
    }


def _change_fields(change: Change) -> dict[str, Any]:
    return {
        "kind": str(change.kind),
        "command": change.command,
        "steps": [{"verb": one.verb} | _named(one) | {"body": one.body} for one in change.steps],
        "loses": list(map(_rule, change.loses)),
        "keeps": change.keeps,
        "warnings": list(change.warnings),
    }


def _named(one: Subject | Binding | Role | Step) -> dict[str, Any]:
    return {"kind": one.kind, "namespace": one.namespace or None, "name": one.name}


def _rule(rule: PolicyRule) -> dict[str, list[str]]:
    """Write a rule under Kubernetes' names, all fields."""
    return {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.api_groups),
        "resources": list(rule.resources),
        "resourceNames": list(rule.resource_names),
        "nonResourceURLs": list(rule.non_resource_urls),
    }
