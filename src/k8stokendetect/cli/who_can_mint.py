# SPDX-License-Identifier: Apache-2.0
"""The command `k8stokendetect who-can-mint`: who comes to service accounts' tokens, how, and what would end it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from k8stokendetect.cli.shared import PLATFORMS, Errors
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, ReadError

if TYPE_CHECKING:
    from k8stokendetect import Exclusion
    from k8stokendetect.events import Platform


@click.command("who-can-mint")
@click.argument("files", nargs=-1, required=True, metavar="FILES…")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Entries that a person reads, subjects that are alike in one, or a line of JSON for each subject.",
)
@click.option("--graph", metavar="FILE.svg", help="Also draw who comes to whose tokens by which role.")
@click.option("--platform", type=click.Choice(PLATFORMS), help="What the cluster runs on: adds its exclusions.")
@click.option("--exclusions", "exclusion_file", metavar="FILE", help="Exclusions of your own, in TOML.")
@click.option("--enable", multiple=True, metavar="NAME", help="Switch on an optional exclusion; may be repeated.")
def who_can_mint(
    *,
    files: tuple[str, ...],
    form: str,
    graph: str | None,
    platform: Platform | None,
    exclusion_file: str | None,
    enable: tuple[str, ...],
) -> None:
    """Tell who can mint tokens of which service accounts, or come to them otherwise, and what would end it.

    FILES are what `kubectl get serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,pods -A -o json`
    prints, JSON or YAML, gzip or not; - is standard input. The worst come first.

    Exits with 0 when only components that mint by design can do so, 1 when others can, and 2 when a file could not be
    read or an option is wrong. An object that is passed over, or a binding to a role that does not exist, is a warning.
    """
    from k8stokendetect import cluster as library  # noqa: PLC0415 - not for --help
    from k8stokendetect.outputs import mint_graph, minters  # noqa: PLC0415 - not for --help

    errors, warnings = Errors(), Errors("warning")

    def tell(error: K8sTokenDetectError) -> None:
        passed_over = isinstance(error, ReadError) and error.path is not None
        (warnings if passed_over else errors)(error)

    sources: list[Any] = [sys.stdin.buffer if name == "-" else Path(name) for name in files]
    try:
        if "" in files:
            raise ConfigError("the name of a file is empty")  # noqa: TRY301 - told like any other
        excusing = _exclusions(exclusion_file, enable)
        loaded = library.Cluster.load(*sources, on_error=tell)
        found = library.who_can_mint(loaded, exclusions=excusing, platform=platform)
    except ConfigError as error:
        errors(error)
        sys.exit(2)
    for line in map(minters.to_line, found) if form == "json" else minters.to_text(found):
        click.echo(line)
    if graph is not None:
        try:
            Path(graph).write_text(mint_graph.to_svg(found), encoding="utf-8")
        except OSError as error:
            click.echo(f"error: {graph}: cannot be written: {error.strerror}", err=True)
            sys.exit(2)
    click.echo(
        f"service accounts: {len(loaded.accounts):,}; roles: {len(loaded.roles):,};"
        f" bindings: {len(loaded.bindings):,}; pods: {len(loaded.pods):,}; warnings: {warnings.count:,}",
        err=True,
    )
    others = any(minter.direct and minter.status is not library.Status.EXPECTED for minter in found)
    sys.exit(2 if errors.count else int(others))


def _exclusions(file: str | None, enable: tuple[str, ...]) -> tuple[Exclusion, ...]:
    from k8stokendetect import DEFAULT_EXCLUSIONS, load_exclusions  # noqa: PLC0415 - not for --help
    from k8stokendetect.exclusions import find_exclusion  # noqa: PLC0415 - not for --help

    found = (*DEFAULT_EXCLUSIONS, *map(find_exclusion, enable))
    return found if file is None else (*found, *load_exclusions(file))
