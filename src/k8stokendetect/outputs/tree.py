# SPDX-License-Identifier: Apache-2.0
"""An incident as a tree that a person reads at night: identities, the tokens they minted, what was done with those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import attrs

from k8stokendetect.detectors.wording import brief
from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.incidents import Incident
from k8stokendetect.incidents.story import Act, RequestKey, act_name, acts, asked_for, caller, issued, moment, succeeded
from k8stokendetect.outputs.folding import folded
from k8stokendetect.outputs.text import neutral

LONGEST: Final = 40
"""An incident has so many lines at most; the JSON form has it whole."""

_WIDEST: Final = 45
"""So many characters of indentation are kept of a chain that is deeper than the terminal is wide."""

_MOST_RULES: Final = 3


@attrs.define(eq=False)
class _Node:
    """Equal acts with equal consequences, side by side: shown once."""

    label: str
    shape: int
    note: str = ""
    id: str = ""
    worst: Severity = Severity.INFORMATIONAL
    seen: tuple[datetime, ...] = ()
    times: int = 1
    children: tuple[_Node, ...] = ()


def to_tree(incident: Incident, /) -> str:
    """Return an incident as at most 40 lines of text, without the last line end.

    No value can steer the terminal. Equal acts are folded into one line with their number.
    """
    head = [
        f"{str(incident.severity).upper()}  {incident.title}",
        f"  {_span(incident.first_seen, incident.last_seen)}  {_count(incident)}  incident {incident.id}",
    ]
    todo = [f"  {number}. {sentence}" for number, sentence in enumerate(incident.advice, 1)]
    tree = list(_lines(_forest(acts(incident.findings))))
    room = LONGEST - len(head) - 1
    todo = _cut(todo, max(room // 2, room - len(tree)))
    tree = _cut(tree, room - len(todo))
    return "\n".join(neutral(line) for line in (*head, *tree, "what to do:", *todo))


def _cut(lines: list[str], longest: int) -> list[str]:
    """Keep so many lines, the last of which says how many more there were."""
    more = len(lines) - longest
    return [*lines[: longest - 1], f"  … {more + 1} more"] if more > 0 else lines


def _count(incident: Incident) -> str:
    number = len(incident.findings)
    chain = f", chain of {incident.depth} tokens" if incident.depth > 1 else ""
    return f"{number} finding{'s' if number > 1 else ''}{chain}"


def _span(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None:
        return "at an unknown time"
    start, end = first.astimezone(UTC), last.astimezone(UTC)
    if start == end:
        return f"{start:%Y-%m-%d %H:%M:%S}Z"
    return f"{start:%Y-%m-%d %H:%M:%S}Z to {end:{'%H:%M:%S' if start.date() == end.date() else '%Y-%m-%d %H:%M:%S'}}Z"


def _forest(requests: Mapping[RequestKey, Act]) -> tuple[_Node, ...]:
    """Group the acts by identity, each below the mint of the token it was made with."""
    below: dict[RequestKey | None, list[RequestKey]] = {}
    for key, act in requests.items():
        below.setdefault(act.parent, []).append(key)
    order = list(below.get(None, ()))
    for key in order:
        order.extend(below.get(key, ()))
    nodes: dict[RequestKey, _Node] = {}
    shapes: dict[tuple[object, ...], int] = {}
    for key in reversed(order):
        nodes[key] = _node(requests, key, folded(nodes[child] for child in below.get(key, ())), shapes)
    identities: dict[str, list[_Node]] = {}
    for key in below.get(None, ()):
        identities.setdefault(_identity(requests[key].ref), []).append(nodes[key])
    found = [
        _Node(name, -1, worst=max(node.worst for node in group), children=folded(group))
        for name, group in identities.items()
    ]
    return tuple(sorted(found, key=lambda node: -node.worst))


def _node(
    requests: Mapping[RequestKey, Act],
    key: RequestKey,
    children: tuple[_Node, ...],
    shapes: dict[tuple[object, ...], int],
) -> _Node:
    act = requests[key]
    label = _label(act.ref, requests[act.parent].ref if act.parent else None)
    more = len(act.rules) - _MOST_RULES
    rules = ", ".join(act.rules[:_MOST_RULES]) + (f" and {more} more rules" if more > 0 else "")
    note = f"{str(act.severity).upper()} {rules}" if rules else "known from a later finding only"
    shape = (label, note, *((child.shape, child.times) for child in children))
    time = moment(act.ref)
    return _Node(
        label,
        shapes.setdefault(shape, len(shapes)),
        note,
        brief(act.ref.minted_credential or ""),
        max([act.severity, *(child.worst for child in children)]),
        (time,) if time else (),
        children=children,
    )


def _identity(ref: EventRef) -> str:
    peer = f" at {ref.source_ips[-1]}" if ref.source_ips and ref.user else ""
    return f"{caller(ref)}{peer}"


def _label(ref: EventRef, mint: EventRef | None) -> str:
    """Say what was done, and where it differs from what its place in the tree says already."""
    account = asked_for(ref)
    if issued(ref):
        text = f"minted a token for {account or 'an unnamed service account'}"
    elif account:
        text = f"asked for a token of {account}"
    else:
        text = act_name(ref)
    if ref.impersonating is not None:
        text += f", impersonating {brief(ref.impersonating) or 'somebody'}"
    if mint and ServiceAccount.of_username(ref.user) != asked_for(mint):
        text += f", as {caller(ref)}"
    if mint and ref.source_ips[-1:] != mint.source_ips[-1:]:
        text += f", from {ref.source_ips[-1] if ref.source_ips else 'an unknown address'}"
    if ref.code is None and not issued(ref):
        return f"{text}: answer not known"
    return text if issued(ref) or succeeded(ref) else f"{text}: refused with {ref.code}"


def _lines(forest: Iterable[_Node]) -> Iterator[str]:
    """Draw the tree, depth first; without recursion, for a chain may be long."""
    for identity in forest:
        yield identity.label
        waiting = _below(identity, "")
        while waiting:
            node, here, further = waiting.pop()
            yield here + _line(node)
            waiting += _below(node, further)


def _below(node: _Node, prefix: str) -> list[tuple[_Node, str, str]]:
    """Return the children with their branch and the prefix of what is below them, the last one first."""
    prefix = prefix[-_WIDEST:]
    last = len(node.children) - 1
    found = [
        (child, f"{prefix}{'└─ ' if place == last else '├─ '}", f"{prefix}{'   ' if place == last else '│  '}")
        for place, child in enumerate(node.children)
    ]
    return found[::-1]


def _line(node: _Node) -> str:
    seen = [f"{time.astimezone(UTC):%H:%M:%S}" for time in (min(node.seen), max(node.seen))] if node.seen else []
    parts = (
        f"{node.label} ×{node.times}" if node.times > 1 else node.label,  # noqa: RUF001 - the sign for times
        "-".join(dict.fromkeys(seen)),
        node.note,
        node.id if node.times == 1 else "",
    )
    return "  ".join(part for part in parts if part)
