# SPDX-License-Identifier: Apache-2.0
"""Who can mint, as text that groups similar subjects, and as JSON with stable names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.cluster import (
    AttackPath,
    Binding,
    BlastRadius,
    Change,
    ChangeKind,
    Minter,
    PolicyRule,
    Role,
    Status,
    Step,
    Subject,
)
from k8stokendetect.cluster.builtin import is_like_kubeadm
from k8stokendetect.cluster.rbac import NODE_PREFIX
from k8stokendetect.outputs.minter_words import (
    Entry,
    by_binding,
    expectation,
    folded,
    path,
    rule_text,
    whom,
    worth,
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

MOST_NODES: Final = 20
"""Maximum number of nodes printed, the worst first; the others are counted."""

LIKE_KUBEADM: Final = "like kubeadm's own: if this is a kubeadm cluster, --platform kubernetes leaves it out"
"""What is said of a binding that kubeadm makes, and that anybody can make."""

_MOST_RULES: Final = 3
_MOST_DEFAULTS: Final = 5
_WHOLE: Final = frozenset({ChangeKind.DELETE_BINDING, ChangeKind.REMOVE_SUBJECT})
"""These remove everything that a binding grants."""


def to_text(
    minters: Sequence[Minter], /, *, defaults: Sequence[Subject] = (), incomplete: Iterable[str] = ()
) -> Iterator[str]:
    """Yield lines about everybody who can obtain a token, without line ends; no name can control the terminal.

    Arguments:
        minters: who can.
        defaults: subjects of which something is left out, because Kubernetes itself installs it.
        incomplete: what could not be read, each in a line.

    """
    nodes = [minter for minter in minters if minter.is_kubelet and minter.status is Status.EXPECTED]
    others = [minter for minter in minters if minter not in nodes] if nodes else minters
    entries = folded(others)
    direct = [minter for minter in others if minter.direct]
    expected = sum(minter.status is Status.EXPECTED for minter in direct)
    for text in incomplete:
        yield neutral(f"INCOMPLETE: {text}")
    yield f"{len(direct):,} can mint tokens of service accounts, {expected:,} of them as components, by design"
    yield f"{len(others) - len(direct):,} more can obtain such tokens indirectly"
    if defaults:
        some = listed(map(str, defaults[:_MOST_DEFAULTS])) + (", …" if len(defaults) > _MOST_DEFAULTS else "")
        yield neutral(f"{len(defaults):,} more can, by what Kubernetes itself installs ({some}): --all shows them")
    for entry in entries[:MOST_ENTRIES]:
        yield ""
        yield from map(neutral, _entry(entry))
    if rest := entries[MOST_ENTRIES:]:
        subjects = sum(1 + len(entry.others) for entry in rest)
        yield ""
        yield f"… and {len(rest):,} more entries, about {subjects:,} subjects: see --format json"
    yield from map(neutral, _nodes(nodes))


def _nodes(nodes: Sequence[Minter]) -> Iterator[str]:
    """Yield what the kubelets reach, the worst first."""
    if not nodes:
        return
    yield ""
    yield f"{len(nodes):,} nodes, by design: a kubelet can mint tokens of the accounts of its pods, and so can anyone"
    yield "who has taken the node"
    for minter in nodes[:MOST_NODES]:
        name = minter.subject.name.removeprefix(NODE_PREFIX)
        yield f"  {minter.reach.level.label.upper()}  {name}: {worth(minter.reach)}"
    if len(nodes) > MOST_NODES:
        yield f"  … and {len(nodes) - MOST_NODES:,} more nodes: see --format json"


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


def _through(minter: Minter, ways: Sequence[AttackPath]) -> Iterator[str]:
    """Yield what a binding grants, and what would end it."""
    direct, indirect = ([way for way in ways if way.direct is is_direct] for is_direct in (True, False))
    yield (
        f"by {path(ways[0].grants[:1])}:"
        if ways[0].grants
        else "without any object: membership in this group is enough"
    )
    if any(is_like_kubeadm(grant.binding, grant.subject) for grant in ways[0].grants[:1]):
        yield f"  {LIKE_KUBEADM}"
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


def to_line(minter: Minter, /, *, complete: bool = True) -> str:
    """Return everything about a subject as one line of JSON in printable ASCII, without the line end.

    Arguments:
        minter: who can mint.
        complete: whether everything that it may depend on could be read.

    """
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
            "reach": _reach(minter.reach),
            "direct_reach": _reach(minter.direct_reach),
            "ways": ways,
            "changes": found,
            "complete": complete,
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
            {"binding": _named(one.binding), "role": _role(one.role), "rule": _rule(one.rule)} for one in way.grants
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


def _reach(reach: BlastRadius) -> dict[str, Any]:
    return attrs.asdict(reach) | {"at_least": reach.at_least.label}


def _role(role: Role) -> dict[str, Any]:
    return _named(role) | ({"assumed": role.assumed} if role.assumed else {})


def _rule(rule: PolicyRule) -> dict[str, list[str]]:
    """Write a rule under Kubernetes' names, all fields."""
    return {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.api_groups),
        "resources": list(rule.resources),
        "resourceNames": list(rule.resource_names),
        "nonResourceURLs": list(rule.non_resource_urls),
    }
