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
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from api_server import ApiServer
from k8stokendetect import Alert, Evidence, Tally
from k8stokendetect.engine.detection import Detection, detection
from k8stokendetect.engine.memory import Memory
from k8stokendetect.serve import examiner as examining
from k8stokendetect.serve import journal as journals
from k8stokendetect.serve.batch import lines_of
from k8stokendetect.serve.board import Board
from k8stokendetect.serve.examiner import Examiner
from k8stokendetect.serve.journal import Journal
from k8stokendetect.serve.metrics import Metrics
from k8stokendetect.serve.outbox import Outbox
from k8stokendetect.serve.state import State
from k8stokendetect.sinks import open_all
from serving import TOKEN, attack, batches, eventually, expected, findings_of, some_alerts, written

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


def live(folder: Path, bodies: Sequence[bytes], taken: int, lines: list[str] | None = None) -> int:
    """Live once: take what was not taken, examine, deliver. Return how many batches were answered, whatever happens."""

    def detecting(stream: Iterator[io.BytesIO], memory: Memory) -> Detection:
        return detection(stream, detectors=list(RULES), tally=Tally(), memory=memory)

    def report(kind: str, text: str) -> None:
        if lines is not None:
            lines.append(text)
            return
        assert "not a whole entry" in text, f"{kind}: {text}"

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
    assert [text.partition(": ")[2] for text in damage] == ["its last 35 bytes are not a whole entry and were cut off"]
    damage.clear()
    first = min(tmp_path.iterdir())
    first.write_bytes(b"x" * 40)
    for _ in range(2):
        assert 8 in [number for number, _ in again.read(1)]
        assert len(damage) == 1


def test_damage_costs_only_the_entry_it_is_in(tmp_path: Path) -> None:
    """Whole entries behind it are found, in the last file, too; one whose length is damaged is no torn end."""
    journal = Journal(tmp_path, "x")
    for number in range(1, 6):
        journal.append(b"%d" % number * 20)
    journal.close()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[36 * 1 + 20] ^= 1
    data[36 * 3 + 8] = 0xFF
    path.write_bytes(data)

    damage: list[str] = []
    again = Journal(tmp_path, "x", report=damage.append)
    assert again.append(b"new") == 6
    assert [number for number, _ in again.read(1)] == [1, 3, 5, 6]
    assert [text.rpartition("; ")[2] for text in damage] == ["entries 2 to 2 are lost", "entries 4 to 4 are lost"]


def test_an_entry_that_would_not_be_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand in front of all that comes behind it."""
    monkeypatch.setattr(journals, "_MOST", 100)
    journal = Journal(tmp_path, "x")
    with pytest.raises(OSError, match="too long"):
        journal.append(b"x" * 101)
    assert (journal.append(b"x" * 100), journal.size) == (1, 116)


def test_files_that_were_removed_are_reported_and_hide_no_new_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their numbers are not given again: state and couriers would take what is new for what they know."""
    monkeypatch.setattr(examining, "OVERLAP", -1.0)
    events = attack()[:100]
    live(tmp_path, batches(events[:50]), 0)
    before = len(findings_of(tmp_path / "alerts.jsonl"))
    for name in ("alerts/alerts-*.journal", "batches/*.journal"):
        for path in tmp_path.glob(name):
            path.unlink()
    lines: list[str] = []
    live(tmp_path, batches(events[50:]), 0, lines)
    assert len([line for line in lines if "files were removed" in line]) == 2
    assert len(findings_of(tmp_path / "alerts.jsonl")) > before > 0


def test_a_disk_that_refuses_for_long_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it does; the examiner waits longer each time."""
    monkeypatch.setattr(examining, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(examining, "LONGEST_PAUSE", 0.002)
    refusals = iter(range(8))
    begun = threading.Event()

    def detecting(stream: Iterator[io.BytesIO], memory: Memory) -> Detection:
        if next(refusals, None) is not None:
            raise OSError(28, "No space left on device")
        begun.set()
        return detection(stream, detectors=list(RULES), tally=Tally(), memory=memory)

    lines: list[str] = []
    outbox = Outbox(tmp_path / "alerts", (), lambda *texts: lines.append(texts[1]))
    board = Board(None, timedelta(days=1), Tally())
    examiner = Examiner(tmp_path, detecting, outbox, board, Metrics(), lambda *texts: lines.append(texts[1]), 1 << 30)
    examiner.start()
    assert begun.wait(20), lines
    examiner.stop()
    assert examiner.failure == ""
    assert len(lines) == 8


def test_many_alerts_are_many_entries_and_a_long_one_is_cut(tmp_path: Path) -> None:
    """What a client made long costs evidence, which is said, and no other alert."""
    (known, *_) = some_alerts()
    finding = known.worst
    many = [Alert.of([attrs.evolve(finding, key=str(number))]) for number in range(250)]
    evidence = tuple(Evidence("user.extra", "x" * 8000, str(number)) for number in range(400))
    lines: list[str] = []
    outbox = Outbox(tmp_path, (), lambda *texts: lines.extend(texts))
    outbox.append([*many, Alert.of([attrs.evolve(finding, evidence=evidence)])])

    entries = [alerts for _, alerts in outbox.read()]
    assert [len(entry) for entry in entries] == [100, 100, 51]
    assert [one.fingerprint for entry in entries for one in entry] == [
        one.fingerprint for one in (*many, known.of([finding]))
    ]
    (kept,) = entries[-1][-1].findings
    assert 0 < len(kept.evidence) < 400
    assert "evidence was cut: it was too long to keep" in kept.caveats
    assert outbox.size < 250 * 10_000 + 150_000
    assert lines == []


def test_what_waits_is_not_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of a minute end their wait together: their alerts are written while the others are examined."""
    sizes: list[int] = []
    real = Outbox.append

    def append(self: Outbox, alerts: Sequence[Alert], /) -> None:
        sizes.append(len(alerts))
        real(self, alerts)

    monkeypatch.setattr(Outbox, "append", append)
    monkeypatch.setattr(examining, "MOST_ALERTS", 3)
    events = attack()[:50]
    live(tmp_path, batches(events, 50), 0)
    assert max(sizes) <= 3 < sum(sizes)
    assert sorted(findings_of(tmp_path / "alerts.jsonl")) == sorted(expected(events, RULES))


def test_a_courier_goes_on_behind_what_is_lost(tmp_path: Path) -> None:
    """Also where nothing whole stands behind it: it would look for it for ever."""
    found = some_alerts()[:3]
    lines: list[str] = []
    sinks = open_all([f"file:{tmp_path}/out"])
    outbox = Outbox(tmp_path / "alerts", sinks.deliveries, lambda *texts: lines.extend(texts))
    for alert in found:
        outbox.append([alert])
    (path,) = (tmp_path / "alerts").glob("*.journal")
    os.truncate(path, path.stat().st_size - 1)
    for _ in range(2):
        outbox.deliver()
    assert outbox.undelivered() == {"file": 0}
    assert len(written(tmp_path / "out")) == 2
    assert len([line for line in lines if "entries 3 to 3 are lost" in line]) == 1
    sinks.close()


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
