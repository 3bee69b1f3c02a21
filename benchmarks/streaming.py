# SPDX-License-Identifier: Apache-2.0
"""Events fed one by one as mappings: how many a second, how long each takes, how much memory it comes to.

python benchmarks/streaming.py rate | memory [EVENTS FOLLOWED]
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

from generate import lines
from k8stokendetect import Tally, detect
from mix import ANSWER, CREDENTIAL, ISSUED, KUBECTL, KUBELET, START, STEP

MIXED: Final = 100_000
"""Number of different events in the mix."""

FOLLOWED: Final = 100_000
RUNS: Final = 3
STEPS: Final = 10
"""Number of times that memory is looked at."""


def _mappings(share: float, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in islice(lines(7, share, "Metadata"), count)]


def _seconds(events: list[dict[str, Any]]) -> float:
    """Return the shortest processor time for one event; nothing here waits, and other programs may use the cores."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        for _finding in detect(iter(events)):
            pass
        best = min(best, time.process_time() - start)
    return best / len(events)


def _waits(events: list[dict[str, Any]]) -> list[int]:
    """Return for how many nanoseconds each event kept the loop busy, its findings among them, in ascending order."""
    times: list[int] = []

    def fed() -> Iterator[Mapping[str, Any]]:
        for event in events:
            times.append(time.perf_counter_ns())
            yield event
        times.append(time.perf_counter_ns())

    for _finding in detect(fed()):
        pass
    return sorted(later - earlier for earlier, later in pairwise(times))


def rate() -> dict[str, Any]:
    """Measure the mix, events that match nothing, mints, and the time each event takes."""
    mixed, other, minted = _mappings(0.02, MIXED), _mappings(0.0, MIXED), _mappings(1.0, MIXED // 10)
    kubelets = [event for event in minted if event["userAgent"] == KUBELET]
    gc.collect()
    gc.freeze()
    waits = _waits(mixed)
    at = {name: waits[int(len(waits) * part)] / 1000 for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    return {
        "events": MIXED,
        "mix_events_per_second": 1 / _seconds(mixed),
        "other_microseconds": _seconds(other) * 1e6,
        "token_request_microseconds": _seconds(minted) * 1e6,
        "kubelet_mint_microseconds": _seconds(kubelets) * 1e6,
        "latency_microseconds": at | {"max": waits[-1] / 1000},
    }


def _stamp(number: int) -> dict[str, str]:
    received = START + STEP * number
    return {
        "auditID": f"{number:032x}",
        "requestReceivedTimestamp": received.isoformat(timespec="microseconds"),
        "stageTimestamp": (received + ANSWER).isoformat(timespec="microseconds"),
    }


def _token(number: int) -> str:
    return f"JTI=00000000-0000-4000-8000-{number:012x}"


def stream(count: int, followed: int) -> Iterator[dict[str, Any]]:
    """Yield events, one in ten a mint until there are enough of them, and one in a hundred a use of a minted token.

    Arguments:
        count: how many events.
        followed: how many tokens people mint, each with an id of its own.

    """
    others = _mappings(0.0, 5000)
    mint = next(event for event in _mappings(1.0, 1000) if event["userAgent"] == KUBECTL)
    use = next(event for event in others if event["user"]["username"].startswith("system:serviceaccount:"))
    every, minted = min(10, max(1, count // max(followed, 1))), 0
    for number in range(count):
        if minted < followed and number % every == 0:
            yield mint | _stamp(number) | {"annotations": mint["annotations"] | {ISSUED: _token(minted)}}
            minted += 1
        elif number % 100 == 1 and minted:
            user = use["user"] | {"extra": {CREDENTIAL: [_token(number * 7919 % minted)]}}
            yield use | _stamp(number) | {"user": user}
        else:
            yield others[number % len(others)] | _stamp(number)


def resident() -> int:
    """Return how much memory this process holds now, in bytes (proc(5): the second field of statm is in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(count: int, followed: int) -> dict[str, Any]:
    """Measure memory as events go by with so many tokens to follow; nothing is kept of the findings."""
    tally, seen = Tally(), 0
    steps: list[dict[str, float]] = []
    start = time.perf_counter()

    def fed() -> Iterator[Mapping[str, Any]]:
        nonlocal seen
        for event in stream(count, followed):
            if seen % (count // STEPS) == 0:
                steps.append({"events": seen, "bytes": resident(), "seconds": time.perf_counter() - start})
            seen += 1
            yield event

    for _finding in detect(fed(), tally=tally):
        pass
    steps.append({"events": seen, "bytes": resident(), "seconds": time.perf_counter() - start})
    hours = (STEP * count) / timedelta(hours=1)
    return {"followed": followed, "hours": hours, "findings": dict(tally.findings), "steps": steps}


def main() -> None:
    """Print what was measured, as JSON."""
    what, *numbers = sys.argv[1:]
    print(json.dumps(rate() if what == "rate" else memory(*(map(int, numbers) if numbers else (10_000_000, FOLLOWED)))))


if __name__ == "__main__":
    main()
