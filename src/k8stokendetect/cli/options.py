# SPDX-License-Identifier: Apache-2.0
"""The options that several commands share, and those that choose what `scan` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

if TYPE_CHECKING:
    from k8stokendetect.events import Platform

Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

PLATFORMS: Final[tuple[Platform, ...]] = ("kubernetes", "eks", "aks", "gke", "openshift")
SEVERITIES: Final = ("informational", "low", "medium", "high", "critical")

files = click.argument("files", nargs=-1, required=True, metavar="FILES…")
platform = click.option(
    "--platform", type=click.Choice(PLATFORMS), help="Platform the log comes from; enables its exclusions."
)
exclusion_file = click.option("--exclusions", "exclusion_file", metavar="FILE", help="Exclusions of your own, in TOML.")
enable = click.option(
    "--enable", multiple=True, metavar="NAME", help="Switch on an optional exclusion; may be repeated."
)
fail_on = click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    default="low",
    show_default=True,
    help="Exit with 1 for a finding of at least this severity.",
)


trust_pods = click.option(
    "--trust-pod",
    "trust_pods",
    multiple=True,
    metavar="NAMESPACE/NAME",
    help="A pod that prints an audit log, besides kube-apiserver; * in NAME stands for any letters; may be repeated.",
)


day_first = click.option(
    "--day-first/--month-first",
    "day_first",
    default=None,
    help="How dates such as 12/11/2026 are meant. By default: what a day over 12 in the same file proves.",
)


def text_or_json(help_text: str, /, *more: str) -> Option:
    """Return the option `--format` of a command that prints text, JSON or more."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", *more]),
        default="text",
        show_default=True,
        help=help_text,
    )


_PRINTING: Final = (
    click.option(
        "--format",
        "form",
        metavar="[text|json|ecs|ocsf|NAME]",
        default="text",
        show_default=True,
        help="Text, or lines of JSON: our own, ECS, OCSF. NAME: of a plug-in, with --plugins.",
    ),
    click.option("--alerts", "level", flag_value="alerts", help="One line per request (default except for text)."),
    click.option("--findings", "level", flag_value="findings", help="What each rule said about it, with evidence."),
    click.option("--incidents", "level", flag_value="incidents", help="One for each attack; the default of text."),
    click.option("--min-severity", type=click.Choice(SEVERITIES, case_sensitive=False), help="Print nothing below it."),
    click.option("--since", metavar="TIME", help="Print nothing before it: 2026-11-23, 2026-11-23T21:43Z, 24h, 7d."),
    click.option("--until", metavar="TIME", help="Print nothing after it."),
    click.option(
        "--actor",
        "actors",
        multiple=True,
        metavar="NAME",
        help="Print what this user did, or service account NAMESPACE/NAME; * stands for any letters; may be repeated.",
    ),
    click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Print at most N; 0 prints all, in full."),
    click.option("--output", metavar="FILE", help="Write there instead of to standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar, no warnings, no last line with the numbers."),
)


def printing(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add the options that choose what is printed, how, and where to: a decorator."""
    for option in reversed(_PRINTING):
        command = option(command)
    return command


_CLOUDS: Final = (
    click.option(
        "--issuer",
        "issuers",
        multiple=True,
        metavar="URL",
        help="With clouds' logs: the issuer of the cluster's tokens (`aws eks describe-cluster`); may be repeated.",
    ),
    click.option(
        "--azure-subjects",
        metavar="FILE",
        help="With Azure's logs, which lack it: the subject of each federated credential by its id, in JSON.",
    ),
)


def clouds(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add the options: a decorator."""
    for option in reversed(_CLOUDS):
        command = option(command)
    return command
