# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect sigma` does: prints the rules as Sigma YAML, or writes a file each."""

from __future__ import annotations

from pathlib import Path

import click

from k8stokendetect.cli.messages import write
from k8stokendetect.cli.selection import exclusions_of
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.sigma import export


def run(
    *,
    rules: tuple[str, ...],
    folder: Path | None,
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
    weaker: tuple[str, ...],
) -> int:
    """Write rules and return the exit status.

    Raises:
        ConfigError: when a name is unknown, Sigma cannot express a rule, or a file cannot be written.

    """
    exclusions = exclusions_of(enable, exclusion_file)
    documents = dict(export(rules or None, exclusions=exclusions, platform=platform, weaker=weaker))
    if folder is None:
        click.echo("---\n".join(documents.values()), nl=False)
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None
    for name, text in documents.items():
        write(folder / name, text)
    click.echo(f"rules written: {len(documents)}", err=True)
    return 0
