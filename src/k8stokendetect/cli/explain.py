# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect explain` does: all that is known about a request, with its event, and the exit status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, groupby
from typing import Any, Final, TypeAlias

import attrs
import click

from k8stokendetect.cli.naming import Found, names_and_logs
from k8stokendetect.cli.shared import Errors, source_of
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.engine.detection import detect
from k8stokendetect.errors import OnError, ReadError
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.events import Event, Platform
from k8stokendetect.findings import Finding
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.incidents import incidents as group_findings
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.outputs.explanation import Explanation, to_explanation, to_explanation_line
from k8stokendetect.plugins import load_detectors, load_envelopes
from k8stokendetect.reading import AuditLog, read
from k8stokendetect.reading.lookup import events_of

_MOST_TOGETHER: Final = 12
"""From how many findings about one request every part is tried as an alert: an earlier one may have said less."""


def explain(*, names: tuple[str, ...], form: str, **options: object) -> int:
    """Print what is known about some requests and return the exit status.

    Raises:
        ConfigError: when an option is wrong, or there is no id or no log that can be read twice.

    """
    wanted, logs = names_and_logs(names)
    run, errors = _Run(logs=logs, **options), Errors()  # type: ignore[arg-type]  # click has checked the types
    named = Found.of(wanted, run.log(_ignore))
    ids = list(
        dict.fromkeys(id_ for name in wanted for id_ in (named.names[name].ids if name in named.names else [name]))
    )
    alerts, requests, incidents = run.alerts(ids, errors, named)
    if further := {id_ for id_ in requests.values() if id_ not in ids}:  # what was said of them before is not known
        more, _, _ = run.alerts(further, _ignore, named)
        alerts |= more
    every = [alert for about in alerts.values() for alert in about]
    refs = [ref for alert in every for ref in (alert.event, alert.mint) if ref is not None]
    events = dict(events_of(run.log(_ignore), refs))
    silent = [id_ for id_ in ids if id_ not in requests]
    unreported = run.unreported(silent) if silent else {}
    of_id = {incident.id: tuple(_requests(incident)) for incident in incidents if incident.id in ids}
    part_of = {ref.request_id: incident for incident in incidents for ref in _requests(incident)}
    for about in chain(_explanations(alerts, events), _of_events(unreported)):
        explanation = attrs.evolve(about, incident=of_id.get(about.id, ()), part_of=part_of.get(about.id))
        click.echo(to_explanation_line(explanation) if form == "json" else f"{to_explanation(explanation)}\n")
    for id_ in silent:
        if id_ not in unreported:
            errors(ReadError(f"no request, finding or alert in these logs has the id {id_}"))
    for name, one in named.names.items():
        if not one.ids:
            errors(ReadError(f"no request in these logs has the place, credential or auditID {name}"))
        if one.more:
            click.echo(f"note: {name}: {one.more:,} more events of other requests, which are not shown", err=True)
    return 2 if errors.count else 0


_OFF: Final = frozenset(cls.rule.id for cls in OPTIONAL)

_Said: TypeAlias = tuple[dict[str, list[Alert]], dict[str, str], Sequence[Incident]]


@attrs.frozen(kw_only=True)
class _Run:
    """The logs and how to read them, by the names of the command's options."""

    logs: Sequence[str]
    platform: Platform | None
    plugins: bool
    trust_pods: tuple[str, ...]
    day_first: bool | None

    def log(self, on_error: OnError) -> AuditLog:
        """Return the logs, to be read once more."""
        sources: list[Any] = [Remote(name) if is_url(name) else source_of(name) for name in self.logs]
        return read(
            sources,
            platform=self.platform,
            on_error=on_error,
            envelopes=load_envelopes() if self.plugins else (),
            trust_pods=self.trust_pods,
            day_first=self.day_first,
        )

    def alerts(self, ids: Collection[str], on_error: OnError, named: Found) -> _Said:
        """Return what was said about requests, by their ids, and the request that each of some ids leads to.

        An id of something other than a request leads to what was said at that moment only, not before. Last
        come the incidents, as `scan` groups them: by the rules it has.
        """
        kept: list[Finding] = []
        said: dict[str, list[Finding]] = {}
        requests: dict[str, str] = {}
        detectors = [*(cls() for cls in (*BUILTIN, *OPTIONAL)), *(load_detectors() if self.plugins else ())]
        found = detect(self.log(on_error), detectors=detectors, keep_excluded=True, on_error=on_error)
        for request, group in groupby(found, key=lambda finding: finding.event.request_id):
            findings = list(group)
            kept += [one for one in findings if one.excluded_by is None and one.rule.id not in _OFF]
            if request in ids:
                requests[request] = request
            if (id_ := named.id_at(findings[0].event)) is not None:
                requests[id_] = request
            requests |= dict.fromkeys(_fingerprints(findings).intersection(ids), request)
            if request in requests.values():
                said.setdefault(request, []).extend(findings)
        return {request: list(_alerts(findings)) for request, findings in said.items()}, requests, group_findings(kept)

    def unreported(self, ids: Collection[str]) -> dict[str, Event]:
        """Return the events of requests about which nothing was said; every event is read in full for it."""
        return {id_: event for event in self.log(_ignore) if (id_ := request_id(event)) in ids}


def _requests(incident: Incident) -> Iterable[EventRef]:
    return {finding.event.request_id: finding.event for finding in incident.findings}.values()


def _ignore(_: object) -> None:
    """Skip an error that another reading reports."""


def _fingerprints(findings: Sequence[Finding]) -> set[str]:
    """Return the fingerprints of findings about one request, and of every alert that they may have made."""
    found = {finding.fingerprint for finding in findings}
    for some in _reported_and_excluded(findings):
        sizes = range(1, len(some) + 1) if len(some) <= _MOST_TOGETHER else [len(some)]
        parts = chain.from_iterable(combinations(some, size) for size in sizes)
        found |= {Alert(findings=part).fingerprint for part in parts}
    return found


def _reported_and_excluded(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Part the findings about one request: those that are excluded make an alert of their own."""
    for is_excluded in (False, True):
        if some := [finding for finding in findings if (finding.excluded_by is not None) is is_excluded]:
            yield some


def _alerts(findings: Sequence[Finding]) -> Iterator[Alert]:
    return map(Alert.of, _reported_and_excluded(findings))


def _explanations(alerts: Mapping[str, Sequence[Alert]], events: Mapping[str, Event]) -> Iterator[Explanation]:
    for id_, about in alerts.items():
        mint = next((alert.mint for alert in about if alert.mint is not None), None)
        issued = None if mint is None else events.get(mint.request_id)
        yield Explanation(id=id_, alerts=tuple(about), event=events.get(id_), mint=issued)


def _of_events(events: Mapping[str, Event]) -> Iterator[Explanation]:
    return (Explanation(id=id_, event=event) for id_, event in events.items())
