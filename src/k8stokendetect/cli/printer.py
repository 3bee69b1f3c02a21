# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` writes about its findings, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, did_you_mean, raise_error
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.html import environment
from k8stokendetect.outputs.native import to_incident_line, to_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import to_text
from k8stokendetect.outputs.tree import to_tree
from k8stokendetect.plugins import Output

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


class Printer:
    """Prints each finding as it comes, or incidents at the end.

    Arguments:
        form: `text` for trees of incidents, `findings` for each with its evidence; `json`, `ecs`, `ocsf` or the name of
            one of `more` for a line each.
        as_incidents: with `json`, incidents instead of findings.
        report: where to write an HTML page about the incidents.
        more: outputs of plug-ins, by their names.
        on_error: called when one of those fails; names the rule, the finding's fingerprint and its place in the log.
        cluster: a snapshot, for the incidents.

    Attributes:
        worst: the highest severity of what is not excluded.
        page: makes the HTML page.

    Raises:
        ConfigError: when there is no such form.

    """

    def __init__(
        self,
        form: str,
        *,
        as_incidents: bool = False,
        report: str | None = None,
        more: Mapping[str, Output] | None = None,
        on_error: OnError = raise_error,
        cluster: Cluster | None = None,
    ) -> None:
        lines: dict[str, Output] = {
            "json": to_line,
            "ecs": lambda finding: to_ecs_line(finding, observed=datetime.now(UTC)),
            "ocsf": lambda finding: to_ocsf_line(finding, observed=datetime.now(UTC)),
            **(more or {}),
        }
        known = {"text", "findings", *lines}
        if form not in known:
            raise ConfigError(f"unknown format {form!r}{did_you_mean(form, known)}; plug-ins need --plugins")
        if report is not None:
            environment()  # says what is missing before the log is read
        self.worst: Severity | None = None
        self.page: Callable[[Sequence[Incident]], str] = to_report
        self._form = "incidents" if form == "json" and as_incidents else form
        self._line = lines.get(self._form)
        self._on_error = on_error
        self._report = report
        self._cluster = cluster
        self._keeps = self._form in {"text", "incidents"} or report is not None
        self._kept: list[Finding] = []
        self._fired: dict[str, str] = {}
        self._previous: Finding | None = None

    def worst_is_at_least(self, severity: Severity, /) -> bool:
        """Tell whether something at or above a severity was found that is not excluded."""
        return self.worst is not None and self.worst >= severity

    def take(self, finding: Finding, /) -> None:
        """Print a finding, or keep it for its incident."""
        if finding.excluded_by is None:
            self.worst = finding.severity if self.worst is None else max(self.worst, finding.severity)
            self._fired[finding.rule.id] = finding.rule.response
            if self._keeps:
                self._kept.append(finding)
        if self._line is not None:
            self._print_line(self._line, finding)
        elif self._form == "findings" or finding.excluded_by is not None:
            click.echo(to_text(finding, self._previous))
            self._previous = finding

    def _print_line(self, output: Output, finding: Finding) -> None:
        """Print a finding in a form that may be a plug-in's: what that loses is reported, and the rest goes on."""
        try:
            text: object = output(finding)
            trouble = None if isinstance(text, str) else f"returned {type(text).__name__}, not str"
        except Exception as error:  # noqa: BLE001 - somebody else's code
            trouble = f"failed: {type(error).__name__}: {error}"
        if trouble is None:
            click.echo(text)
            return
        which = f"{finding.rule.id} {finding.fingerprint}, {finding.event.origin or 'of unknown origin'}"
        self._on_error(K8sTokenDetectError(f"output {self._form!r} {trouble}; not printed: finding {which}"))

    def finish(self) -> None:
        """Print what comes at the end.

        Raises:
            OSError: when the report cannot be written.

        """
        found = incidents(self._kept, cluster=self._cluster) if self._keeps else []
        if self._form == "incidents":
            for incident in found:
                click.echo(to_incident_line(incident))
        elif self._form == "text":
            click.echo("\n\n".join(to_tree(incident) for incident in found), nl=bool(found))
        elif self._form == "findings":
            for rule, response in self._fired.items():
                click.echo(f"\nWhat to do about {rule}: {response}" if response else "", nl=bool(response))
        if self._report is not None:
            Path(self._report).write_text(self.page(found), encoding="utf-8")
