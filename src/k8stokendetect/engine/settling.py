# SPDX-License-Identifier: Apache-2.0
"""Asks detectors that count, rather than report one by one, for what they have counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.engine.guard import Guard
from k8stokendetect.engine.reorder import NEVER
from k8stokendetect.engine.tally import Tally
from k8stokendetect.findings import Finding

OFTEN: Final = timedelta(minutes=1)
"""How often detectors are asked, by the time of the log."""

LATEST: Final = datetime.max.replace(tzinfo=UTC)


class Settling:
    """Asks them once a minute of the log, and in the end.

    Arguments:
        detectors: those that were asked for.
        guard: calls them.
        tally: what they report is counted up.

    Attributes:
        asked_at: when it asked last, by the time of the log.
        asks_at: when it asks next; also if the log goes back before `asked_at`.

    """

    def __init__(self, detectors: Iterable[Detector], guard: Guard, tally: Tally) -> None:
        self._keyed = [one for one in detectors if isinstance(one, KeyedDetector)]
        self._counting = [one for one in self._keyed if type(one).settle is not KeyedDetector.settle]
        self._guard = guard
        self._tally = tally
        self.asked_at = self.asks_at = NEVER

    def ask(self, now: datetime | None, /) -> Iterator[Finding]:
        """Yield what is due at a time, or at the end."""
        if now is not None:
            is_first = self.asked_at is NEVER
            self.asked_at, self.asks_at = now, min(now, LATEST - OFTEN) + OFTEN
            if is_first:
                return
        for detector in self._keyed if now is None else ():
            if detector.undecided:
                self._tally.undecided += detector.undecided
                detector.undecided = 0
        for detector in self._counting:
            for finding in self._guard.all_of(Finding, detector, None, detector.settle, now):
                self._tally.findings[detector.rule.id] += 1
                yield finding
