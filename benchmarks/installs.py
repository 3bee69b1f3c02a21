# SPDX-License-Identifier: Apache-2.0
"""Compares the base install with one with extras, each in a virtual environment of its own, on the same log."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from measure import Run, alternate, warm

SOURCES: Final = Path(__file__).parent.parent
EXTRAS: Final = {"base": "", "extras": "[cli]"}
"""Names of the environments, and the extras that each has; `cli` includes `fast`."""


def _environment(folder: Path, extras: str) -> str:
    """Make one, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603 - ours
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{SOURCES}{extras}"]
    subprocess.run(install, check=True)  # noqa: S603 - ours
    return python


def compare(log: Path, rounds: int, progress: Callable[[str], None]) -> dict[str, list[Run]] | None:
    """Run both on one log, in turn; None if an environment cannot be made."""
    script = str(Path(__file__).with_name("ours.py"))
    with tempfile.TemporaryDirectory() as folder:
        commands: dict[str, list[str]] = {}
        for name, extras in EXTRAS.items():
            progress(f"installing {name}")
            try:
                python = _environment(Path(folder, name), extras)
            except (OSError, subprocess.CalledProcessError) as error:
                progress(f"{name}: {error}")
                return None
            commands[name] = [python, "-I", script, str(log), str(Path(folder, "findings"))]
        warm(log)
        runs = alternate(commands, rounds, progress)
    return runs if all(runs.values()) else None
