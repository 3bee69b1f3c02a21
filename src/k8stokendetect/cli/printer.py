# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` writes about its findings, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from k8stokendetect.cli.incident_pages import IncidentPages
from k8stokendetect.cli.screen import Screen
from k8stokendetect.cli.selecting import Choice
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, did_you_mean, raise_error
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents import Alert, Incident, Incidents
from k8stokendetect.outputs.columns import Span, wrapped
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.html import environment
from k8stokendetect.outputs.native import to_alert_line, to_incident_line, to_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import alert_lines, finding_lines, inert
from k8stokendetect.plugins import FORMATS, Output

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster

LEVELS: Final = ("alerts", "findings", "incidents")

_LINES: Final[Mapping[str, Mapping[str, Callable[[Any], str]]]] = {
    "json": {"alerts": to_alert_line, "findings": to_line, "incidents": to_incident_line},
    "ecs": dict.fromkeys(LEVELS, lambda item: to_ecs_line(item, observed=datetime.now(UTC))),
    "ocsf": dict.fromkeys(LEVELS, lambda item: to_ocsf_line(item, observed=datetime.now(UTC))),
}


class _Request(NamedTuple):
    """Which findings are one alert."""

    id: str
    is_excluded: bool

    @classmethod
    def of(cls, finding: Finding) -> _Request:
        return cls(finding.event.request_id, finding.excluded_by is not None)


class Printer:
    """Prints alerts and findings as they come, and incidents when they are complete.

    The caller passes each finding to `take` as `detect` yields it; calls `flush` while a followed file does not grow;
    passes what `groups.close` returns to `incident_complete`; and calls `finish` at the end, which completes what is
    still open.

    Arguments:
        form: `text`, `json`, `ecs`, `ocsf` or the name of one of `more`, which write findings.
        level: `alerts`, `findings` or `incidents`; by default incidents as text, otherwise alerts.
        live: whether the end may be far off: then text about incidents is printed when they are complete, HIGH and
            above when found, and the overview at the end; otherwise the overview comes first.
        append: whether what is in the output already stays.
        quiet: whether standard error is for errors only.
        choice: what to print of what was found.
        output: the file to write; by default standard output.
        report: where to write an HTML page about the incidents.
        more: outputs of plug-ins, by their names.
        on_error: called when one of those fails; names the rule, the finding's fingerprint and its place in the log.
        cluster: a snapshot, for the incidents.

    Attributes:
        worst: the highest severity of what was chosen and is not excluded.
        groups: the incidents that are not yet complete.
        page: makes the HTML page.
        level: what is printed.
        has_file: it prints into a file, not to standard output.
        send: called with each alert that is not excluded, whatever is printed.

    Raises:
        ConfigError: when there is no such form, or the output cannot be written.

    """

    def __init__(
        self,
        form: str,
        *,
        level: str | None = None,
        live: bool = False,
        append: bool = False,
        quiet: bool = False,
        choice: Choice | None = None,
        output: str | None = None,
        report: str | None = None,
        more: Mapping[str, Output] | None = None,
        on_error: OnError = raise_error,
        cluster: Cluster | None = None,
    ) -> None:
        self.level = _level_of(form, level, more or {})
        if report is not None:
            environment()  # says what is missing before the log is read
        self.worst: Severity | None = None
        self.page: Callable[[Sequence[Incident]], str] = to_report
        self.send: Callable[[Alert], object] = lambda _: None
        self.groups = Incidents(cluster=cluster)
        self._form = form
        self._quiet = quiet
        self._choice = choice or Choice()
        self._line = (more or {}).get(form) or _LINES.get(form, {}).get(self.level)
        self._on_error = on_error
        self._report = report
        self._screen = Screen(output, append=append)
        self.has_file = output is not None
        self._pages = IncidentPages(self._screen, self._choice, live=live, quiet=quiet)
        self._complete: list[Incident] = []
        self._fired: dict[str, str] = {}
        self._previous: Finding | None = None
        self._pending: list[Finding] = []
        self._printed = 0

    def worst_is_at_least(self, severity: Severity, /) -> bool:
        """Tell whether something at or above a severity was found that is not excluded."""
        return self.worst is not None and self.worst >= severity

    def take(self, finding: Finding, /) -> None:
        """Print a finding, or keep it for its alert and its incident; text about HIGH and above is printed at once."""
        if self._pending and _Request.of(finding) != _Request.of(self._pending[0]):
            self.flush()
        self._pending.append(finding)
        if finding.excluded_by is None:
            self.groups.add(finding)
            if finding.severity >= Severity.HIGH:
                self.urgent(Alert.of([finding], self.groups.id_of(finding)))
        if self.level == "findings" and self._wants(finding):
            self._print_finding(finding)

    def flush(self) -> None:
        """Print the alert of the findings that were taken last: the source has nothing more for now."""
        if not self._pending:
            return
        alert = Alert.of(self._pending, self.groups.id_of(self._pending[0]))
        self._pending = []
        if alert.excluded_by is None:
            self.send(alert)
        if self.level == "alerts" and self._wants(alert):
            if self._form == "text":
                self._screen.lines(alert_lines(alert, self._screen.line_width))
            else:
                self._print_line(alert)
        elif self.level == "incidents" and self._form == "text":
            self._pages.alert(alert)

    def urgent(self, alert: Alert, /) -> None:
        """Print the single line of an alert when it is found; `take` calls it for HIGH and above."""
        if self._form == "text" and self.level == "incidents":
            self._pages.urgent(alert)

    def incident_complete(self, incident: Incident, /) -> None:
        """Print an incident to which nothing will be added."""
        if self._report is not None:
            self._complete.append(incident)
        if self.level == "incidents" and self._wants(incident):
            if self._form == "text":
                self._pages.incident(incident)
            else:
                self._print_line(incident)

    def finish(self) -> None:
        """Complete the incidents that are open, and print what comes at the end.

        Raises:
            OSError: when the output or the report cannot be written.

        """
        self.flush()
        if self.level == "incidents" or self._report is not None:
            for incident in self.groups.all():
                self.incident_complete(incident)
        if self._form == "text":
            self._finish_text()
        dropped = ", ".join(f"{name} {count:,}" for name, count in sorted(self._choice.dropped.items()))
        if dropped and not self._quiet:
            click.echo(f"{self.level} not printed, by option: {dropped}", err=True)
        self._screen.close()
        if self._report is not None:
            found = sorted(self._complete, key=lambda incident: -incident.severity)
            Path(self._report).write_text(self.page(found), encoding="utf-8")

    def _finish_text(self) -> None:
        if self.level == "incidents":
            self._pages.finish()
        elif self.level == "findings":
            for rule, response in self._fired.items():
                if response:
                    words = Span(f"What to do about {rule}: {inert(response)}")
                    self._screen.lines([(), *wrapped((words,), self._screen.line_width, (), ())])

    def _wants(self, item: Alert | Finding | Incident) -> bool:
        """Tell whether to print something; what is wanted counts for the exit status, printed or not."""
        if not self._choice.wants(item):
            return False
        excluded = not isinstance(item, Incident) and item.excluded_by is not None
        if not excluded:
            self.worst = item.severity if self.worst is None else max(self.worst, item.severity)
        if self._form == "text" and isinstance(item, Incident):
            return True  # the pages have a limit of their own
        self._printed += 1
        if self._choice.limit and self._printed > self._choice.limit:
            self._choice.dropped["--limit"] += 1
            return False
        return True

    def _print_finding(self, finding: Finding) -> None:
        if self._form == "text":
            if finding.excluded_by is None:
                self._fired[finding.rule.id] = finding.rule.response
            self._screen.lines(finding_lines(finding, self._previous, self._screen.line_width))
            self._previous = finding
        else:
            self._print_line(finding)

    def _print_line(self, item: Any) -> None:
        """Print something in a form that may be a plug-in's: what that loses is reported, and the rest goes on."""
        try:
            text: object = self._line(item) if self._line else None
            trouble = None if isinstance(text, str) else f"returned {type(text).__name__}, not str"
        except Exception as error:  # noqa: BLE001 - somebody else's code
            trouble = f"failed: {type(error).__name__}: {error}"
        if trouble is None:
            self._screen.text(str(text))
            return
        which = f"{self.level.removesuffix('s')} {getattr(item, 'fingerprint', '') or item.id}"
        if isinstance(item, Finding):
            which = f"finding {item.rule.id} {item.fingerprint}, {item.event.origin or 'of unknown origin'}"
        self._on_error(K8sTokenDetectError(f"output {self._form!r} {trouble}; not printed: {which}"))


def _level_of(form: str, level: str | None, more: Mapping[str, Output]) -> str:
    """Return what to print; raises ConfigError when there is no such form, or a plug-in's cannot do it."""
    known = {*FORMATS, *more}
    if form not in known:
        raise ConfigError(f"unknown format {form!r}{did_you_mean(form, known)}; plug-ins need --plugins")
    if form in more:
        if level not in {None, "findings"}:
            raise ConfigError(f"--{level}: the format {form!r} of a plug-in writes findings")
        return "findings"
    return level or ("incidents" if form == "text" else "alerts")
