# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` writes about its findings, and when."""

from __future__ import annotations

from pathlib import Path

import click

from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents import incidents
from k8stokendetect.outputs.incident import to_incident_line
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import to_text
from k8stokendetect.outputs.tree import to_tree


class Printer:
    """Prints each finding as it comes, or incidents at the end.

    Arguments:
        form: `text` for trees of incidents, `findings` for each with its evidence, `json` for lines.
        as_incidents: with `json`, incidents instead of findings.
        report: where to write an HTML page about the incidents.

    Attributes:
        worst: the highest severity of what no exclusion set aside.

    """

    def __init__(self, form: str, *, as_incidents: bool, report: str | None) -> None:
        self.worst: Severity | None = None
        self._form = "incidents" if form == "json" and as_incidents else form
        self._report = report
        self._keeps = self._form in {"text", "incidents"} or report is not None
        self._kept: list[Finding] = []
        self._fired: dict[str, str] = {}
        self._previous: Finding | None = None

    def take(self, finding: Finding, /) -> None:
        """Print a finding, or keep it for its incident."""
        if finding.excluded_by is None:
            self.worst = finding.severity if self.worst is None else max(self.worst, finding.severity)
            self._fired[finding.rule.id] = finding.rule.response
            if self._keeps:
                self._kept.append(finding)
        if self._form == "json":
            click.echo(to_line(finding))
        elif self._form == "findings" or finding.excluded_by is not None:
            click.echo(to_text(finding, self._previous))
            self._previous = finding

    def finish(self) -> None:
        """Print what comes at the end.

        Raises:
            OSError: when the report cannot be written.

        """
        found = incidents(self._kept) if self._keeps else []
        if self._form == "incidents":
            for incident in found:
                click.echo(to_incident_line(incident))
        elif self._form == "text":
            click.echo("\n\n".join(to_tree(incident) for incident in found), nl=bool(found))
        elif self._form == "findings":
            for rule, response in self._fired.items():
                click.echo(f"\nWhat to do about {rule}: {response}" if response else "", nl=bool(response))
        if self._report is not None:
            Path(self._report).write_text(to_report(found), encoding="utf-8")
