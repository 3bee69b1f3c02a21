# SPDX-License-Identifier: Apache-2.0
"""Draws who comes to whose tokens as SVG: subjects, the roles that let them, the service accounts; the worst on top."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import attrs

from k8stokendetect.cluster import Minter, Status, Way
from k8stokendetect.outputs.figures import shown
from k8stokendetect.outputs.minters import Entry, expectation, folded, path, role_name, whom, worth
from k8stokendetect.outputs.text import neutral

ENTRIES: Final = 30
"""So many entries are drawn, each for all subjects that are alike; what is left out is said below."""

WAYS: Final = 8
"""So many bindings of one subject are drawn, the direct ones first."""

_WIDE, _HIGH, _STEP, _GAP, _TOP = 330, 42, 54, 120, 64
_FITTING: Final = 42
_HEADS: Final = ("who", "by which role and binding", "whose tokens")
_STYLE: Final = """
svg{--bg:#f6f7f9;--card:#fff;--ink:#17202b;--dim:#566272;--rule:#9aa5b3;
--l4:#b3123c;--l3:#c2410c;--l2:#6d3bbd;--l1:#1c64a8;--l0:#5b6776}
@media(prefers-color-scheme:dark){svg{--bg:#10151b;--card:#19202a;--ink:#e6eaf0;--dim:#9aa7b6;--rule:#56637a;
--l4:#ff6b8a;--l3:#ff9457;--l2:#b794f6;--l1:#6cb2f5;--l0:#9aa7b6}}
.l4{--c:var(--l4)}.l3{--c:var(--l3)}.l2{--c:var(--l2)}.l1{--c:var(--l1)}.l0{--c:var(--l0)}
text{font:12px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink);unicode-bidi:isolate}
.note{fill:var(--dim);font-size:11px}.head{font-size:13px;font-weight:700}
.page{fill:var(--bg)}.box{fill:var(--card);stroke:var(--rule)}.mark{fill:var(--c)}
path{fill:none;stroke:var(--c);stroke-width:1.6;opacity:.75}.other{stroke-dasharray:5 4;opacity:.6}
"""
_LEGEND: Final = (
    (4, "all rights"),
    (3, "rights that lead to more"),
    (2, "cloud identity"),
    (1, "a service account"),
    (0, "none there now"),
)


class _Key(NamedTuple):
    """What a node stands for."""

    column: int
    name: object


@attrs.define(eq=False)
class _Node:
    """A box."""

    label: str
    note: str
    title: str
    level: int = -1
    y: float = 0


@attrs.frozen
class _Edge:
    """A line from a box to one in the next column."""

    start: _Key
    end: _Key


@attrs.define
class _Graph:
    """Boxes and lines; a line keeps the worst level, and is a direct one when one of its ways is."""

    nodes: dict[_Key, _Node] = attrs.field(factory=dict)
    edges: dict[_Edge, tuple[bool, int]] = attrs.field(factory=dict)

    def join(self, start: _Key, end: _Key, level: int, *, direct: bool) -> None:
        """Add a line."""
        edge = _Edge(start, end)
        known = self.edges.get(edge, (False, 0))
        self.edges[edge] = (known[0] or direct, max(known[1], level))


def to_svg(minters: Sequence[Minter], /) -> str:
    """Return a drawing as an SVG document without scripts or links; names are cut, made harmless and escaped.

    It follows the reader's light or dark setting. Lines that are drawn through are direct ways, the others are dashed.
    Subjects that are alike share a box; below stands what is not drawn.
    """
    entries = folded(minters)
    graph = _Graph()
    left_out = sum(_add(graph, entry) for entry in entries[:ENTRIES])
    bottom = max((_placed(graph, column) for column in range(3)), default=_TOP)
    notes = [f"{left_out:,} bindings of the subjects above are not drawn"] if left_out else []
    if rest := entries[ENTRIES:]:
        subjects = sum(1 + len(entry.others) for entry in rest)
        notes.append(
            f"{len(rest):,} entries about {subjects:,} subjects are not drawn: the text and JSON forms have them"
        )
    if not entries:
        notes.append("nobody comes to a service account's token")
    width, height = 3 * _WIDE + 2 * _GAP + 40, bottom + 24 + 18 * len(notes)
    parts = [
        f'<rect class="page" width="{width}" height="{height:.0f}"/>',
        *_legend(),
        *(f'<text class="head" x="{_x(column)}" y="52">{head}</text>' for column, head in enumerate(_HEADS)),
        *(_line(graph, edge, *kind) for edge, kind in sorted(graph.edges.items(), key=lambda item: item[1])),
        *(_box(node, _x(key.column)) for key, node in graph.nodes.items()),
        *(
            f'<text class="note" x="20" y="{bottom + 18 + 18 * row:.0f}">{note}</text>'
            for row, note in enumerate(notes)
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Who can mint" width="{width}" '
        f'height="{height:.0f}" viewBox="0 0 {width} {height:.0f}"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _add(graph: _Graph, entry: Entry) -> int:
    """Add an entry; return how many of its bindings are left out."""
    minter, alike = entry.minter, len(entry.others)
    level = int(minter.reach.level)
    who = _Key(0, minter.subject)
    name = f"{minter.subject} and {alike:,} alike" if alike else str(minter.subject)
    note = {Status.EXPECTED: "by design", Status.BEYOND: "more than its design"}.get(minter.status, minter.meaning)
    title = f"{name}. {minter.meaning} {expectation(minter)}; reaches {worth(minter.reach)}"
    graph.nodes[who] = _Node(name, note or f"reaches: {dict(_LEGEND)[level]}", title, level)
    by_binding: dict[object, list[Way]] = {}
    for way in minter.ways:
        by_binding.setdefault(way.binding, []).append(way)
    for ways in list(by_binding.values())[:WAYS]:
        first = ways[0]
        how = _Key(1, (first.binding, bool(alike)))
        if first.role is None:
            graph.nodes.setdefault(how, _Node("no role", "the group itself", first.why))
        else:
            through = f"{first.binding}{' and alike' if alike else ''}"
            graph.nodes.setdefault(how, _Node(role_name(first.role), through, path(first.grants)))
        graph.join(who, how, level, direct=any(way.direct for way in ways))
        for way in ways:
            whose = _Key(2, whom(way))
            alike_note = "and alike elsewhere" if alike and way.namespace else ""
            graph.nodes.setdefault(whose, _Node(whom(way), alike_note, whom(way)))
            graph.join(how, whose, level, direct=way.direct)
    return max(0, len(by_binding) - WAYS)


def _placed(graph: _Graph, column: int) -> float:
    """Place the boxes of a column near those they come from, none upon another; return where the column ends."""
    below: dict[_Key, list[float]] = {}
    for edge in graph.edges:
        if edge.end.column == column:
            below.setdefault(edge.end, []).append(graph.nodes[edge.start].y)
    keys = [key for key in graph.nodes if key.column == column]
    wanted = {key: sum(below[key]) / len(below[key]) if key in below else 0.0 for key in keys}
    y = float(_TOP)
    for key in sorted(keys, key=lambda key: wanted[key]):
        graph.nodes[key].y = y = max(y, wanted[key])
        y += _STEP
    return y


def _x(column: int) -> int:
    return 20 + column * (_WIDE + _GAP)


def _legend() -> Iterator[str]:
    x = 20
    for level, text in (*_LEGEND, (-1, "direct"), (-2, "in another way")):
        if level >= 0:
            yield f'<rect class="mark l{level}" x="{x}" y="12" width="10" height="10"/>'
        else:
            yield f'<path class="l0{" other" * (level == -2)}" d="M{x - 12} 17h22"/>'  # noqa: PLR2004 - a line, no level
        yield f'<text class="note" x="{x + 15}" y="21">{text}</text>'
        x += 55 + 7 * len(text)


def _line(graph: _Graph, edge: _Edge, direct: bool, level: int) -> str:  # noqa: FBT001 - from a table
    x, to_x = _x(edge.start.column) + _WIDE, _x(edge.end.column)
    y, to_y = graph.nodes[edge.start].y + _HIGH / 2, graph.nodes[edge.end].y + _HIGH / 2
    middle = (x + to_x) / 2
    kind = f"l{level}" + ("" if direct else " other")
    return f'<path class="{kind}" d="M{x} {y:.0f}C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {to_x} {to_y:.0f}"/>'


def _box(node: _Node, x: int) -> str:
    y = f"{node.y:.0f}"
    mark = f'<rect class="mark" x="{x}" y="{y}" width="5" height="{_HIGH}"/>' if node.level >= 0 else ""
    middle = node.y + (17 if node.note else 26)
    note = f'<text class="note" x="{x + 12}" y="{node.y + 34:.0f}">{_fitting(node.note)}</text>' if node.note else ""
    return (
        f'<g class="l{max(node.level, 0)}"><title>{shown(node.title)}</title>'
        f'<rect class="box" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="4"/>{mark}'
        f'<text x="{x + 12}" y="{middle:.0f}">{_fitting(node.label)}</text>{note}</g>'
    )


def _fitting(text: str) -> str:
    """Cut a text to the width of a box; a character of East Asia takes two cells, a control character its escape."""
    return shown("".join(_cut(neutral(text))))


def _cut(characters: Iterable[str]) -> Iterator[str]:
    room = _FITTING
    for char in characters:
        room -= 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if room < 1:
            yield "…"
            return
        yield char
