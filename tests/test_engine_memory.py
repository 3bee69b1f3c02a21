# SPDX-License-Identifier: Apache-2.0
"""What goes from one call of detect() to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ConfigError, Finding, Severity, detect
from k8stokendetect.detectors import MintedTokenUsed, TokenInAuditLog
from k8stokendetect.engine import Memory
from k8stokendetect.testing import LIVE_TOKEN, use_of

MINT = token_request()
USE = use_of(MINT, "list", "secrets")


def rules(source: Any, memory: Memory, **options: Any) -> list[str]:
    """Return the rules that report something."""
    return [finding.rule.id for finding in detect(source, memory=memory, **options)]


def copied(memory: Memory) -> Memory:
    """Return what a file would keep."""
    return Memory.from_dict(json.loads(json.dumps(memory.to_dict())))


@pytest.mark.parametrize("again", [lambda memory: memory, copied], ids=["in the process", "through JSON"])
def test_a_use_in_the_next_call_is_found(again: Any) -> None:
    """With detectors made afresh, and once only."""
    memory = Memory()
    assert "token-request" in rules([MINT], memory)
    memory = again(memory)

    assert rules([USE], memory) == ["minted-token-used"]
    assert rules([MINT, USE], again(memory)) == []


def test_without_a_memory_calls_share_nothing() -> None:
    """Not even a duplicate."""
    assert [f.rule.id for f in detect([MINT])] == [f.rule.id for f in detect([MINT])]
    assert "minted-token-used" not in {f.rule.id for f in detect([USE])}


def test_a_detector_given_again_shares_what_the_memory_has() -> None:
    """Whichever of the two learned it."""
    memory, first, second = Memory(), MintedTokenUsed(), MintedTokenUsed()
    rules([MINT], memory, detectors=[first])

    assert rules([USE], memory, detectors=[second]) == ["minted-token-used"]
    assert first.states is second.states


def test_what_is_remembered_of_a_rule_that_does_not_run_is_kept() -> None:
    """For the call in which it runs again."""
    memory = Memory()
    rules([MINT], memory)
    memory = copied(memory)
    rules([], memory, detectors=["token-request"])

    assert rules([USE], copied(memory)) == ["minted-token-used"]


def test_it_holds_no_text_of_the_log() -> None:
    """No token, and no name of a client."""
    memory = Memory()
    record = token_request(userAgent=f"secret-agent {LIVE_TOKEN}", query="?secret-query")
    list(detect([record], memory=memory, detectors=["token-request", TokenInAuditLog()]))
    text = json.dumps(memory.to_dict())

    assert not [part for part in (*LIVE_TOKEN.split("."), "secret-agent", "secret-query") if part in text]


def test_a_file_is_written_at_once_or_not_at_all(tmp_path: Path) -> None:
    """Without one a memory is empty; a damaged one is an error."""
    path = tmp_path / "state.json"
    memory = Memory.load(path)
    rules([MINT], memory)
    memory.save(path)

    assert rules([USE], Memory.load(path)) == ["minted-token-used"]
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]
    for damaged in ("", "[]", "{}", '{"version": 2, "detectors": []}', '{"version": 1, "detectors": 7}'):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(ConfigError, match="not a state that this command wrote"):
            Memory.load(path)


def test_a_damaged_state_is_refused_at_the_call() -> None:
    """Naming the rule."""
    document = {
        "version": 1,
        "detectors": [{"rule": "minted-token-used", "version": 1, "keys": 7}],
        "reported": [],
        "folded": [],
        "profiles": {},
    }
    with pytest.raises(ConfigError, match="state of rule 'minted-token-used' is damaged"):
        detect([], memory=Memory.from_dict(document))


def daily(number: int, **fields: Any) -> dict[str, Any]:
    """Return a mint on a day."""
    when = f"2026-11-{number:02}T12:00:00Z"
    return token_request(auditID=f"day {number}", requestReceivedTimestamp=when, issued=f"JTI={number}", **fields)


def test_who_mints_every_day_is_told_so_and_stays_medium() -> None:
    """A habit proves nothing: only an exclusion, which a person writes, ends the reports."""
    memory = Memory()
    findings: list[Finding] = []
    for number in range(1, 13):
        memory = copied(memory)
        findings += detect(
            [daily(number), daily(number, target="prod/other")], detectors=["token-request"], memory=memory
        )
    assert {finding.severity for finding in findings} == {Severity.MEDIUM}
    told = [finding.summary.rpartition("; ")[2] for finding in findings if finding.event.name == "payments-sa"]
    assert told[1:] == [f"seen on {number} days" for number in range(2, 13)]
    assert "seen" not in told[0]


def test_days_are_counted_for_each_caller_and_account() -> None:
    """Two mints on one day are one day; what is excluded is not counted."""
    log = [daily(1), daily(1) | {"auditID": "again"}, daily(2, username="bob"), daily(2, target="prod/other")]
    assert not any("seen on" in finding.summary for finding in detect(log, detectors=["token-request"]))
    with pytest.raises(ConfigError):
        Memory.from_dict(Memory().to_dict() | {"habits": {"x": 3}})
