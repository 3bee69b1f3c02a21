# SPDX-License-Identifier: Apache-2.0
"""The first half, on every executor: reads, runs the stateless detectors, and routes events that have to be joined."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from k8stokendetect.convert.structure import complete
from k8stokendetect.detectors import KeyedDetector
from k8stokendetect.engine.arrival import Arrival
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.engine.reorder import STAGES, order_of
from k8stokendetect.errors import DetectorError, K8sTokenDetectError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, Signal
from k8stokendetect.findings import Finding
from k8stokendetect.reading import read
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.raw import RawUses, Use
from k8stokendetect.spark.rows import Rows, Source

_BATCH: Final = 2000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOLLOWING: Final = frozenset({Signal.USE_OF_REPORTED, Signal.USE_OF_ANY})

NO_TIME: Final = -(1 << 62)
"""The moment of an event without a time: before all others."""

Routed = tuple[int, int, str, str | None, str, bytes]
"""A row of the schema `ROUTED`."""


def moment(time: datetime | None, /) -> int:
    """Return a time in microseconds since 1970; `NO_TIME` for None."""
    return (time - _EPOCH) // timedelta(microseconds=1) if time else NO_TIME


def time_of(moment: int, /) -> datetime:
    """Return the time that `moment` made a number of."""
    return _EPOCH + timedelta(microseconds=moment)


def tie(event: Event, /) -> str:
    """Return the sort key for events of the same time, the same as the engine's."""
    _, audit_id, user, stage = order_of(event)
    return f"{audit_id}\0{user}\0{stage}"


def error_line(error: K8sTokenDetectError, /) -> bytes:
    """Return an error as JSON."""
    if isinstance(error, DetectorError):
        said = {"origin": error.origin, "reason": error.reason, "rule_id": error.rule_id}
    elif isinstance(error, ReadError):
        said = {"origin": error.origin, "reason": error.reason, "path": error.path}
    else:
        said = {"reason": str(error)}
    return json.dumps(said).encode()


@attrs.frozen
class Due:
    """An event for the second half.

    Arguments:
        event: the event.
        number: unique within this run.
        reported: what the stateless detectors reported about it.
        keyed: the keyed detectors of that bucket that it concerns, each with its keys.

    """

    event: Event
    number: int
    reported: tuple[Finding, ...]
    keyed: tuple[tuple[str, tuple[str, ...]], ...]


class Front:
    """Reads one partition.

    Arguments:
        plan: what to look for.
        partition: its number.

    """

    def __init__(self, plan: Plan, partition: int = 0) -> None:
        self._plan = plan
        self._first = partition << 40
        self._rows: list[Routed] = []
        self._uses: RawUses | None = None
        self._parts: dict[str | None, Pipeline] = {}
        watches = plan.pipeline(self._failed).watchers.watches
        if Signal.USE_OF_REPORTED in watches and plan.every_use:
            self._uses = RawUses(Prefilter(watches - {Signal.USE_OF_REPORTED}))
            watches |= {Signal.USE_OF_ANY}
        self._prefilter = Prefilter(watches, plan.followed)

    def _pipeline(self, part: str | None) -> Pipeline:
        """Return the pipeline of a part: what is delivered twice is recognised in each by itself."""
        if part not in self._parts:
            pipeline = self._parts[part] = self._plan.pipeline(self._failed)
            pipeline.prefilter = self._prefilter
        return self._parts[part]

    def route(self, batches: Iterable[Any], /) -> Iterator[list[Routed]]:
        """Yield rows for the second half."""
        rows = Rows(batches, self._uses, self._unread)
        log = read(rows.sources(), platform=self._plan.platform, on_error=self._failed)
        for number, item in enumerate(log.stream(self._prefilter), self._first):
            origin, source = rows.source(item.origin)
            if isinstance(item, ReadError):
                self._unreadable(item.at(origin), source, number)
            else:
                self._event(complete(item, origin=origin), source, number)
            if len(self._rows) >= _BATCH or (self._uses and len(self._uses.found) >= _BATCH):
                yield self._taken()
        yield self._taken()

    def _taken(self) -> list[Routed]:
        rows, self._rows = self._rows, []
        if self._uses:
            for use in self._uses.found:
                rows += self._use(use)
            self._uses.found.clear()
        return rows

    def _event(self, event: Event, source: Source, number: int) -> None:
        pipeline = self._pipeline(source.part)
        arrival = pipeline.arrive(event)
        arrival.number = number
        for finding in pipeline.ask(arrival):
            self._found(finding, source, number)
        self._route(arrival, list(pipeline.keyed(arrival)), source.part)

    def _found(self, finding: Finding, source: Source, number: int) -> None:
        if finding.excluded_by is not None and not self._plan.keep_excluded:
            return
        event = finding.event
        rank = STAGES.get(event.stage, len(STAGES))
        bucket = self._plan.bucket_of_text(finding.fingerprint)
        payload = pickle.dumps((finding, number))
        self._rows.append((bucket, moment(event.time), f"{rank}\0{event.audit_id}", source.part, "finding", payload))

    def _route(
        self, arrival: Arrival, keyed: Iterable[tuple[KeyedDetector[Any], Sequence[str]]], part: str | None
    ) -> None:
        """Send an event to each bucket that one of its keys belongs to."""
        event, shares = arrival.event, dict[int, dict[str, list[str]]]()
        for detector, keys in keyed:
            for key in keys:
                bucket = self._plan.bucket_of_key(part, detector.rule.id, key)
                shares.setdefault(bucket, {}).setdefault(detector.rule.id, []).append(key)
        for bucket, share in shares.items():
            its_keys = tuple((rule, tuple(keys)) for rule, keys in share.items())
            payload = pickle.dumps(Due(event, arrival.number, arrival.reported, its_keys))
            self._rows.append((bucket, moment(event.time), tie(event), part, "due", payload))

    def _use(self, use: Use) -> Iterator[Routed]:
        """Send a use to the bucket of each detector that follows tokens."""
        rules = {detector.rule.id for detector in self._plan.keyed() if not _FOLLOWING.isdisjoint(detector.watches)}
        buckets = {self._plan.bucket_of_key(use.source.part, rule, id_) for rule in rules for id_ in use.ids}
        payload = pickle.dumps(use)
        for bucket in buckets:
            yield bucket, moment(use.time), "", use.source.part, "use", payload

    def _unreadable(self, error: ReadError, source: Source, number: int) -> None:
        for finding in self._pipeline(source.part).unreadable(error):
            self._found(finding, source, number)
        self._failed(error)

    def _unread(self, error: ReadError, source: Source) -> None:
        self._failed(error.at(source.origin))

    def _failed(self, error: K8sTokenDetectError) -> None:
        line = error_line(error)
        self._rows.append((self._plan.bucket_of_text(line.decode()), 0, "", None, "error", line))


def minted(plan: Plan, batches: Iterable[Any], /) -> Iterator[list[str]]:
    """Yield the ids of the tokens whose mint may be reported, and user names where there are no ids."""
    pipeline = plan.pipeline(lambda _: None)
    mints = Prefilter([TOKEN_SUBRESOURCE])
    rows = Rows(batches, None, lambda *_: None).sources()
    for item in read(rows, platform=plan.platform, on_error=lambda _: None).stream(mints):
        if not isinstance(item, ReadError):
            pipeline.arrive(item)
    yield sorted(pipeline.watchers.followed)
