# SPDX-License-Identifier: Apache-2.0
"""Compares what was measured with what the library set out to reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any, Final, NamedTuple

from measure import Run, ratio

MEGA: Final = 1_000_000
MAX_OVERHEAD: Final = 1.2
MAX_BASE: Final = 1.05
MAX_PEAK: Final = 100 * MEGA
NATIVE: Final = "native, Metadata"
LOOP: Final = "orjson loop"
DUCKDB: Final = "DuckDB"

LEAST: Final = (
    (NATIVE, LOOP, 1.3),
    (NATIVE, "jq", 5.0),
    (NATIVE, DUCKDB, 0.35),
    ("native, RequestResponse", LOOP, 1.8),
    ("cloudwatch, Metadata", LOOP, 1.0),
    ("event-hub, Metadata", LOOP, 1.0),
    ("subscription, Metadata", LOOP, 0.6),
    ("native, Metadata, gzip", LOOP, 1.2),
    ("native, Metadata, set-up", LOOP, 0.5),
)
"""Log, beginning of a peer's name, and the least ratio of its time to ours."""

FED: Final = (
    ("mappings one by one, the mix: at least 150,000 events/s", "mix_events_per_second", 150_000, "events/s"),
    ("a mapping that matches nothing: under 3 µs", "other_microseconds", 3, "µs"),
    ("a kubelet's mint as a mapping, typing included: under 25 µs", "kubelet_mint_microseconds", 25, "µs"),
)
"""Aim, name of the figure, limit (events/s: at least; µs: less than), unit."""


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
        runs: one a round; none where it did not run.
        hits: what it found, by rule or `lines`.
        note: why it did not run.
        parallel: compared by wall time, as it uses every core; the others by processor time.

    """

    name: str
    runs: list[Run]
    hits: dict[str, int] | None = None
    note: str = ""
    parallel: bool = False

    @property
    def wall(self) -> float:
        """Return the median, in seconds."""
        return median(run.wall for run in self.runs)

    @property
    def processor(self) -> float:
        """Return the median over the rounds, in seconds of all threads."""
        return median(run.processor for run in self.runs)

    @property
    def peak(self) -> int:
        """Return the most memory in any round, in bytes."""
        return max(run.peak for run in self.runs)

    def by(self, ours: Row) -> float:
        """Return its time by ours, the median over the rounds."""
        return ratio(self.runs, ours.runs, (lambda run: run.wall) if self.parallel else (lambda run: run.processor))


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


def _compared(tables: Iterable[Table]) -> Iterator[Target]:
    """Compare our time with a peer's, log by log."""
    by_title = {table.title: table for table in tables}
    for title, name, least in LEAST:
        aim = f"{title}: at least {least:g} times {name}{' on all cores' if name == DUCKDB else ''}"
        table = by_title.get(title)
        peers = [row for row in table.rows if row.runs and row.name.startswith(name)] if table else []
        if table is None or not peers or not table.rows[0].runs:
            yield Target(aim)
            continue
        reached = peers[0].by(table.rows[0])
        yield Target(aim, f"{reached:.2f} times", reached >= least)


def _peak(tables: Iterable[Table]) -> Target:
    aim = f"peak memory under {MAX_PEAK / MEGA:.0f} MB on every log"
    peaks = [(table.rows[0].peak, table.title) for table in tables if table.rows[0].runs]
    if not peaks:
        return Target(aim)
    most, title = max(peaks)
    return Target(aim, f"{most / MEGA:.0f} MB ({title})", most < MAX_PEAK)


def _installs(runs: dict[str, list[Run]] | None) -> Target:
    aim = "the base install as fast as one with extras"
    if not runs:
        return Target(aim)
    base = ratio(runs["base"], runs["extras"], lambda run: run.processor)
    return Target(aim, f"{base:.2f} times the time", base <= MAX_BASE)


def _calls(calls: dict[str, tuple[int, int]] | None) -> Iterator[Target]:
    """Compare the number of calls into the package with its limit."""
    for name, (count, limit) in (calls or {}).items():
        yield Target(f"{name}: at most {limit} calls into the package", f"{count}", count <= limit)


def _fed(rate: dict[str, Any] | None) -> Iterator[Target]:
    for aim, name, limit, unit in FED:
        if rate is None:
            yield Target(aim)
            continue
        figure = rate[name]
        reached = figure >= limit if unit == "events/s" else figure < limit
        yield Target(aim, f"{figure:,.0f} {unit}" if unit == "events/s" else f"{figure:.2f} {unit}", reached)


def _memory(memory: dict[str, Any] | None) -> Target:
    aim = "memory bounded over 10 million events with 100,000 followed credentials"
    if memory is None:
        return Target(aim)
    steps = memory["steps"]
    half, last = steps[len(steps) // 2]["bytes"], max(step["bytes"] for step in steps[len(steps) // 2 :])
    said = f"{last / MEGA:.0f} MB at most in the second half, {half / MEGA:.0f} MB at its beginning"
    return Target(aim, said, last <= half * 1.1)


def _growth(growth: dict[str, Any] | None) -> Iterator[Target]:
    aims = ("cost grows linearly from 10 MB to 5 GB", "cost by custom detectors of the same resource: sub-linear")
    if growth is None or growth["fit"] is None:
        yield from map(Target, aims)
        return
    line, points, custom = growth["fit"], growth["points"], growth["custom"]
    reaches = f"{points[0]['size']} to {points[-1]['size']}"
    yield Target(aims[0], f"R² = {line['r2']:.5f} from {reaches}", line["r2"] > 0.99)  # noqa: PLR2004
    first, last = custom[0], custom[-1]
    cost, more = last["microseconds"] / first["microseconds"], last["detectors"]
    yield Target(aims[1], f"{cost:.2f} times the cost per token request with {more:.0f} more", cost < more)


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
    library, taken = (took["library"] - took["nothing"]) / own, (took["detect"] - took["nothing"]) / own
    yield Target(
        aims[0], f"{library:.2f} times; {taken:.2f} times once `detect` is taken from it", library <= MAX_OVERHEAD
    )
    heavy = [name for name in startup["own_modules"] if ".detectors" in name]
    heavy += [name for name in startup["other_packages"] if name == "pyspark"]
    yield Target(aims[1], f"{len(heavy)} such modules", not heavy)


def targets(results: dict[str, Any]) -> list[Target]:
    """Return every aim with what the results say of it; what only `--full` measures is left out where it was not."""
    tables: list[Table] = results["tables"]
    found = [
        *_compared(tables),
        *_fed(results.get("rate")),
        _peak(tables),
        _installs(results.get("installs")),
        *_calls(results.get("calls")),
    ]
    if results.get("full"):
        found += [_memory(results.get("memory")), *_growth(results.get("growth")), *_startup(results.get("startup"))]
    return found
