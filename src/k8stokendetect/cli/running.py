# SPDX-License-Identifier: Apache-2.0
"""Runs a scan to its end: that of the log, of its output, or where a signal says so; always in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.shared import discard_output
from k8stokendetect.engine.detection import Detection
from k8stokendetect.findings import Finding

SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")

INTERRUPTED: Final = 130
"""Exit status of a scan that ended before its log did."""

OFTEN: Final = timedelta(minutes=10)
"""How often it is looked which incidents are complete, by the time of the log."""

MOST: Final = 20_000
"""Maximum number of findings that are held for incidents that may go on; beyond, the oldest incidents are complete."""


@attrs.define
class Ending:
    """How a scan ended.

    Attributes:
        signal: the name of the signal that ended it; empty where none did.
        is_closed: what read its standard output has closed it.
        failure: why its output could not be written.

    """

    signal: str = ""
    is_closed: bool = False
    failure: OSError | None = None

    @property
    def is_complete(self) -> bool:
        """All that was found was printed."""
        return not self.is_closed and self.failure is None


class Run:
    """Prints what is found, as it comes.

    Arguments:
        findings: what is found.
        printer: prints it.
        take: what to do with a finding, if not just to print it.
        at_once: incidents are printed when they are complete, not only for want of room.
        follows: the source asks by itself whether it is to end.

    Attributes:
        ending: how it ended, as far as that is known.

    """

    def __init__(
        self,
        findings: Detection,
        printer: Printer,
        take: Callable[[Finding], object] | None = None,
        *,
        at_once: bool = False,
        follows: bool = False,
    ) -> None:
        self.ending = Ending()
        self._findings = findings
        self._printer = printer
        self._take = take or printer.take
        self._at_once = at_once
        self._follows = follows
        self._looked: datetime | None = None

    def stop(self, name: str) -> None:
        """End it because of a signal."""
        self.ending.signal = name
        if not self._follows:
            self._findings.stop()

    def all(self, finish: Callable[[], object]) -> None:
        """Take all that is found, then print what comes at the end; what goes wrong with that is in `ending`."""
        with self.writing():
            for finding in self._findings:
                self.take(finding)
        with self.writing():
            if self.ending.is_complete:
                finish()
        if not self.ending.is_complete:
            self._findings.close()
            discard_output()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Note what goes wrong with the output, and end there."""
        try:
            yield
        except BrokenPipeError:
            self.ending.is_closed = True
        except OSError as error:
            self.ending.failure = error

    def take(self, finding: Finding, /) -> None:
        """Print a finding, and the incidents that are complete."""
        self._take(finding)
        self.complete(self._findings.now)

    def complete(self, now: datetime | None, /) -> None:
        """Print the incidents that are complete at a time of the log, or for which there is no room."""
        groups = self._printer.groups
        done = list(groups.make_room(MOST))
        is_due = self._looked is None or (now is not None and not timedelta() <= now - self._looked < OFTEN)
        if self._at_once and now is not None and is_due:
            self._looked = now
            done += groups.close(now)
        for incident in done:
            self._printer.incident_complete(incident)


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[str], object]) -> Iterator[None]:
    """Call `stop` with the name of a signal that comes, once; the next one has its usual effect.

    A signal that is ignored, as SIGHUP under nohup, stays ignored.
    """
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def caught(number: int, _: object) -> None:
        restore()
        stop(signal.Signals(number).name)

    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, caught)
    try:
        yield
    finally:
        restore()


def is_closed(file: int, /) -> bool:
    """Tell whether nobody reads a pipe any more; false where that cannot be told."""
    try:
        from select import POLLERR, poll  # noqa: PLC0415 - Windows has none

        asked = poll()
        asked.register(file, 0)
        return any(event & POLLERR for _, event in asked.poll(0))
    except (ImportError, OSError):
        return False


FOREVER: Final = datetime.max.replace(tzinfo=UTC)
