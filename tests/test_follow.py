# SPDX-License-Identifier: Apache-2.0
"""A followed file loses and doubles no event, however it is rotated."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import token_request
from k8stokendetect import Event, read
from k8stokendetect.input.follow import FollowedFile

EVENTS = 1200
ROTATED = 200
"""So many events a file."""


def by_rename(path: Path, number: int) -> None:
    """Rotate as the API server does: rename, then a new file."""
    path.rename(path.with_name(f"audit-{number}.log"))


def by_copy(path: Path, number: int) -> None:
    """Rotate as logrotate does with copytruncate."""
    shutil.copy(path, path.with_name(f"{path.name}.{number}"))
    with path.open("r+b") as file:
        file.truncate(0)


@pytest.mark.parametrize("rotate", [by_rename, by_copy])
def test_rotation_under_load(tmp_path: Path, rotate: Callable[[Path, int], None]) -> None:
    """Every event once and in order, with six rotations while they are written and a look between any two."""
    path, done, looks = tmp_path / "audit.log", threading.Event(), itertools.count()
    ids: list[str] = []

    def wait_for_a_look(number: int) -> None:
        """Wait until an event of the present file was read, ten seconds at most."""
        for _ in range(1000):
            if len(ids) > number - ROTATED + 1:
                return
            time.sleep(0.01)

    def write() -> None:
        """Write; a rotation falls between two writes, as in the API server."""
        for number in range(EVENTS):
            with path.open("ab") as out:
                out.write(json.dumps(token_request(auditID=str(number))).encode() + b"\n")
            if number % ROTATED == ROTATED - 1:
                wait_for_a_look(number)
                rotate(path, number)
            time.sleep(0.001)
        done.set()

    def stop() -> bool:
        """Look a few times more once all is written: the last look may have been before the last line."""
        return done.is_set() and next(looks) >= 3

    writer = threading.Thread(target=write)
    writer.start()
    followed = FollowedFile(path, stop)
    ids.extend(event.audit_id for event in read(followed))
    writer.join()
    followed.close()

    assert ids == [str(number) for number in range(EVENTS)]


def test_a_line_that_was_left_open_is_not_glued_to_the_next_file(tmp_path: Path) -> None:
    """It is an error of its own."""
    path, step = tmp_path / "audit.log", iter([False, True])
    path.write_bytes(b'{"auditID":"cut')

    def stop() -> bool:
        if not next(step):
            path.rename(tmp_path / "old.log")
            path.write_bytes(json.dumps(token_request(auditID="next")).encode() + b"\n")
            return False
        return True

    items = list(read(FollowedFile(path, stop)).stream())
    assert [isinstance(item, Event) for item in items] == [False, True]


def test_the_command_follows_until_it_is_interrupted(tmp_path: Path) -> None:
    """A finding is printed as soon as its event is written; the tally comes at the end."""
    path = tmp_path / "audit.log"
    command = [sys.executable, "-m", "k8stokendetect", "scan", "--follow", "--rule", "token-request", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - our own command
        assert running.stdout is not None
        assert running.stderr is not None
        time.sleep(1)
        path.write_bytes(json.dumps(token_request()).encode() + b"\n")
        assert running.stdout.readline().startswith(b"MEDIUM  token-request")
        running.send_signal(signal.SIGINT)
        assert b"What to do about token-request" in running.stdout.read()
        assert b"events read: 1; findings: 1" in running.stderr.read()
    assert running.returncode == 1
