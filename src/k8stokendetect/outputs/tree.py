# SPDX-License-Identifier: Apache-2.0
"""An incident as a tree: callers, their requests, what was done with each token; equal ones are folded into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.incidents import Incident
from k8stokendetect.incidents.story import Request, requests_of
from k8stokendetect.outputs.text import neutral, span
from k8stokendetect.words import NAMELESS_ACCOUNT, brief, caller_of, request_of


@attrs.define(eq=False)
class Part:
    """A caller, or a request; equal ones with equal consequences, side by side, are one.

    Attributes:
        label: who it is, or what it did.
        note: what else to say.
        kind: `identity`, `token`, `act` or `refused`.
        id: of the token that was minted.
        worst: the highest severity of it and of what is below.
        seen: when.
        times: how many there are.
        children: what was done with the token.
        shape: the same number for what looks the same.

    """

    label: str
    note: str = ""
    kind: str = "identity"
    id: str = ""
    worst: Severity = Severity.INFORMATIONAL
    seen: tuple[datetime, ...] = ()
    times: int = 1
    children: tuple[Part, ...] = ()
    shape: int = -1


def forest(
    requests: Mapping[str, Request],
    /,
    *,
    describe: Callable[[Request, EventRef | None], Part],
    describe_caller: Callable[[Sequence[EventRef]], Part],
    name: Callable[[EventRef], str],
) -> tuple[Part, ...]:
    """Group requests by caller, each below the mint of the token it was made with, the most urgent first.

    Arguments:
        requests: of an incident.
        describe: what to say about a request, and the mint of its token where that is known.
        describe_caller: what to say about the caller of some requests.
        name: of a request's caller; those of one name are one.

    """
    below: dict[str | None, list[str]] = {}
    for key, request in requests.items():
        below.setdefault(request.parent, []).append(key)
    order = list(below.get(None, ()))
    for key in order:
        order.extend(below.get(key, ()))
    parts: dict[str, Part] = {}
    shapes: dict[tuple[object, ...], int] = {}
    for key in reversed(order):
        request = requests[key]
        part = parts[key] = describe(request, requests[request.parent].ref if request.parent else None)
        part.children = _folded(parts[child] for child in below.get(key, ()))
        shape = (part.kind, part.label, part.note, *((child.shape, child.times) for child in part.children))
        part.shape = shapes.setdefault(shape, len(shapes))
        part.worst = max([request.severity, *(child.worst for child in part.children)])
        part.seen = (request.ref.time,) if request.ref.time else ()
    callers: dict[str, list[str]] = {}
    for key in below.get(None, ()):
        callers.setdefault(name(requests[key].ref), []).append(key)
    found = []
    for keys in callers.values():
        caller = describe_caller([requests[key].ref for key in keys])
        caller.children = _folded(parts[key] for key in keys)
        caller.worst = max(child.worst for child in caller.children)
        found.append(caller)
    return tuple(sorted(found, key=lambda part: -part.worst))


def _folded(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Fold parts of one shape; the most urgent come first, for the rest may be cut off, then the earliest."""
    found: dict[int, Part] = {}
    for part in parts:
        same = found.setdefault(part.shape, part)
        if same is not part:
            same.times += 1
            same.seen += part.seen
    return tuple(sorted(found.values(), key=lambda part: -part.worst))


LONGEST: Final = 40
"""Maximum number of lines of an incident; the JSON form has it whole."""

_WIDEST: Final = 45
"""Maximum number of characters of indentation, for chains that are deeper than the terminal is wide."""

_MOST_RULES: Final = 3


def to_tree(incident: Incident, /) -> str:
    """Return an incident as at most 40 lines of text, without the last line end.

    No value can steer the terminal. Equal requests are folded into one line with their number.
    """
    head = [
        f"{str(incident.severity).upper()}  {incident.title}",
        f"  {span(incident.first_seen, incident.last_seen)}  {_count(incident)}  incident {incident.id}",
    ]
    todo = [f"  {number}. {sentence}" for number, sentence in enumerate(map(str, incident.advice), 1)]
    tree = list(
        _lines(
            forest(
                requests_of(incident.findings),
                describe=_described,
                describe_caller=lambda refs: Part(_identity(refs[0])),
                name=_identity,
            )
        )
    )
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


def _described(request: Request, mint: EventRef | None) -> Part:
    more = len(request.rules) - _MOST_RULES
    rules = ", ".join(request.rules[:_MOST_RULES]) + (f" and {more} more rules" if more > 0 else "")
    note = f"{str(request.severity).upper()} {rules}" if rules else "known from a later finding only"
    note = "by design: it shows what was done" if request.is_witness else note
    label = _label(request.ref, mint)
    label = f"{label}, counted {request.count:,} times" if request.count > 1 else label
    return Part(label, note, "act", brief(request.ref.minted_credential or ""))


def _identity(ref: EventRef) -> str:
    peer = f" at {ref.peer_ip}" if ref.peer_ip and ref.user else ""
    return f"{caller_of(ref)}{peer}"


def _label(ref: EventRef, mint: EventRef | None) -> str:
    """Say what was done, and where it differs from what its place in the tree says already."""
    account = ref.token_account
    if ref.mints_token:
        text = f"minted a token for {account or NAMELESS_ACCOUNT}"
    elif account:
        text = f"asked for a token of {account}"
    else:
        text = request_of(ref)
    if ref.impersonating is not None:
        text += f", impersonating {brief(ref.impersonating) or 'somebody'}"
    if mint and ServiceAccount.of_username(ref.user) != mint.token_account:
        text += f", as {caller_of(ref)}"
    if mint and ref.peer_ip != mint.peer_ip:
        text += f", from {ref.peer_ip or 'an unknown address'}"
    if ref.code is None and not ref.mints_token:
        return f"{text}: answer not known"
    return text if ref.mints_token or ref.succeeded else f"{text}: refused with {ref.code}"


def _lines(forest: Iterable[Part]) -> Iterator[str]:
    """Draw the tree, depth first; without recursion, for a chain may be long."""
    for identity in forest:
        yield identity.label
        waiting = _below(identity, "")
        while waiting:
            node, here, further = waiting.pop()
            yield here + _line(node)
            waiting += _below(node, further)


def _below(node: Part, prefix: str) -> list[tuple[Part, str, str]]:
    """Return the children with their branch and the prefix of what is below them, the last one first."""
    prefix = prefix[-_WIDEST:]
    last = len(node.children) - 1
    found = [
        (child, f"{prefix}{'└─ ' if place == last else '├─ '}", f"{prefix}{'   ' if place == last else '│  '}")
        for place, child in enumerate(node.children)
    ]
    return found[::-1]


def _line(node: Part) -> str:
    seen = [f"{time.astimezone(UTC):%H:%M:%S}" for time in (min(node.seen), max(node.seen))] if node.seen else []
    parts = (
        f"{node.label} ×{node.times}" if node.times > 1 else node.label,  # noqa: RUF001 - the sign for times
        "-".join(dict.fromkeys(seen)),
        node.note,
        node.id if node.times == 1 else "",
    )
    return "  ".join(part for part in parts if part)
