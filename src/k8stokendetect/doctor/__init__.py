# SPDX-License-Identifier: Apache-2.0
"""What does a log hold, which rules can speak with it, and what to change: `diagnose()`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from k8stokendetect.audit_policy import Change
from k8stokendetect.clouds import Cloud
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.doctor.clouds import CloudCounts, CloudReport, reports_of
from k8stokendetect.doctor.facts import FACTS, KINDS, Count, Requests, kinds_of
from k8stokendetect.doctor.timeline import Gap, Timeline
from k8stokendetect.doctor.verdicts import Carried, RuleVerdict, Verdict, judge, policy_of, together
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event
from k8stokendetect.reading import AuditLog, Source, read
from k8stokendetect.reprs import with_short_repr

MAX_NAMES: Final = 100
"""Maximum number of clusters, and of kinds of errors and losses, that are counted apart; the others together."""

OTHERS: Final = "(others)"
UNNAMED: Final = "(not named)"
"""The cluster of events whose wrapper names none."""


@with_short_repr
@attrs.frozen(kw_only=True)
class ClusterReport:
    """What the events of one cluster carry.

    Arguments:
        name: as the wrapper says; `(not named)` where none does.
        events: how many.
        first: when the earliest request came in.
        last: when the latest did.
        platforms: events by platform.
        facts: for each fact, how many of the events that should carry it do.
        requests: for each kind of requests that rules look at, how many were logged, and how many with their body.
        lost: what forms and wrappers do not carry, with the number of events.

    """

    name: str
    events: int
    first: datetime | None
    last: datetime | None
    platforms: Mapping[str, int] = attrs.field(hash=False)
    facts: Mapping[str, Count] = attrs.field(hash=False)
    requests: Mapping[str, Requests] = attrs.field(hash=False)
    lost: Mapping[str, int] = attrs.field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "events": self.events,
            "first": _text(self.first),
            "last": _text(self.last),
            "platforms": dict(self.platforms),
            "facts": {name: attrs.asdict(count) for name, count in self.facts.items()},
            "requests": {name: attrs.asdict(one) for name, one in self.requests.items()},
            "lost": dict(self.lost),
        }


@with_short_repr
@attrs.frozen(kw_only=True)
class Report:
    """What a log holds, which rules can speak with it, and what to change.

    Arguments:
        events: how many events were read.
        unreadable: how many records could not be read.
        skipped: how many records of other logs a wrapper held.
        unproven: how many events pods printed that are not known to print an audit log.
        errors: why records could not be read, with their number.
        first: when the earliest request came in; None without a time.
        last: when the latest did.
        gaps: the longest stretches without an event, of 10 minutes or more, 5 at most.
        levels: events by audit level.
        stages: events by stage.
        platforms: events by platform, where the wrapper says so.
        wrappers: records by the wrapper that recognised them; one may stand in another.
        lost: what forms and wrappers do not carry, with the number of events.
        live_tokens: events that held a usable token, which was removed.
        impersonated: events with an impersonated user.
        clusters: what each cluster's events carry.
        clouds: what the logs of each cloud hold, where there are any.
        rules: what the log means for each rule: those on by default, then the optional ones.

    """

    events: int
    unreadable: int
    skipped: int
    unproven: int
    errors: Mapping[str, int] = attrs.field(hash=False)
    first: datetime | None
    last: datetime | None
    gaps: tuple[Gap, ...]
    levels: Mapping[str, int] = attrs.field(hash=False)
    stages: Mapping[str, int] = attrs.field(hash=False)
    platforms: Mapping[str, int] = attrs.field(hash=False)
    wrappers: Mapping[str, int] = attrs.field(hash=False)
    lost: Mapping[str, int] = attrs.field(hash=False)
    live_tokens: int
    impersonated: int
    clusters: tuple[ClusterReport, ...]
    clouds: tuple[CloudReport, ...] = ()
    rules: tuple[RuleVerdict, ...]

    @property
    def policy(self) -> tuple[Change, ...]:
        """The rules to add to the audit policy, before all others, for all rules together."""
        return policy_of(self.rules)

    @property
    def advice(self) -> tuple[str, ...]:
        """What else to change, each once."""
        return tuple(dict.fromkeys(line for rule in self.rules for line in rule.advice))

    def verdict(self, rule_id: str, /) -> Verdict:
        """Return the verdict on a rule.

        Raises:
            KeyError: when no such rule ships.

        """
        return {rule.rule_id: rule.verdict for rule in self.rules}[rule_id]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as a JSON document."""
        plain = ("levels", "stages", "platforms", "wrappers", "lost", "errors")
        return {
            **{name: getattr(self, name) for name in ("events", "unreadable", "skipped", "unproven")},
            "first": _text(self.first),
            "last": _text(self.last),
            "gaps": [gap.to_dict() for gap in self.gaps],
            **{name: dict(getattr(self, name)) for name in plain},
            "live_tokens": self.live_tokens,
            "impersonated": self.impersonated,
            "clusters": [cluster.to_dict() for cluster in self.clusters],
            "clouds": [cloud.to_dict() for cloud in self.clouds],
            "rules": [rule.to_dict() for rule in self.rules],
            "audit_policy": [change.to_yaml() for change in self.policy],
            "advice": list(self.advice),
        }


def diagnose(source: Source, /) -> Report:
    """Read a log once and tell what it holds, which rules can speak with it, and what to change.

    Every event is read in full, which takes up to ten times as long as `detect`; memory is bounded. What cannot be read
    is counted, not raised.

    Arguments:
        source: what `read` takes, or an AuditLog.

    Raises:
        ConfigError: when the source is of no such type.

    """
    log = source if isinstance(source, AuditLog) else read(source)
    before = (log.skipped, log.unproven, log.wrappers)
    counts = _Counts()
    for item in log.stream():
        if isinstance(item, ReadError):
            counts.take_error(item)
        elif isinstance(item, Event):
            counts.take(item)
        else:
            counts.clouds.setdefault(item.cloud, CloudCounts()).take(item)
    wrappers = log.wrappers - before[2]
    return counts.report(log.skipped - before[0], log.unproven - before[1], dict(wrappers.most_common()))


class _Cluster:
    """Counts what the events of one cluster carry."""

    def __init__(self) -> None:
        self.events = 0
        self.timeline = Timeline()
        self.platforms = Counter[str]()
        self.facts = {fact.name: Count() for fact in FACTS}
        self.requests = {name: Requests() for name in KINDS}
        self.lost = Counter[str]()

    def take(self, event: Event) -> None:
        self.events += 1
        if event.platform:
            self.platforms[event.platform] += 1
        for word in event.lost:
            _count(self.lost, word)
        for fact in FACTS:
            if fact.of(event):
                self.facts[fact.name].take(has=fact.has(event))
        if event.answered:
            for name in kinds_of(event):
                self.requests[name].take(event)

    def report(self, name: str) -> ClusterReport:
        return ClusterReport(
            name=name,
            events=self.events,
            first=self.timeline.first,
            last=self.timeline.last,
            platforms=dict(self.platforms.most_common()),
            facts=self.facts,
            requests=self.requests,
            lost=dict(self.lost.most_common()),
        )


class _Counts:
    """Counts everything that a report says."""

    def __init__(self) -> None:
        self.events = self.unreadable = self.live_tokens = self.impersonated = 0
        self.timeline = Timeline()
        self.errors, self.levels, self.stages = Counter[str](), Counter[str](), Counter[str]()
        self.platforms, self.lost = Counter[str](), Counter[str]()
        self.clusters: dict[str, _Cluster] = {}
        self.clouds: dict[Cloud, CloudCounts] = {}

    def take_error(self, error: ReadError) -> None:
        self.unreadable += 1
        _count(self.errors, error.reason if error.path is None else f"{error.reason} @ {error.path}")

    def take(self, event: Event) -> None:
        self.events += 1
        _count(self.levels, event.level or "(none)")
        _count(self.stages, event.stage or "(none)")
        if event.platform:
            self.platforms[event.platform] += 1
        for word in event.lost:
            _count(self.lost, word)
        self.live_tokens += event.carried_token
        self.impersonated += event.impersonated_user is not None
        name = event.cluster or UNNAMED
        cluster = self.clusters.get(name)
        if cluster is None:
            name = name if len(self.clusters) < MAX_NAMES else OTHERS
            cluster = self.clusters.setdefault(name, _Cluster())
        cluster.take(event)
        if event.time is not None:
            time = event.time if event.time.tzinfo else event.time.replace(tzinfo=UTC)
            self.timeline.take(time)
            cluster.timeline.take(time)

    def report(self, skipped: int, unproven: int, wrappers: Mapping[str, int]) -> Report:
        clusters = {name: one.report(name) for name, one in self.clusters.items()}
        carried = {
            name: Carried(one.facts, one.requests, frozenset(one.platforms), frozenset(one.lost), bool(self.clouds))
            for name, one in clusters.items()
        } or {UNNAMED: Carried(_Cluster().facts, _Cluster().requests, clouds=bool(self.clouds))}
        rules = [cls.rule.id for cls in (*BUILTIN, *OPTIONAL)]
        return Report(
            events=self.events,
            unreadable=self.unreadable,
            skipped=skipped,
            unproven=unproven,
            errors=dict(self.errors.most_common()),
            first=self.timeline.first,
            last=self.timeline.last,
            gaps=self.timeline.gaps(),
            levels=dict(self.levels.most_common()),
            stages=dict(self.stages.most_common()),
            platforms=dict(self.platforms.most_common()),
            wrappers=wrappers,
            lost=dict(self.lost.most_common()),
            live_tokens=self.live_tokens,
            impersonated=self.impersonated,
            clusters=tuple(clusters.values()),
            clouds=reports_of(self.clouds),
            rules=tuple(together({name: judge(rule, one) for name, one in carried.items()}) for rule in rules),
        )


def _count(counts: Counter[str], name: str) -> None:
    """Count under a name, or with the others where there are many names."""
    counts[name[:MAX_NAMES] if name[:MAX_NAMES] in counts or len(counts) < MAX_NAMES else OTHERS] += 1


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


__all__ = ["CloudReport", "ClusterReport", "Count", "Gap", "Report", "Requests", "RuleVerdict", "Verdict", "diagnose"]
