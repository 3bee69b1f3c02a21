# SPDX-License-Identifier: Apache-2.0
"""The second half, one part of one bucket at a time: drops duplicates and runs keyed detectors in order of time."""

from __future__ import annotations

import heapq
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from k8stokendetect.convert.structure import parse_event
from k8stokendetect.detectors import KeyedDetector
from k8stokendetect.detectors.keyed import ALLOWED_LATENESS
from k8stokendetect.engine.arrival import Arrival
from k8stokendetect.engine.memory import BEFORE
from k8stokendetect.errors import K8sTokenDetectError, ReadError
from k8stokendetect.findings import Finding
from k8stokendetect.outputs.native import to_line
from k8stokendetect.spark.front import NO_TIME, Due, error_line, time_of
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.raw import Use

REMEMBERED: Final = 2000
"""Maximum number of findings, and of events, that a part of a bucket remembers from one batch to the next, to drop
repeated deliveries. Beyond that a finding is repeated, with the same fingerprint."""

_LATENESS: Final = ALLOWED_LATENESS // timedelta(microseconds=1)

Said = tuple[str, str]
"""A row of the schema `SAID`."""

Waiting = tuple[int, str, str, bytes]
"""The time, the sort key among rows of the same time, the kind, the payload."""


class Part:
    """One part's share of a bucket; parts have nothing in common.

    Arguments:
        plan: what to look for.
        bucket: the bucket's number.
        saved: what `save` returned in an earlier batch.

    """

    def __init__(self, plan: Plan, bucket: int, saved: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._bucket = bucket
        self._errors: list[K8sTokenDetectError] = []
        saved = saved or {}
        self._pipeline = plan.pipeline(self._errors.append, saved.get("states"))
        keyed = (one for one in self._pipeline.watchers.detectors if isinstance(one, KeyedDetector))
        self._keyed: dict[str, KeyedDetector[Any]] = {detector.rule.id: detector for detector in keyed}
        before = (self._pipeline.memory.reported, self._pipeline.memory.folded)
        for names, deduplicator in zip((saved.get("seen", ()), saved.get("observed", ())), before, strict=True):
            deduplicator.restore(names)
        self._latest: int = saved.get("latest", NO_TIME)
        self._numbers = itertools.count()
        self._uses = itertools.count(BEFORE - 1, -1)  # no number of the first half's, nor of an earlier batch
        self._waiting: list[tuple[int, str, int, str, bytes]] = []
        for waiting in saved.get("waiting", ()):
            self.put(waiting)

    def put(self, row: Waiting, /) -> None:
        """Add a row; it waits for earlier ones."""
        time, tie, kind, payload = row
        heapq.heappush(self._waiting, (time, tie, next(self._numbers), kind, payload))
        if kind == "due":
            self._latest = max(self._latest, time)
            self._follow_mint(pickle.loads(payload))  # noqa: S301 - from the first half
        elif kind == "use":
            self._latest = max(self._latest, time)

    def ready(self, *, everything: bool = False) -> Iterator[Said]:
        """Yield what is found in the rows that are due, or in all rows."""
        while self._waiting and (everything or self._latest - self._waiting[0][0] > _LATENESS):
            _, _, _, kind, payload = heapq.heappop(self._waiting)
            yield from self.said(kind, payload)
        yield from self.end(None if everything else self._latest)

    def said(self, kind: str, payload: bytes, /) -> Iterator[Said]:
        """Yield what is found in a row."""
        if kind == "error":
            yield "error", payload.decode()
            return
        yield from self._told(self._found(payload))

    def end(self, moment: int | None = None) -> Iterator[Said]:
        """Yield what was counted: what is due at a moment, or all of it once there are no more rows."""
        if moment != NO_TIME:
            yield from self._told(self._pipeline.settle(None if moment is None else time_of(moment)))

    def _told(self, findings: Iterable[Finding]) -> Iterator[Said]:
        for finding in findings:
            if finding.excluded_by is None or self._plan.keep_excluded:
                yield "finding", to_line(finding)
        for error in self._errors:
            yield "error", error_line(error).decode()
        self._errors.clear()

    def _found(self, payload: bytes) -> Iterator[Finding]:
        given = pickle.loads(payload)  # noqa: S301 - from the first half
        if isinstance(given, Due):
            arrival = Arrival(given.event, given.number, reported=given.reported)
            for rule, keys in given.keyed:
                yield from self._pipeline.fold(arrival, self._keyed[rule], keys)
        elif isinstance(given, Use):
            yield from self._used(given)
        else:
            finding, number = given
            name = f"{finding.fingerprint} {finding.excluded_by}"
            if finding.event.time is None or not self._pipeline.memory.reported.is_repeat(name, number):
                yield finding

    def _used(self, use: Use) -> Iterator[Finding]:
        """Read a use if its token is followed; drop it otherwise."""
        if self._pipeline.watchers.followed.isdisjoint(use.ids):
            return
        try:
            event = parse_event(msgspec.json.decode(use.text), platform=self._plan.platform, origin=use.source.origin)
        except (ReadError, msgspec.MsgspecError) as error:
            trouble = error if isinstance(error, ReadError) else ReadError("not JSON", use.source.origin)
            self._errors.append(trouble.with_traceback(None))
            return
        arrival = Arrival(event, next(self._uses))
        for detector, keys in list(self._pipeline.keyed(arrival)):
            if own := self._own(detector, use, keys):
                yield from self._pipeline.fold(arrival, detector, own)

    def _own(self, detector: KeyedDetector[Any], use: Use, keys: Sequence[str]) -> list[str]:
        """Leave out the keys that belong to another bucket."""
        rule, part = detector.rule.id, use.source.part
        return [key for key in keys if self._plan.bucket_of_key(part, rule, key) == self._bucket]

    def _follow_mint(self, due: Due) -> None:
        """Follow a token whose mint was reported, as the engine does, before its turn."""
        if due.reported and due.event.mints_token:
            self._pipeline.arrive(due.event)

    @property
    def waits(self) -> bool:
        """Whether any row waits for earlier ones."""
        return bool(self._waiting)

    def save(self) -> dict[str, Any]:
        """Return everything that the next batch needs."""
        seen, observed = (
            self._pipeline.memory.reported.last(REMEMBERED),
            self._pipeline.memory.folded.last(REMEMBERED),
        )
        states = {rule: detector.state() for rule, detector in self._keyed.items() if len(detector.states)}
        waiting = [(time, tie, kind, payload) for time, tie, _, kind, payload in sorted(self._waiting)]
        return {"states": states, "seen": seen, "observed": observed, "latest": self._latest, "waiting": waiting}


def in_order(plan: Plan, rows: Iterable[dict[str, Any]], /) -> Iterator[Said]:
    """Run the second half of a batch on rows sorted by bucket, part and time."""
    for (bucket, _), group in itertools.groupby(rows, key=_place):
        part = Part(plan, bucket)
        for row in group:
            yield from part.said(row["kind"], row["payload"])
        yield from part.end()


_place: Callable[[dict[str, Any]], tuple[int, str | None]] = lambda row: (row["bucket"], row["part"])  # noqa: E731
