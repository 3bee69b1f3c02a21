# SPDX-License-Identifier: Apache-2.0
"""What belongs to a closed incident and comes later carries its id, as long as it is remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Finding, detect
from k8stokendetect.incidents import Incidents, earlier
from k8stokendetect.incidents.earlier import Earlier
from k8stokendetect.testing import use_of

HOUR = timedelta(hours=1)
ALICE = ("", "alice", "")
MINT = token_request(issued="JTI=1", auditID="mint")


def found(*events: dict[str, Any]) -> list[Finding]:
    """Return what is found in some events."""
    return [one for one in detect(list(events)) if one.rule.id in {"token-request", "minted-token-used"}]


def test_a_finding_belongs_to_an_incident_by_its_request_its_token_or_its_caller() -> None:
    """By its caller only within the window, and only where nothing else decides."""
    known = Earlier()
    mint, use = found(MINT, use_of(MINT, "list", "secrets"))
    (other,) = found(token_request(auditID="other"))
    assert other.event.time is not None
    assert known.id_of(mint, ALICE, HOUR) is None
    known.note("first", mint, ALICE)

    assert known.id_of(mint, None, HOUR) == "first"
    assert known.id_of(use, None, HOUR) == "first"
    assert known.tokens == {"JTI=1": "first"}
    assert known.id_of(other, ALICE, HOUR) == "first"
    assert known.id_of(other, None, HOUR) is None
    assert known.id_of(other, ("", "bob", ""), HOUR) is None
    (late,) = found(token_request(auditID="late", requestReceivedTimestamp="2026-11-24T21:43:45Z"))
    assert known.id_of(late, ALICE, HOUR) is None
    (timeless,) = found(token_request(auditID="timeless", requestReceivedTimestamp=None, stageTimestamp=None))
    known.note("second", timeless, ALICE)
    assert known.id_of(timeless, None, HOUR) == "second"
    assert known.id_of(other, ALICE, HOUR) == "first"


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of requests fills no memory."""
    monkeypatch.setattr(earlier, "MOST", 2)
    known, findings = Earlier(), [one for name in "abc" for one in found(token_request(auditID=name))]
    for number, one in enumerate(findings):
        known.note(f"incident {number}", one, ("", f"caller {number}", ""))
    assert [known.id_of(one, None, HOUR) for one in findings] == [None, "incident 1", "incident 2"]


def test_a_use_of_a_token_continues_the_incident_that_was_closed() -> None:
    """With its id, and `continues` set."""
    mint, use = found(MINT, use_of(MINT, "list", "secrets"))
    groups = Incidents()
    groups.add(mint)
    assert mint.event.time is not None
    (closed,) = groups.close(mint.event.time + 2 * HOUR)
    groups.add(use)
    (again,) = groups.all()
    assert (again.id, again.continues, closed.continues) == (closed.id, True, False)
