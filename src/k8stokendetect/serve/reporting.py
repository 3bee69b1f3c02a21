# SPDX-License-Identifier: Apache-2.0
"""Lines for the operator on standard error: neutral, one each, and not more of a topic than a person reads."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from k8stokendetect.outputs.text import cut, neutral

MOST_A_MINUTE: Final = 20
"""Lines of one kind; the others are counted."""

FATAL: Final = "fatal"
"""The kind of the lines that are never left out."""

_MINUTE: Final = 60.0
_LONGEST: Final = 2000


class Log:
    """Writes lines, a limited number of each kind a minute.

    A kind is `error` or `warning` and a topic, such as `warning client`: a flood about one topic hides no other. Or it
    is `fatal`, the last line of a service, which is written in any case.

    Arguments:
        write: takes a line without its end; by default standard error.
        clock: in seconds.

    """

    def __init__(
        self, write: Callable[[str], object] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write or _to_stderr
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def __call__(self, kind: str, text: str) -> None:
        """Write a line, or count it."""
        line = f"{kind.partition(' ')[0]}: {neutral(cut(text, _LONGEST))}"
        with self._lock:
            if kind == FATAL:
                self._write(line)
                return
            now = self._clock()
            since, number = self._kinds.get(kind, (now, 0))
            if now - since >= _MINUTE:
                if number > MOST_A_MINUTE:
                    self._write(f"{kind}: {number - MOST_A_MINUTE:,} more in the last minute")
                since, number = now, 0
            self._kinds[kind] = since, number + 1
            if number < MOST_A_MINUTE:
                self._write(line)
            elif number == MOST_A_MINUTE:
                self._write(f"{kind}: more to come; for the rest of this minute they are only counted")


class _Relay(logging.Handler):
    """Says what a library logs: its words, and of an error only the type and the place, since it may repeat a body."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        text = record.getMessage().strip().partition("\n")[0]
        kind = f"{'error' if record.levelno >= logging.ERROR else 'warning'} {record.name}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            places = traceback.extract_tb(error.__traceback__)
            where = f" in {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
            text = f"{text}: {type(error).__name__}{where}"
            kind = f"{kind} {type(error).__name__}"
        self._log(kind, text)


@contextlib.contextmanager
def relayed(log: Log, *names: str) -> Iterator[None]:
    """Take over what the loggers of these names warn of, until the end of the block."""
    relay = _Relay(log)
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(relay)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(relay)
            logger.propagate = propagate


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
