# SPDX-License-Identifier: Apache-2.0
"""What a person reads about a log: what it holds, which rules can speak with it, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from k8stokendetect.doctor import ClusterReport, Gap, Report, RuleVerdict
from k8stokendetect.doctor.verdicts import VERDICTS
from k8stokendetect.outputs.text import cut, neutral, span, utc

MAX_SHOWN = 12
"""Maximum number of names of one kind; the JSON form has all of them."""

MAX_WHY = 300
"""Maximum length of a reason, in characters; the name of a cluster is part of it."""

_LONGEST = 120


def to_diagnosis(report: Report, /) -> str:
    """Return a report as text, without the last line end."""
    lines = [*_held(report), "", *_clusters(report), *_clouds(report), *_rules(report), *_changes(report)]
    return "\n".join(neutral(line) for line in lines)


def _held(report: Report) -> Iterator[str]:
    """Yield what was read, when, in which form."""
    parts = [
        f"events read: {report.events:,}",
        f"unreadable: {report.unreadable:,}",
        f"of other logs: {report.skipped:,}" if report.skipped else "",
        f"unproven source: {report.unproven:,}" if report.unproven else "",
    ]
    yield "; ".join(filter(None, parts))
    for reason, count in list(report.errors.items())[:MAX_SHOWN]:
        yield f"    {count:,} times {cut(reason, _LONGEST)}"
    if report.first is not None:
        yield f"time: {span(report.first, report.last)}"
        yield from (f"    no event for {_long(gap)} from {utc(gap.start)}" for gap in report.gaps)
    for name, counts in (
        ("levels", report.levels),
        ("stages", report.stages),
        ("wrappers", report.wrappers),
        ("platforms", report.platforms),
    ):
        if counts:
            yield f"{name}: {_counted(counts)}"
    if report.lost:
        yield f"lost in transit: {_counted(report.lost)}"
    if report.live_tokens:
        yield f"usable tokens in it: {report.live_tokens:,} events; anyone who reads this log can use them"


def _long(gap: Gap) -> str:
    return str(timedelta(seconds=int((gap.end - gap.start).total_seconds())))


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{cut(name, _LONGEST)} {count:,}" for name, count in counts.items()]
    more = len(shown) - MAX_SHOWN
    return ", ".join(shown[:MAX_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _clusters(report: Report) -> Iterator[str]:
    """Yield what the events of each cluster carry."""
    for cluster in report.clusters[:MAX_SHOWN]:
        yield f"cluster {cut(cluster.name, _LONGEST)}: {cluster.events:,} events, {span(cluster.first, cluster.last)}"
        yield from _carried(cluster)
        yield ""
    if len(report.clusters) > MAX_SHOWN:
        yield f"and {len(report.clusters) - MAX_SHOWN} more clusters"
        yield ""


def _carried(cluster: ClusterReport) -> Iterator[str]:
    width = max(map(len, cluster.facts))
    for name, count in cluster.facts.items():
        yield f"    {name:{width}}  {count if count.of else 'no event should have it'}"
    for name, requests in cluster.requests.items():
        if requests.seen:
            yield f"    {name}: {requests.seen:,}; served with a body that was logged: {requests.bodies}"


def _clouds(report: Report) -> Iterator[str]:
    """Yield what the logs of each cloud hold, and what they seem to lack."""
    for cloud in report.clouds:
        yield f"cloud {cloud.cloud}: {cloud.events:,} calls, {span(cloud.first, cloud.last)}"
        yield f"    exchanges for an identity: {_counted(cloud.exchanges) or 'none'}; refused: {cloud.refused:,}"
        yield from (f"    {line}" for line in cloud.missing)
        yield f"    not followed: {'; '.join(cloud.hidden)}"
        yield ""


def _rules(report: Report) -> Iterator[str]:
    """Yield the rules by what they can do, those that can speak last."""
    for verdict in VERDICTS:
        found = [rule for rule in report.rules if rule.verdict == verdict]
        if found:
            yield f"{verdict}:"
            for rule in found:
                yield from _rule(rule)
            yield ""


def _rule(rule: RuleVerdict) -> Iterator[str]:
    yield f"  {rule.rule_id}"
    yield from (f"      {cut(why, MAX_WHY)}" for why in rule.why[:MAX_SHOWN])
    if len(rule.why) > MAX_SHOWN:
        yield f"      and {len(rule.why) - MAX_SHOWN} more reasons"
    if rule.clusters:
        shown = [f"{cut(name, _LONGEST)}: {verdict}" for name, verdict in rule.clusters.items()]
        yield f"      by cluster: {', '.join(shown[:MAX_SHOWN])}"


def _changes(report: Report) -> Iterator[str]:
    """Yield what to change, each once."""
    if not (report.policy or report.advice):
        yield "nothing to change"
    if report.policy:
        yield "to change: add to the audit policy, before its other rules"
        for change in report.policy:
            yield from change.to_yaml().splitlines()
    for line in report.advice:
        yield f"to change: {line}"
