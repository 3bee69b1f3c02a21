# SPDX-License-Identifier: Apache-2.0
"""The two pictures of an incident as inline SVG: its steps in time, and its chain of identities, tokens and acts."""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import attrs

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.incidents.story import Act, RequestKey, act_name, asked_for, caller, issued, moment, succeeded
from k8stokendetect.outputs.folding import folded
from k8stokendetect.outputs.text import neutral

ROWS: Final = 40
"""The chain shows so many boxes at most, the most urgent first; the findings below it are complete."""

LANES: Final = 8
"""The timeline has so many lines at most, an identity each; the last one takes all others."""

_STEP, _ROW, _BOX, _DEEPEST, _LONGEST = 22, 52, 42, 12, 64
_LANE, _BRIEFLY = 40, 10
_CHARACTER = 7.3
"""Pixels of a character of 12 px in the usual fixed-width fonts, rounded up."""


def shown(text: str, /, longest: int = 1000) -> str:
    """Return a text that anybody may have chosen, for HTML and SVG: cut, without control characters, escaped."""
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
    return html.escape(neutral(cut))


def utc(time: datetime | None, /) -> str:
    """Return a time in UTC, to the second."""
    if time is None:
        return "time not known"
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + "Z"


def lasting(first: datetime, last: datetime, /) -> str:
    """Return how long something took, in the largest unit that fits twice."""
    seconds = (last - first).total_seconds()
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


@attrs.define(eq=False)
class _Box:
    """A part of the chain; equal ones side by side are one."""

    kind: str
    label: str
    note: str
    shape: int = -1
    worst: Severity = Severity.INFORMATIONAL
    seen: tuple[datetime, ...] = ()
    times: int = 1
    children: tuple[_Box, ...] = ()

    def second_line(self) -> str:
        """Say when it was, how often, and how it went."""
        clock = [utc(time)[-9:] for time in (min(self.seen), max(self.seen))] if self.seen else []
        when = " to ".join(dict.fromkeys(clock)) or ("" if self.kind == "identity" else "time not known")
        return ", ".join(part for part in (f"{self.times} times" if self.times > 1 else "", when, self.note) if part)


def chain(requests: Mapping[RequestKey, Act], /) -> str:
    """Draw who minted which token and what was done with it: each box below the one it depends on."""
    rows: list[tuple[_Box, int, int]] = []
    waiting = [(box, 0, -1) for box in reversed(_forest(requests))]
    more = 0
    while waiting:
        box, depth, parent = waiting.pop()
        if len(rows) == ROWS:
            more += 1
        else:
            rows.append((box, depth, parent))
        waiting += [(child, depth + 1, len(rows) - 1) for child in reversed(box.children)]
    lines: list[str] = []
    width = 0.0
    for row, (box, depth, parent) in enumerate(rows):
        x, y = 1 + _STEP * min(depth, _DEEPEST), 1 + _ROW * row
        if parent >= 0:
            left = min(x - 10, 11 + _STEP * min(rows[parent][1], _DEEPEST))
            lines.append(f'<path class="edge" d="M{left} {1 + _ROW * parent + _BOX}V{y + _BOX // 2}H{x}"/>')
        whole = (box.label, box.second_line())
        label, note = map(_fitting, whole)
        title = "" if whole == (label, note) else f"<title>{shown(', '.join(whole), 300)}</title>"
        wide = 20 + _CHARACTER * max(_columns(label), _columns(note))
        width = max(width, x + wide + 2)
        lines.append(
            f'<g class="{box.kind} s{box.worst.value}">{title}'
            f'<rect x="{x}" y="{y}" width="{wide:.0f}" height="{_BOX}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 17}">{shown(label)}</text>'
            f'<text class="note" x="{x + 10}" y="{y + 34}">{shown(note)}</text></g>'
        )
    height = _ROW * len(rows)
    if more:
        height += 20
        lines.append(f'<text x="1" y="{height - 6}">… and {more} more: see the findings</text>')
        width = max(width, 300)
    return (
        f'<svg class="chain" role="img" aria-label="Chain of identities, tokens and acts" width="{width:.0f}" '
        f'height="{height}" viewBox="0 0 {width:.0f} {height}">{"".join(lines)}</svg>'
    )


def _columns(text: str) -> int:
    """Count the cells of a fixed-width font that a text takes, control characters written out."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in neutral(text))


def _fitting(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _forest(requests: Mapping[RequestKey, Act]) -> tuple[_Box, ...]:
    """Put each act below the mint of the token it was made with, and the others below their caller."""
    below: dict[RequestKey | None, list[RequestKey]] = {}
    for key, act in requests.items():
        below.setdefault(act.parent, []).append(key)
    order = list(below.get(None, ()))
    for key in order:
        order.extend(below.get(key, ()))
    boxes: dict[RequestKey, _Box] = {}
    shapes: dict[tuple[object, ...], int] = {}
    for key in reversed(order):
        boxes[key] = _box(requests[key], folded(boxes[child] for child in below.get(key, ())), shapes)
    callers: dict[str, list[RequestKey]] = {}
    for key in below.get(None, ()):
        callers.setdefault(caller(requests[key].ref), []).append(key)
    found = [
        _identity(name, [requests[key].ref for key in keys], folded(boxes[key] for key in keys))
        for name, keys in callers.items()
    ]
    return tuple(sorted(found, key=lambda box: -box.worst))


def _identity(name: str, refs: Iterable[EventRef], children: tuple[_Box, ...]) -> _Box:
    peers = list(dict.fromkeys(ref.source_ips[-1] for ref in refs if ref.source_ips))
    more = f" and {len(peers) - 1} more" if len(peers) > 1 else ""
    note = f"from {peers[0]}{more}" if peers else "address not known"
    return _Box("identity", name, note, worst=max(child.worst for child in children), children=children)


def _box(act: Act, children: tuple[_Box, ...], shapes: dict[tuple[object, ...], int]) -> _Box:
    ref = act.ref
    kind = "token" if issued(ref) else "act" if succeeded(ref) or ref.code is None else "refused"
    label = f"token of {asked_for(ref) or 'an unnamed service account'}" if kind == "token" else act_name(ref)
    answer = "answer not known" if ref.code is None else f"{'refused' if kind == 'refused' else 'answered'} {ref.code}"
    note = "minted" if kind == "token" else answer
    if ref.impersonating is not None:
        note += f", impersonating {ref.impersonating or 'somebody'}"
    shape = (kind, label, note, *((child.shape, child.times) for child in children))
    time = moment(ref)
    return _Box(
        kind,
        label,
        note,
        shapes.setdefault(shape, len(shapes)),
        max([act.severity, *(child.worst for child in children)]),
        (time,) if time else (),
        children=children,
    )


def timeline(requests: Mapping[RequestKey, Act], /) -> str:
    """Draw the requests on a line for each caller; positions are in percent, so that it fits any width."""
    timed = [(time, act) for act in requests.values() if (time := moment(act.ref))]
    if not timed:
        return "<p>No timestamp was logged.</p>"
    first, last = min(time for time, _ in timed), max(time for time, _ in timed)
    span = (last - first).total_seconds()
    names = list(dict.fromkeys(caller(act.ref) for _, act in timed))
    lanes = {name: min(place, LANES - 1) for place, name in enumerate(names)}
    marks: Counter[tuple[int, float, str, Severity]] = Counter()
    words: dict[tuple[int, float, str, Severity], str] = {}
    for time, act in timed:
        percent = round(2 + 96 * (time - first).total_seconds() / span, 1) if span else 50.0
        mark = (lanes[caller(act.ref)], percent, "token" if issued(act.ref) else "act", act.severity)
        marks[mark] += 1
        words.setdefault(mark, f"{utc(time)} {act.severity}: {act_name(act.ref)}")
    drawn = list(_lanes(names))
    for mark in sorted(marks, key=lambda mark: mark[3]):
        lane, percent, kind, severity = mark
        more = f" and {marks[mark] - 1} more" if marks[mark] > 1 else ""
        shape = (
            f'<rect x="{percent}%" y="{_LANE * lane + 21}" width="10" height="10" transform="translate(-5)"'
            if kind == "token"
            else f'<circle cx="{percent}%" cy="{_LANE * lane + 26}" r="5"'
        )
        name = "rect" if kind == "token" else "circle"
        drawn.append(f'{shape} class="s{severity.value}"><title>{shown(words[mark] + more, 200)}</title></{name}>')
    bottom = _LANE * min(len(names), LANES)
    precision = "milliseconds" if span < _BRIEFLY else "seconds"
    ends = [f"{time.astimezone(UTC).time().isoformat(precision)}Z" for time in (first, last)]
    drawn.append(f'<text class="note" x="0" y="{bottom + 14}">{ends[0]}</text>')
    if span:
        drawn.append(f'<text class="note mid" x="50%" y="{bottom + 14}">{lasting(first, last)}</text>')
        drawn.append(f'<text class="note end" x="100%" y="{bottom + 14}">{ends[1]}</text>')
    return (
        f'<svg class="time" role="img" aria-label="Timeline of {len(timed)} requests" width="100%" '
        f'height="{bottom + 20}">{"".join(drawn)}</svg>'
    )


def _lanes(names: list[str]) -> Iterator[str]:
    for lane, name in enumerate(names[:LANES]):
        label = f"{len(names) - lane} other callers" if lane == LANES - 1 and len(names) > LANES else name
        y = _LANE * lane
        yield f'<text x="0" y="{y + 13}">{shown(_fitting(label))}</text>'
        yield f'<line class="edge" x1="0" x2="100%" y1="{y + 26}" y2="{y + 26}"/>'
