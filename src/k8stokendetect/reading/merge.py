# SPDX-License-Identifier: Apache-2.0
"""Reads several logs as one, in the order of their events' times: each API server of a cluster writes its own."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event
from k8stokendetect.reading.skipping import Mark

Item: TypeAlias = Event | CloudEvent | ReadError | Mark
Log: TypeAlias = Iterator[Item]


def merged(logs: Iterable[tuple[datetime, Callable[[], Log]]], /) -> Log:
    """Yield the events of all logs. Within a log the order stays: errors and undated events follow the event before.

    A log that holds nothing of interest says by marks how far it has been read: no log runs ahead of the others.

    A log is opened when the time of its first event has come: of rotated files one or two are open at a time.

    Arguments:
        logs: the time of the first event of each, and how to read it.

    """
    waiting = deque(sorted(logs, key=lambda log: log[0]))
    active: list[tuple[datetime, int, Item, Log]] = []
    number = 0
    while waiting or active:
        while waiting and (not active or waiting[0][0] <= active[0][0]):
            start, opened = waiting.popleft()
            number += 1
            _push(active, start, number, opened())
        if active:
            time, order, item, stream = heapq.heappop(active)
            yield item
            _push(active, time, order, stream)


def _push(
    active: list[tuple[datetime, int, Item, Log]],
    time: datetime,
    order: int,
    stream: Log,
) -> None:
    """Put back a stream by the time of its next item, if there is one."""
    item = next(stream, None)
    if item is not None:
        own = None if isinstance(item, ReadError) else item.time
        heapq.heappush(active, (max(time, own) if own else time, order, item, stream))
