# SPDX-License-Identifier: Apache-2.0
"""EventClock: it goes with the events, and one of a wrong time does not move it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import detect
from k8stokendetect.detectors.event_clock import AGREEING, EventClock
from k8stokendetect.detectors.minted_token_used import MintedTokenUsed
from k8stokendetect.testing.builders import request

START = datetime(2026, 11, 23, tzinfo=UTC)
FUTURE = datetime(2099, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_it_goes_with_the_events_and_never_back() -> None:
    """The latest time counts; one a little earlier is believed and moves nothing."""
    clock = EventClock()

    assert all(clock.take(time) for time in (START, START + SECOND, START))
    assert clock.now == START + SECOND


def test_events_far_ahead_move_it_once_enough_agree() -> None:
    """Nineteen of 2099 do not; nor do twenty that contradict each other; the twentieth that agrees does."""
    clock = EventClock()
    clock.take(START)
    assert not any(clock.take(FUTURE + SECOND * number) for number in range(AGREEING - 1))
    assert clock.now == START
    apart = [clock.take(FUTURE + timedelta(days=9 * number)) for number in range(1, 2 * AGREEING)]
    assert not any(apart)

    assert [clock.take(FUTURE) for _ in range(AGREEING)] == [False] * (AGREEING - 1) + [True]
    assert clock.now == FUTURE


def test_a_log_that_begins_with_a_wrong_time_is_set_right() -> None:
    """A second event contradicts the first; with twenty in support a late file does not set it back."""
    clock = EventClock()
    clock.take(FUTURE)
    clock.take(START)
    assert clock.now == START
    for number in range(AGREEING):
        clock.take(START + SECOND * number)
    assert clock.take(START - timedelta(days=9))
    assert clock.now == START + SECOND * (AGREEING - 1)


def use(time: str) -> dict[str, Any]:
    """Return a use of the token that `token_request` mints."""
    user = "system:serviceaccount:prod:payments-sa"
    event = request("list", "secrets", user=user, namespace="prod", requestReceivedTimestamp=time)
    credential = token_request()["annotations"]["authentication.kubernetes.io/issued-credential-id"]
    event["user"]["extra"] = {"authentication.kubernetes.io/credential-id": [credential]}
    return event


@pytest.mark.parametrize("saved", [False, True])
def test_events_of_2099_erase_no_memory(*, saved: bool) -> None:
    """Two mints dated 2099 come between a mint and its use, in a batch of their own; also over a saved state."""
    far = [
        token_request(auditID=f"far-{number}", issued=f"JTI={number}", requestReceivedTimestamp="2099-01-01T00:00:00Z")
        for number in range(2)
    ]
    detector = MintedTokenUsed()
    found = []
    for batch in ([token_request()], far, [use("2026-11-23T21:50:00Z")]):
        found += list(detect(batch, detectors=[detector]))
        if saved:
            document = json.loads(json.dumps(detector.state()))
            detector = MintedTokenUsed()
            detector.restore(document)

    assert [finding.event.resource for finding in found] == ["secrets"]
    one_log = [token_request(), *far, use("2026-11-23T21:50:00Z")]
    assert len(list(detect(one_log, detectors=[MintedTokenUsed()]))) == 1
