# SPDX-License-Identifier: Apache-2.0
"""Where text goes: a terminal, with colours and a width, or a file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final

import click

from k8stokendetect.errors import ConfigError
from k8stokendetect.outputs.columns import Line, plain

NO_TERMINAL: Final = 120
"""Width in cells where standard output is not a terminal and COLUMNS is not set."""

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "critical": {"fg": "bright_red", "bold": True, "reverse": True},
    "high": {"fg": "bright_red", "bold": True},
    "medium": {"fg": "yellow"},
    "low": {"fg": "cyan"},
    "informational": {"fg": "blue"},
    "title": {"bold": True},
    "command": {"fg": "green"},
    "dim": {"dim": True},
}


class Screen:
    """Prints lines, in colour where standard output is a terminal and NO_COLOR is not set (https://no-color.org/).

    Arguments:
        output: the file to write instead.
        append: whether what is in it already stays.

    Attributes:
        width: of a page, in cells: of the window; COLUMNS overrides it.
        line_width: of a line that a program may look for; None for any length, where there is no window.

    Raises:
        ConfigError: when the file cannot be written.

    """

    def __init__(self, output: str | None = None, *, append: bool = False) -> None:
        try:
            self._file: IO[str] | None = None if output is None else _opened(output, append=append)
        except OSError as error:
            raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None
        except ValueError:
            raise ConfigError("--output: not the name of a file") from None
        is_plain = output is not None or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._color = False if is_plain else None  # None: click looks whether it is a terminal
        has_window = output is None and sys.stdout.isatty()
        self.width = max(shutil.get_terminal_size((NO_TERMINAL, 24)).columns, 40)
        self.line_width: int | None = self.width if has_window or os.environ.get("COLUMNS") else None

    def text(self, text: str, /) -> None:
        """Print a text as it is."""
        click.echo(text, file=self._file, color=self._color)

    def line(self, line: Line, /, *, err: bool = False) -> None:
        """Print a line in its colours; with `err` to standard error."""
        if self._color is False:
            text = plain(line)
        else:
            text = "".join(click.style(part, **_STYLES[style]) if style in _STYLES else part for part, style in line)
        click.echo(text, file=None if err else self._file, err=err, color=self._color)

    def lines(self, lines: Iterable[Line], /) -> None:
        """Print lines."""
        for line in lines:
            self.line(line)

    def close(self) -> None:
        """Write what is left to the file; raises OSError where that fails."""
        if self._file is not None:
            self._file.close()


def _opened(output: str, *, append: bool) -> IO[str]:
    return Path(output).open("a" if append else "w", encoding="utf-8")
