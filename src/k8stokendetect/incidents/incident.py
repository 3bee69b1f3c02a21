# SPDX-License-Identifier: Apache-2.0
"""Incident: one attack, made of the findings that belong to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import attrs

from k8stokendetect.cards import card, table
from k8stokendetect.convert.times import format_time
from k8stokendetect.events import JsonValue
from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.incidents.access import Access, AccessFinder
from k8stokendetect.incidents.advice import NO_CLUSTER, advice
from k8stokendetect.incidents.cloud import credentials_of
from k8stokendetect.incidents.step import Step
from k8stokendetect.incidents.story import BEGINNING, by_known_components, depths, requests_of, title
from k8stokendetect.reprs import short, short_repr
from k8stokendetect.words import listed


@attrs.frozen(kw_only=True)
class Incident:
    """One attack: all findings that belong together, and what to do about them.

    Arguments:
        id: the request id of its first mint, or of its first request where none minted; see `EventRef.request_id`.
        severity: that of its worst finding.
        title: one sentence: who did what to whom, and how it ended.
        actors: the user names of the callers in the order of time, service accounts reached on the way included.
        service_accounts: those whose tokens were issued or requested, as `namespace/name`.
        credentials: the ids of the credentials that were issued or used, those of cloud keys, too.
        first_seen: the time of the first request; None where no time was logged.
        last_seen: the time of the last request.
        depth: the length of the longest chain of tokens that were minted one with another; 0 when none was issued.
        findings: ordered by time, then rule.
        advice: what to do, with commands to review.
        access: the bindings through which the callers could mint, and how to take them away, where a snapshot of the
            cluster was given.
        continues: an earlier part of it, with the same id, was complete for want of news, and printed.

    """

    id: str
    severity: Severity
    title: str
    actors: tuple[str, ...]
    service_accounts: tuple[str, ...]
    credentials: tuple[str, ...]
    first_seen: datetime | None
    last_seen: datetime | None
    depth: int
    findings: tuple[Finding, ...]
    advice: tuple[Step, ...]
    access: tuple[Access, ...] = ()
    continues: bool = False

    def __repr__(self) -> str:
        number = len(self.findings)
        return short_repr(self, id=self.id, severity=str(self.severity), title=self.title, number_of_findings=number)

    @property
    def enable(self) -> tuple[str, ...]:
        """The ids of the optional exclusions that its callers fit; empty for most."""
        return tuple(dict.fromkeys(finding.enable for finding in self.findings if finding.enable))

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return card(
            f"{str(self.severity).upper()}  {self.title}",
            (
                ("first seen", self.first_seen.isoformat(" ", "seconds") if self.first_seen else "not logged"),
                ("last seen", self.last_seen.isoformat(" ", "seconds") if self.last_seen else "not logged"),
                ("callers", listed(self.actors)),
                ("service accounts", listed(self.service_accounts)),
                ("findings", f"{len(self.findings):,}"),
                ("what to do", [(step.text, step.command) for step in self.advice]),
                ("id", self.id),
            ),
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {
            "id": self.id,
            "severity": str(self.severity),
            "title": self.title,
            "actors": list(self.actors),
            "service_accounts": list(self.service_accounts),
            "credentials": list(self.credentials),
            "first_seen": format_time(self.first_seen) if self.first_seen else None,
            "last_seen": format_time(self.last_seen) if self.last_seen else None,
            "depth": self.depth,
            "continues": self.continues,
            "enable": list(self.enable),
            "advice": [step.to_dict() for step in self.advice],
            "access": [one.to_dict() for one in self.access],
            "findings": [finding.to_dict() for finding in self.findings],
        }


class IncidentList(list[Incident]):
    """Incidents, the worst first: a list that is written in three lines, and in a notebook as a table."""

    def __repr__(self) -> str:
        counts = Counter(incident.severity for incident in self)
        numbers = ", ".join(f"{count} {severity}" for severity, count in sorted(counts.items(), reverse=True))
        worst = f"; the worst: {short(self[0].title)[:100]!r}" if self else ""
        return f"<{len(self)} incidents{': ' if numbers else ''}{numbers}{worst}>"

    def _repr_html_(self) -> str:
        """Show it in a notebook: a line for each."""
        rows = ((str(one.severity), one.title, str(one.first_seen or ""), listed(one.actors), one.id) for one in self)
        return table(("severity", "incident", "first seen", "callers", "id"), rows)


def incident_of(findings: Iterable[Finding], finder: AccessFinder | None = None, /) -> Incident:
    """Make an incident of findings that belong together.

    Arguments:
        findings: at least one, in any order.
        finder: looks up the callers' rights in a snapshot of the cluster.

    """
    ordered = sorted(findings, key=_place)
    requests = requests_of(ordered)
    refs = [request.ref for request in requests.values()]
    times = [ref.time for ref in refs if ref.time]
    accounts = (str(ref.token_account) for ref in refs if ref.token_account)
    credentials = (id_ for ref in refs for id_ in credentials_of(ref))
    known = by_known_components(requests)
    suspect = [finding for finding in ordered if finding.event.request_id not in known]
    access, cluster = finder.about(suspect) if finder else ((), NO_CLUSTER)
    return Incident(
        id=first_of(refs).request_id,
        severity=max(finding.severity for finding in ordered),
        title=title(requests, ordered),
        actors=tuple(dict.fromkeys(one.ref.user for one in requests.values() if one.ref.user and not one.is_witness)),
        service_accounts=tuple(dict.fromkeys(accounts)),
        credentials=tuple(dict.fromkeys(credentials)),
        first_seen=min(times, default=None),
        last_seen=max(times, default=None),
        depth=max(depths(requests).values()),
        findings=tuple(ordered),
        advice=advice(requests, cluster),
        access=access,
    )


def first_of(refs: Iterable[EventRef], /) -> EventRef:
    """Return the request that names an incident: the first that minted, or the first where none did."""
    return min(refs, key=lambda ref: (not ref.mints_token, ref.time or BEGINNING, ref.request_id))


def _place(finding: Finding) -> tuple[datetime, str, str, str, str]:
    """Order findings by time, then rule; the rest makes the order the same every time."""
    event = finding.event
    return event.time or BEGINNING, finding.rule.id, finding.fingerprint, event.stage, finding.summary
