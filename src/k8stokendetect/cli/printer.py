# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` writes about its findings, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from k8stokendetect.cli.selecting import Choice
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, did_you_mean, raise_error
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents import Alert, Incident, Incidents
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

LEVELS: Final = ("alerts", "findings", "incidents")


class Printer:
    """Prints alerts and findings as they come, and incidents when they are complete.

    The caller passes each finding to `take` as `detect` yields it; calls `flush` while a followed file does not grow;
    passes what `groups.close` returns to `incident_complete`; and calls `finish` at the end, which completes what is
    still open.

    Arguments:
        form: `text`, `json`, `ecs`, `ocsf` or the name of one of `more`.
        level: `alerts`, `findings` or `incidents`; by default incidents as text, otherwise alerts.
        live: whether the end may be far off: then incidents are printed when they are complete and the overview at the
            end; otherwise the overview comes first.
        choice: what to print of what was found.
        output: the file to write; by default standard output.
        report: where to write an HTML page about the incidents.
        more: outputs of plug-ins, by their names.
        on_error: called when one of those fails; names the rule, the finding's fingerprint and its place in the log.
        cluster: a snapshot, for the incidents.

    Attributes:
        worst: the highest severity of what was chosen and is not excluded.
        groups: the incidents that are not yet complete.

    Raises:
        ConfigError: when there is no such form, or the output cannot be written.

    """

    def __init__(
        self,
        form: str,
        *,
        level: str | None = None,
        live: bool = False,
        choice: Choice | None = None,
        output: str | None = None,
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
        known = {"text", *lines}
        if form not in known:
            raise ConfigError(f"unknown format {form!r}{did_you_mean(form, known)}; plug-ins need --plugins")
        if report is not None:
            environment()  # says what is missing before the log is read
        self.worst: Severity | None = None
        self.groups = Incidents(cluster=cluster)
        self._form = form
        self._level = level or ("incidents" if form == "text" else "alerts")
        self._live = live
        self._choice = choice or Choice()
        self._line = lines.get(form)
        self._on_error = on_error
        self._report = report
        self._file = _opened(output)
        self._complete: list[Incident] = []
        self._fired: dict[str, str] = {}
        self._previous: Finding | None = None

    def worst_is_at_least(self, severity: Severity, /) -> bool:
        """Tell whether something at or above a severity was found that is not excluded."""
        return self.worst is not None and self.worst >= severity

    def take(self, finding: Finding, /) -> None:
        """Print a finding, or keep it for its alert and its incident; HIGH and above is printed at once."""
        if finding.excluded_by is None:
            self.worst = finding.severity if self.worst is None else max(self.worst, finding.severity)
            self._fired[finding.rule.id] = finding.rule.response
            if self._level == "incidents" or self._report is not None:
                self.groups.add(finding)
        if self._level == "incidents" and (self._form != "text" or finding.excluded_by is None):
            return
        if self._line is not None:
            self._print_line(self._line, finding)
        else:
            self._echo(to_text(finding, self._previous))
            self._previous = finding

    def flush(self) -> None:
        """Print the alert of which findings may still have been waited for: the source has nothing more for now."""

    def urgent(self, alert: Alert, /) -> None:
        """Print the single line of an alert, when it is found; `take` calls it for HIGH and above."""

    def incident_complete(self, incident: Incident, /) -> None:
        """Print an incident to which nothing will be added."""
        if self._level == "incidents" and self._form != "text":
            self._echo(to_incident_line(incident))
        if self._report is not None or (self._level == "incidents" and self._form == "text"):
            self._complete.append(incident)

    def _print_line(self, output: Output, finding: Finding) -> None:
        """Print a finding in a form that may be a plug-in's: what that loses is reported, and the rest goes on."""
        try:
            text: object = output(finding)
            trouble = None if isinstance(text, str) else f"returned {type(text).__name__}, not str"
        except Exception as error:  # noqa: BLE001 - somebody else's code
            trouble = f"failed: {type(error).__name__}: {error}"
        if trouble is None:
            self._echo(str(text))
            return
        which = f"{finding.rule.id} {finding.fingerprint}, {finding.event.origin or 'of unknown origin'}"
        self._on_error(K8sTokenDetectError(f"output {self._form!r} {trouble}; not printed: finding {which}"))

    def finish(self) -> None:
        """Complete the incidents that are open, and print what comes at the end.

        Raises:
            OSError: when the output or the report cannot be written.

        """
        self.flush()
        for incident in self.groups.all():
            self.incident_complete(incident)
        found = sorted(self._complete, key=lambda incident: -incident.severity)
        if self._level == "incidents" and self._form == "text" and found:
            self._echo("\n\n".join(to_tree(incident) for incident in found))
        elif self._level == "findings" and self._form == "text":
            for rule, response in self._fired.items():
                if response:
                    self._echo(f"\nWhat to do about {rule}: {response}")
        if self._report is not None:
            Path(self._report).write_text(to_report(found), encoding="utf-8")

    def _echo(self, text: str) -> None:
        click.echo(text, file=self._file)


def _opened(output: str | None) -> IO[Any] | None:
    """Open the file, where one is named; raises ConfigError before anything is read."""
    try:
        return None if output is None else Path(output).open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None
