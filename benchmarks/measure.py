# SPDX-License-Identifier: Apache-2.0
"""Measures commands, all in the same way: best of several runs, in turn, files in the page cache."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

CHILD: Final = Path(__file__).with_name("_child.py")
CHUNK: Final = 1 << 24


class Run(NamedTuple):
    """What one command cost, from the start of its process to its end.

    Attributes:
        wall: seconds.
        processor: seconds of user and system time, over all threads and child processes.
        peak: memory in bytes, of the largest process.
        output: what it wrote to standard output.

    """

    wall: float
    processor: float
    peak: int
    output: bytes


class Failed(Exception):  # noqa: N818 - reads as what happened
    """A command ended with an error."""


def run(command: Sequence[str]) -> Run:
    """Run one command.

    Raises:
        Failed: when it ends with anything but 0.

    """
    with tempfile.TemporaryDirectory() as folder:
        answer, output = Path(folder) / "answer", Path(folder) / "output"
        subprocess.run(  # noqa: S603 - the commands are ours
            [sys.executable, "-I", "-S", str(CHILD), str(answer), str(output), *command], check=True
        )
        code, wall, user, system, peak = answer.read_text().split()
        if code != "0":
            raise Failed(f"exit {code}: {' '.join(command)[:300]}")
        return Run(float(wall), float(user) + float(system), int(peak), output.read_bytes())


def best(commands: Mapping[str, Sequence[str]], runs: int, tell: Callable[[str], None]) -> dict[str, Run | None]:
    """Run commands in turn, several times; return the quickest run of each, None for one that fails."""
    found: dict[str, Run | None] = {}
    for turn in range(runs):
        for name, command in commands.items():
            earlier = found.get(name)
            if turn and earlier is None:
                continue
            try:
                now = run(command)
            except (Failed, OSError) as error:
                tell(f"{name}: {error}")
                found[name] = None
                continue
            found[name] = now if earlier is None or now.wall < earlier.wall else earlier
    return found


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
