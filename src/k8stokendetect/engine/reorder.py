# SPDX-License-Identifier: Apache-2.0
"""Puts events into the order of their time, as far as they come within a window of each other."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from k8stokendetect.events import Event

T = TypeVar("T")

MAX_WAITING: Final = 50_000
"""So many events wait for earlier ones at most; beyond, the earliest is taken though its time has not come."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class InOrder(Generic[T]):
    """A queue by event time: what goes in within `lateness` of each other comes out in order, whatever the order in.

    Arguments:
        lateness: how much later than its successors an event may come.

    """

    def __init__(self, lateness: timedelta) -> None:
        self._lateness = lateness
        self._latest = _NEVER
        self._count = 0
        self._waiting: list[tuple[datetime, str, str, str, int, Event, T]] = []

    def put(self, event: Event, item: T, /) -> Iterator[tuple[Event, T]]:
        """Take an event with what belongs to it; yield those whose time has come.

        Of equal times the order rests on the events themselves, not on which came first.
        """
        time = event.time or _NEVER
        self._count += 1
        entry = (time, event.audit_id, event.stage, event.user.username, self._count, event, item)
        heapq.heappush(self._waiting, entry)
        self._latest = max(self._latest, time)
        while self._waiting and (self._due(self._waiting[0][0]) or len(self._waiting) > MAX_WAITING):
            yield heapq.heappop(self._waiting)[-2:]

    def _due(self, time: datetime) -> bool:
        return self._latest - time > self._lateness

    def rest(self) -> Iterator[tuple[Event, T]]:
        """Yield what still waits."""
        while self._waiting:
            yield heapq.heappop(self._waiting)[-2:]
