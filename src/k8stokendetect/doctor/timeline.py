# SPDX-License-Identifier: Apache-2.0
"""When events came, whatever their order, in bounded memory: `Timeline`, and the gaps in it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from k8stokendetect.reprs import with_short_repr

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MAX_SLOTS: Final = 20_000
"""Maximum number of stretches of time that are kept separately; then each becomes twice as long."""

SHORTEST_GAP: Final = timedelta(minutes=10)
"""Every kubelet calls the API server each 10 s: https://github.com/kubernetes/enhancements/blob/
0460fcf4637d440ce7d539a931e44dae931f9849/keps/sig-node/0009-node-heartbeat.md. A policy may leave that out."""

MAX_GAPS: Final = 5


@with_short_repr
@attrs.frozen
class Gap:
    """A stretch of time without an event.

    Arguments:
        start: when the last event before it came, to the length of a slot.
        end: when the next one came.

    """

    start: datetime
    end: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        seconds = int((self.end - self.start).total_seconds())
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "seconds": seconds}


class Timeline:
    """Notes in which slots of time an event came.

    Attributes:
        first: the earliest time; None without events.
        last: the latest time.

    """

    def __init__(self) -> None:
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._seconds = 10
        self._slots: set[int] = set()

    def take(self, time: datetime, /) -> None:
        """Note that an event came at this time, which has a zone."""
        if self.first is None or time < self.first:
            self.first = time
        if self.last is None or time > self.last:
            self.last = time
        self._slots.add(int((time - _EPOCH).total_seconds() // self._seconds))
        while len(self._slots) > MAX_SLOTS:
            self._seconds *= 2
            self._slots = {slot // 2 for slot in self._slots}

    def gaps(self) -> tuple[Gap, ...]:
        """Return the longest gaps of at least SHORTEST_GAP, in the order of time."""
        slots = sorted(self._slots)
        empty = [(after - before - 1, before, after) for before, after in itertools.pairwise(slots)]
        longest = sorted(empty, reverse=True)[:MAX_GAPS]
        found = [
            Gap(self._time(before + 1), self._time(after))
            for length, before, after in longest
            if length * self._seconds >= SHORTEST_GAP.total_seconds()
        ]
        return tuple(sorted(found, key=lambda gap: gap.start))

    def _time(self, slot: int) -> datetime:
        return _EPOCH + timedelta(seconds=slot * self._seconds)
