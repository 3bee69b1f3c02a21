# SPDX-License-Identifier: Apache-2.0
"""Delivers alerts to one sink: tries again for a bounded time, and keeps what it does not take as a dead letter."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8stokendetect.convert.times import format_time
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Severity
from k8stokendetect.incidents import Alert
from k8stokendetect.sinks.base import Sink, SinkError

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_WAIT: Final = 0.5
"""Seconds before the second attempt; each further wait is twice as long, and up to a second longer or shorter."""

LONGEST_WAIT: Final = 60.0
"""Seconds between two attempts at most, also where a sink asks for more."""

DEAD_MODE: Final = 0o600


class StoppedError(Exception):
    """The service ends while an alert waits for its next attempt; it is delivered after the next start."""


class DeadLetters:
    """Keeps what a sink did not take, a line of JSON for each, on the disk.

    Arguments:
        path: of the file; it is made when it is needed, readable for its owner.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuse a place where nothing can be written; raises ConfigError."""
        if not os.access(self.path if self.path.exists() else self.path.absolute().parent, os.W_OK):
            raise ConfigError(f"{self.path}: dead letters cannot be written there")

    def keep(self, alert: Alert, error: SinkError, /) -> None:
        """Append an alert; raises OSError when it cannot be written."""
        letter = {
            "time": format_time(datetime.now(UTC)),
            "sink": error.sink,
            "reason": error.reason,
            "alert": alert.to_dict(),
        }
        line = json.dumps(letter, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"
        with self._lock:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, DEAD_MODE)
            try:
                data = line.encode("ascii")
                while data:
                    data = data[os.write(file, data) :]
                os.fsync(file)
            finally:
                os.close(file)


class Delivery:
    """Delivers to one sink.

    While a sink is down, each alert after the first is tried once, so that a long list does not wait for each in turn.

    Arguments:
        sink: where to.
        severity: least one of what is sent.
        dead_letters: keeps what is not taken; None: the error says which alert it was.
        on_error: called with each SinkError when it is final.
        patience: how many seconds an alert is tried for.
        stopping: ends waiting.

    Attributes:
        sent: how many alerts were taken.
        dead: how many were not.
        retries: how many attempts failed and were repeated.

    """

    def __init__(
        self,
        sink: Sink,
        severity: Severity,
        dead_letters: DeadLetters | None,
        on_error: Callable[[SinkError], object],
        patience: float,
        stopping: threading.Event,
    ) -> None:
        self.sink = sink
        self.severity = severity
        self.sent = self.dead = self.retries = 0
        self._dead_letters = dead_letters
        self._on_error = on_error
        self._patience = patience
        self._stopping = stopping
        self._is_down = False

    @property
    def name(self) -> str:
        """Of the sink."""
        return self.sink.name

    def deliver(self, alert: Alert, /) -> bool:
        """Deliver an alert, or keep it as a dead letter; tell whether the sink took it.

        Raises:
            StoppedError: when `stopping` was set before it is decided.
            OSError: when the dead letter cannot be written.

        """
        if alert.severity < self.severity or alert.excluded_by is not None:
            return True
        try:
            self._try(alert)
        except SinkError as error:
            if self._stopping.is_set() and error.again:
                raise StoppedError from None
            self._is_down = error.again
            self.dead += 1
            self._bury(alert, error)
            return False
        except Exception as error:  # noqa: BLE001 - a sink that fails as none should costs this alert only
            self.dead += 1
            self._bury(alert, SinkError(self.name, f"failed: {type(error).__name__}", again=False))
            return False
        self._is_down = False
        self.sent += 1
        return True

    def _try(self, alert: Alert) -> None:
        from tenacity import Retrying, retry_if_exception, stop_after_delay, stop_when_event_set  # noqa: PLC0415 - extra

        if self._is_down:
            self.sink.send(alert)
            return
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, SinkError) and error.again),
            wait=_wait,
            stop=stop_after_delay(self._patience) | stop_when_event_set(self._stopping),
            sleep=self._sleep,
            reraise=True,
        )
        retrying(self.sink.send, alert)

    def _sleep(self, seconds: float) -> None:
        self.retries += 1
        self._stopping.wait(seconds)

    def _bury(self, alert: Alert, error: SinkError) -> None:
        if self._dead_letters is None:
            what = "is not delivered"
        else:
            self._dead_letters.keep(alert, error)
            what = "is a dead letter"
        self._on_error(SinkError(self.name, f"{error.reason}; alert {alert.fingerprint} {what}", again=False))

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()


def _wait(state: RetryCallState) -> float:
    """Return how long to wait: longer each time, and as long as the sink asks, within a bound."""
    from tenacity import wait_random_exponential  # noqa: PLC0415 - part of an extra

    asked = 0.0
    if state.outcome is not None:
        error = state.outcome.exception()
        asked = error.after or 0.0 if isinstance(error, SinkError) else 0.0
    own = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT, min=FIRST_WAIT / 2)(state)
    return min(LONGEST_WAIT, max(asked, own))
