# SPDX-License-Identifier: Apache-2.0
"""What every command tells on standard error: errors, the first few of them, and what was not read."""

from __future__ import annotations

from pathlib import Path

import click

from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.outputs.text import neutral

SHOWN_ERRORS = 20
"""Maximum number of errors that are printed; the others are counted."""


class Errors:
    """Prints errors as they come, the first few of them."""

    def __init__(self, label: str = "error") -> None:
        self.count = 0
        self._label = label

    def __call__(self, error: K8sTokenDetectError) -> None:
        """Print the error, or only count it once enough have been printed."""
        self.count += 1
        if self.count <= SHOWN_ERRORS:
            say(error, self._label)
        elif self.count == SHOWN_ERRORS + 1:
            click.echo(f"{self._label}: more of them; only counted from here on", err=True)

    def end(self, about: str) -> None:
        """Print how many there were, where not all were printed."""
        if self.count > SHOWN_ERRORS:
            click.echo(f"{self._label}: {self.count:,} {about} in all", err=True)


def say(error: K8sTokenDetectError, label: str = "error") -> None:
    """Print one error."""
    click.echo(f"{label}: {neutral(str(error))}", err=True)


def write(path: Path, text: str, /) -> None:
    """Write a file; raises ConfigError, with the file, when that fails."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def say_counts(*parts: str) -> None:
    """Print one line that accounts for everything that was read, without the empty parts."""
    click.echo("; ".join(part for part in parts if part), err=True)


def listed(counts: dict[str, int], /) -> str:
    """Return counts by name, in brackets behind their sum."""
    return f" ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""
