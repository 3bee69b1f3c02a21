# SPDX-License-Identifier: Apache-2.0
"""The two pictures of an incident as inline SVG: its steps in time, and its chain of identities, tokens and acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.incidents.story import Request
from k8stokendetect.outputs.html import cells, fitting, render
from k8stokendetect.outputs.text import utc
from k8stokendetect.outputs.tree import Part, forest
from k8stokendetect.words import NAMELESS_ACCOUNT, caller_of, request_of

ROWS: Final = 40
"""Maximum number of boxes of the chain, the most urgent first; the findings below it are complete."""

LANES: Final = 8
"""Maximum number of lines of the timeline, an identity each; the last one takes all others."""

_STEP, _ROW, _BOX, _DEEPEST, _LONGEST = 22, 52, 42, 12, 64
_LANE, _BRIEFLY = 40, 10
_CHARACTER = 7.3
"""Pixels of a character of 12 px in the usual fixed-width fonts, rounded up."""


def lasting(first: datetime, last: datetime, /) -> str:
    """Return how long something took, in the largest unit that fits twice."""
    seconds = (last - first).total_seconds()
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


class _Box(NamedTuple):
    """A part of the chain, in its place."""

    part: Part
    label: str
    note: str
    title: str
    x: int
    y: int
    width: int
    edge: str

    @classmethod
    def of(cls, part: Part, depth: int, row: int, parent: tuple[int, int] | None) -> Self:
        """Place a part in a row, and draw the line from its parent's depth and row."""
        x, y = 1 + _STEP * min(depth, _DEEPEST), 1 + _ROW * row
        whole = (part.label, _second_line(part))
        label, note = (fitting(text, _LONGEST) for text in whole)
        width = round(20 + _CHARACTER * max(cells(label), cells(note)))
        edge = ""
        if parent is not None:
            left = min(x - 10, 11 + _STEP * min(parent[0], _DEEPEST))
            edge = f"M{left} {1 + _ROW * parent[1] + _BOX}V{y + _BOX // 2}H{x}"
        return cls(part, label, note, "" if whole == (label, note) else ", ".join(whole), x, y, width, edge)


def chain(requests: Mapping[str, Request], /) -> str:
    """Draw who minted which token and what was done with it: each box below the one it depends on."""
    parts = forest(requests, describe=_described, describe_caller=_described_caller, name=caller_of)
    boxes: list[_Box] = []
    waiting: list[tuple[Part, int, tuple[int, int] | None]] = [(part, 0, None) for part in reversed(parts)]
    more = 0
    while waiting:
        part, depth, parent = waiting.pop()
        if len(boxes) == ROWS:
            more += 1
        else:
            boxes.append(_Box.of(part, depth, len(boxes), parent))
        here = (depth, len(boxes) - 1)
        waiting += [(child, depth + 1, here) for child in reversed(part.children)]
    width = max([300 if more else 0, *(box.x + box.width + 2 for box in boxes)])
    height = _ROW * len(boxes) + (20 if more else 0)
    return render("chain.svg", boxes=boxes, more=more, width=width, height=height, box_height=_BOX)


def _second_line(part: Part) -> str:
    """Say when it was, how often, and how it went."""
    clock = [utc(time)[-9:] for time in (min(part.seen), max(part.seen))] if part.seen else []
    when = " to ".join(dict.fromkeys(clock)) or ("" if part.kind == "identity" else utc(None))
    return ", ".join(text for text in (f"{part.times} times" if part.times > 1 else "", when, part.note) if text)


def _described_caller(refs: Sequence[EventRef]) -> Part:
    peers = list(dict.fromkeys(ref.peer_ip for ref in refs if ref.peer_ip))
    more = f" and {len(peers) - 1} more" if len(peers) > 1 else ""
    return Part(caller_of(refs[0]), f"from {peers[0]}{more}" if peers else "address not known")


def _described(request: Request, _: EventRef | None) -> Part:
    ref = request.ref
    kind = "token" if ref.mints_token else "act" if ref.succeeded or ref.code is None else "refused"
    label = f"token of {ref.token_account or NAMELESS_ACCOUNT}" if kind == "token" else request_of(ref)
    answer = "answer not known" if ref.code is None else f"{'refused' if kind == 'refused' else 'answered'} {ref.code}"
    note = "minted" if kind == "token" else answer
    if ref.impersonating is not None:
        note += f", impersonating {ref.impersonating or 'somebody'}"
    return Part(label, note, kind)


class _Mark(NamedTuple):
    """A point of the timeline."""

    lane: int
    percent: float
    is_token: bool
    severity: Severity


def timeline(requests: Mapping[str, Request], /) -> str:
    """Draw the requests on a line for each caller, in percent of any width; empty where no time was logged."""
    timed = [(time, request) for request in requests.values() if (time := request.ref.time)]
    if not timed:
        return ""
    first, last = min(time for time, _ in timed), max(time for time, _ in timed)
    span = (last - first).total_seconds()
    names = list(dict.fromkeys(caller_of(request.ref) for _, request in timed))
    lanes = {name: min(place, LANES - 1) for place, name in enumerate(names)}
    words: dict[_Mark, list[str]] = {}
    for time, request in timed:
        percent = round(2 + 96 * (time - first).total_seconds() / span, 1) if span else 50.0
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
        lasting=lasting(first, last) if span else "",
    )
