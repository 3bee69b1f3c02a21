# SPDX-License-Identifier: Apache-2.0
"""Alert: everything that was said about one request, so that one mint is one line in a SIEM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, Self

import attrs

from k8stokendetect.cards import card
from k8stokendetect.convert.structure import plain
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import JsonValue
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity, facts, shown
from k8stokendetect.incidents.grouping import Incidents
from k8stokendetect.reprs import short_repr

_REASONS: Final = frozenset({"token-request-uri"})
"""Rules that say how a request was made: of two alike the other one names the alert."""


@attrs.frozen(kw_only=True)
class Alert:
    """Everything that was said about one request.

    Arguments:
        findings: of one request, all reported or all excluded; the worst comes first.
        incident: the id of the incident it belongs to, as far as that was known; None where nobody asked.

    Raises:
        ConfigError: when there is no finding.

    """

    findings: tuple[Finding, ...]
    incident: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.findings:
            raise ConfigError("an alert is made of at least one finding")

    @classmethod
    def of(cls, findings: Iterable[Finding], incident: str | None = None, /) -> Self:
        """Make an alert of findings about one request, in any order."""
        worst_first = sorted(findings, key=lambda finding: (-finding.severity, finding.rule.id in _REASONS))
        return cls(findings=tuple(worst_first), incident=incident)

    def __repr__(self) -> str:
        rules = [rule.id for rule in self.rules]
        return short_repr(self, id=self.id, severity=str(self.severity), summary=self.summary, rules=rules)

    @property
    def id(self) -> str:
        """The id of the request, see `EventRef.request_id`."""
        return self.event.request_id

    @property
    def fingerprint(self) -> str:
        """The same for the same request and the same rules: tells an alert from a later one that says more."""
        parts = sorted(finding.fingerprint for finding in self.findings)
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:32]

    @property
    def worst(self) -> Finding:
        """The finding that is most urgent."""
        return self.findings[0]

    @property
    def severity(self) -> Severity:
        """That of the worst finding."""
        return self.worst.severity

    @property
    def summary(self) -> str:
        """One sentence: who did what to whom."""
        return self.worst.summary

    @property
    def event(self) -> EventRef:
        """The request."""
        return self.worst.event

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that reported it, the one of the worst finding first."""
        return tuple({finding.rule.id: finding.rule for finding in self.findings}.values())

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The facts that all findings rest on, each once."""
        return tuple(dict.fromkeys(item for finding in self.findings for item in finding.evidence))

    @property
    def related(self) -> tuple[EventRef, ...]:
        """Other requests that belong to it, each once."""
        return tuple({ref.request_id: ref for finding in self.findings for ref in finding.related}.values())

    @property
    def mint(self) -> EventRef | None:
        """The request that issued the token this one was made with; None where that is not known."""
        return next((ref for ref in reversed(self.related) if self.event.uses_token_of(ref)), None)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the audit level or the log's wrapper hid."""
        return tuple(dict.fromkeys(caveat for finding in self.findings for caveat in finding.caveats))

    @property
    def excluded_by(self) -> str | None:
        """The id of the exclusion that set it aside; None for a reported one."""
        return self.worst.excluded_by

    @property
    def enable(self) -> str:
        """The id of an optional exclusion of which the caller has every proof; empty for none."""
        return next((finding.enable for finding in self.findings if finding.enable), "")

    @property
    def count(self) -> int:
        """How many requests it is about."""
        return max(finding.count for finding in self.findings)

    @property
    def last(self) -> datetime | None:
        """The time of the last of them; None where it is about one request."""
        return max((finding.last for finding in self.findings if finding.last), default=None)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return card(
            f"{str(self.severity).upper()}  {self.summary}",
            (
                ("rules", ", ".join(rule.id for rule in self.rules)),
                *facts(self.event),
                ("requests", f"{self.count:,}" if self.count > 1 else ""),
                ("evidence", shown(self.evidence)),
                ("note", [(caveat, "") for caveat in self.caveats]),
                ("incident", self.incident or ""),
                ("excluded by", self.excluded_by or ""),
            ),
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {
            "id": self.id,
            "severity": str(self.severity),
            "summary": self.summary,
            "rules": [{"id": rule.id, "title": rule.title} for rule in self.rules],
            "techniques": list(dict.fromkeys(id_ for rule in self.rules for id_ in rule.techniques)),
            "actor": self.event.user,
            "target": self.event.target,
            "event": self.event.to_dict(),
            "mint": self.mint.to_dict() if self.mint else None,
            "incident": self.incident,
            "evidence": [item.to_dict() for item in self.evidence],
            "related": [ref.request_id for ref in self.related],
            "caveats": list(self.caveats),
            "excluded_by": self.excluded_by,
            "enable": self.enable or None,
            "count": self.count,
            "last": plain(self.last),
            "findings": [finding.fingerprint for finding in self.findings],
            "fingerprint": self.fingerprint,
        }


def alerts(findings: Iterable[Finding], /, groups: Incidents | None = None) -> Iterator[Alert]:
    """Join findings about one request that follow one another, as `detect` yields them; lazily.

    What becomes known later about the same request is an alert of its own, with the same id and another fingerprint.
    Excluded findings, with `keep_excluded`, make alerts of their own.

    Arguments:
        findings: as `detect` yields them.
        groups: takes each finding, and names the incident it belongs to.

    """
    for _, same in groupby(findings, key=lambda finding: (finding.event.request_id, finding.excluded_by is not None)):
        yield _alert(tuple(same), groups)


def _alert(findings: Sequence[Finding], groups: Incidents | None) -> Alert:
    if groups is None or findings[0].excluded_by is not None:
        return Alert.of(findings)
    for finding in findings:
        groups.add(finding)
    return Alert.of(findings, groups.id_of(findings[0]))
