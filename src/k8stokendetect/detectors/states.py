# SPDX-License-Identifier: Apache-2.0
"""What a keyed detector remembers: one state per key, bounded in number, each until a time by the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import attrs

from k8stokendetect.detectors.event_clock import EventClock
from k8stokendetect.detectors.packing import Packing
from k8stokendetect.reprs import with_short_repr

S = TypeVar("S")

ALLOWED_LATENESS: Final = timedelta(seconds=60)
"""How much later than its successors an event may be read: each API server writes a file, and batches mix them."""

MAX_KEYS: Final = 200_000
"""Maximum number of keys that one detector remembers; the one that expires first is forgotten first, and counted."""

MOST_WHOLE: Final = 10_000
"""Number of states that are kept as they are; those that were not written to for longer are packed, to a tenth."""


NEVER: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@with_short_repr
@attrs.define
class States(Generic[S]):
    """What a keyed detector remembers: one state per key, each with an expiry.

    Attributes:
        packing: packs those of which nothing was heard for longest.
        limit: maximum number of keys.
        forgotten: how many states were dropped for want of room, not for age; each may have hidden a finding.
        clock: the time by which states are dropped for age; one event of a wrong time does not move it.

    """

    packing: Packing[S] = attrs.field(factory=Packing)
    limit: int = MAX_KEYS
    forgotten: int = 0
    clock: EventClock = attrs.field(factory=EventClock)
    _states: dict[str, tuple[S | bytes, datetime]] = attrs.field(factory=dict, init=False)
    _whole: OrderedDict[str, None] = attrs.field(factory=OrderedDict, init=False)
    _swept: datetime = attrs.field(default=NEVER, init=False)
    _sweeps_at: datetime = attrs.field(default=NEVER, init=False)

    def get(self, key: str, now: datetime, /) -> S | None:
        """Return the state of a key unless it has expired."""
        found = self._states.get(key)
        if found is None or found[1] < now:
            return None
        state = found[0]
        return self.packing.whole(state) if isinstance(state, bytes) else state

    def put(self, key: str, state: S | None, expires: datetime, /) -> None:
        """Remember a state until a time, or forget the key."""
        states, whole = self._states, self._whole
        if state is None:
            states.pop(key, None)
            whole.pop(key, None)
            return
        states[key] = (state, expires)
        whole[key] = None
        whole.move_to_end(key)
        if len(whole) > MOST_WHOLE:
            oldest, _ = whole.popitem(last=False)
            if (held := states.get(oldest)) is not None:
                states[oldest] = self.packing.packed(self.packing.whole(held[0])), held[1]
        if len(states) > self.limit:
            self._make_room()

    def sweep(self, time: datetime, /) -> None:
        """Take an event's time. Drop what has expired, now and then: the cost is spread over many events."""
        if self._swept <= time <= self._sweeps_at:
            return
        self.clock.take(time)
        now = self.clock.now or time
        if not self._swept <= now <= self._sweeps_at:
            self._swept, self._sweeps_at = now, later(now, ALLOWED_LATENESS)
            self._states = self._states and {key: held for key, held in self._states.items() if held[1] >= now}

    def _make_room(self) -> None:
        """Drop the tenth that expires first: one sort for many events."""
        order = sorted(self._states, key=lambda key: self._states[key][1])
        for key in order[: max(1, self.limit // 10)]:
            del self._states[key]
            self.forgotten += 1

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[tuple[str, S, datetime]]:
        return iter([(key, self.packing.whole(state), expires) for key, (state, expires) in self._states.items()])


def later(time: datetime | None, by: timedelta, /) -> datetime:
    """Return when a state expires; one of an event without a time only makes room for others."""
    try:
        if time is not None:
            return time + by
    except OverflowError:
        pass
    return _LAST
