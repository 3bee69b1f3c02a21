# SPDX-License-Identifier: Apache-2.0
"""`detect()`: checks its arguments, and runs the pipeline over what is read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from k8stokendetect.convert.shapes import within
from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.engine.selection import choose_detectors, choose_exclusions
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import ConfigError, OnError, ReadError, raise_error
from k8stokendetect.events import Platform
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
    on_error: OnError = raise_error,
    tally: Tally | None = None,
    cluster: Cluster | None = None,
    cluster_name: str | None = None,
    memory: Memory | None = None,
) -> Iterator[Finding]:
    """Find minted service account tokens in a Kubernetes audit log.

    Arguments are checked at the call; the result is lazy, and reads only as far as it is iterated.

    Arguments:
        source: what `read` takes (a path, an open binary file, bytes, a mapping, an iterable of mappings or Events),
            or an AuditLog.
        detectors: instances, or ids of built-in rules; default: new instances of all in `detectors.BUILTIN`. The same
            instances given again go on with what they remember.
        exclusions: Exclusions, or their names, whose components are not reported; `()` reports everybody.
        keep_excluded: also yield what is excluded, with `excluded_by`.
        platform: where the records come from, where they do not say so: it decides which provider's exclusions apply.
        on_error: called with a ReadError for each unreadable record and a DetectorError for each detector that
            raised; the default raises.
        tally: counted up while iterating.
        cluster: a snapshot of the cluster. Detectors know from it what a target may do, and findings about accounts
            with an identity in a cloud are high and say which, see `enrichment.enriched`.
        cluster_name: the cluster of records that name none; what is remembered is kept apart by cluster.
        memory: what detectors remember from one call to the next.

    Raises:
        ConfigError: when an argument is wrong: an unknown rule, exclusion or platform, a source of no known type.

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
    )


def detection(
    source: Source,
    *,
    detectors: Iterable[Detector | str] | None = None,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    keep_excluded: bool = False,
    platform: Platform | None = None,
    on_error: OnError = raise_error,
    tally: Tally | None = None,
    cluster: Cluster | None = None,
    cluster_name: str | None = None,
    memory: Memory | None = None,
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
        log, on_error = source, source.on_error if on_error is raise_error else on_error
    else:
        log = read(source, platform=platform, on_error=on_error)
    tally = Tally() if tally is None else tally
    pipeline = Pipeline(chosen, excluding, on_error, tally, keep_excluded=keep_excluded, memory=memory)
    return Detection(log, pipeline, on_error, tally, cluster, cluster_name)


class Detection(Iterator[Finding]):
    """A run of the pipeline over a log.

    Arguments:
        log: what is read.
        pipeline: what is looked for.
        on_error: called with each record that cannot be read.
        tally: counted up.
        cluster: a snapshot of the cluster.
        cluster_name: the cluster of records that name none.

    """

    def __init__(
        self,
        log: AuditLog,
        pipeline: Pipeline,
        on_error: OnError,
        tally: Tally,
        cluster: Cluster | None = None,
        cluster_name: str | None = None,
    ) -> None:
        self._log = log
        self._pipeline = pipeline
        self._on_error = on_error
        self._tally = tally
        self._cluster = cluster
        self._name = cluster_name
        self._findings = self._run()

    def __next__(self) -> Finding:
        return self._enriched(next(self._findings))

    def close(self) -> None:
        """Stop reading, and close what is open; what still waits is not examined."""
        self._findings.close()

    def idle(self) -> Iterator[Finding]:
        """Yield the findings whose time has come by the clock; called from the source while it waits for more."""
        return map(self._enriched, self._pipeline.idle())

    def _enriched(self, finding: Finding) -> Finding:
        if self._cluster is None:
            return finding
        from k8stokendetect.enrichment import enriched  # noqa: PLC0415 - only where a cluster is known

        return enriched(finding, self._cluster)

    def _named(self, finding: Finding) -> Finding:
        """Name the cluster of what was found in a record that cannot be read."""
        if self._name is None or finding.event.cluster is not None:
            return finding
        return attrs.evolve(finding, event=attrs.evolve(finding.event, cluster=self._name))

    def _run(self) -> Generator[Finding]:
        log, pipeline, tally, counts = self._log, self._pipeline, self._tally, self._log.counts
        skipped, events = tally.skipped - counts.other_logs, tally.events - counts.unwanted
        unproven = tally.unproven - counts.unproven
        pipeline.prefilter = prefilter = Prefilter(pipeline.watchers.watches, pipeline.watchers.followed)
        reading = log.reading(prefilter)
        # The turn of the last mints comes when all is read; what they were used for is looked for after that.
        for items in (reading.events(log.source), reading.late()):
            for item in items:
                tally.skipped, tally.unproven = skipped + counts.other_logs, unproven + counts.unproven
                if isinstance(item, ReadError):
                    tally.unreadable += 1
                    yield from map(self._named, pipeline.unreadable(item))
                    self._on_error(item)
                else:
                    events += 1
                    tally.events = events + counts.unwanted
                    if self._name is not None and item.cluster is None:
                        item = within(item, cluster=self._name)  # noqa: PLW2901 - the same, named
                    yield from pipeline.take(item)
            tally.skipped, tally.unproven = skipped + counts.other_logs, unproven + counts.unproven
            tally.events = events + counts.unwanted
            yield from pipeline.rest()
