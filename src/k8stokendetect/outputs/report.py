# SPDX-License-Identifier: Apache-2.0
"""Incidents as one HTML page that needs nothing else: no network, and everything can be read without its script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident
from k8stokendetect.outputs.html import inline, policy, render
from k8stokendetect.outputs.provenance import Scan
from k8stokendetect.outputs.report_parts import MOST_IDS, IncidentPart, Room, in_full, number_of, when
from k8stokendetect.outputs.text import utc

OPEN_UP_TO: Final = 3
"""Maximum number of incidents that are shown open; of more, the worst is, and each other opens by a click."""

MOST_INCIDENTS: Final = 2000
"""Maximum number of incidents on a page, the worst of them; the JSON form has the others."""

MOST_NAMES: Final = 12

_STEPS, _MOST_STEPS, _FEWEST_STEPS = 6000, 200, 5
"""How many steps the incidents of a page share, and what each gets at most and at least."""

_IN_FULL: Final = 1000
"""How many of these steps have their evidence and their event on the page."""

_FIRST: Final = 600
"""How many incidents have at least one such step: a page of a thousand should open in a second."""

_EVENTS: Final = 2_000_000
"""How many characters the events on a page may have together; for the others the page says how to see them."""


def to_report(
    incidents: Sequence[Incident],
    /,
    *,
    scan: Scan | None = None,
    events: Mapping[str, str] = MappingProxyType({}),
    title: str = "Minted Kubernetes service account tokens",
) -> str:
    """Return a page about some incidents, the worst first.

    Whatever a client chose is escaped and stripped of control characters. The page forbids itself to load anything, and
    to run anything but the one script in it, which copies and filters. Long values are cut, and of many steps or
    incidents the worst are shown: the page says what it leaves out, and how to see it.

    Arguments:
        incidents: what to show.
        scan: what was read, with which options; without it, equal incidents give equal pages.
        events: the redacted audit events behind the requests, as `to_event_text` writes them, by `EventRef.request_id`;
            `requests_shown` says which there is room for.
        title: the page's heading.

    Raises:
        ConfigError: when Jinja2 is not installed.

    """
    worst_first = _worst_first(incidents)
    shown = worst_first[:MOST_INCIDENTS]
    rooms = _rooms(len(shown))
    finder = _Events(events)
    explain = scan.explain if scan else _no_command
    parts = [IncidentPart.of(incident, room, finder, explain) for incident, room in zip(shown, rooms, strict=True)]
    rules = {finding.rule.id: finding.rule for incident in shown for finding in incident.findings}
    first = {part.incident.severity: number for number, part in reversed(list(enumerate(parts, 1)))}
    counts = Counter(incident.severity for incident in worst_first)
    style, script = inline("report.css"), inline("report.js")
    page = render(
        "report.html",
        title=title,
        policy=policy(style=style, script=script),
        style=style,
        script=script,
        scan=scan,
        scope=_scope(worst_first),
        counts=[(severity, counts[severity], first.get(severity)) for severity in sorted(counts, reverse=True)],
        parts=parts,
        more=len(worst_first) - len(shown),
        rules=sorted(rules.values(), key=lambda rule: (-rule.severity, rule.id)),
        is_short=len(incidents) <= OPEN_UP_TO,
        most_names=MOST_NAMES,
        most_ids=MOST_IDS,
        utc=utc,
        when=when,
    )
    return f"{page}\n"


def requests_shown(incidents: Iterable[Incident], /) -> list[EventRef]:
    """Return the requests whose events `to_report` has room for: a few thousand at most, however many there are."""
    shown = _worst_first(incidents)[:MOST_INCIDENTS]
    rooms = _rooms(len(shown))
    return [ref for incident, room in zip(shown, rooms, strict=True) for ref in in_full(incident, room)]


def _worst_first(incidents: Iterable[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda incident: -incident.severity)


def _rooms(number: int) -> Iterator[Room]:
    """Yield how much room each of so many incidents has, the worst first."""
    for place in range(number):
        steps = max(_FEWEST_STEPS, min(_MOST_STEPS, _STEPS // number))
        yield Room(steps, max(place < _FIRST, min(_MOST_STEPS, _IN_FULL // number)))


class _Events:
    """Finds the events behind requests, as far as a page has room for them."""

    def __init__(self, events: Mapping[str, str]) -> None:
        self._events = events
        self._room = _EVENTS

    def __call__(self, ref: EventRef) -> str:
        """Return the event behind a request; empty where there is none, or no room for it."""
        text = self._events.get(ref.request_id, "")
        if len(text) > self._room:
            return ""
        self._room -= len(text)
        return text


def _no_command(*_: str) -> str:
    return ""


def _scope(incidents: Sequence[Incident]) -> str:
    findings = sum(len(incident.findings) for incident in incidents)
    parts = [f"{number_of(len(incidents), 'incident')}, {number_of(findings, 'finding')}"]
    first = min((incident.first_seen for incident in incidents if incident.first_seen), default=None)
    last = max((incident.last_seen for incident in incidents if incident.last_seen), default=None)
    if first and last:
        parts.append(when(first, last))
    return " · ".join(parts)
