# SPDX-License-Identifier: Apache-2.0
"""The time by the log: it follows the events, but no single event far off moves it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

FAR: Final = timedelta(days=1)
"""How far an event may be from the others before others have to agree."""

AGREEING: Final = 20
"""How many events within `FAR` of each other make a time believable."""


@attrs.define
class EventClock:
    """The latest event time, as far as it is believed.

    Attributes:
        now: that time; None before the first event.
        supported: how many events said so, at most `AGREEING`; with fewer, an event far behind sets it back.

    """

    now: datetime | None = None
    supported: int = 0
    _ahead: datetime | None = attrs.field(default=None, init=False)
    _agreeing: int = attrs.field(default=0, init=False)

    def take(self, time: datetime, /) -> bool:
        """Take an event's time; tell whether it is believed: it is not far ahead, or enough others agree."""
        if self.now is None or (self.now - time > FAR and self.supported < AGREEING):
            self.now, self.supported = time, 1
        elif time - self.now > FAR:
            return self._far_ahead(time)
        elif self.now - time <= FAR:
            self.now = max(self.now, time)
            self.supported = min(self.supported + 1, AGREEING)
        return True

    def _far_ahead(self, time: datetime) -> bool:
        if self._ahead is None or abs(time - self._ahead) > FAR:
            self._ahead, self._agreeing = time, 0
        self._agreeing += 1
        if self._agreeing < AGREEING:
            return False
        self.now, self.supported, self._ahead = time, AGREEING, None
        return True
