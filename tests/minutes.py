# SPDX-License-Identifier: Apache-2.0
"""The outputs on docs/first-three-minutes.md and docs/case-studies.md: where each comes from; writes them again.

python tests/minutes.py              # the case studies
python tests/minutes.py AUDIT.LOG    # the first three minutes, of what benchmarks/day.py wrote
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final

import attrs
from click.testing import CliRunner

from k8stokendetect.cli import main

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs/first-three-minutes.md"
CASES: Final = ROOT / "docs/case-studies.md"
_BLOCK: Final = re.compile(
    r"(<!-- (?P<command>[^|\n]+) \| (?P<part>[^\n]+) -->\n```text\n)(?P<text>.*?)(?=^```$)", re.MULTILINE | re.DOTALL
)
SUGGESTED: Final = "suggestions"
"""Stands for what `--suggest-exclusions` writes."""


@attrs.frozen
class Shown:
    """An output on the page.

    Arguments:
        command: what was run.
        part: which lines of it: `stdout 1-9`, `stderr last`, `stdout from "text" 8`.
        text: what stands there.

    """

    command: str
    part: str
    text: str


def shown(page: Path = PAGE) -> list[Shown]:
    """Return the outputs on a page."""
    return [Shown(found["command"], found["part"], found["text"]) for found in _BLOCK.finditer(page.read_text("utf-8"))]


class Runs:
    """Runs commands in the current folder, each once."""

    def __init__(self) -> None:
        self._done: dict[str, tuple[str, str]] = {}

    def output(self, command: str, part: str, /) -> str:
        """Return some lines of what a command prints."""
        if command not in self._done:
            self._done[command] = self._run(command)
        stream, _, lines = f"stdout {part}".partition(" ") if command == SUGGESTED else part.partition(" ")
        text = self._done[command][stream == "stderr"].splitlines()
        if lines == "last":
            return text[-1] + "\n"
        if found := re.fullmatch(r'from "(.+)" (\d+)', lines):
            first = text.index(found[1])
            return "\n".join(text[first : first + int(found[2])]) + "\n"
        first, last = map(int, lines.split("-"))
        return "\n".join(text[first - 1 : last]) + "\n"

    def _run(self, command: str) -> tuple[str, str]:
        words = shlex.split(command)
        if command == SUGGESTED:
            words = ["scan", "audit.log", "--suggest-exclusions", "mine.toml"]
        result = CliRunner().invoke(main, words, env={"COLUMNS": "120"})
        assert result.exit_code in {0, 1}, result.output
        return (Path("mine.toml").read_text("utf-8") if command == SUGGESTED else result.stdout), result.stderr


def write(page: Path, folder: Path) -> None:
    """Write the outputs into a page; the commands are run in a folder."""
    os.chdir(folder)
    runs = Runs()
    text = page.read_text("utf-8")
    page.write_text(
        _BLOCK.sub(lambda found: found[1] + runs.output(found["command"], found["part"]), text), encoding="utf-8"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        write(PAGE, Path(sys.argv[1]).resolve().parent)
    else:
        write(CASES, ROOT)
