# SPDX-License-Identifier: Apache-2.0
"""What `scan --suggest-exclusions` does: collects callers during the scan, and writes the file at its end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from k8stokendetect.errors import ConfigError
from k8stokendetect.exclusions import Exclusion
from k8stokendetect.findings import Finding
from k8stokendetect.suggestions import Suggestions
from k8stokendetect.suggestions.writing import suggestions_to_toml


class Suggester:
    """Collects callers and writes suggestions; without a file it does nothing.

    Arguments:
        file: where to write; `-` for standard output; None for nowhere.
        exclusions: those of the scan.
        output: where everything else goes; None for standard output.

    Attributes:
        detectors: to be given to the scan with the others.

    Raises:
        ConfigError: when the file cannot be written, holds what somebody confirmed or wrote, or standard output is
            for something else.

    """

    def __init__(self, file: str | None, exclusions: Iterable[Exclusion], output: str | None) -> None:
        if file == "-" and output is None:
            raise ConfigError("--suggest-exclusions - needs --output FILE for everything else")
        self._path = None if file in {None, "-"} else Path(file or "")
        self._found = Suggestions(exclusions)
        self.detectors = () if file is None else (self._found,)
        if self._path is not None:
            try:
                if self._path.is_file() and _holds_more_than_comments(self._path.read_bytes()):
                    raise ConfigError(f"{file}: holds more than comments and is not overwritten: name another file")
                self._path.open("a").close()
            except OSError as error:
                raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None

    def note(self, finding: Finding, /) -> None:
        """Take a finding of the scan."""
        if self.detectors:
            self._found.note(finding)

    def finish(self) -> None:
        """Write what was found; raises OSError when that fails."""
        if not self.detectors:
            return
        text = suggestions_to_toml(self._found)
        if self._path is None:
            click.echo(text, nl=False)
        else:
            self._path.write_text(text, encoding="utf-8")


def _holds_more_than_comments(text: bytes) -> bool:
    return any(not line.lstrip().startswith(b"#") for line in text.splitlines() if line.strip())
