# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan-host` does: token requests among the commands of a Linux host's audit log."""

from __future__ import annotations

from k8stokendetect.cli.messages import Errors, listed, say_counts
from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.selection import source_of
from k8stokendetect.commands import detect_commands
from k8stokendetect.engine.tally import Tally
from k8stokendetect.findings import Severity


def run(*, files: tuple[str, ...], form: str, fail_on: str) -> int:
    """Scan a host's logs and return the exit status.

    Raises:
        ConfigError: when an option is wrong.

    """
    errors, tally = Errors(), Tally()
    printer = Printer("findings" if form == "text" else form)
    for finding in detect_commands(list(map(source_of, files)), on_error=errors, tally=tally):
        printer.take(finding)
    printer.finish()
    say_counts(
        f"commands read: {tally.events:,}",
        f"findings: {tally.findings.total():,}{listed(tally.findings)}",
        f"repeated: {tally.duplicates:,}" if tally.duplicates else "",
        f"unreadable: {tally.unreadable:,}",
        f"records about no command: {tally.skipped:,}",
        f"detector failures: {tally.failures:,}" if tally.failures else "",
    )
    return 2 if errors.count else int(printer.worst_is_at_least(Severity.of(fail_on)))
