# SPDX-License-Identifier: Apache-2.0
"""What the library set out to reach, each beside what was measured: reached, or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

MEGA: Final = 1_000_000
MAX_OVERHEAD: Final = 1.2


class Target(NamedTuple):
    """One aim.

    Attributes:
        aim: in words.
        figure: what was measured; empty where it was not.
        reached: whether that is enough; None where it was not measured.

    """

    aim: str
    figure: str = ""
    reached: bool | None = None


class Row(NamedTuple):
    """What one peer did with one log.

    Attributes:
        name: of the peer.
        wall: seconds; None where it did not run.
        processor: seconds of processor time.
        peak: memory, bytes.
        hits: what it found, by rule or `lines`.
        note: why it did not run.

    """

    name: str
    wall: float | None = None
    processor: float = 0.0
    peak: int = 0
    hits: dict[str, int] | None = None
    note: str = ""


class Table(NamedTuple):
    """All peers on one log; the first row is ours.

    Attributes:
        title: of the log.
        size: bytes, before compression.
        stored: bytes as the file is.
        events: how many.
        rows: one for each peer.

    """

    title: str
    size: int
    stored: int
    events: int
    rows: list[Row]


def _wall(table: Table, name: str) -> float | None:
    """Return the shortest time of the rows whose names begin so."""
    return min((row.wall for row in table.rows if row.wall is not None and row.name.startswith(name)), default=None)


def _compared(table: Table | None) -> Iterator[Target]:
    aims = (
        "at least twice DuckDB's speed on the same cores",
        "at least 25 times jq's speed",
        "at most twice GNU grep's time, one process",
        "peak memory under 150 MB, one process",
    )
    if table is None or (ours := table.rows[0].wall) is None:
        yield from map(Target, aims)
        return
    best = _wall(table, "k8stokendetect") or ours
    for aim, wall, mine, least in ((aims[0], _wall(table, "DuckDB"), best, 2), (aims[1], _wall(table, "jq"), ours, 25)):
        yield Target(aim, f"{wall / mine:.2f} times", wall / mine >= least) if wall else Target(aim)
    grep = _wall(table, "GNU grep")
    yield Target(aims[2], f"{ours / grep:.2f} times", ours / grep <= 2) if grep else Target(aims[2])  # noqa: PLR2004
    peak = table.rows[0].peak / MEGA
    yield Target(aims[3], f"{peak:.0f} MB", peak < 150)  # noqa: PLR2004


def _wrapped(tables: list[Table], title: str) -> Target:
    aim = f"{title}: at least 300 MB/s"
    for table in tables:
        if table.title.startswith(title) and (wall := table.rows[0].wall):
            speed = table.size / wall / MEGA
            return Target(aim, f"{speed:.0f} MB/s", speed >= 300)  # noqa: PLR2004
    return Target(aim)


def _fed(rate: dict[str, Any] | None, memory: dict[str, Any] | None) -> Iterator[Target]:
    aims = (
        "mappings fed one by one, the mix: at least 100,000 events/s",
        "an event that matches nothing: under 2 µs",
        "memory bounded over 10 million events with 100,000 followed credentials",
    )
    if rate:
        speed, other = rate["mix_events_per_second"], rate["other_microseconds"]
        yield Target(aims[0], f"{speed:,.0f} events/s", speed >= 100_000)  # noqa: PLR2004
        yield Target(aims[1], f"{other:.2f} µs", other < 2)  # noqa: PLR2004
    else:
        yield from map(Target, aims[:2])
    if memory is None:
        yield Target(aims[2])
        return
    steps = memory["steps"]
    half, last = steps[len(steps) // 2]["bytes"], max(step["bytes"] for step in steps[len(steps) // 2 :])
    asked = steps[-1]["events"] >= 10_000_000 and memory["followed"] >= 100_000  # noqa: PLR2004
    said = f"{last / MEGA:.0f} MB at most in the second half, {half / MEGA:.0f} MB at its beginning"
    said += "" if asked else f"; only {steps[-1]['events']:,} events, {memory['followed']:,} credentials"
    yield Target(aims[2], said, last <= half * 1.1 if asked else None)


def _growth(growth: dict[str, Any] | None) -> Iterator[Target]:
    aims = ("cost grows linearly from 10 MB to 5 GB", "cost by custom detectors of the same resource: sub-linear")
    if growth is None:
        yield from map(Target, aims)
        return
    line, points = growth["fit"], growth["points"]
    if line is None:
        yield Target(aims[0])
    else:
        reaches = f"{points[0]['size']} to {points[-1]['size']}"
        whole = points[-1]["bytes"] >= 5_000_000_000  # noqa: PLR2004
        yield Target(aims[0], f"R² = {line['r2']:.5f} from {reaches}", line["r2"] > 0.99 if whole else None)  # noqa: PLR2004
    custom = growth["custom"]
    first, last = custom[0], custom[-1]
    ratio, more = last["microseconds"] / first["microseconds"], last["detectors"]
    yield Target(aims[1], f"{ratio:.2f} times the cost per token request with {more:.0f} more", ratio < more)


def _startup(startup: dict[str, Any] | None) -> Iterator[Target]:
    aims = (
        "`import k8stokendetect`: at most 1.2 times its dependencies",
        "`--help` imports neither detectors nor Spark",
    )
    if startup is None:
        yield from map(Target, aims)
        return
    took = startup["seconds"]
    own = took["dependencies"] - took["nothing"]
    ratio, taken = (took["library"] - took["nothing"]) / own, (took["detect"] - took["nothing"]) / own
    yield Target(aims[0], f"{ratio:.2f} times; {taken:.2f} times once `detect` is taken from it", ratio <= MAX_OVERHEAD)
    heavy = [name for name in startup["own_modules"] if ".detectors" in name]
    heavy += [name for name in startup["other_packages"] if name == "pyspark"]
    yield Target(aims[1], f"{len(heavy)} such modules", not heavy)


def targets(results: dict[str, Any]) -> list[Target]:
    """Return every aim with what the results say of it."""
    tables: list[Table] = results["tables"]
    native = next((table for table in tables if table.title == "native, Metadata"), None)
    return [
        *_compared(native),
        _wrapped(tables, "event-hub"),
        _wrapped(tables, "cloudwatch"),
        *_fed(results.get("rate"), results.get("memory")),
        *_growth(results.get("growth")),
        *_startup(results.get("startup")),
    ]
