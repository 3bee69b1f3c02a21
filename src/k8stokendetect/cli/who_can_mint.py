# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect who-can-mint` does: shows who can obtain service account tokens, how, and what would end it."""

from __future__ import annotations

from pathlib import Path

import click

from k8stokendetect.cli.shared import Errors, exclusions_of, load_cluster, write
from k8stokendetect.cluster import Status
from k8stokendetect.cluster import who_can_mint as minters_of
from k8stokendetect.cluster.places import places_of
from k8stokendetect.events import Platform
from k8stokendetect.outputs.mint_graph import to_svg
from k8stokendetect.outputs.minters import to_line, to_text
from k8stokendetect.outputs.sarif import minters_to_sarif


def who_can_mint(
    *,
    files: tuple[str, ...],
    form: str,
    graph: str | None,
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
) -> int:
    """Print who can mint and return the exit status.

    Raises:
        ConfigError: when an option is wrong, or the drawing cannot be written.

    """
    errors, warnings = Errors(), Errors("warning")
    exclusions = exclusions_of(enable, exclusion_file)
    cluster = load_cluster(files, on_error=errors, warn=warnings)
    found = minters_of(cluster, exclusions=exclusions, platform=platform)
    if form == "sarif":
        named = [name for name in files if name != "-"]
        file = named[0] if named else None
        click.echo(minters_to_sarif(found, places_of(named), file=file, is_complete=not errors.count))
    else:
        for line in map(to_line, found) if form == "json" else to_text(found):
            click.echo(line)
    if graph is not None:
        write(Path(graph), to_svg(found))
    click.echo(
        f"service accounts: {len(cluster.accounts):,}; roles: {len(cluster.roles):,}; "
        f"bindings: {len(cluster.bindings):,}; pods: {len(cluster.pods):,}; warnings: {warnings.count:,}",
        err=True,
    )
    others = any(minter.direct and minter.status is not Status.EXPECTED for minter in found)
    return 2 if errors.count else int(others)
