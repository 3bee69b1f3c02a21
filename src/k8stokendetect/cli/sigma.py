# SPDX-License-Identifier: Apache-2.0
"""The command `k8stokendetect sigma`: prints the rules as Sigma YAML, or writes a file each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from k8stokendetect.cli.shared import PLATFORMS

if TYPE_CHECKING:
    from k8stokendetect import Exclusion
    from k8stokendetect.events import Platform

# What else the command needs is imported when it runs, as in cli.py.


@click.command()
@click.argument("rules", nargs=-1, metavar="[RULE…]")
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write a file for each rule.")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Where the logs come from: adds its exclusions.")
@click.option("--exclusions", "exclusion_file", metavar="FILE", help="Exclusions of your own, in TOML.")
@click.option("--enable", multiple=True, metavar="NAME", help="Switch on an optional exclusion; may be repeated.")
@click.option(
    "--weaker",
    multiple=True,
    metavar="NAME",
    help="Also filter by this exclusion where Sigma cannot say all its proofs; may be repeated.",
)
def sigma(
    *,
    rules: tuple[str, ...],
    folder: Path | None,
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
    weaker: tuple[str, ...],
) -> None:
    """Write rules as Sigma YAML for a SIEM: all that Sigma can say, or those named.

    What Sigma cannot say stands as a comment in the YAML; such a rule reports too much rather than too little.

    Exits with 2 when a name is unknown, or Sigma cannot say a rule.
    """
    from k8stokendetect import DEFAULT_EXCLUSIONS, load_exclusions  # noqa: PLC0415 - not for --help
    from k8stokendetect.errors import ConfigError  # noqa: PLC0415 - not for --help
    from k8stokendetect.sigma import export  # noqa: PLC0415 - not for --help

    excusing: tuple[Exclusion | str, ...] = (*DEFAULT_EXCLUSIONS, *enable)
    try:
        if exclusion_file is not None:
            excusing += load_exclusions(exclusion_file)
        documents = dict(export(rules or None, exclusions=excusing, platform=platform, weaker=weaker))
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if folder is None:
        click.echo("---\n".join(documents.values()), nl=False)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        click.echo(f"error: {error.filename}: cannot be written: {error.strerror}", err=True)
        sys.exit(2)
    click.echo(f"rules written: {len(documents)}", err=True)
