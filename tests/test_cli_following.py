# SPDX-License-Identifier: Apache-2.0
"""What `scan --follow` saves along the way, and what the next process does with it; all in this process."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rotating
from builders import token_request
from k8stokendetect.cli import following
from k8stokendetect.cli.app import main
from k8stokendetect.cli.following import checked
from k8stokendetect.errors import ConfigError
from k8stokendetect.input import follow
from rotating import written


class KilledError(BaseException):
    """Ends a process as SIGKILL does, as far as what it saves is concerned."""


def kill() -> None:
    """End the process at once."""
    raise KilledError


def interrupt() -> None:
    """End the process in order."""
    os.kill(os.getpid(), signal.SIGTERM)


class Service:
    """A log, and a command that follows it; what happens meanwhile happens while it waits.

    Arguments:
        folder: where both are.
        patch: replaces the clock by which it waits.

    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.log = folder / "audit.log"
        self.log.touch()
        self.alerts = folder / "alerts"
        self.state = folder / "state.json"
        self._patch = patch

    def run(
        self, *options: str, steps: tuple[Callable[[], object], ...] = (), end: Callable[[], None] = interrupt
    ) -> Result:
        """Follow it, one step at each wait, until the end."""
        todo: Iterator[Callable[[], object]] = iter((*steps, lambda: None, end))

        class Clock:
            monotonic = staticmethod(time.monotonic)

            @staticmethod
            def sleep(_: float) -> None:
                next(todo, lambda: None)()

        self._patch.setattr(follow, "time", Clock)
        arguments = ["--rule", "token-request", "--rule", "unreadable-token-request", "--format", "json", "--output"]
        command = [
            "scan",
            "--follow",
            *arguments,
            str(self.alerts),
            "--state",
            str(self.state),
            *options,
            str(self.log),
        ]
        try:
            return CliRunner().invoke(main, command, catch_exceptions=False)
        except KilledError:
            pass
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # what a killed process leaves open
        return Result(CliRunner(), b"", b"", b"", None, -9, None)

    def ids(self) -> list[str]:
        """Return the audit ids of the alerts."""
        return [one["event"]["audit_id"] for one in self.documents()]

    def documents(self) -> list[Any]:
        """Return what was printed."""
        return [json.loads(line) for line in self.alerts.read_text(encoding="utf-8").splitlines()]

    def saved(self) -> dict[str, Any]:
        """Return what is saved, but for the memory."""
        more: dict[str, Any] = json.loads(self.state.read_text(encoding="utf-8").splitlines()[0])["more"]
        return more


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return a log that is followed."""
    return Service(tmp_path, monkeypatch)


def test_each_alert_once_though_it_is_stopped_and_the_log_is_rotated(service: Service) -> None:
    """In order: what waited is examined, and the status is that of a scan."""
    written(service.log, range(3))
    result = service.run(steps=(lambda: written(service.log, range(3, 90)),))
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, f"following {service.log}")
    assert "findings: 90" in result.stderr
    rotating.numbered(service.log, 0)
    written(service.log, range(90, 95))
    assert "findings: 5" in service.run().stderr
    assert service.ids() == [str(number) for number in range(95)]
    assert service.run().exit_code == 0
    assert len(service.ids()) == 95


def test_what_was_printed_before_a_kill_is_not_printed_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noted at once, though the state is saved only now and then."""
    monkeypatch.setattr(following, "SAVE_AFTER", 3600.0)
    service.run()
    written(service.log, range(100))
    service.run(end=kill)
    before = service.ids()
    assert 30 < len(before) < 100
    assert len(service.state.read_text(encoding="utf-8").splitlines()) > 30
    service.run()

    assert service.ids() == [str(number) for number in range(100)]


def test_an_event_without_a_time_is_not_printed_again(service: Service) -> None:
    """No other memory tells its repetition, and what may have come before others is read again."""
    timeless = token_request(auditID="timeless", requestReceivedTimestamp=None, stageTimestamp=None)
    service.log.write_text(json.dumps(timeless) + "\n", encoding="utf-8")
    written(service.log, range(2))
    service.run()
    assert sorted(service.ids()) == ["0", "1", "timeless"]
    assert len(service.saved()["printed"]) == 1
    service.run(end=kill)
    service.run()
    assert len(service.ids()) == 3


def test_what_cannot_be_read_is_reported_once(service: Service) -> None:
    """Though it is read again."""
    service.log.write_text("no event\n", encoding="utf-8")
    written(service.log, range(2))
    first, second = service.run(), service.run()
    assert (first.exit_code, second.exit_code) == (2, 0)
    assert (first.stderr.count("error:"), second.stderr.count("error:")) == (1, 0)
    assert service.ids() == ["0", "1"]


def test_an_incident_goes_on_in_the_next_process(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed when it is complete: after an hour in which nothing comes, by the clock."""
    ticks = itertools.count(step=30)
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(following, "SAVE_AFTER", -1e9)
    written(service.log, range(100))
    service.run("--incidents", steps=(lambda: None,), end=kill)
    assert not service.alerts.read_text(encoding="utf-8")
    assert 30 < len(service.saved()["open"]) < 100
    monkeypatch.setattr(following, "QUIET", -1.0)
    service.run("--incidents", end=kill)
    (incident,) = service.documents()
    assert len(incident["findings"]) == 39  # the others are not a minute old by the log


@pytest.mark.parametrize(
    "more",
    [{"open": 7}, {"printed": {}}, {"followed": 7}, {"followed": {"from": 1, "read": 1}}, {"open": [{"rule_id": 7}]}],
)
def test_what_was_saved_is_believed_only_where_it_fits(service: Service, more: dict[str, Any]) -> None:
    """Otherwise the file is kept under another name, the error says which it was, and the scan begins anew."""
    with pytest.raises(ConfigError):
        checked(more)
    written(service.log, range(2))
    service.run()
    document = json.loads(service.state.read_text(encoding="utf-8"))
    service.state.write_text(json.dumps(document | {"more": document["more"] | more}) + "\n", encoding="utf-8")
    result = service.run()

    assert f"error: {service.state}: not a state that this command wrote: " in result.stderr
    assert result.exit_code == 2
    assert service.state.with_name("state.json.damaged").exists()
    assert service.ids() == ["0", "1"] * 2
