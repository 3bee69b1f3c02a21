# SPDX-License-Identifier: Apache-2.0
"""The reorder buffer: the order of time and of stages, the allowed lateness, the clock, the bound."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from k8stokendetect import Event, parse_event
from k8stokendetect.engine import reorder
from k8stokendetect.engine.reorder import ReorderBuffer
from k8stokendetect.testing import START, request


def event(seconds: float, audit_id: str = "a", stage: str = "ResponseComplete") -> Event:
    """Return an event so many seconds after the start."""
    return parse_event(request(time=START + timedelta(seconds=seconds), auditID=audit_id, stage=stage))


def fed(buffer: ReorderBuffer[str], *events: Event) -> list[str]:
    """Put events; return the audit ids that come out."""
    return [out for one in events for out in buffer.put(one, one.audit_id)]


def test_an_event_waits_until_the_allowed_lateness_has_passed() -> None:
    """A minute of event time, to the microsecond."""
    buffer = ReorderBuffer[str]()

    assert fed(buffer, event(0, "first"), event(60, "second")) == []
    assert fed(buffer, event(60.000001, "third")) == ["first"]
    assert list(buffer.rest()) == ["second", "third"]


def test_events_come_out_in_the_order_of_time() -> None:
    """In whatever order they come in; one that is too late comes out at once."""
    buffer = ReorderBuffer[str]()

    assert fed(buffer, event(3, "c"), event(1, "a"), event(2, "b"), event(90, "z")) == ["a", "b", "c"]
    assert fed(buffer, event(0, "late")) == ["late"]


def test_the_stages_of_a_request_follow_each_other() -> None:
    """In their order, though another request came in at the same time."""
    buffer: ReorderBuffer[tuple[str, str]] = ReorderBuffer()
    stages = ["Panic", "ResponseComplete", "ResponseStarted", "RequestReceived"]
    for one in [event(0, audit_id, stage) for stage in stages for audit_id in ("b", "a")]:
        assert not list(buffer.put(one, (one.audit_id, one.stage)))

    told = [stage for stage in reversed(stages) if stage != "RequestReceived"]  # the answer says more
    assert [(audit_id, stage) for audit_id in "ab" for stage in told] == list(buffer.rest())


def test_a_request_without_an_answer_is_told() -> None:
    """And so are its repetitions; those of one that was answered are not, nor is another request held for it."""
    buffer = ReorderBuffer[str]()
    for audit_id, stage in (("a", "RequestReceived"), ("a", "RequestReceived"), ("b", "ResponseComplete")):
        assert not list(buffer.put(event(0, audit_id, stage), f"{audit_id} {stage}"))

    assert list(buffer.rest()) == ["a RequestReceived", "a RequestReceived", "b ResponseComplete"]


def test_an_event_without_a_time_does_not_wait_behind_others() -> None:
    """It comes first, and moves nothing."""
    buffer = ReorderBuffer[str]()
    untimed = parse_event({"auditID": "untimed", "verb": "get"})

    assert fed(buffer, event(0, "a"), untimed) == ["untimed"]
    assert list(buffer.rest()) == ["a"]


def test_the_clock_counts_while_nothing_comes() -> None:
    """From the first time that the source is idle; an event that comes in between starts it again."""
    now = [0.0]
    buffer: ReorderBuffer[str] = ReorderBuffer(clock=lambda: now[0])
    seen = fed(buffer, event(0, "a"))
    for seconds in (0, 60):
        now[0] = seconds
        seen += buffer.idle()
    seen += fed(buffer, event(1, "b"))
    for seconds in (61, 121):
        now[0] = seconds
        seen += buffer.idle()

    assert seen == []
    now[0] = 121.1
    assert list(buffer.idle()) == ["a", "b"]


def test_too_many_waiting_events_are_released_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest first; none is dropped."""
    monkeypatch.setattr(reorder, "MAX_WAITING", 2)
    buffer = ReorderBuffer[str]()

    assert fed(buffer, event(3, "c"), event(1, "a"), event(2, "b")) == ["a"]
    assert list(buffer.rest()) == ["b", "c"]


def test_what_waits_is_bounded_by_its_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what clients choose: bodies, paths, names. What is released early makes room."""
    monkeypatch.setattr(reorder, "MAX_HELD", 30_000)
    changes: list[dict[str, Any]] = [
        {"requestObject": {"data": "x" * 10_000}},
        {"responseObject": ["x" * 10_000]},
        {"requestURI": "/" + "x" * 10_000},
        {"userAgent": "x" * 10_000},
        {"objectRef": {"resource": "pods", "name": "x" * 10_000}},
        {"impersonatedUser": {"username": "bob", "extra": {"a": ["x" * 10_000]}}},
    ]
    for change in changes:
        buffer = ReorderBuffer[str]()
        events = [parse_event(request(time=START, auditID=name) | change) for name in "abcd"]
        assert fed(buffer, *events) == ["a", "b"]
        assert fed(buffer, event(1, "small")) == []
    alone = parse_event(request(time=START, auditID="alone") | {"userAgent": "x" * 100_000})
    assert fed(ReorderBuffer[str](), alone) == []


def test_a_body_that_is_no_json_is_held_all_the_same() -> None:
    """In a mapping that a program made."""
    body: list[Any] = []
    body.append(body)
    odd = attrs.evolve(event(0, "odd"), request_object=body)

    assert fed(ReorderBuffer[str](), odd) == []


def test_the_time_up_to_which_all_was_examined() -> None:
    """That of the earliest event that still waits, though one is far ahead: an incident before that may go on."""
    buffer = ReorderBuffer[str]()
    seen = [("", buffer.now)]
    assert fed(buffer, event(0, "a"), event(30, "b")) == []
    seen += [(out, buffer.now) for out in buffer.put(event(7200, "z"), "z")]

    assert seen == [("", None), ("a", START + timedelta(seconds=30)), ("b", START + timedelta(seconds=7200))]
