# SPDX-License-Identifier: Apache-2.0
"""docs/first-three-minutes.md: what it shows of a log of 400 MB is what a small log of the same kind gives."""

from __future__ import annotations

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import pytest

import minutes
from day import day
from k8stokendetect import Tally, detect

NUMBER = re.compile(r"\b[0-9a-f]{32}\b|\d[\d,.:TZ-]*")


def words(text: str) -> list[str]:
    """Return the words of an output, without the numbers, times and ids that differ from log to log."""
    return NUMBER.sub("N", text).split()


def test_the_page_shows_what_the_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for numbers, and words that a narrower column cuts: `python tests/minutes.py audit.log` writes it again."""
    monkeypatch.chdir(tmp_path)
    Path("audit.log").write_bytes(b"".join(day(1)))
    runs = minutes.Runs()
    for one in minutes.shown():
        real = runs.output(one.command, one.part)
        alike = SequenceMatcher(None, words(one.text), words(real), autojunk=False).ratio()
        assert alike > 0.9, f"{one.command} | {one.part}\n{real}"


def test_the_case_studies_show_what_the_commands_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the letter: `python tests/minutes.py` writes it again."""
    monkeypatch.chdir(minutes.ROOT)
    runs = minutes.Runs()
    shown = minutes.shown(minutes.CASES)

    assert [one.text for one in shown] == [runs.output(one.command, one.part) for one in shown]
    assert len({one.command for one in shown}) > 3


def test_a_days_log_is_ordinary_but_for_one_attack() -> None:
    """Of two rounds: both have the operators' four mints each, the attack comes once, and no id comes twice."""
    log, tally = b"".join(day(9_000_000)), Tally()
    users = Counter(one.event.user for one in detect(log, tally=tally) if one.rule.id == "token-request")
    operators = {user: number for user, number in users.items() if user.endswith(("secrets", "manager"))}
    requests = Counter((record["auditID"], record["stage"]) for record in map(json.loads, log.splitlines()))

    assert list(operators.values()) == [2 * 4, 2 * 4]
    assert (tally.unreadable, tally.findings["token-request"], tally.findings["minted-token-used"]) == (0, 16 + 8, 15)
    assert max(requests.values()) == 1
