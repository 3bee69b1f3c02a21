# SPDX-License-Identifier: Apache-2.0
"""Runs everything side by side on the same files, and prints which aims are reached.

python benchmarks/run.py [--size 1GiB] [--full] [--data FOLDER] [--out results.md]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import calls
import installs
from generate import size_of, write
from machine import describe
from measure import alternate, warm
from peers import Log, Peer, peers, us
from report import render
from targets import NATIVE, Row, Table

HERE: Final = Path(__file__).parent
GROWTH: Final = ("10MiB", "30MiB", "100MiB", "300MiB", "1GiB", "5GiB")
MEMORY: Final = (10_000_000, 100_000)
"""Events, and credentials to follow."""

FORMS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    (NATIVE, "native.log", {}),
    ("native, Metadata, gzip", "native.log.gz", {}),
    ("native, RequestResponse", "bodies.log", {"level": "RequestResponse"}),
    ("event-hub, Metadata", "event-hub.log", {"wrapper": "event-hub"}),
    ("cloudwatch, Metadata", "cloudwatch.log", {"wrapper": "cloudwatch"}),
    ("subscription, Metadata", "subscription.log", {"wrapper": "subscription"}),
    ("native, Metadata, set-up", "set-up.log", {"mix": "set-up"}),
)
"""Title, file and what the generator is asked for."""


def progress(text: str) -> None:
    """Print how far it has come."""
    print(text, file=sys.stderr, flush=True)


def generate(folder: Path, size: int) -> Iterator[Log]:
    """Write the logs one by one; a subscription's holds as many events as the native one, its size is theirs."""
    events = None
    for title, name, options in FORMS:
        path, form = folder / name, str(options.get("wrapper", "native"))
        progress(f"writing {title}")
        written = write(path, size, most=events if form == "subscription" else None, **options)
        events = events or written.events
        yield Log(path, form, written.events, written.size, title)


def compare(log: Log, everyone: list[Peer], folder: Path, rounds: int) -> Table:
    """Run everyone on a log, in turn."""
    warm(log.path)
    commands, rows = {}, {}
    for number, peer in enumerate(everyone):
        command = peer.command(log, folder / f"findings-{number}") if peer.version else None
        if command is not None:
            commands[peer.name] = command
        missing = f"not installed: `{peer.missing}`"
        rows[peer.name] = Row(peer.name, [], note="not for this form" if peer.version else missing)
    for name, runs in alternate(commands, rounds, progress).items():
        peer = next(one for one in everyone if one.name == name)
        if runs:
            rows[name] = Row(name, runs, peer.hits(runs[-1].output), parallel=peer.parallel)
            progress(f"  {name}: {rows[name].wall:.3f} s")
        else:
            rows[name] = Row(name, [], note="failed: see the terminal")
    return Table(log.title, log.size, log.path.stat().st_size, log.events, list(rows.values()))


def script(name: str, *arguments: str) -> dict[str, Any] | None:
    """Run another of these scripts; None if it fails."""
    progress(f"{name} {' '.join(arguments)}")
    done = subprocess.run([sys.executable, str(HERE / name), *arguments], stdout=subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode:
        progress(f"{name}: exit {done.returncode}")
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    everyone = [us(), *peers()]
    results: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        "size": arguments.size,
        "full": arguments.full,
        "machine": describe(),
        "peers": [(peer.name, peer.version, peer.does, peer.missing) for peer in everyone],
        "tables": [],
        "calls": {name: (cost.calls, calls.LIMITS[name]) for name, cost in calls.costs().items()},
    }
    for log in generate(folder, size_of(arguments.size)):
        results["tables"].append(compare(log, everyone, folder, arguments.rounds))
        if log.title == NATIVE:
            results["installs"] = installs.compare(log.path, arguments.rounds, progress)
        if arguments.data is None:
            log.path.unlink()
    results["rate"] = script("streaming.py", "rate")
    if arguments.full:
        results["memory"] = script("streaming.py", "memory", *map(str, MEMORY))
        results["growth"] = script("growth.py", str(folder), *GROWTH)
        results["startup"] = script("startup.py")
    return results


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description="Measure k8stokendetect next to what people would use instead.")
    parser.add_argument("--size", default="128MiB", help="of each log; default 128MiB, the aims are for 1GiB")
    parser.add_argument("--full", action="store_true", help="also memory, growth up to 5 GiB, and the start")
    parser.add_argument("--data", type=Path, help="keep the logs in this folder; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds in which all run in turn; default 5")
    parser.add_argument("--out", type=Path, help="write the page here; default: print it")
    arguments = parser.parse_args()
    os.environ["LC_ALL"] = "C"
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = arguments.data or temporary
        folder.mkdir(parents=True, exist_ok=True)
        page = render(measure(folder, arguments))
    if arguments.out is None:
        print(page)
    else:
        arguments.out.write_text(page, encoding="utf-8")
        progress(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
