# SPDX-License-Identifier: Apache-2.0
"""The second half, one cluster at a time: the same pipeline as `detect`, which its cluster's rows run through."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.convert.structure import parse_event
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.tally import Tally
from k8stokendetect.enrichment import enriched
from k8stokendetect.errors import K8sTokenDetectError, ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.input.decoding import NotJSONError, decode_whole
from k8stokendetect.outputs.native import to_line
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.projection import project
from k8stokendetect.spark.front import NO_TIME, error_line, moment, tally_line
from k8stokendetect.spark.plan import Plan

Said = tuple[str, str]
"""A row of the schema `SAID`."""

_LATENESS: Final = ALLOWED_LATENESS // timedelta(microseconds=1)


class Use(NamedTuple):
    """A request that was made with a token; whether it matters depends on that token.

    Arguments:
        time: when it was received, in microseconds since 1970.
        origin: where it comes from.
        text: the record as the API server wrote it, without any text that looks like a token.

    """

    time: int
    origin: str | None
    text: bytes


class Share:
    """What belongs to one cluster.

    Arguments:
        plan: what to look for.
        cluster: the cluster's name; empty where there is none.
        saved: what `save` returned in an earlier batch.

    """

    def __init__(self, plan: Plan, cluster: str, saved: Mapping[str, Any] | None = None) -> None:
        self._plan = plan
        self._cluster = cluster or None
        self._tally = Tally()
        self._errors: list[K8sTokenDetectError] = []
        self._memory = Memory() if saved is None else Memory.from_dict(json.loads(saved["memory"]))
        self._pipeline = plan.pipeline(self._errors.append, self._tally, self._memory)
        watchers = self._pipeline.watchers
        self._pipeline.prefilter = self._prefilter = Prefilter(watchers.watches, watchers.followed)
        self._uses: deque[tuple[str, Use]] = deque()
        self._latest = NO_TIME
        if saved is not None:
            self._latest = saved["latest"]
            self._uses.extend(saved["uses"])
            for event in saved["waiting"]:  # none is due: what was due is not saved
                list(self._pipeline.take(event))

    def take(self, time: int, order: str, kind: str, payload: bytes, /) -> Iterator[Said]:
        """Take a row, see `ROUTED`; yield what there is to say."""
        if kind in {"finding", "error", "tally"}:
            yield kind, payload.decode()
        elif kind == "event":
            yield from self._told(self._event(pickle.loads(payload)))  # noqa: S301 - from the first half
        else:
            yield from self._told(self._use(Use(time, order or None, payload)))

    def rest(self) -> Iterator[Said]:
        """Yield what is found in the events that still wait, for earlier ones that will not come."""
        yield from self._told(self._pipeline.rest())
        yield from self._told(self._late())
        yield from self._told(self._pipeline.rest())

    def end(self) -> Iterator[Said]:
        """Yield what was counted in this batch."""
        if self._tally != Tally():
            yield "tally", tally_line(self._tally)
            self._tally = Tally()

    def _told(self, findings: Iterable[Finding]) -> Iterator[Said]:
        for finding in findings:
            yield "finding", to_line(enriched(finding, self._plan.snapshot) if self._plan.snapshot else finding)
        for error in self._errors:
            yield "error", error_line(error)
        self._errors.clear()

    def _event(self, event: Event | CloudEvent) -> Iterator[Finding]:
        if isinstance(event, CloudEvent):
            yield from self._pipeline.take(event)
            return
        self._latest = max(self._latest, moment(event.time))
        if event.cluster is None and self._cluster is not None:
            event = attrs.evolve(event, cluster=self._cluster)
        yield from self._pipeline.take(event)
        yield from self._late()

    def _use(self, use: Use) -> Iterator[Finding]:
        """Read a use that is wanted; keep any other for a while: its mint may come later."""
        self._latest = max(self._latest, use.time)
        id_ = self._prefilter.unwanted(project(use.text))
        if id_ is None:
            yield from self._read(use)
        elif id_:
            self._uses.append((id_, use))
            while self._latest - self._uses[0][1].time > _LATENESS:
                self._uses.popleft()

    def _late(self) -> Iterator[Finding]:
        """Read what was made with tokens that are only now followed."""
        while self._prefilter.added:
            ids = frozenset(self._prefilter.added)
            self._prefilter.added.clear()
            wanted = [use for id_, use in self._uses if id_ in ids]
            if wanted:
                self._uses = deque(kept for kept in self._uses if kept[0] not in ids)
            for use in wanted:
                yield from self._read(use)

    def _read(self, use: Use) -> Iterator[Finding]:
        try:
            event = parse_event(decode_whole(use.text), platform=self._plan.platform, origin=use.origin)
        except (ReadError, NotJSONError) as error:
            trouble = error if isinstance(error, ReadError) else ReadError(f"not JSON: {error}", use.origin)
            self._errors.append(trouble.with_traceback(None))
            self._tally.unreadable += 1
            return
        yield from self._event(event)

    @property
    def latest(self) -> int:
        """The time of the latest event, in microseconds since 1970; `NO_TIME` for none."""
        return self._latest

    @property
    def waits(self) -> bool:
        """Whether any event waits for earlier ones."""
        return next(self._pipeline.waiting(), None) is not None

    def save(self) -> dict[str, Any]:
        """Return everything that the next batch needs."""
        return {
            "memory": json.dumps(self._memory.to_dict()),
            "waiting": list(self._pipeline.waiting()),
            "uses": list(self._uses),
            "latest": self._latest,
        }


def in_order(plan: Plan, rows: Iterable[Mapping[str, Any]], /) -> Iterator[Said]:
    """Run the second half of a batch on rows sorted by cluster and time."""
    for cluster, group in itertools.groupby(rows, key=lambda row: str(row["cluster"])):
        share = Share(plan, cluster)
        for row in group:
            yield from share.take(row["moment"], row["tie"], row["kind"], row["payload"])
        yield from share.rest()
        yield from share.end()
