# SPDX-License-Identifier: Apache-2.0
"""Many files that overlap in time are read in the order of their events, with few of them open and little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ReadError, detect, read
from k8stokendetect.convert.times import format_time
from k8stokendetect.input import pool
from test_detector_minted_token_used import pods, use

START = datetime(2026, 11, 23, 8, tzinfo=UTC)


def at(seconds: float) -> str:
    """Return a time as the API server writes it."""
    return format_time(START + timedelta(seconds=seconds))


def write(record: dict[str, Any]) -> bytes:
    """Write a line."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def servers(folder: Path, files: int, lines: int, *, packed: bool = False) -> list[str]:
    """Write a log of each of many API servers, all of the same hour; return the ids of the mints, in their order.

    A mint stands in one file, and its use, a moment later, in another one, somewhere among noise.
    """
    logs = [[] for _ in range(files)]  # type: list[list[bytes]]
    noise = write(pods(user={"username": "system:node:a"}))
    minted = []
    for number in range(files * lines):
        now = number / 10
        log = logs[number % files]
        if number % (lines // 2) == 0:
            name = f"JTI=mint-{number}"
            minted.append(name)
            log.append(write(token_request(issued=name, auditID=f"m{number}", requestReceivedTimestamp=at(now))))
            other = logs[(number + 1) % files]
            other.append(write(use(name, auditID=f"u{number}", requestReceivedTimestamp=at(now + 0.05))))
        else:
            log.append(noise.replace(b"2026-11-23T21:44:45.581827Z", at(now).encode()))
    for number, log in enumerate(logs):
        text = b"".join(log)
        (folder / f"audit-{number}.log").write_bytes(gzip.compress(text, 1) if packed else text)
    return minted


def open_files() -> int:
    """Return how many files this process has open."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize("packed", [False, True])
def test_each_use_is_joined_with_its_mint_in_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, packed: bool
) -> None:
    """With three files open of twenty, all findings come in order."""
    monkeypatch.setattr(pool, "MAX_OPEN", 3)
    minted = servers(tmp_path, 20, 200, packed=packed)
    before, most = open_files(), 0
    found = []
    for finding in detect(tmp_path):
        found.append(finding)
        most = max(most, open_files() - before)
    assert [one.event.minted_credential for one in found if one.rule.id == "token-request"] == minted
    assert [one.event.used_credential for one in found if one.rule.id == "minted-token-used"] == minted
    assert most <= 4


def test_no_file_runs_ahead_of_the_others(tmp_path: Path) -> None:
    """Though it holds nothing that is wanted: its uses would be gone from the window when their mint is read."""
    filler = pods(user={"username": "system:node:a", "extra": {"authentication.kubernetes.io/credential-id": ["X=1"]}})
    quiet, busy = [], []
    for number in range(12_000):
        now = number / 10
        text = write(filler | {"requestReceivedTimestamp": at(now), "requestURI": "/api/v1/pods?" + "x" * 4000})
        quiet.append(text)
        if number % 1000 == 500:
            name = f"JTI=mint-{number}"
            busy.append(write(token_request(issued=name, auditID=f"m{number}", requestReceivedTimestamp=at(now))))
            quiet.append(write(use(name, auditID=f"u{number}", requestReceivedTimestamp=at(now + 0.05))))
    (tmp_path / "quiet.log").write_bytes(b"".join(quiet))
    (tmp_path / "busy.log").write_bytes(b"".join(busy))
    rules = [finding.rule.id for finding in detect(tmp_path)]
    assert (rules.count("token-request"), rules.count("minted-token-used")) == (12, 12)


def test_events_of_all_files_come_in_order(tmp_path: Path) -> None:
    """Exactly, as long as each file is in order."""
    servers(tmp_path, 10, 100)
    times = [event.time for event in read(tmp_path) if event.time is not None]
    assert len(times) == 10 * 100 + 20
    assert times == sorted(times)


def test_a_file_that_was_replaced_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands at the same place in another file is not what comes next."""
    monkeypatch.setattr(pool, "MAX_OPEN", 1)
    servers(tmp_path, 3, 2000)
    items = read(tmp_path).stream()
    next(items)
    for path in tmp_path.iterdir():
        (tmp_path / "new").write_bytes(b"{}\n" * 1000)
        (tmp_path / "new").replace(path)
    errors = [item for item in items if isinstance(item, ReadError)]
    assert any("was replaced while it was read" in str(error) for error in errors)


MEASURE = """
import resource, sys
from k8stokendetect import detect
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
rules = [finding.rule.id for finding in detect(sys.argv[1])]
(memory,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this process alone
print(rules.count("token-request"), rules.count("minted-token-used"), memory)
"""


def measure(folder: Path) -> tuple[int, int, int]:
    """Scan a folder in a process that may open 80 files; return mints, uses, and MiB at most."""
    result = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    mints, uses, kibibytes = map(int, result.stdout.split())
    return mints, uses, kibibytes // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_hundreds_of_files_take_few_descriptors(tmp_path: Path) -> None:
    """More files than a process may open."""
    minted = servers(tmp_path, 150, 20)
    mints, uses, mebibytes = measure(tmp_path)
    assert (mints, uses) == (len(minted), len(minted))
    assert mebibytes < 150


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("files", "lines"), [(60, 25_000), (1300, 500)])
def test_a_large_cluster_takes_little_memory(tmp_path: Path, files: int, lines: int) -> None:
    """60 files of 15 MB, 1,300 files."""
    minted = servers(tmp_path, files, lines)
    mints, uses, mebibytes = measure(tmp_path)
    assert (mints, uses) == (len(minted), len(minted))
    assert mebibytes < 150
