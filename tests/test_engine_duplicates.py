# SPDX-License-Identifier: Apache-2.0
"""What is delivered twice: the identity of requests and findings, and the window of names."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import parse_event
from k8stokendetect.detectors import TokenRequest
from k8stokendetect.engine.arrival import Arrival
from k8stokendetect.engine.memory import Deduplicator, Memory
from k8stokendetect.engine.register import Register
from k8stokendetect.engine.tally import Tally
from k8stokendetect.event_ref import request_id

MINT = token_request()


@pytest.mark.parametrize(
    "change",
    [
        {"auditID": "another"},
        {"requestReceivedTimestamp": "2026-11-23T21:43:46.000000Z"},
        {"user": {"username": "bob", "groups": ["system:authenticated"]}},
        {"impersonatedUser": {"username": "bob"}},
        {"sourceIPs": ["203.0.113.9"]},
        {"objectRef": {"resource": "serviceaccounts", "subresource": "token", "namespace": "prod", "name": "other"}},
        {"annotations": {"authentication.kubernetes.io/issued-credential-id": "JTI=another"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_requests_that_differ_in_this_are_two(change: dict[str, Any]) -> None:
    """An auditID alone is the client's choice."""
    assert request_id(parse_event(MINT)) != request_id(parse_event(MINT | change))


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "ResponseStarted"},
        {"level": "Request"},
        {"userAgent": "curl/8"},
        {"sourceIPs": ["1.2.3.4", "192.0.2.7"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_request_at_another_stage_or_level_is_one(change: dict[str, Any]) -> None:
    """So is one whose client wrote another address in front of its own."""
    same = parse_event(MINT | {"sourceIPs": ["192.0.2.7"]})

    assert request_id(same) == request_id(parse_event(MINT | {"sourceIPs": ["192.0.2.7"]} | change))


def register(tally: Tally) -> tuple[Register, Arrival, Arrival]:
    """Return a register, and one request that was delivered twice."""
    first = Arrival(parse_event(MINT), 1, request_id(parse_event(MINT)))
    return Register(tally, Memory()), first, attrs.evolve(first, number=2)


def test_an_excluded_finding_and_a_reported_one_are_two() -> None:
    """Else the first would make the second vanish."""
    tally = Tally()
    made, first, again = register(tally)

    assert made.enter(first, "rule", "kubelet")
    assert made.enter(again, "rule", None)
    assert not made.enter(again, "rule", "kubelet")
    assert (tally.findings, tally.excluded, tally.duplicates) == ({"rule": 1}, {"kubelet": 1}, 1)


def test_a_plain_finding_has_the_name_of_one_that_was_only_counted() -> None:
    """With a key, or about other requests, it has a name of its own."""
    finding = TokenRequest().describe(parse_event(MINT))
    keyed, related = attrs.evolve(finding, key="a"), attrs.evolve(finding, related=(finding.event,))
    made, first, again = register(Tally())

    assert made.enter(first, "token-request", None)
    assert [made.enter(again, "token-request", None, one) for one in (finding, keyed, related)] == [False, True, True]
    assert not made.enter(attrs.evolve(again, number=3), "token-request", None, related)


def test_a_name_is_a_repetition_unless_the_same_event_has_it() -> None:
    """One event may say the same thing twice."""
    deduplicator = Deduplicator()

    assert [deduplicator.is_repeat("a", number) for number in (1, 1, 2)] == [False, False, True]


def test_the_oldest_name_is_forgotten_first() -> None:
    """Beyond the limit."""
    deduplicator = Deduplicator(limit=2)
    for number, name in enumerate("abc"):
        deduplicator.is_repeat(name, number)

    assert deduplicator.last(10) == ["b", "c"]
    assert deduplicator.last(1) == ["c"]
    assert not deduplicator.is_repeat("a", 9)


def test_names_go_from_one_window_to_another() -> None:
    """Whatever number an event has there."""
    first, second = Deduplicator(), Deduplicator()
    first.is_repeat("a", 1)
    second.restore(first.last(10))

    assert second.is_repeat("a", 1)
