# SPDX-License-Identifier: Apache-2.0
"""Puts events into the order of their time, as far as they come within the allowed lateness of each other."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from k8stokendetect.detectors.event_clock import EventClock
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.events import Event

T = TypeVar("T")

MAX_WAITING: Final = 50_000
"""Maximum number of events that wait for earlier ones; beyond, the earliest is released before its time."""

MAX_HELD: Final = 64 * 1024 * 1024
"""Maximum size of what clients sent in all of them, in bytes; beyond, as above."""

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
        self._held = 0
        self._waiting: list[tuple[datetime, str, str, int, int, int, T]] = []  # order, number, size, item

    @property
    def now(self) -> datetime | None:
        """The time by the log up to which nothing waits any more; None before the first event that has one."""
        latest = self.event_clock.now
        earliest = next((time for time, *_ in self._waiting[:1] if time != NEVER), latest)
        return latest if latest is None or earliest is None else min(latest, earliest)

    def __iter__(self) -> Iterator[T]:
        """Iterate over what waits, in no order."""
        return (waiting[-1] for waiting in self._waiting)

    def put(self, event: Event, item: T, /) -> Iterator[T]:
        """Take what belongs to an event; yield that of the events whose time has come."""
        order = order_of(event)
        self._count += 1
        size = _size(event)
        self._held += size
        heapq.heappush(self._waiting, (*order, self._count, size, item))
        self._put_at = None
        if event.time is not None and not self.event_clock.take(event.time):
            yield from self.rest()  # what is far ahead cannot wait for the clock, nor may what is before it
            return
        latest = self.event_clock.now or NEVER
        while self._waiting and (latest - self._waiting[0][0] > self._lateness or self._is_full()):
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

    def _next(self) -> list[T]:
        """Return the earliest, and with a request that was received its repetitions; nothing if it was answered."""
        *order, _, size, item = heapq.heappop(self._waiting)
        self._held -= size
        items = [item]
        if order[3] == 0 and order[0] != NEVER:
            while self._waiting and [*self._waiting[0][:4]] == order:
                *_, size, item = heapq.heappop(self._waiting)
                self._held -= size
                items.append(item)
            if self._waiting and [*self._waiting[0][:3]] == order[:3]:
                return []
        return items

    def _is_full(self) -> bool:
        return len(self._waiting) > MAX_WAITING or (self._held > MAX_HELD and len(self._waiting) > 1)


def _size(event: Event) -> int:
    """Return how long what the client chose of an event is, in bytes: without bodies, hardly anything."""
    ref, assumed = event.object_ref, event.impersonated_user
    size = len(event.request_uri) + len(event.user_agent)
    if ref is not None:
        size += len(ref.resource) + len(ref.subresource) + len(ref.name)
    if assumed is not None:
        size += sum(len(text) for texts in assumed.extra.values() for text in texts)
    if event.request_object is not None or event.response_object is not None:
        with contextlib.suppress(TypeError, ValueError, RecursionError):  # a mapping with something else than JSON
            size += len(msgspec.json.encode((event.request_object, event.response_object)))
    return size
