# SPDX-License-Identifier: Apache-2.0
"""How cost grows: with the size of the log, and with the number of custom detectors that watch the same resource.

python benchmarks/growth.py FOLDER [10MiB 30MiB …]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from generate import lines, size_of, write
from k8stokendetect import Detector, Event, Finding, Rule, Severity, detect
from k8stokendetect.detectors import BUILTIN
from measure import alternate, warm

SIZES: Final = ("10MiB", "30MiB", "100MiB", "300MiB", "1GiB", "5GiB")
CUSTOM: Final = (0, 1, 4, 16, 64)
REQUESTS: Final = 20_000
RUNS: Final = 3
MANY: Final = 1 << 30
"""Files of more than so many bytes are read once."""


class Fit(NamedTuple):
    """A straight line through points, by least squares.

    Attributes:
        start: what it says for 0.
        slope: how much it rises for 1.
        r2: which part of the variance it explains, at most 1.
        worst: the largest deviation of a point from it, as a part of the point.

    """

    start: float
    slope: float
    r2: float
    worst: float


def fit(points: Sequence[tuple[float, float]]) -> Fit:
    """Fit a line through at least two points of different x and y above 0."""
    count = len(points)
    middle, mean = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - middle) * (y - mean) for x, y in points) / sum((x - middle) ** 2 for x, _ in points)
    start = mean - slope * middle
    left = sum((y - start - slope * x) ** 2 for x, y in points)
    total = sum((y - mean) ** 2 for _, y in points)
    worst = max(abs(y - start - slope * x) / y for x, y in points)
    return Fit(start, slope, 1 - left / total if total else 1.0, worst)


def sizes(folder: Path, names: Sequence[str], progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure native logs of level Metadata of several sizes; return seconds, peaks and the fit."""
    points: list[dict[str, Any]] = []
    script = str(Path(__file__).with_name("ours.py"))
    for name in names:
        path = folder / f"growth-{name}.log"
        size = write(path, size_of(name)).size
        warm(path)
        runs = 1 if size > MANY * 2 else RUNS
        done = alternate({name: [sys.executable, script, str(path), str(folder / "findings")]}, runs, progress)[name]
        path.unlink()
        if done:
            found = min(done, key=lambda run: run.wall)
            points.append({"size": name, "bytes": size, "seconds": found.wall, "peak": found.peak})
    line = fit([(point["bytes"], point["seconds"]) for point in points])._asdict() if len(points) > 1 else None
    return {"points": points, "fit": line}


class Watching(Detector):
    """A custom detector that looks at every token request, as somebody's own rule does, and finds nothing."""

    rule: ClassVar[Rule] = Rule("custom", "An own rule", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event: Event, /) -> bool:
        """Tell requests of one user to one namespace."""
        ref = event.object_ref
        return event.user.username.startswith("nobody-") and ref is not None and ref.namespace == "vault"

    def describe(self, event: Event, /) -> Finding:
        """Say so."""
        return self.finding(event, "nobody minted")


def _watching(number: int) -> Detector:
    rule = Rule(f"custom-{number}", "An own rule", Severity.LOW)
    made: type[Detector] = type(f"Watching{number}", (Watching,), {"rule": rule})
    return made()


def custom() -> list[dict[str, float]]:
    """Measure a log of nothing but token requests, with all built-in detectors and more and more custom ones."""
    log = b"\n".join(islice(lines(7, 1.0, "Metadata"), REQUESTS))
    seconds = dict.fromkeys(CUSTOM, float("inf"))
    for _ in range(RUNS):
        for number in CUSTOM:
            detectors = [*(cls() for cls in BUILTIN), *map(_watching, range(number))]
            start = time.perf_counter()
            for _finding in detect(log, detectors=detectors):
                pass
            seconds[number] = min(seconds[number], time.perf_counter() - start)
    return [{"detectors": number, "microseconds": seconds[number] / REQUESTS * 1e6} for number in CUSTOM]


def main() -> None:
    """Print what was measured, as JSON."""
    folder, *names = sys.argv[1:]
    found = sizes(Path(folder), names or SIZES, lambda text: print(text, file=sys.stderr))
    print(json.dumps({**found, "custom": custom()}))


if __name__ == "__main__":
    main()
