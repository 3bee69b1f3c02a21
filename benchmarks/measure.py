# SPDX-License-Identifier: Apache-2.0
"""Measures commands, all in the same way: several rounds, in turn, files in the page cache."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

CHILD: Final = Path(__file__).with_name("_child.py")
CHUNK: Final = 1 << 24
BYTECODE: Final = tempfile.TemporaryDirectory()
"""Where Python keeps what it compiled, until this process ends."""


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


@functools.cache
def environment() -> dict[str, str]:
    """Return variables for which Python keeps what it compiled, as an installed package is compiled once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = BYTECODE.name
    once = "from k8stokendetect import detect; list(detect(b''))"
    subprocess.run([sys.executable, "-c", once], check=True, env=kept)  # noqa: S603 - ours
    return kept


def run(command: Sequence[str]) -> Run:
    """Run one command.

    Raises:
        Failed: when it ends with anything but 0.

    """
    with tempfile.TemporaryDirectory() as folder:
        answer, output = Path(folder) / "answer", Path(folder) / "output"
        subprocess.run(  # noqa: S603 - the commands are ours
            [sys.executable, "-I", "-S", str(CHILD), str(answer), str(output), *command], check=True, env=environment()
        )
        code, wall, user, system, peak = answer.read_text().split()
        if code != "0":
            raise Failed(f"exit {code}: {' '.join(command)[:300]}")
        return Run(float(wall), float(user) + float(system), int(peak), output.read_bytes())


def alternate(
    commands: Mapping[str, Sequence[str]], rounds: int, progress: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Run commands in turn, forwards and backwards, so that what drifts on the machine meets all of them alike.

    Returns:
        One run a round for each; none for a command that fails.

    """
    found: dict[str, list[Run]] = {name: [] for name in commands}
    failed: set[str] = set()
    for number in range(rounds):
        names = list(commands)
        for name in names if number % 2 == 0 else reversed(names):
            if name in failed:
                continue
            try:
                found[name].append(run(commands[name]))
            except (Failed, OSError) as error:
                progress(f"{name}: {error}")
                failed.add(name)
                found[name].clear()
    return found


def ratio(theirs: Sequence[Run], ours: Sequence[Run], clock: Callable[[Run], float]) -> float:
    """Return the median over the rounds of their time by ours; above 1 we are faster."""
    return median(clock(one) / clock(other) for one, other in zip(theirs, ours, strict=True))


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
