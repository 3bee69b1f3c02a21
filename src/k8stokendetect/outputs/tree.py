# SPDX-License-Identifier: Apache-2.0
"""An incident as a tree: callers, their requests, what was done with each token; equal ones are folded into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.identity import STRANGERS, ServiceAccount
from k8stokendetect.incidents import Incident, Step
from k8stokendetect.incidents.deeds import done
from k8stokendetect.incidents.story import Request, requests_of
from k8stokendetect.outputs.columns import Line, Span, plain, wrapped
from k8stokendetect.outputs.text import inert, neutral, place_of, severity_span, span
from k8stokendetect.words import caller_of, listed, named, often


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
        severity: its own.
        place: in the log, of the first.
        how: what else belongs to the label, after how often it was done: as whom, from where.

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
    severity: Severity = Severity.INFORMATIONAL
    place: str = ""
    how: str = ""


def forest(
    requests: Mapping[str, Request],
    /,
    *,
    describe: Callable[[Request, EventRef | None], Part],
    describe_caller: Callable[[Sequence[EventRef]], Part],
    name: Callable[[EventRef], str],
) -> tuple[Part, ...]:
    """Group requests by caller, each below the mint of the token it was made with, the most urgent first.

    What a controller only did by design is below the request whose effect it shows.

    Arguments:
        requests: of an incident.
        describe: what to say about a request, and the mint of its token where that is known.
        describe_caller: what to say about the caller of some requests.
        name: of a request's caller; those of one name are one.

    """
    below: dict[str | None, list[str]] = {}
    for key, request in requests.items():
        shows = request.shows if request.is_witness and request.shows in requests else None
        below.setdefault(request.parent or shows, []).append(key)
    order = list(below.get(None, ()))
    for key in order:
        order.extend(below.get(key, ()))
    parts: dict[str, Part] = {}
    shapes: dict[tuple[object, ...], int] = {}
    for key in reversed(order):
        request = requests[key]
        part = parts[key] = describe(request, requests[request.parent].ref if request.parent else None)
        part.children = _folded(parts[child] for child in below.get(key, ()))
        shape = (part.kind, part.label, part.how, part.note, *((child.shape, child.times) for child in part.children))
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


LONGEST: Final = 25
"""Maximum number of callers and requests of an incident, and of steps, unless all are asked for."""

_WIDEST: Final = 30
"""Maximum number of characters of indentation, for chains that are deeper than the window is wide."""


def to_tree(incident: Incident, /, *, width: int | None = None, full: bool = False) -> str:
    """Return an incident as lines of text, without the last line end; commands stand on lines of their own.

    No value can steer the terminal, and none but those of the commands is run where the text is pasted into a shell.
    Equal requests are folded into one with their number.

    Arguments:
        incident: what to show.
        width: of the window, in cells; None for lines of any length. Commands are never broken.
        full: all requests and steps; otherwise those after the first 25 are counted.

    """
    return "\n".join(map(plain, tree_lines(incident, width=width, full=full)))


def tree_lines(
    incident: Incident, /, *, width: int | None = None, full: bool = False, number: int | None = None
) -> Iterator[Line]:
    """Yield the lines of `to_tree`, with styles.

    Arguments:
        incident: what to show.
        width: of the window, in cells.
        full: whether to show everything.
        number: of the incident in the overview.

    """
    word = severity_span(incident.severity)
    mark = () if number is None else (Span(f"#{number}  ", "dim"),)
    head = (*mark, Span(word.text.rstrip(), word.style), Span("  "))
    yield from wrapped((Span(inert(incident.title), "title"),), width, head, (Span("  "),))
    facts = (
        span(incident.first_seen, incident.last_seen),
        _count(incident),
        f"chain of {incident.depth:,} tokens" if incident.depth > 1 else "",
        f"incident {incident.id}",
        "continued: its earlier part was printed before" if incident.continues else "",
    )
    yield from wrapped((Span("  ".join(filter(None, facts)), "dim"),), width, (Span("  "),), (Span("  "),))
    longest = None if full else LONGEST
    yield from _tree(incident, width, longest)
    if incident.advice:
        yield (Span("what to do:", "title"),)
    for place, step in enumerate(incident.advice[:longest], 1):
        yield from _step(place, step, width)
    if longest is not None and len(incident.advice) > longest:
        yield (Span(f"  … {len(incident.advice) - longest} more steps: --limit 0 prints all", "dim"),)


def _step(place: int, step: Step, width: int | None) -> Iterator[Line]:
    yield from wrapped((Span(inert(step.text)),), width, (Span(f"  {place}. "),), (Span("     "),))
    if step.command:
        yield (Span("     "), Span(neutral(step.command), "command"))


def _count(incident: Incident) -> str:
    findings = len(incident.findings)
    alerts = len({finding.event.request_id for finding in incident.findings})
    return f"{alerts:,} alert{'s' if alerts > 1 else ''}, {findings:,} finding{'s' if findings > 1 else ''}"


def _tree(incident: Incident, width: int | None, longest: int | None) -> Iterator[Line]:
    """Draw the tree, depth first; without recursion, for a chain may be long."""
    requests = requests_of(incident.findings)
    peers: dict[str, set[str | None]] = {}
    for request in requests.values():
        if request.parent is None:
            peers.setdefault(_caller(request.ref), set()).add(request.ref.peer_ip)
    days = {time.astimezone(UTC).date() for one in requests.values() if (time := one.ref.time)}
    clock = "%H:%M:%S" if len(days) <= 1 else "%m-%d %H:%M:%S"

    def describe(request: Request, mint: EventRef | None) -> Part:
        return _described(request, mint, is_from_many=len(peers.get(_caller(request.ref), ())) > 1)

    parts = forest(requests, describe=describe, describe_caller=_described_caller, name=_caller)
    left = longest if longest is not None else len(requests) * 2 + 1
    more = 0
    for caller in parts:
        waiting = _below(caller, "")
        if left > 0:
            yield from wrapped((Span(caller.label),), width, (Span("▸ ", "dim"),), (Span("  "),))
            left -= 1
        while waiting:
            node, here, further = waiting.pop()
            if left > 0:
                yield from _act(node, here, further, clock, width)
                left -= 1
            else:
                more += node.times
            waiting += _below(node, further)
    if more:
        noun = "request" if more == 1 else "requests"
        hint = f"… {more:,} more {noun}: --limit 0 prints all, --findings says what each rule saw"
        yield from wrapped((Span(hint, "dim"),), width, (Span("  "),), (Span("  "),))


def _below(node: Part, prefix: str) -> list[tuple[Part, str, str]]:
    """Return the children with their branch and the prefix of what is below them, the last one first."""
    prefix = prefix[-_WIDEST:]
    last = len(node.children) - 1
    found = [
        (child, f"{prefix}{'└─ ' if place == last else '├─ '}", f"{prefix}{'   ' if place == last else '│  '}")
        for place, child in enumerate(node.children)
    ]
    return found[::-1]


def _act(node: Part, here: str, further: str, clock: str, width: int | None) -> Iterator[Line]:
    """Yield severity, time, what was done and its details; the first two in columns of their own."""
    times = [f"{time.astimezone(UTC):{clock}}" for time in (min(node.seen), max(node.seen))] if node.seen else []
    until = f", until {times[1]}" if len(set(times)) > 1 else ""
    when = times[0] if times else "-"
    room = len(datetime(2000, 1, 1, tzinfo=UTC).strftime(clock))
    first = (severity_span(node.severity), Span(f" {when:<{room}} {here}"))
    again = (Span(f"{'':<{room + 10}}{further}"),)
    details = (node.place, node.note, node.id if node.times == 1 else "")
    spans = [Span(f"{_repeated(node)}{node.how}{until}"), *(Span(f"  {text}", "dim") for text in details if text)]
    yield from wrapped(spans, width, first, again)


def _repeated(node: Part) -> str:
    """Say what was done and how often, in the order in which one says it."""
    if node.times == 1:
        return node.label
    times = often(node.times)
    if node.label.startswith("tried to "):
        return f"tried {times} to {node.label.removeprefix('tried to ')}"
    return f"{node.label}{',' if ', ' in node.label else ''} {times}"


def _caller(ref: EventRef) -> str:
    """Name the caller; all who were refused without a name are one."""
    if ref.user in STRANGERS and not ref.succeeded and not ref.mints_token:
        return "unauthenticated clients" if ref.user or ref.code == 401 else "unknown callers"  # noqa: PLR2004 - HTTP
    return caller_of(ref) if ref.user or not ref.peer_ip else caller_of(attrs.evolve(ref, source_ips=()))


def _described_caller(refs: Sequence[EventRef]) -> Part:
    peers = listed((named(ref.peer_ip) for ref in refs if ref.peer_ip), 3)
    return Part(f"{_caller(refs[0])} from {peers}" if peers else _caller(refs[0]))


def _described(request: Request, mint: EventRef | None, *, is_from_many: bool) -> Part:
    ref = request.ref
    reasons = [rule for rule in request.rules if rule != "token-request-uri"] or list(request.rules)
    note = ", ".join(map(named, reasons)) or "known only from a later finding"
    if request.is_witness:
        note = f"by {caller_of(ref)}, by design: it shows what was done"
    how = ""
    if mint and ServiceAccount.of_username(ref.user) != mint.token_account:
        how += f", as {caller_of(ref)}"
    if (ref.peer_ip != mint.peer_ip) if mint else (is_from_many and ref.user not in STRANGERS):
        how += f", from {named(ref.peer_ip) if ref.peer_ip else 'an unknown address'}"
    if request.count > 1:
        how += f", {request.count:,} requests"
    id_ = named(ref.minted_credential or "")
    return Part(done(ref), note, "act", id_, severity=request.severity, place=place_of(ref.origin), how=how)
