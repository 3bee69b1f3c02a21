# SPDX-License-Identifier: Apache-2.0
"""Results as Markdown: pure functions from what was measured to text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from targets import MEGA, Row, Table, targets


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _row(row: Row, table: Table) -> list[str]:
    if not row.runs:
        return [row.name, *["-"] * 6, row.note]
    ours = table.rows[0]
    hits = ", ".join(f"{count:,} {rule}" for rule, count in (row.hits or {}).items()) or "none"
    return [
        row.name,
        f"{row.wall:.3f}",
        f"{row.processor:.3f}",
        f"{table.size / row.wall / MEGA:,.0f}",
        f"{table.events / row.wall:,.0f}",
        f"{row.by(ours):.2f}" if ours.runs else "-",
        f"{row.peak / MEGA:,.0f}",
        hits,
    ]


def _table(table: Table) -> Iterator[str]:
    packed = f", stored in {table.stored / MEGA:,.0f} MB" if table.stored != table.size else ""
    yield f"### {table.title}: {table.size / MEGA:,.0f} MB{packed}, {table.events:,} events"
    yield ""
    head = ("", "seconds", "processor s", "MB/s", "events/s", "time ÷ ours", "peak MB", "found")
    yield from _grid(head, (_row(row, table) for row in table.rows))


def _streaming(rate: dict[str, Any] | None, memory: dict[str, Any] | None) -> Iterator[str]:
    yield from ("## Mappings fed one by one", "")
    if rate is None:
        yield from ("Not measured.", "")
    else:
        late = ", ".join(f"{name} {value:,.1f} µs" for name, value in rate["latency_microseconds"].items())
        speed = f"{rate['mix_events_per_second']:,.0f} events/s"
        yield f"- the mix (2 % token requests, {rate['events']:,} events): {speed}"
        yield f"- an event that matches nothing: {rate['other_microseconds']:.2f} µs"
        yield f"- a token request of the mix: {rate['token_request_microseconds']:.1f} µs"
        yield f"- a kubelet's mint: {rate['kubelet_mint_microseconds']:.1f} µs"
        yield f"- from one event to the next: {late}"
        yield ""
    if memory:
        steps = memory["steps"]
        found = ", ".join(f"{count:,} {rule}" for rule, count in memory["findings"].items())
        yield (
            f"Memory of the process over {steps[-1]['events']:,} events ({memory['hours']:.1f} hours of log) with "
            f"{memory['followed']:,} followed credentials; found: {found}. The time includes making the events."
        )
        yield ""
        rows = ((f"{step['events']:,}", f"{step['bytes'] / MEGA:,.0f}", f"{step['seconds']:,.1f}") for step in steps)
        yield from _grid(("events", "resident MB", "seconds"), rows)


def _growth(growth: dict[str, Any] | None) -> Iterator[str]:
    if growth is None:
        return
    yield from ("## Growth", "")
    line = growth["fit"]
    if line:
        yield (
            f"Native, Metadata, one process: {line['start']:.3f} s + {line['slope'] * 1e9:.3f} s per GB; "
            f"R² = {line['r2']:.5f}; largest deviation of a point {line['worst']:.1%}."
        )
        yield ""
    rows = []
    for point in growth["points"]:
        said = f"{line['start'] + line['slope'] * point['bytes']:.3f}" if line else "-"
        speed = point["bytes"] / point["seconds"] / MEGA
        rows.append((point["size"], f"{point['seconds']:.3f}", said, f"{speed:,.0f}", f"{point['peak'] / MEGA:,.0f}"))
    yield from _grid(("size", "seconds", "line", "MB/s", "peak MB"), rows)
    yield "Custom detectors that watch token requests, besides all built-in ones, on nothing but token requests:"
    yield ""
    bare = growth["custom"][0]["microseconds"]
    yield from _grid(
        ("custom detectors", "µs per token request", "more, for each"),
        (
            (
                f"{point['detectors']}",
                f"{point['microseconds']:.1f}",
                f"{(point['microseconds'] - bare) / point['detectors']:.2f}" if point["detectors"] else "-",
            )
            for point in growth["custom"]
        ),
    )


def _startup(startup: dict[str, Any] | None) -> Iterator[str]:
    if startup is None:
        return
    yield from ("## Start", "")
    took = startup["seconds"]
    names = {
        "nothing": "`python -c pass`",
        "dependencies": "`import attrs, cattrs, msgspec`",
        "library": "`import k8stokendetect`",
        "detect": "`from k8stokendetect import detect`",
        "help": "`k8stokendetect --help`",
    }
    yield from _grid(
        (f"best of {startup['runs']}, in turn", "ms", "ms beyond the interpreter"),
        (
            (names[name], f"{seconds * 1000:.1f}", f"{(seconds - took['nothing']) * 1000:.1f}")
            for name, seconds in took.items()
        ),
    )
    yield f"`--help` imports of this package: {', '.join(startup['own_modules'])}."
    yield f"And of others: {', '.join(startup['other_packages'])}."
    yield ""


def _targets(results: dict[str, Any]) -> Iterator[str]:
    words = {True: "yes", False: "**no**", None: "not measured"}
    yield from ("## Aims", "")
    found = targets(results)
    yield from _grid(
        ("aim", "measured", "reached"),
        ((target.aim, target.figure or "-", words[target.reached]) for target in found),
    )
    yield f"{sum(target.reached is True for target in found)} of {len(found)} reached, with logs of {results['size']}."
    yield ""


def render(results: dict[str, Any]) -> str:
    """Return the page.

    Arguments:
        results: `date`, `command`, `size`, `machine` (names and values), `peers` (name, version or None, what it does,
            what to install), `tables`, and, where they were measured, `calls`, `rate`, `installs`; `full`, and then
            `memory`, `growth`, `startup`.

    """
    text = [
        "# Results",
        "",
        f"Written by `{results['command']}` on {results['date']}; `README.md` says what is measured and what is not.",
        "",
        *(f"- {name}: {value}" for name, value in results["machine"].items()),
        "",
        *_targets(results),
        "## Side by side",
        "",
        *_grid(
            ("", "version", "does"),
            (
                (name, version or f"not installed: `{missing}`", does)
                for name, version, does, missing in results["peers"]
            ),
        ),
        *(line for table in results["tables"] for line in _table(table)),
        *_streaming(results.get("rate"), results.get("memory")),
        *_growth(results.get("growth")),
        *_startup(results.get("startup")),
    ]
    return "\n".join(text).rstrip("\n") + "\n"
