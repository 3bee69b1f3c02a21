# SPDX-License-Identifier: Apache-2.0
"""A process that ends at any point loses no alert and repeats none."""

from __future__ import annotations

import functools
import io
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer
from k8stokendetect import Tally
from k8stokendetect.engine.detection import Detection, detection
from k8stokendetect.engine.memory import Memory
from k8stokendetect.serve import examiner as examining
from k8stokendetect.serve.batch import lines_of
from k8stokendetect.serve.board import Board
from k8stokendetect.serve.examiner import Examiner
from k8stokendetect.serve.journal import Journal
from k8stokendetect.serve.metrics import Metrics
from k8stokendetect.serve.outbox import Outbox
from k8stokendetect.serve.state import State
from k8stokendetect.sinks import open_all
from serving import TOKEN, attack, batches, eventually, expected, findings_of, written

RULES = ("token-request", "token-request-unbound", "minted-token-used")


CHANCE = random.Random
"""The same in every run."""


class CrashError(BaseException):
    """The process ends here."""


class Crashing:
    """Ends the process at the n-th write to the disk: before it, in the middle of it, or after it.

    Arguments:
        patch: pytest's.
        number: which; a negative one never comes.
        part: how much of the bytes gets to the disk.

    """

    def __init__(self, patch: pytest.MonkeyPatch, number: int, part: float) -> None:
        self.left = number
        self.count = 0
        self.part = part
        for name in ("write", "fsync", "fdatasync"):
            patch.setattr(os, name, functools.partial(self._called, name, getattr(os, name)))

    def _called(self, name: str, real: Callable[..., Any], file: int, *data: bytes) -> Any:
        self.count += 1
        self.left -= 1
        if self.left == 0:
            if name == "write":
                real(file, data[0][: int(len(data[0]) * self.part)])
            raise CrashError
        return real(file, *data)


def live(folder: Path, bodies: Sequence[bytes], taken: int) -> int:
    """Live once: take what was not taken, examine, deliver. Return how many batches were answered, whatever happens."""

    def detecting(stream: Iterator[io.BytesIO], memory: Memory) -> Detection:
        return detection(stream, detectors=list(RULES), tally=Tally(), memory=memory)

    def report(kind: str, text: str) -> None:
        raise AssertionError(f"{kind}: {text}")

    folder.mkdir(exist_ok=True)
    sinks = open_all([f"file:{folder}/alerts.jsonl"])
    outbox = Outbox(folder / "alerts", sinks.deliveries, report)
    board = Board(None, timedelta(days=1), Tally())
    examiner = Examiner(folder, detecting, outbox, board, Metrics(), report, 1 << 30)
    try:
        for body in bodies[taken:]:
            examiner.take(lines_of(body))
            taken += 1
        examiner.stop()
        examiner.run()
        outbox.deliver()
    except CrashError:
        return taken
    finally:
        sinks.close()
    return taken


@pytest.mark.parametrize("most", [5, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_crash_at_any_write_loses_nothing_and_repeats_nothing(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write to the disk is once the last: of the journal, the outbox, the state, of how far a sink is."""
    monkeypatch.setattr(examining, "SAVE_EVERY", 0.0)
    events = attack()[:50]
    bodies = batches(events, 25)
    wanted = expected(events, RULES)
    assert len(wanted) > 5
    with monkeypatch.context() as patch:
        counting = Crashing(patch, -1, 0)
        assert live(tmp_path / "whole", bodies, 0) == len(bodies)
    assert set(findings_of(tmp_path / "whole/alerts.jsonl")) == wanted

    points = CHANCE(7).sample(range(1, counting.count + 1), min(most, counting.count))
    for number in points:
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            Crashing(patch, number, (number % 3) / 2)
            taken = live(folder, bodies, 0)
        taken = live(folder, bodies, max(0, taken - 1))  # the answer to the last one may not have come through
        assert taken == len(bodies)
        found = findings_of(folder / "alerts.jsonl")
        assert (number, sorted(found)) == (number, sorted(wanted))


def test_a_crash_between_the_alerts_and_what_is_remembered_of_them_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox knows better than the state that is still the old one."""
    events = attack()[:50]

    def crash(*_: object) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", crash)
        assert live(tmp_path, batches(events), 0) == len(batches(events))
    live(tmp_path, [], 0)

    assert sorted(findings_of(tmp_path / "alerts.jsonl")) == sorted(expected(events, RULES))


def test_what_is_taken_is_found_after_a_crash_though_nothing_was_examined(tmp_path: Path) -> None:
    """An answer means that the batch is on the disk."""
    events = attack()[:80]
    journal = Journal(tmp_path / "batches", "batches")
    for body in batches(events):
        journal.append(zlib.compress(b"\n".join(lines_of(body)) + b"\n"))
    journal.close()

    live(tmp_path, [], 0)
    assert set(findings_of(tmp_path / "alerts.jsonl")) == expected(events, RULES)


def test_half_an_entry_is_none(tmp_path: Path) -> None:
    """And the journal goes on behind the last whole one, also in another file."""
    journal = Journal(tmp_path, "x", segment=100)
    for number in range(1, 9):
        assert journal.append(b"%d" % number * 20) == number
    journal.close()
    last = max(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) > 2
    os.truncate(last, last.stat().st_size - 1)

    damage: list[str] = []
    again = Journal(tmp_path, "x", segment=100, report=damage.append)
    assert again.end == 8
    assert again.append(b"new") == 8
    assert [(number, entry[:3]) for number, entry in again.read(6)] == [(6, b"666"), (7, b"777"), (8, b"new")]
    again.drop_before(4)
    assert next(again.read(1))[0] > 1
    assert again.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert damage == []
    first = min(tmp_path.iterdir())
    first.write_bytes(b"x" * 40)
    assert 8 in [number for number, _ in again.read(1)]
    assert len(damage) == 1


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the command, and return it with its URL."""
    (folder / "tokens").write_text(TOKEN)
    command = [sys.executable, "-m", "k8stokendetect", "serve", "--listen", "127.0.0.1:0"]
    command += ["--token-file", str(folder / "tokens"), "--state", str(folder / "state")]
    command += ["--sink", f"file:{folder / 'alerts.jsonl'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own code
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listening" in line, line
    return process, f"http://127.0.0.1:{line.rsplit(maxsplit=1)[-1]}/audit"


@pytest.mark.slow
def test_a_service_that_is_killed_again_and_again_sends_each_alert_once(tmp_path: Path) -> None:
    """SIGKILL at random moments, while an API server posts and posts again what was not answered."""
    events = attack()
    waiting = batches(events, 10)
    chance = CHANCE(11)
    for life in range(7):
        process, url = start(tmp_path)
        server = ApiServer(url, TOKEN)
        try:
            for _ in range(chance.randint(2, 6)):
                if waiting and server.post(waiting[0]) and chance.random() < 0.8:
                    waiting.pop(0)
            if life < 6:
                process.send_signal(signal.SIGKILL)
        finally:
            if life == 6:
                while waiting:
                    assert server.post(waiting.pop(0))
                process.send_signal(signal.SIGTERM)
            server.client.close()
            assert process.wait(60) == (0 if life == 6 else -signal.SIGKILL)
            assert process.stderr is not None
            process.stderr.close()
    eventually(lambda: written(tmp_path / "alerts.jsonl"))
    found = findings_of(tmp_path / "alerts.jsonl")
    assert sorted(found) == sorted(set(found))
    assert set(found) >= expected(events)
