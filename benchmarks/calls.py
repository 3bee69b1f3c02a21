# SPDX-License-Identifier: Apache-2.0
"""Counts what one audit event costs in Python: calls into the package, files that they run in, moves between files.

    python benchmarks/calls.py

Unlike times, these numbers are the same on every machine. Every built-in detector and exclusion is on, the log is given
as bytes, and a call is one of a Python function of the package; what a library written in C does is not counted.
An event's cost is the difference between a log that holds it and an empty one: set-up does not count, recognising the
form of the log does.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import k8stokendetect
from generate import lines
from k8stokendetect import detect
from mix import KUBECTL, KUBELET

PACKAGE: Final = str(Path(k8stokendetect.__file__).parent)
KUBELETS_MINT: Final = "a kubelet's mint"
PERSONS_MINT: Final = "a person's mint"
NOISE: Final = "noise (list pods)"
LIMITS: Final = {KUBELETS_MINT: 250, PERSONS_MINT: 330, NOISE: 15}
"""Maximum number of calls for each event; 200 and 300 before the rules about clouds, two of which note every mint."""


class Count(NamedTuple):
    """What ran.

    Attributes:
        calls: how many there were in each file.
        moves: how often a call was in another file than the one before it.
        findings: how many were reported.

    """

    calls: Counter[str]
    moves: int
    findings: int


class Cost(NamedTuple):
    """What one event added.

    Attributes:
        calls: into the package.
        files: in which there were more calls than without the event.
        moves: between files.
        findings: that were reported.

    """

    calls: int
    files: int
    moves: int
    findings: int


def count(log: bytes) -> Count:
    """Count what runs while a log is read to its end."""
    calls, moves, last = Counter[str](), 0, ""

    def see(frame: FrameType, what: str, _: Any) -> None:
        nonlocal moves, last
        file = frame.f_code.co_filename
        if what == "call" and file.startswith(PACKAGE):
            calls[file] += 1
            moves += file != last
            last = file

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        findings = sum(1 for _ in detect(log))
    finally:
        sys.setprofile(before)
    return Count(calls, moves, findings)


def samples() -> dict[str, bytes]:
    """Return a line of the benchmark's log for each of `LIMITS`."""
    found: dict[str, bytes] = {}
    for line in islice(lines(7, 0.3, "Metadata"), 2000):
        event = json.loads(line)
        agent, ref = event["userAgent"], event["objectRef"]
        if ref.get("subresource") == "token":
            found.setdefault({KUBELET: KUBELETS_MINT, KUBECTL: PERSONS_MINT}.get(agent, "another mint"), line + b"\n")
        elif event["verb"] == "list" and ref["resource"] == "pods" and agent == KUBELET:
            found.setdefault(NOISE, line + b"\n")
    return {name: found[name] for name in LIMITS}


def costs() -> dict[str, Cost]:
    """Return what each sample adds to an empty log."""
    events = samples()
    count(b"".join(events.values()))  # imports and caches of the process
    bare = count(b"")
    found: dict[str, Cost] = {}
    for name, line in events.items():
        full = count(line)
        added = full.calls - bare.calls
        found[name] = Cost(added.total(), len(added), full.moves - bare.moves, full.findings)
    return found


def main() -> None:
    """Print a table."""
    print("| event | calls | at most | files | moves | findings |\n|---|---:|---:|---:|---:|---:|")
    for name, cost in costs().items():
        print(f"| {name} | {cost.calls} | {LIMITS[name]} | {cost.files} | {cost.moves} | {cost.findings} |")


if __name__ == "__main__":
    main()
