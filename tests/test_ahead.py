# SPDX-License-Identifier: Apache-2.0
"""Worker processes look ahead, and change nothing: not what is found, nor its order, nor what is counted."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import ConfigError, Tally, detect, read
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.engine.bridge import prefilter_of
from k8stokendetect.engine.detection import Detection
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.reading.ahead import SMALLEST, Task, Worker, Workers, look_over
from k8stokendetect.reading.interest import Interest
from k8stokendetect.reading.search import BLOCK, search
from recordings import METADATA, records
from test_sieve import compact, event_hub

PART = [json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() for record in records(METADATA)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the recording, repeated into a file that is worth it, with a few damaged lines in its middle."""
    path = tmp_path_factory.mktemp("ahead") / "audit.log"
    once = b"".join(line + b"\n" for line in PART)
    damaged = PART[0][:700] + b"\n" + b'{"kind":"Event",' + b" " * 300_000 + b"}\n"
    path.write_bytes(once + damaged + once * ((SMALLEST + 3 * BLOCK) // len(once)))
    return path


def outcome(path: Path, workers: int) -> tuple[list[str], list[str], Tally]:
    """Return the findings in their order, the errors, and the counts."""
    errors: list[Any] = []
    tally = Tally()
    log = read(path, workers=workers, on_error=errors.append)
    found = [f"{finding.event.origin} {finding.fingerprint}" for finding in detect(log, tally=tally)]
    return found, list(map(str, errors)), tally


@pytest.fixture(scope="module")
def alone(log: Path) -> tuple[list[str], list[str], Tally]:
    """Return what one process finds."""
    return outcome(log, 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_findings_order_errors_and_counts_are_the_same(
    log: Path, alone: tuple[list[str], list[str], Tally], workers: int
) -> None:
    """Correlation included: uses of minted tokens are among them."""
    assert "minted-token-used" in alone[2].findings
    assert len(alone[1]) == 2
    assert outcome(log, workers) == alone


def test_the_workers_are_really_asked(log: Path) -> None:
    """Each range but the first is answered, in time for whoever waits for it."""
    with log.open("rb") as file, Workers(2, Interest((b"token",), (), follows=False)) as workers:
        ahead = workers.ahead(log, file.fileno())
        assert ahead is not None
        ahead.searched(0, b"")
        for index in range(1, workers.window):
            running = workers._running[index % 2]  # noqa: SLF001 - to wait for it
            assert running.connection.poll(30)
            assert running.connection.recv()[0].index == index


def test_what_a_worker_answers_is_what_the_reader_would_find(log: Path) -> None:
    """Ranges join without a gap, whatever lines lie across their borders."""
    interest, content = prefilter_of(Watchers([cls() for cls in BUILTIN]).watches, ()), log.read_bytes()
    assert interest is not None
    status = log.stat()
    identity = status.st_dev, status.st_ino
    results = [look_over(Task(str(log), identity, index), interest) for index in range(len(content) // BLOCK)]
    assert results.count(None) == 1  # the long line
    for result, following in itertools.pairwise(results):
        if result is not None:
            text = content[result.start : result.start + result.length]
            assert result.searched == search(text, interest)
            assert text.endswith(b"\n")
            assert following is None or following.start == result.start + result.length


def test_workers_that_die_cost_time_and_nothing_else(
    log: Path, alone: tuple[list[str], list[str], Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader searches what they do not answer."""
    started = Worker.started

    def short_lived(interest: Interest) -> Worker:
        worker = started(interest)
        worker.process.kill()
        worker.process.wait()
        return worker

    monkeypatch.setattr(Worker, "started", short_lived)
    assert outcome(log, 2) == alone


def test_no_worker_is_left_behind(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the reader stops early."""
    workers: list[Worker] = []
    started = Worker.started

    def noted(interest: Interest) -> Worker:
        workers.append(started(interest))
        return workers[-1]

    monkeypatch.setattr(Worker, "started", noted)
    reading = detect(read(log, workers=2, on_error=lambda _: None))
    assert isinstance(reading, Detection)
    next(reading)
    assert [worker.process.poll() for worker in workers] == [None, None]
    reading.close()
    assert all(worker.process.poll() is not None for worker in workers)


def test_an_answer_about_another_text_is_not_taken(log: Path) -> None:
    """A file that was replaced, or written over, since it was opened."""
    interest = Interest((b"token",), (), follows=False)
    with log.open("rb") as file, Workers(1, interest) as workers:
        text = file.read(BLOCK) + file.readline()
        following = file.read(2 * BLOCK - len(text)) + file.readline()
        for changed in (following, following.replace(b"a", b"b", 1)):
            ahead = workers.ahead(log, file.fileno())
            assert ahead is not None
            assert ahead.searched(0, text) is None
            assert workers._running[0].connection.poll(30)  # noqa: SLF001 - to wait for it
            found = ahead.searched(len(text), changed)
            assert found == (search(following, interest) if changed == following else None)
    assert look_over(Task(str(log), (0, 0)), interest) is None
    assert look_over(Task(str(log.with_name("gone")), (0, 0)), interest) is None


def test_small_and_compressed_files_need_none(tmp_path: Path) -> None:
    """No process is started for them."""
    interest = Interest((b"token",), (), follows=False)
    small, packed = tmp_path / "small", tmp_path / "packed"
    small.write_bytes(PART[0] + b"\n")
    packed.write_bytes(b"\x1f\x8b" + bytes(SMALLEST))
    with Workers(2, interest) as workers:
        for path in (small, packed):
            with path.open("rb") as file:
                assert workers.ahead(path, file.fileno()) is None
        assert not workers._running  # noqa: SLF001 - the claim


def test_messages_of_azure_give_the_same(tmp_path: Path) -> None:
    """Lines of many records, cut into pieces."""
    path = tmp_path / "hub.log"
    content = event_hub(records(METADATA)[3500:4100], 50)
    path.write_bytes(content * (SMALLEST // len(content) + 1))
    assert outcome(path, 1) == outcome(path, 0)


@pytest.mark.parametrize("workers", [-1, True, 1.5, "2"])
def test_a_wrong_number_is_refused(workers: Any) -> None:
    """At the call."""
    with pytest.raises(ConfigError, match="workers is no number"):
        read(os.devnull, workers=workers)


def test_a_line_without_end_is_left_to_the_reader(tmp_path: Path) -> None:
    """No range has it."""
    path = tmp_path / "audit.log"
    path.write_bytes(compact(records(METADATA)[:5]) + b'{"kind":"Event",' + b"x" * SMALLEST)
    assert outcome(path, 1)[1:] == outcome(path, 0)[1:]
