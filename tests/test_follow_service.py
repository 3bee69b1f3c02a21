# SPDX-License-Identifier: Apache-2.0
"""`scan --follow` as a service: signals, kills, restarts, and each alert once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import rotating
from builders import token_request
from k8stokendetect.cli.app import main

COMMAND = [sys.executable, "-m", "k8stokendetect", "scan", "--follow", "--rule", "token-request"]


class Service:
    """A log, and a process that follows it and appends alerts to a file.

    Arguments:
        folder: where both are.
        options: of the command.

    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "logs" / "audit.log"
        self.log.parent.mkdir()
        self.log.touch()
        self.state = folder / "state.json"
        self.alerts = folder / "alerts.jsonl"
        self.said = folder / "stderr"
        self._command = [*COMMAND, "--state", str(self.state), "--format", "json", *options, str(self.log)]

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it; it is killed at the end unless it has ended."""
        self.said.touch()
        before = self.said.read_bytes().count(b"following")
        with self.alerts.open("ab") as out, self.said.open("ab") as err:
            process = subprocess.Popen(self._command, stdout=out, stderr=err)  # noqa: S603 - our own command
        try:
            wait_for(lambda: self.said.read_bytes().count(b"following") > before)
            yield process
        finally:
            process.kill()
            process.wait()

    def ids(self) -> list[str]:
        """Return the audit ids of the alerts, in their order; a kill may have cut one, which the next then follows."""
        lines = self.alerts.read_text(encoding="utf-8").splitlines(keepends=True)
        begins = re.compile(r'\{"id":"[0-9a-f]+","severity":')
        whole = [line[list(begins.finditer(line))[-1].start() :] for line in lines if line.endswith("\n")]
        return [json.loads(line)["event"]["audit_id"] for line in whole]

    def write(self, numbers: range) -> None:
        """Write mints."""
        with self.log.open("ab") as out:
            out.write(b"".join(map(rotating.line, numbers)))


def wait_for(is_true: Callable[[], object]) -> None:
    """Wait, at most two minutes."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if is_true():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def test_a_restart_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    """Stopped by SIGTERM and killed, with rotations meanwhile: each alert once, and one position in one file."""
    service = Service(tmp_path)
    service.write(range(200))  # what is more than a minute old by the log is examined at once
    with service.running() as process:
        wait_for(lambda: len(service.ids()) > 100)
        process.kill()
    rotating.numbered(service.log, 0)
    service.write(range(200, 300))
    rotating.numbered(service.log, 1)
    service.write(range(300, 400))
    with service.running() as process:
        wait_for(lambda: len(service.ids()) > 300)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 1
    assert [int(id_) for id_ in service.ids()] == list(range(400))
    with service.running() as process:
        service.write(range(400, 401))
        process.send_signal(signal.SIGHUP)
        process.wait()

    assert [int(id_) for id_ in service.ids()] == list(range(401))
    assert "error" not in service.said.read_text(encoding="utf-8")
    saved = json.loads(service.state.read_text(encoding="utf-8"))
    assert set(saved["more"]) == {"followed", "open", "printed"}
    assert "payments" not in json.dumps(saved["more"]["followed"])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alerts.jsonl", "logs", "state.json", "stderr"]


def test_an_open_incident_outlives_the_process(tmp_path: Path) -> None:
    """With --incidents it is printed when it is complete: an hour of the log later, in another process."""
    service = Service(tmp_path, "--incidents")
    service.write(range(100))
    with service.running() as process:
        wait_for(lambda: b'"reported":["' in service.state.read_bytes())
        process.kill()
    later = json.dumps(token_request("bob", auditID="later", requestReceivedTimestamp="2025-11-27T12:00:00Z"))
    with service.log.open("a", encoding="utf-8") as out:
        out.write(later + "\n" + later.replace("12:00:00Z", "12:30:00Z").replace("later", "last") + "\n")
    with service.running() as process:
        wait_for(lambda: service.alerts.stat().st_size)
        process.kill()
    (incident,) = map(json.loads, service.alerts.read_text(encoding="utf-8").splitlines())
    assert (incident["actors"], len(incident["findings"]), incident["continues"]) == (["alice"], 100, False)


@pytest.mark.slow  # half a minute for each way of rotating: processes are killed at random while a log is written
@pytest.mark.parametrize("rotate", rotating.ROTATIONS)
def test_kills_at_random(tmp_path: Path, rotate: Callable[[Path, int], None]) -> None:
    """4,000 alerts, six kills: none is lost, and each kill repeats at most the one that was being printed."""
    service, chance, done = Service(tmp_path), random.Random(5), threading.Event()  # noqa: S311 - the same

    def write() -> None:
        for number in range(4000):
            service.write(range(number, number + 1))
            if number % 500 == 499:
                rotate(service.log, number // 500 + 1)
            if number % 20 == 0:
                time.sleep(0.02)
        done.set()

    writer, kills = threading.Thread(target=write), 0
    with service.running():
        writer.start()
    while kills < 5 or not done.is_set():
        with service.running():
            time.sleep(1.5 * chance.random())
        kills += 1
    writer.join()
    with service.running() as process:
        wait_for(lambda: service.alerts.read_bytes().count(b"\n") > 3900)
        process.send_signal(signal.SIGTERM)
        process.wait()
    counts = Counter(service.ids())
    assert sorted(map(int, counts)) == list(range(4000))
    assert sum(count - 1 for count in counts.values()) <= kills + 1


def test_the_command_follows_until_it_is_interrupted(tmp_path: Path) -> None:
    """What waited is examined; the tally comes at the end; --wait waits for the file."""
    path = tmp_path / "audit.log"
    with subprocess.Popen([*COMMAND, "--wait", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - ours
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stderr.readline().startswith(b"following")
        path.write_bytes(json.dumps(token_request()).encode() + b"\n")
        running.send_signal(signal.SIGINT)
        lines = running.stdout.read().splitlines()
        assert b"events read: 1; findings: 1" in running.stderr.read()
    assert [line.split()[0] for line in lines][:1] == [b"MEDIUM"]
    assert running.returncode == 1


def test_what_cannot_be_followed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, unless it is waited for; a folder, a compressed log, a second file, and what has no name."""
    monkeypatch.chdir(tmp_path)
    Path("packed.gz").write_bytes(b"\x1f\x8b\x08\x00")
    for names in (
        ["no.log"],
        ["."],
        ["packed.gz"],
        ["-"],
        ["packed.gz", "b"],
        ["no.log", "--wait", "--rotated-to", "x"],
        ["no.log", "--wait", "--report", "x"],
    ):
        result = CliRunner().invoke(main, ["scan", "--follow", *names])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert CliRunner().invoke(main, ["scan", "--wait", "packed.gz"]).exit_code == 2


def test_a_consumer_that_goes_ends_it(tmp_path: Path) -> None:
    """Also while nothing is printed; what it was not given comes after the restart."""
    service = Service(tmp_path)
    reading, writing = os.pipe()
    with subprocess.Popen([*service._command], stdout=writing, stderr=subprocess.PIPE) as process:  # noqa: S603, SLF001 - ours
        os.close(writing)
        wait_for(service.state.exists)
        os.close(reading)
        assert process.stderr is not None
        assert b"interrupted: its output was closed" in process.stderr.read()
    assert process.returncode == 130
    service.write(range(3))
    with service.running() as process:
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert service.ids() == ["0", "1", "2"]
