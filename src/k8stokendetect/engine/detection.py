# SPDX-License-Identifier: Apache-2.0
"""`detect()`: checks its arguments, and runs the pipeline over what is read."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, cast

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.engine.claims import claimed
from k8stokendetect.engine.cloud_lane import checked_subjects
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.engine.selection import choose_detectors, choose_exclusions
from k8stokendetect.engine.stopping import Stopping
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import ConfigError, OnDetectError, ReadError, raise_error
from k8stokendetect.events import Event, Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
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
    on_error: OnDetectError = raise_error,
    tally: Tally | None = None,
    cluster: Cluster | None = None,
    cluster_name: str | None = None,
    memory: Memory | None = None,
    azure_subjects: Mapping[str, str] | None = None,
) -> Iterator[Finding]:
    """Find minted service account tokens in a Kubernetes audit log, and follow them into the logs of clouds.

    Arguments are checked at once. The result is lazy: the source is read only as far as you iterate.

    Arguments:
        source: a path, a URL, an open binary file, bytes, a mapping, an iterable of mappings or Events, or an AuditLog.
        detectors: instances, or ids of built-in rules; by default a new instance of each in `detectors.BUILTIN`.
            Instances that are passed again keep what they remember.
        exclusions: Exclusions, or their names, whose components are not reported; `()` excludes nobody.
        keep_excluded: also yield excluded findings; their `excluded_by` is set.
        platform: where the records come from, if they do not say so; selects the exclusions of that provider.
        on_error: called with a ReadError for each unreadable record, and with a DetectorError when a detector raises.
            By default, the error is raised.
        tally: counts events, findings and errors while you iterate.
        cluster: a snapshot of the cluster: it tells detectors what a target may do and which cloud identity it has.
        cluster_name: name of the cluster, for records that do not name it; each cluster is remembered separately.
        memory: keeps what detectors remember from one call to the next.
        azure_subjects: the subject of each federated credential in Azure, by the credential's id. Azure does not log
            subjects, so its sign-ins can be used only with these.

    Raises:
        ConfigError: if an argument is invalid, such as an unknown rule; also while iterating, if another unfinished
            call uses the same Memory, Tally, AuditLog or detectors.

    """
    return detection(
        source,
        detectors=detectors,
        exclusions=exclusions,
        keep_excluded=keep_excluded,
        platform=platform,
        on_error=on_error,
        tally=tally,
        cluster=cluster,
        cluster_name=cluster_name,
        memory=memory,
        azure_subjects=azure_subjects,
    )


def detection(
    source: Source,
    *,
    detectors: Iterable[Detector | str] | None = None,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    keep_excluded: bool = False,
    platform: Platform | None = None,
    on_error: OnDetectError = raise_error,
    tally: Tally | None = None,
    cluster: Cluster | None = None,
    cluster_name: str | None = None,
    memory: Memory | None = None,
    azure_subjects: Mapping[str, str] | None = None,
) -> Detection:
    """Return what `detect` returns, for a caller that also lets it run while its source waits."""
    checked: tuple[object, object, object] = (on_error, tally, memory)
    name: object = cluster_name
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise ConfigError("cluster_name takes a name")
    if (
        not callable(checked[0])
        or not isinstance(checked[1], Tally | None)
        or not isinstance(checked[2], Memory | None)
    ):
        raise ConfigError("on_error must be callable, tally a Tally, memory a Memory")
    chosen = choose_detectors(detectors)
    excluding = choose_exclusions(exclusions, chosen)
    if checked_cluster(cluster) is not None:
        for detector in chosen:
            detector.cluster = cluster
    if memory is not None:
        memory.attach(chosen)
    if isinstance(source, AuditLog):
        if platform is not None and source.platform != platform:
            raise ConfigError("an AuditLog was given: give the platform to read()")
        # Its own is also called with what a detector raises, as it says: better than to stop, or to lose an error.
        log, on_error = source, cast("OnDetectError", source.on_error) if on_error is raise_error else on_error
    else:
        log = read(source, platform=platform, on_error=on_error)
    own = log if isinstance(source, AuditLog) else None
    tally = Tally() if tally is None else tally
    subjects = checked_subjects(azure_subjects)
    pipeline = Pipeline(
        chosen, excluding, on_error, tally, keep_excluded=keep_excluded, memory=memory, azure_subjects=subjects
    )
    alone: list[tuple[str, object]] = [(f"the detector of {one.rule.id}", one) for one in chosen]
    alone += [(f"the {type(one).__name__}", one) for one in (memory, own, tally) if one is not None]
    is_continued = memory is not None or detectors is not None
    return Detection(log, pipeline, on_error, tally, cluster, cluster_name, alone, is_continued=is_continued)


class Detection(Iterator[Finding]):
    """A run of the pipeline over a log; several threads may take findings from it, each comes once.

    Arguments:
        log: what is read.
        pipeline: what is looked for.
        on_error: called with each record that cannot be read.
        tally: counted up.
        cluster: a snapshot of the cluster.
        cluster_name: the cluster of records that name none.
        alone: what no other run may use at the same time, each with what to call it.
        is_continued: another run may go on with what the detectors remember.

    """

    def __init__(
        self,
        log: AuditLog,
        pipeline: Pipeline,
        on_error: OnDetectError,
        tally: Tally,
        cluster: Cluster | None = None,
        cluster_name: str | None = None,
        alone: Iterable[tuple[str, object]] = (),
        *,
        is_continued: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._cluster = cluster
        self._lock = threading.RLock()
        self._stopping = Stopping()
        self._findings = _run(
            log, pipeline, on_error, tally, cluster_name, alone, self._stopping, is_continued=is_continued
        )

    def __repr__(self) -> str:
        return "<the findings of detect(): iterate over them>"

    def __next__(self) -> Finding:
        with self._lock:
            return self._enriched(next(self._findings))

    def close(self) -> None:
        """Stop reading, and close what is open; what still waits is not examined."""
        with self._lock:
            self._findings.close()

    def stop(self) -> None:
        """Stop reading, in the thread that reads: what still waits is examined, and the findings end. For signals."""
        self._stopping.ask()

    @property
    def now(self) -> datetime | None:
        """The time by the log up to which all was examined; None before the first event that has one."""
        return self._pipeline.now

    def idle(self) -> Iterator[Finding]:
        """Yield the findings whose time has come by the clock; called from the source while it waits for more."""
        return map(self._enriched, self._pipeline.idle())

    def waiting(self) -> Iterator[Event | CloudEvent]:
        """Yield the events that wait for earlier ones, in no order: what is remembered knows nothing of them yet."""
        return self._pipeline.waiting()

    def _enriched(self, finding: Finding) -> Finding:
        if self._cluster is None:
            return finding
        from k8stokendetect.enrichment import enriched  # noqa: PLC0415 - only where a cluster is known

        return enriched(finding, self._cluster)


def _named(finding: Finding, cluster_name: str | None) -> Finding:
    """Name the cluster of what was found in a record that cannot be read."""
    if cluster_name is None or finding.event.cluster is not None:
        return finding
    return attrs.evolve(finding, event=attrs.evolve(finding.event, cluster=cluster_name))


def _run(
    log: AuditLog,
    pipeline: Pipeline,
    on_error: OnDetectError,
    tally: Tally,
    cluster_name: str | None,
    alone: Iterable[tuple[str, object]],
    stopping: Stopping,
    *,
    is_continued: bool,
) -> Generator[Finding]:
    """Yield the findings; no part of the Detection, so that one that is dropped ends at once."""
    with claimed(alone):
        counts = log.counts
        skipped, events = tally.skipped - counts.other_logs, tally.events - counts.unwanted
        unproven = tally.unproven - counts.unproven
        pipeline.prefilter = prefilter = Prefilter(pipeline.watchers.watches, pipeline.watchers.followed)
        reading = log.reading(prefilter, tail=is_continued)
        # The turn of the last mints comes when all is read; what they were used for is looked for after that.
        for items in (reading.events(log.source), reading.late()):
            for item in stopping.until_asked(items):
                tally.skipped, tally.unproven = skipped + counts.other_logs, unproven + counts.unproven
                if isinstance(item, ReadError):
                    tally.unreadable += 1
                    yield from (_named(finding, cluster_name) for finding in pipeline.unreadable(item))
                    on_error(item)
                elif isinstance(item, Event):
                    events += 1
                    tally.events = events + counts.unwanted
                    if cluster_name is not None and item.cluster is None:
                        item = attrs.evolve(item, cluster=cluster_name)  # noqa: PLW2901 - the same, named
                    yield from pipeline.take(item)
                else:
                    tally.cloud_events += 1
                    yield from pipeline.take(item)
            tally.skipped, tally.unproven = skipped + counts.other_logs, unproven + counts.unproven
            tally.events = events + counts.unwanted
            yield from pipeline.rest()
