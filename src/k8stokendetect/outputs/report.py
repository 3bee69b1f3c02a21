# SPDX-License-Identifier: Apache-2.0
"""Incidents as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from k8stokendetect.findings import Evidence, Finding
from k8stokendetect.incidents import Incident, Step
from k8stokendetect.incidents.story import requests_of
from k8stokendetect.outputs.figures import chain, lasting, timeline
from k8stokendetect.outputs.html import render
from k8stokendetect.outputs.provenance import Scan
from k8stokendetect.outputs.text import new_facts, span, utc
from k8stokendetect.outputs.values import as_text

OPEN_UP_TO: Final = 3
"""Maximum number of incidents that are shown open; of more, each opens by a click."""

MOST_NAMES: Final = 12


class _FindingView(NamedTuple):
    """A finding, and what the one above does not say already."""

    finding: Finding
    is_again: bool
    evidence: tuple[Evidence, ...]


class _IncidentView(NamedTuple):
    """What the page says about an incident besides its own fields."""

    incident: Incident
    head: str
    timeline: str
    chain: str
    advice: tuple[Step, ...]
    findings: tuple[_FindingView, ...]

    @classmethod
    def of(cls, incident: Incident, /) -> Self:
        """Prepare an incident."""
        requests = requests_of(incident.findings)
        when = _when(incident.first_seen, incident.last_seen)
        chained = f" · {incident.depth} tokens minted one with another" if incident.depth > 1 else ""
        return cls(
            incident,
            f"{when} · {_number(len(incident.findings), 'finding')}{chained}",
            timeline(requests),
            chain(requests),
            tuple(incident.advice or _responses(incident.findings)),
            tuple(_finding_views(incident.findings)),
        )


def to_report(
    incidents: Sequence[Incident],
    /,
    *,
    scan: Scan | None = None,
    events: Mapping[str, str] = MappingProxyType({}),
    title: str = "Minted Kubernetes service account tokens",
) -> str:
    """Return a page about some incidents, the worst first.

    Whatever a client chose is escaped and stripped of control characters, and the page forbids itself to load or run
    anything. A value of more than 1000 characters is cut; the JSON form has it whole.

    Arguments:
        incidents: what to show.
        title: the page's heading.
        scan: what was read, with which options; without it, equal incidents give equal pages.
        events: the redacted audit events behind the requests, as `to_event_text` writes them, by `EventRef.request_id`.

    Raises:
        ConfigError: when Jinja2 is not installed.

    """
    worst_first = sorted(incidents, key=lambda incident: -incident.severity)
    rules = {finding.rule.id: finding.rule for incident in worst_first for finding in incident.findings}
    page = render(
        "report.html",
        title=title,
        scope=_scope(worst_first, scan),
        counts=sorted(Counter(incident.severity for incident in worst_first).items(), reverse=True),
        views=[_IncidentView.of(incident) for incident in worst_first],
        rules=sorted(rules.values(), key=lambda rule: (-rule.severity, rule.id)),
        is_open=len(incidents) <= OPEN_UP_TO,
        most_names=MOST_NAMES,
        events=events,
        utc=utc,
        value=as_text,
    )
    return f"{page}\n"


def _scope(incidents: Sequence[Incident], scan: Scan | None) -> str:
    findings = sum(len(incident.findings) for incident in incidents)
    parts = [f"{_number(len(incidents), 'incident')}, {_number(findings, 'finding')}"]
    first = min((incident.first_seen for incident in incidents if incident.first_seen), default=None)
    last = max((incident.last_seen for incident in incidents if incident.last_seen), default=None)
    if first and last:
        parts.append(_when(first, last))
    if scan and scan.ended:
        parts.append(f"report of {utc(scan.ended)}")
    return " · ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _when(first: datetime | None, last: datetime | None) -> str:
    return span(first, last) + (f" ({lasting(first, last)})" if first and last and first != last else "")


def _responses(findings: Iterable[Finding]) -> Iterable[Step]:
    """Return what the rules say is to be done, the worst first; for an incident without advice."""
    worst_first = sorted(findings, key=lambda finding: -finding.severity)
    return dict.fromkeys(Step(finding.rule.response) for finding in worst_first if finding.rule.response)


def _finding_views(findings: Sequence[Finding]) -> Iterator[_FindingView]:
    previous: Finding | None = None
    for finding in findings:
        again = previous if previous is not None and previous.event == finding.event else None
        yield _FindingView(finding, again is not None, new_facts(finding, again))
        previous = finding
