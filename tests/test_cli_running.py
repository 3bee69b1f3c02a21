# SPDX-License-Identifier: Apache-2.0
"""How a scan ends: with its log, with its output, or where a signal says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Finding, detect
from k8stokendetect.cli import running
from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.running import FOREVER, Run, is_closed, stopped_by_signals


def mints(*names: str, hour: int = 21) -> list[Finding]:
    """Return a finding for each caller."""
    time = f"2026-11-23T{hour}:43:45Z"
    return [
        one
        for name in names
        for one in detect([token_request(name, auditID=f"{name}{hour}", issued=None, requestReceivedTimestamp=time)])
        if one.rule.id == "token-request"
    ]


class Detected(Iterator[Finding]):
    """Findings, as of a log that is being read.

    Arguments:
        findings: what is found.

    Attributes:
        now: how far the log is.
        said: what was asked of it.

    """

    def __init__(self, findings: list[Finding]) -> None:
        self.now: datetime | None = None
        self.said: list[str] = []
        self._left = iter(findings)

    def __next__(self) -> Finding:
        return next(self._left)

    def stop(self) -> None:
        """Note it."""
        self.said.append("stop")

    def close(self) -> None:
        """Note it."""
        self.said.append("close")


def run_of(detected: Any, printer: Printer, take: Callable[[Finding], object] | None = None, **more: Any) -> Run:
    """Return a run of findings."""
    return Run(detected, printer, take, **more)


@pytest.fixture
def printer(tmp_path: Path) -> Iterator[Printer]:
    """Return what prints incidents to a file."""
    printer = Printer("json", level="incidents", output=str(tmp_path / "out"))
    yield printer
    printer.finish()


def test_all_is_taken_and_finished(printer: Printer) -> None:
    """Once, in the order of what is found."""
    taken: list[object] = []
    detected = Detected(mints("alice", "bob"))
    run = run_of(detected, printer, taken.append)
    run.all(lambda: taken.append("finished"))
    assert [one.event.user if isinstance(one, Finding) else one for one in taken] == ["alice", "bob", "finished"]
    assert run.ending.is_complete
    assert detected.said == []


@pytest.mark.parametrize(
    ("error", "is_closed"), [(BrokenPipeError(32, "Broken pipe"), True), (OSError(28, "No space left"), False)]
)
def test_it_ends_where_nothing_can_be_printed(printer: Printer, *, error: OSError, is_closed: bool) -> None:
    """In order: nothing is finished, and what is open is closed."""

    def fail(_: Finding) -> None:
        raise error

    detected, finished = Detected(mints("alice", "bob")), list[str]()
    run = run_of(detected, printer, fail)
    run.all(lambda: finished.append("finished"))
    assert (run.ending.is_closed, run.ending.failure, run.ending.is_complete) == (
        is_closed,
        None if is_closed else error,
        False,
    )
    assert (finished, detected.said) == ([], ["close"])


def test_what_fails_at_the_end_is_noted_too(printer: Printer) -> None:
    """A full disk says so whenever it is full."""

    def fail() -> None:
        raise OSError(28, "No space left")

    run = run_of(Detected(mints("alice")), printer)
    run.all(fail)
    assert run.ending.failure is not None


def test_a_signal_stops_reading_unless_the_source_asks_by_itself(printer: Printer) -> None:
    """A followed file reads what is there already."""
    for follows, said in ((False, ["stop"]), (True, [])):
        detected = Detected([])
        run = run_of(detected, printer, follows=follows)
        run.stop("SIGTERM")
        assert (run.ending.signal, detected.said) == ("SIGTERM", said)


@pytest.mark.parametrize("at_once", [True, False])
def test_complete_incidents_are_printed(
    tmp_path: Path, printer: Printer, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    """At once where that is asked for, each ten minutes of the log; for want of room, in any case."""
    path, detected = tmp_path / "out", Detected([])
    run = run_of(detected, printer, at_once=at_once)
    for hour, name in enumerate("abc", start=20):
        (finding,) = mints(name, hour=hour)
        detected.now = finding.event.time
        run.take(finding)
    assert len(printer.groups.findings()) == (2 if at_once else 3)
    assert detected.now is not None
    run.complete(detected.now + timedelta(minutes=9))
    assert len(printer.groups.findings()) == (2 if at_once else 3)

    monkeypatch.setattr(running, "MOST", 1)
    run.complete(None)
    assert len(printer.groups.findings()) == 0
    run.complete(FOREVER)
    printer.finish()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_signals_call_once_and_are_restored() -> None:
    """The second has its usual effect; an ignored one stays ignored."""
    said: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(said.append):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert said == ["SIGTERM"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_pipe_that_nobody_reads_is_seen() -> None:
    """Without writing to it."""
    reading, writing = os.pipe()
    assert not is_closed(writing)
    os.close(reading)
    assert is_closed(writing)
    os.close(writing)
    assert datetime.now(UTC) < FOREVER
