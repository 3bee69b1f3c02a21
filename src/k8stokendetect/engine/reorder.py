# SPDX-License-Identifier: Apache-2.0
"""Puts events into the order of their time, as far as they come within the allowed lateness of each other."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from k8stokendetect.detectors.event_clock import EventClock
from k8stokendetect.detectors.keyed import ALLOWED_LATENESS
from k8stokendetect.events import Event

T = TypeVar("T")

MAX_WAITING: Final = 50_000
"""Maximum number of events that wait for earlier ones; beyond, the earliest is released before its time."""

NEVER: Final = datetime.min.replace(tzinfo=UTC)

STAGES: Final = {"RequestReceived": 0, "ResponseStarted": 1, "ResponseComplete": 2, "Panic": 3}
"""The stages of a request in their order (k8s.io/apiserver pkg/apis/audit/v1/types.go)."""

Order = tuple[datetime, str, str, int]


def order_of(event: Event, /) -> Order:
    """Return what events are sorted by: of one request the stages follow each other."""
    return event.time or NEVER, event.audit_id, event.user.username, STAGES.get(event.stage, len(STAGES))


class ReorderBuffer(Generic[T]):
    """A queue by event time: what goes in within `lateness` of each other comes out in order, whatever the order in.

    A request that was only received is held back for good where its answer waits, too: the answer says more.

    Arguments:
        lateness: how much later than its successors an event may come.
        clock: seconds by the machine's clock, for when no events come; by default `time.monotonic`.

    Attributes:
        event_clock: the time by the log.

    """

    def __init__(self, lateness: timedelta = ALLOWED_LATENESS, clock: Callable[[], float] | None = None) -> None:
        self._lateness = lateness
        self._clock = clock or time.monotonic
        self.event_clock = EventClock()
        self._count = 0
        self._put_at: float | None = None
        self._waiting: list[tuple[datetime, str, str, int, int, T]] = []  # an event's order, its number, its item

    def put(self, event: Event, item: T, /) -> Iterator[T]:
        """Take what belongs to an event; yield that of the events whose time has come."""
        order = order_of(event)
        self._count += 1
        heapq.heappush(self._waiting, (*order, self._count, item))
        self._put_at = None
        if event.time is not None and not self.event_clock.take(event.time):
            yield from self.rest()  # what is far ahead cannot wait for the clock, nor may what is before it
            return
        latest = self.event_clock.now or NEVER
        while self._waiting and (latest - self._waiting[0][0] > self._lateness or len(self._waiting) > MAX_WAITING):
            yield from self._next()

    def idle(self) -> Iterator[T]:
        """Yield what waits once nothing has come for the allowed lateness by the clock; called while nothing comes."""
        now = self._clock()
        if self._put_at is None:
            self._put_at = now
        elif now - self._put_at > self._lateness.total_seconds():
            yield from self.rest()

    def rest(self) -> Iterator[T]:
        """Yield what still waits."""
        while self._waiting:
            yield from self._next()

    def _next(self) -> Iterator[T]:
        """Yield the earliest, and with a request that was received its repetitions; nothing if it was answered."""
        first = heapq.heappop(self._waiting)
        order, items = first[:4], [first[-1]]
        if order[-1] == 0 and order[0] != NEVER:
            while self._waiting and self._waiting[0][:4] == order:
                items.append(heapq.heappop(self._waiting)[-1])
            if self._waiting and self._waiting[0][:3] == order[:3]:
                return
        yield from items
