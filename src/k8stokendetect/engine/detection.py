# SPDX-License-Identifier: Apache-2.0
"""`detect()`: the loop over events, each detector's interests, and the exclusion stage behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.engine.pipeline import Stages
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import ConfigError, OnError, ReadError, did_you_mean, raise_error
from k8stokendetect.events import Event, Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, find_exclusion
from k8stokendetect.findings import Finding
from k8stokendetect.reading import AuditLog, Source, read
from k8stokendetect.reading.prefilter import Prefilter

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


def detect(
    source: Source,
    *,
    detectors: Iterable[Detector | str] | None = None,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    keep_excluded: bool = False,
    platform: Platform | None = None,
    on_error: OnError = raise_error,
    tally: Tally | None = None,
    cluster: Cluster | None = None,
) -> Iterator[Finding]:
    """Find minted service account tokens in a Kubernetes audit log.

    Arguments are checked at the call; the result is lazy, and reads only as far as it is iterated.

    Arguments:
        source: what `read` takes (a path, an open binary file, bytes, a mapping, an iterable of mappings or Events),
            or an AuditLog.
        detectors: instances, or ids of built-in rules; default: all of `detectors.BUILTIN`, made anew. The same
            instances given again go on with what they remember.
        exclusions: whom to set aside: Exclusions, or their names; `()` reports everybody.
        keep_excluded: also yield what was set aside, with `excluded_by`.
        platform: where the records come from, where they do not say so: it decides which provider's exclusions apply.
        on_error: called with a ReadError for each unreadable record and a DetectorError for each detector that
            raised; the default raises.
        tally: counted up while iterating.
        cluster: a snapshot of the cluster. Detectors that are made here know what a target may do (instances keep what
            they were given), and findings about accounts with an identity in a cloud are high and say which, see
            `enrichment.enriched`.

    Raises:
        ConfigError: when an argument is wrong: an unknown rule, exclusion or platform, a source of no known type.

    """
    checked: tuple[object, object] = (on_error, tally)
    if not callable(checked[0]) or not isinstance(checked[1], Tally | None):
        raise ConfigError("on_error must be callable, tally a Tally")
    chosen = choose_detectors(detectors, checked_cluster(cluster))
    silencing = choose_exclusions(exclusions, chosen)
    if isinstance(source, AuditLog):
        if platform is not None and source.platform != platform:
            raise ConfigError("an AuditLog was given: give the platform to read()")
        log, on_error = source, source.on_error if on_error is raise_error else on_error
    else:
        log = read(source, platform=platform, on_error=on_error)
    found = _run(log, chosen, silencing, keep_excluded, on_error, Tally() if tally is None else tally)
    return found if cluster is None else _enriched(found, cluster)


def _enriched(findings: Iterator[Finding], cluster: Cluster) -> Iterator[Finding]:
    from k8stokendetect.enrichment import enriched  # noqa: PLC0415 - only where a cluster is known

    for finding in findings:
        yield enriched(finding, cluster)


def choose_detectors(detectors: Iterable[Detector | str] | None, cluster: Cluster | None) -> tuple[Detector, ...]:
    """Return the detectors that were asked for; raises ConfigError for an unknown or repeated rule."""
    if detectors is not None and (isinstance(detectors, str) or not isinstance(detectors, Iterable)):
        raise ConfigError("detectors takes a list of them")
    known = {cls.rule.id: cls for cls in (*BUILTIN, *OPTIONAL)}
    chosen: list[Detector] = []
    for item in [cls.rule.id for cls in BUILTIN] if detectors is None else detectors:
        if isinstance(item, str):
            if item not in known:
                raise ConfigError(f"unknown rule {item!r}{did_you_mean(item, known)}")
            chosen.append(known[item].made_for(cluster))
        elif isinstance(item, Detector):
            chosen.append(item)
        else:
            raise ConfigError(f"not a Detector instance: {item!r}")
    for rule, count in Counter(detector.rule.id for detector in chosen).items():
        if count > 1:
            raise ConfigError(f"rule {rule!r} is given twice")
    return tuple(chosen)


def choose_exclusions(
    exclusions: Iterable[Exclusion | str], detectors: Sequence[Detector]
) -> dict[str, list[Exclusion]]:
    """Return which exclusions may silence which rule."""
    if isinstance(exclusions, str) or not isinstance(exclusions, Iterable):
        raise ConfigError("exclusions takes a list of them")
    rules = {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)} | {detector.rule.id for detector in detectors}
    silencing: dict[str, list[Exclusion]] = {}
    named: dict[str, Exclusion] = {}
    for item in exclusions:
        exclusion = find_exclusion(item) if isinstance(item, str) else item
        if not isinstance(exclusion, Exclusion):
            raise ConfigError(f"not an Exclusion: {exclusion!r}")
        if named.setdefault(exclusion.id, exclusion) != exclusion:
            raise ConfigError(f"two different exclusions are called {exclusion.id!r}")
        for rule in exclusion.rules:
            if rule not in rules:
                raise ConfigError(f"exclusion {exclusion.id!r}: unknown rule {rule!r}{did_you_mean(rule, rules)}")
            silencing.setdefault(rule, []).append(exclusion)
    return silencing


def _run(
    log: AuditLog,
    detectors: Sequence[Detector],
    silencing: dict[str, list[Exclusion]],
    keep_excluded: bool,  # noqa: FBT001 - private
    on_error: OnError,
    tally: Tally,
) -> Iterator[Finding]:
    skipped = tally.skipped - log.skipped
    stages = Stages(detectors, silencing, on_error, tally, keep_excluded=keep_excluded)
    read = 0
    earlier = tally.events - log.passed_over

    for number, event in enumerate(_counting_skipped(log, stages.prefilter, tally, skipped)):
        if isinstance(event, ReadError):
            tally.unreadable += 1
            yield from stages.unreadable(event)
            on_error(event)
        else:
            read += 1
            tally.events = earlier + log.passed_over + read
            yield from (finding for finding in stages.take(event, number) if keep_excluded or not finding.excluded_by)
    tally.events = earlier + log.passed_over + read
    yield from (finding for finding in stages.rest() if keep_excluded or not finding.excluded_by)


def _counting_skipped(log: AuditLog, prefilter: Prefilter, tally: Tally, earlier: int) -> Iterator[Event | ReadError]:
    """Pass on what the log holds, and keep count of what it rightly skips, to its end."""
    for item in log.stream(prefilter):
        tally.skipped = earlier + log.skipped
        yield item
    tally.skipped = earlier + log.skipped
