# SPDX-License-Identifier: Apache-2.0
"""Draws who can obtain whose tokens as SVG: subjects, roles, service accounts; the worst on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import attrs

from k8stokendetect.cluster import Minter, Status
from k8stokendetect.outputs.html import fitting, render
from k8stokendetect.outputs.minter_words import Entry, by_binding, expectation, folded, path, role_name, whom, worth

ENTRIES: Final = 30
"""Maximum number of entries drawn, each for all similar subjects; what is left out is noted below."""

WAYS: Final = 8
"""Maximum number of bindings drawn for one subject, the direct ones first."""

_WIDE, _HIGH, _STEP, _GAP, _TOP = 330, 42, 54, 120, 64
_FITTING: Final = 42
_HEADS: Final = ("who", "by which role and binding", "whose tokens")
_LEGEND: Final = (
    ("l4", "all rights"),
    ("l3", "rights that lead to more"),
    ("l2", "cloud identity"),
    ("l1", "a service account"),
    ("l0", "none there now"),
)


class _Key(NamedTuple):
    """What a node represents."""

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
    """Boxes and lines; a line keeps the worst level, and is direct if one of its paths is."""

    nodes: dict[_Key, _Node] = attrs.field(factory=dict)
    edges: dict[_Edge, tuple[bool, int]] = attrs.field(factory=dict)

    def join(self, start: _Key, end: _Key, level: int, *, direct: bool) -> None:
        """Add a line."""
        edge = _Edge(start, end)
        known = self.edges.get(edge, (False, 0))
        self.edges[edge] = (known[0] or direct, max(known[1], level))


def to_svg(minters: Sequence[Minter], /) -> str:
    """Return a drawing as an SVG document without scripts or links; names are cut, made harmless and escaped.

    It follows the reader's light or dark setting. Solid lines are direct paths, dashed ones are indirect. Similar
    subjects share a box; what is not drawn is noted below.
    """
    entries = folded(minters)
    graph = _Graph()
    left_out = sum(_add(graph, entry) for entry in entries[:ENTRIES])
    bottom = round(max((_placed(graph, column) for column in range(len(_HEADS))), default=_TOP))
    notes = [f"{left_out:,} bindings of the subjects above are not drawn"] if left_out else []
    if rest := entries[ENTRIES:]:
        subjects = sum(1 + len(entry.others) for entry in rest)
        notes.append(
            f"{len(rest):,} entries about {subjects:,} subjects are not drawn: the text and JSON forms have them"
        )
    if not entries:
        notes.append("nobody can obtain a service account token")
    drawing = render(
        "minters.svg",
        width=3 * _WIDE + 2 * _GAP + 40,
        height=bottom + 24 + 18 * len(notes),
        bottom=bottom,
        legend=_LEGEND,
        heads=[(_x(column), head) for column, head in enumerate(_HEADS)],
        lines=[_line(graph, edge, *kind) for edge, kind in sorted(graph.edges.items(), key=lambda item: item[1])],
        boxes=[(node, _x(key.column), round(node.y)) for key, node in graph.nodes.items()],
        notes=notes,
        box=(_WIDE, _HIGH),
        fitting=lambda text: fitting(text, _FITTING),
    )
    return f"{drawing}\n"


def _add(graph: _Graph, entry: Entry) -> int:
    """Add an entry; return the number of bindings left out."""
    minter, alike = entry.minter, len(entry.others)
    level = int(minter.reach.level)
    who = _Key(0, minter.subject)
    name = f"{minter.subject} and {alike:,} alike" if alike else str(minter.subject)
    note = {Status.EXPECTED: "by design", Status.BEYOND: "more than its design"}.get(minter.status, minter.meaning)
    title = f"{name}. {minter.meaning} {expectation(minter)}; reaches {worth(minter.reach)}"
    graph.nodes[who] = _Node(name, note or f"reaches: {dict(_LEGEND)[f'l{level}']}", title, level)
    bindings = by_binding(minter.ways)
    for ways in bindings[:WAYS]:
        first = ways[0]
        how = _Key(1, (first.binding, bool(alike), minter.is_kubelet and first.role is None))
        if first.role is None:
            by = "the Node authorizer" if minter.is_kubelet else "the group itself"
            graph.nodes.setdefault(how, _Node("no role", by, first.why))
        else:
            through = f"{first.binding}{' and alike' if alike else ''}"
            graph.nodes.setdefault(how, _Node(role_name(first.role), through, path(first.grants)))
        graph.join(who, how, level, direct=any(way.direct for way in ways))
        for way in ways:
            whose = _Key(2, whom(way))
            alike_note = "and alike elsewhere" if alike and way.namespace else ""
            graph.nodes.setdefault(whose, _Node(whom(way), alike_note, whom(way)))
            graph.join(how, whose, level, direct=way.direct)
    return max(0, len(bindings) - WAYS)


def _placed(graph: _Graph, column: int) -> float:
    """Place the boxes of a column near their predecessors, without overlap; return where the column ends."""
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


def _line(graph: _Graph, edge: _Edge, is_direct: bool, level: int) -> tuple[str, str]:  # noqa: FBT001 - from a table
    """Return class and path of a line."""
    x, to_x = _x(edge.start.column) + _WIDE, _x(edge.end.column)
    y, to_y = (round(graph.nodes[key].y + _HIGH / 2) for key in (edge.start, edge.end))
    middle = (x + to_x) // 2
    path = f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"
    return f"l{level}" + ("" if is_direct else " other"), path
