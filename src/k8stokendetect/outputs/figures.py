# SPDX-License-Identifier: Apache-2.0
"""The two pictures of an incident: its requests in time, and the graph of identities, tokens and acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.incidents.story import Request
from k8stokendetect.outputs.html import fitting, render
from k8stokendetect.outputs.text import utc
from k8stokendetect.outputs.tree import Part, forest
from k8stokendetect.words import NAMELESS_ACCOUNT, caller_of, request_of

NODES: Final = 30
"""Maximum number of nodes of the graph, the most urgent first; the steps below it have the others."""

COLUMNS: Final = 12
"""Maximum number of columns of the graph, so that a long chain of tokens stays on the page."""

LANES: Final = 8
"""Maximum number of lines of the timeline, an identity each; the last one takes all others."""

_LONGEST: Final = 64
_FEWEST_TIMES: Final = 6
_LANE, _BRIEFLY = 40, 10


def lasting(first: datetime, last: datetime, /) -> str:
    """Return how long something took, in the largest unit that fits twice."""
    seconds = (last - first).total_seconds()
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


class _Node(NamedTuple):
    """A part of the graph, in the order in which nested lists are written.

    Attributes:
        part: what it is about.
        note: what else to say about it.
        has_children: a list of what depends on it follows.
        ends: so many lists end after it.

    """

    part: Part
    note: str
    has_children: bool
    ends: int


def graph(requests: Mapping[str, Request], /) -> str:
    """Draw who minted which token and what was done with it: each node right of the one that it depends on."""
    roots = forest(requests, describe=_described, describe_caller=_described_caller, name=caller_of)
    kept: list[tuple[Part, int]] = []
    waiting = [(part, 0) for part in reversed(roots)]
    more = 0
    while waiting:
        part, depth = waiting.pop()
        if len(kept) == NODES or depth >= COLUMNS:
            more += 1
        else:
            kept.append((part, depth))
        waiting += [(child, depth + 1) for child in reversed(part.children)]
    depths = [depth for _, depth in kept] + [0]
    nodes = [
        _Node(part, _note(part), depths[place + 1] > depth, max(0, depth - depths[place + 1]))
        for place, (part, depth) in enumerate(kept)
    ]
    return render("graph.html", nodes=nodes, more=more)


def _note(part: Part) -> str:
    """Say when it was, how often, and how it went."""
    clock = [utc(time)[-9:] for time in (min(part.seen), max(part.seen))] if part.seen else []
    when = " to ".join(dict.fromkeys(clock)) or ("" if part.kind == "identity" else utc(None))
    return ", ".join(text for text in (f"{part.times} times" if part.times > 1 else "", when, part.note) if text)


def _described_caller(refs: Sequence[EventRef]) -> Part:
    peers = list(dict.fromkeys(ref.peer_ip for ref in refs if ref.peer_ip))
    more = f" and {len(peers) - 1} more" if len(peers) > 1 else ""
    return Part(caller_of(refs[0]), f"from {peers[0]}{more}" if peers else "address not known")


def _described(request: Request, mint: EventRef | None) -> Part:
    ref = request.ref
    kind = "token" if ref.mints_token else "act" if ref.succeeded or ref.code is None else "refused"
    label = str(ref.token_account or NAMELESS_ACCOUNT) if kind == "token" else request_of(ref)
    answer = "answer not known" if ref.code is None else f"{'refused' if kind == 'refused' else 'answered'} {ref.code}"
    note = "minted" if kind == "token" else answer
    if request.count > 1:
        note += f", counted {request.count:,} times"
    if ref.impersonating is not None:
        note += f", impersonating {ref.impersonating or 'somebody'}"
    if mint and ref.peer_ip != mint.peer_ip:
        note += f", from {ref.peer_ip or 'an unknown address'}"
    if request.is_witness:
        note += ", by design: it shows what was done"
    return Part(label, note, kind)


class _Mark(NamedTuple):
    """A point of the timeline."""

    lane: int
    percent: float
    is_token: bool
    severity: Severity


def timeline(requests: Mapping[str, Request], /) -> str:
    """Draw the requests on a line for each caller, in percent of any width; empty where a list says as much."""
    timed = [(time, request) for request in requests.values() if (time := request.ref.time)]
    if len({time for time, _ in timed}) < _FEWEST_TIMES:
        return ""
    first, last = min(time for time, _ in timed), max(time for time, _ in timed)
    span = (last - first).total_seconds()
    names = list(dict.fromkeys(caller_of(request.ref) for _, request in timed))
    lanes = {name: min(place, LANES - 1) for place, name in enumerate(names)}
    words: dict[_Mark, list[str]] = {}
    for time, request in timed:
        percent = round(1 + 98 * (time - first).total_seconds() / span, 1)
        mark = _Mark(lanes[caller_of(request.ref)], percent, request.ref.mints_token, request.severity)
        words.setdefault(mark, []).append(f"{utc(time)} {request.severity}: {request_of(request.ref)}")
    labels = names if len(names) <= LANES else [*names[: LANES - 1], f"{len(names) - LANES + 1} other callers"]
    precision = "milliseconds" if span < _BRIEFLY else "seconds"
    return render(
        "timeline.svg",
        marks=[
            (mark, f"{texts[0]} and {len(texts) - 1} more" if len(texts) > 1 else texts[0])
            for mark, texts in sorted(words.items(), key=lambda item: item[0].severity)
        ],
        lanes=[fitting(label, _LONGEST) for label in labels],
        lane_height=_LANE,
        number=len(timed),
        ends=[f"{time.astimezone(UTC).time().isoformat(precision)}Z" for time in (first, last)],
        lasting=lasting(first, last),
    )
