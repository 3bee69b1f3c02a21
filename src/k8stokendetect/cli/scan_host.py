# SPDX-License-Identifier: Apache-2.0
"""The command `k8stokendetect scan-host`: token requests among the commands of a Linux host's audit log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from k8stokendetect.cli.shared import SEVERITIES, Errors
from k8stokendetect.errors import ConfigError


@click.command("scan-host")
@click.argument("files", nargs=-1, required=True, metavar="FILES…")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Each finding with its evidence, or JSON lines.",
)
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    default="low",
    show_default=True,
    help="Exit with 1 for a finding of at least this severity.",
)
def scan_host(*, files: tuple[str, ...], form: str, fail_on: str) -> None:
    """Scan audit logs of Linux hosts (auditd): files, gzip files, folders of rotated files, or - for standard input.

    Exits with 0 when nothing was found at or above --fail-on, 1 when something was, and 2 when a record could not be
    read or an option is wrong; everything that can be read is examined in any case.
    """
    from k8stokendetect.cli.printer import Printer  # noqa: PLC0415 - not for --help
    from k8stokendetect.commands import detect_commands  # noqa: PLC0415 - not for --help
    from k8stokendetect.engine.tally import Tally  # noqa: PLC0415 - not for --help
    from k8stokendetect.findings import Severity  # noqa: PLC0415 - not for --help

    errors, tally = Errors(), Tally()
    printer = Printer("findings" if form == "text" else form, as_incidents=False, report=None)
    sources: list[Any] = [sys.stdin.buffer if name == "-" else Path(name) for name in files]
    try:
        if "" in files:
            raise ConfigError("the name of a file is empty")  # noqa: TRY301 - told like any other
        for finding in detect_commands(sources, on_error=errors, tally=tally):
            printer.take(finding)
        printer.finish()
    except ConfigError as error:
        errors(error)
    counts = ", ".join(f"{rule} {count:,}" for rule, count in tally.findings.items())
    parts = [
        f"commands read: {tally.events:,}",
        f"findings: {tally.findings.total():,}" + (f" ({counts})" if counts else ""),
        f"repeated: {tally.duplicates:,}" if tally.duplicates else "",
        f"unreadable: {tally.unreadable:,}",
        f"records about no command: {tally.skipped:,}",
        f"detector failures: {tally.failures:,}" if tally.failures else "",
    ]
    click.echo("; ".join(part for part in parts if part), err=True)
    found = printer.worst is not None and printer.worst >= Severity.of(fail_on)
    sys.exit(2 if errors.count else int(found))
