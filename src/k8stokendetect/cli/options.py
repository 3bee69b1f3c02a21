# SPDX-License-Identifier: Apache-2.0
"""The options that several commands share, and those that choose what `scan` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from k8stokendetect.cli.grouping import FIND, LEAVE_OUT, OTHER, READ, SHOW, Option, option

if TYPE_CHECKING:
    from k8stokendetect.events import Platform

PLATFORMS: Final[tuple[Platform, ...]] = ("kubernetes", "eks", "aks", "gke", "openshift")
SEVERITIES: Final = ("informational", "low", "medium", "high", "critical")

files = click.argument("files", nargs=-1, required=True, metavar="FILES…")
platform = option(
    "--platform", group=READ, type=click.Choice(PLATFORMS), help="Platform of the cluster; its exclusions apply, too."
)
exclusion_file = option(
    "--exclusions", "exclusion_file", group=LEAVE_OUT, metavar="FILE", help="Exclusions of your own, in TOML."
)
enable = option(
    "--enable", group=LEAVE_OUT, multiple=True, metavar="NAME", help="Switch on an optional exclusion; may be repeated."
)
fail_on = option(
    "--fail-on",
    group=OTHER,
    type=click.Choice(SEVERITIES, case_sensitive=False),
    default="low",
    show_default=True,
    help="Exit with 1 if a finding has at least this severity.",
)


trust_pods = option(
    "--trust-pod",
    "trust_pods",
    group=READ,
    multiple=True,
    metavar="NAMESPACE/NAME",
    help="Take audit events also from what this pod prints; * in NAME stands for any characters; may be repeated.",
)


day_first = option(
    "--day-first/--month-first",
    "day_first",
    group=READ,
    default=None,
    help="How to read dates such as 12/11/2026. By default, as a day above 12 in the same file shows.",
)


def text_or_json(help_text: str, /, *more: str) -> Option:
    """Return the option `--format` of a command that prints text, JSON or more."""
    return option(
        "--format",
        "form",
        group=SHOW,
        type=click.Choice(["text", "json", *more]),
        default="text",
        show_default=True,
        help=help_text,
    )


_PRINTING: Final = (
    option(
        "--format",
        "form",
        group=SHOW,
        metavar="[text|json|ecs|ocsf|NAME]",
        default="text",
        show_default=True,
        help="Text, or JSON lines: our own, ECS or OCSF; or, with --plugins, a plug-in's format.",
    ),
    option(
        "--incidents", "level", group=SHOW, flag_value="incidents", help="One entry per attack; the default of text."
    ),
    option(
        "--alerts",
        "level",
        group=SHOW,
        flag_value="alerts",
        help="One entry per request; the default of all formats but text.",
    ),
    option(
        "--findings", "level", group=SHOW, flag_value="findings", help="One entry per rule and request, with evidence."
    ),
    option(
        "--min-severity",
        group=LEAVE_OUT,
        type=click.Choice(SEVERITIES, case_sensitive=False),
        help="Print nothing less severe.",
    ),
    option(
        "--since",
        group=LEAVE_OUT,
        metavar="TIME",
        help="Print nothing earlier: 2026-11-23, 2026-11-23T21:43Z, 24h, 7d.",
    ),
    option("--until", group=LEAVE_OUT, metavar="TIME", help="Print nothing later."),
    option(
        "--actor",
        "actors",
        group=LEAVE_OUT,
        multiple=True,
        metavar="NAME",
        help="Print only what this user, or service account NAMESPACE/NAME, did; * stands for any characters; "
        "may be repeated.",
    ),
    option(
        "--limit",
        group=LEAVE_OUT,
        type=click.IntRange(min=0),
        metavar="N",
        help="Print at most N; 0 prints everything in full.",
    ),
    option("--output", group=SHOW, metavar="FILE", help="Write there instead of to standard output."),
    option("-q", "--quiet", group=SHOW, is_flag=True, help="No progress bar, no warnings, no summary line at the end."),
)


def printing(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add the options that choose what is printed, how, and where to: a decorator."""
    for add in reversed(_PRINTING):
        command = add(command)
    return command


_CLOUDS: Final = (
    option(
        "--issuer",
        "issuers",
        group=FIND,
        multiple=True,
        metavar="URL",
        help="Issuer of the cluster's tokens, as clouds' logs have it (`aws eks describe-cluster`); may be repeated.",
    ),
    option(
        "--azure-subjects",
        group=READ,
        metavar="FILE",
        help="Subjects of federated credentials in Azure by id, in JSON: Azure does not log them.",
    ),
)


def clouds(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add the options: a decorator."""
    for add in reversed(_CLOUDS):
        command = add(command)
    return command
