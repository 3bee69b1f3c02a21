# SPDX-License-Identifier: Apache-2.0
"""Runs everything side by side on the same files and writes `results.md`.

python benchmarks/run.py [--size 1GiB] [--full] [--data FOLDER] [--jobs 2]
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

from generate import size_of, write
from machine import describe
from measure import best, warm
from peers import CORES, Log, Peer, peers, us, workers_are_known
from report import render
from targets import Row, Table

HERE: Final = Path(__file__).parent
FULL_GROWTH: Final = ("10MiB", "30MiB", "100MiB", "300MiB", "1GiB", "5GiB")
SHORT_GROWTH: Final = ("10MiB", "30MiB", "100MiB", "300MiB")
FULL_MEMORY: Final = (10_000_000, 100_000)
SHORT_MEMORY: Final = (1_000_000, 1_000)
"""Events, and credentials to follow."""

FORMS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("native, Metadata", "native.log", {}),
    ("native, Metadata, gzip", "native.log.gz", {}),
    ("native, RequestResponse", "bodies.log", {"level": "RequestResponse"}),
    ("event-hub, Metadata", "event-hub.log", {"wrapper": "event-hub"}),
    ("cloudwatch, Metadata", "cloudwatch.log", {"wrapper": "cloudwatch"}),
    ("subscription, Metadata", "subscription.log", {"wrapper": "subscription"}),
)
"""Title, file and what the generator is asked for."""


def tell(text: str) -> None:
    """Say how far it has come."""
    print(text, file=sys.stderr, flush=True)


def generate(folder: Path, size: int) -> Iterator[Log]:
    """Write the logs one by one; a subscription's holds as many events as the native one, its size is theirs."""
    events = None
    for title, name, options in FORMS:
        path, form = folder / name, str(options.get("wrapper", "native"))
        tell(f"writing {title}")
        written = write(path, size, most=events if form == "subscription" else None, **options)
        events = events or written.events
        yield Log(path, form, written.events, written.size, title)


def compare(log: Log, everyone: list[Peer], folder: Path, runs: int) -> Table:
    """Run everyone on a log, in turn."""
    warm(log.path)
    commands, rows = {}, {}
    for number, peer in enumerate(everyone):
        command = peer.command(log, folder / f"findings-{number}") if peer.version else None
        if command is not None:
            commands[peer.name] = command
        missing = f"not installed: `{peer.missing}`"
        rows[peer.name] = Row(peer.name, note="not for this form" if peer.version else missing)
    for name, run in best(commands, runs, tell).items():
        hits = next(peer.hits for peer in everyone if peer.name == name)
        rows[name] = (
            Row(name, note="failed: see the terminal")
            if run is None
            else Row(name, run.wall, run.processor, run.peak, hits(run.output))
        )
        tell(f"  {name}: {'failed' if run is None else f'{run.wall:.3f} s'}")
    return Table(log.title, log.size, log.path.stat().st_size, log.events, list(rows.values()))


def script(name: str, *arguments: str) -> dict[str, Any] | None:
    """Run another of these scripts; None when it fails, which is told."""
    tell(f"{name} {' '.join(arguments)}")
    done = subprocess.run([sys.executable, str(HERE / name), *arguments], stdout=subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode:
        tell(f"{name}: exit {done.returncode}")
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    machine = describe()
    everyone = [us(), *([us(arguments.jobs)] if arguments.jobs > 1 and workers_are_known() else []), *peers()]
    tables = []
    for log in generate(folder, size_of(arguments.size)):
        tables.append(compare(log, everyone, folder, arguments.runs))
        if arguments.data is None:
            log.path.unlink()
    memory = FULL_MEMORY if arguments.full else SHORT_MEMORY
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        "machine": machine,
        "peers": [(peer.name, peer.version, peer.does, peer.missing) for peer in everyone],
        "tables": tables,
        "rate": script("streaming.py", "rate"),
        "memory": script("streaming.py", "memory", *map(str, memory)),
        "growth": script("growth.py", str(folder), *(FULL_GROWTH if arguments.full else SHORT_GROWTH)),
        "startup": script("startup.py"),
    }


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="Measure k8stokendetect beside what people would use instead.")
    parser.add_argument("--size", default="1GiB", help="of each log; default 1GiB")
    parser.add_argument("--full", action="store_true", help="growth up to 5 GiB, ten million events fed")
    parser.add_argument("--data", type=Path, help="keep the logs in this folder; default: a temporary one")
    parser.add_argument("--jobs", type=int, default=CORES, help="workers, where `read` has them; default: the cores")
    parser.add_argument("--runs", type=int, default=3, help="the best of so many; default 3")
    parser.add_argument("--out", type=Path, default=HERE / "results.md")
    arguments = parser.parse_args()
    os.environ["LC_ALL"] = "C"
    with contextlib.ExitStack() as stack:
        if arguments.data is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = arguments.data
            folder.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(render(measure(folder, arguments)), encoding="utf-8")
    tell(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
