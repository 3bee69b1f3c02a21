# SPDX-License-Identifier: Apache-2.0
"""Detectors that remember, as a user writes one: keys, folds, memory, order, state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import ConfigError, Event, Finding, KeyedDetector, Rule, Severity, Tally, detect, parse_event
from k8stokendetect.detectors.keyed import View
from k8stokendetect.detectors.states import States
from k8stokendetect.engine import reorder
from recordings import METADATA, events

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@attrs.frozen
class Count:
    """How many mints an actor made, and when the last was."""

    number: int
    last: datetime | None = None


class ManyMints(KeyedDetector[Count]):
    """The third mint of an actor, and every later one."""

    rule = Rule("acme.many-mints", "Many mints", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})
    remember_for = timedelta(hours=1)

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Whoever mints and is reported for it."""
        return [event.actor.username] if event.mints_token and reported else []

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Count], /) -> Iterable[Finding]:
        """Count."""
        state = memory.get(key)
        number = state.number + 1 if state else 1
        memory.put(key, Count(number, event.time))
        if number > 2:
            yield self.finding(event, f"{event.actor.username} minted {number} times")


def mint(minute: float, user: str = "alice") -> dict[str, Any]:
    """Return a mint so many minutes after the start."""
    time = START + timedelta(minutes=minute)
    return token_request(user, auditID=f"{user}-{minute}", requestReceivedTimestamp=time.isoformat())


def summaries(source: Any, detector: ManyMints | None = None, **options: Any) -> list[str]:
    """Return what the detector says."""
    findings = detect(source, detectors=["token-request", detector or ManyMints()], **options)
    return [finding.summary for finding in findings if finding.rule.id == "acme.many-mints"]


def test_a_detector_of_a_dozen_lines_remembers() -> None:
    """By key, only what was reported, and not for ever."""
    assert summaries([mint(n) for n in range(4)] + [mint(n, "bob") for n in range(2)]) == [
        "alice minted 3 times",
        "alice minted 4 times",
    ]
    assert summaries([mint(0), mint(1), mint(70)]) == []


def test_reported_is_what_others_said_and_no_exclusion_set_aside() -> None:
    """Alone it is told nothing; its findings may be set aside like any others, and are counted."""
    log = [mint(n) for n in range(3)]
    assert list(detect(log, detectors=[ManyMints()])) == []
    tally = Tally()
    assert len(summaries(log, tally=tally)) == 1
    assert tally.findings == {"token-request": 3, "acme.many-mints": 1}


def test_events_come_in_the_order_of_their_time() -> None:
    """As far as they lie within a minute of each other."""
    log = [mint(0.9), mint(0), mint(0.5)]
    findings = list(detect(log, detectors=["token-request", ManyMints()]))
    assert [f.event.audit_id for f in findings if f.rule.id == "acme.many-mints"] == ["alice-0.9"]


@given(st.permutations([mint(n / 10, user) for n in range(8) for user in ("alice", "bob")]))
def test_any_order_within_a_minute_gives_the_same(log: list[dict[str, Any]]) -> None:
    """Same findings about the same events."""

    def said(source: list[dict[str, Any]]) -> set[tuple[str, str]]:
        findings = detect(source, detectors=["token-request", ManyMints()])
        return {(f.event.audit_id, f.summary) for f in findings if f.rule.id == "acme.many-mints"}

    assert said(log) == said(sorted(log, key=lambda record: str(record["requestReceivedTimestamp"])))


def test_a_finding_comes_once_its_time_has_come() -> None:
    """A stream does not wait for its end: what is a minute old is done."""
    stream = iter([mint(0), mint(0.1), mint(0.2), mint(1.3), mint(1.4)])
    for finding in detect(stream, detectors=["token-request", ManyMints()]):
        if finding.rule.id == "acme.many-mints":
            break
    assert next(stream, None) == mint(1.4)


def test_too_many_waiting_events_are_taken_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; none is dropped."""
    monkeypatch.setattr(reorder, "MAX_WAITING", 3)
    queue: reorder.ReorderBuffer[int] = reorder.ReorderBuffer()
    events = [parse_event(mint(0.01 * (10 - n))) for n in range(10)]
    out = [item for n, event in enumerate(events) for item in queue.put(event, n)]
    assert len(out) == 7
    assert sorted(out + list(queue.rest())) == list(range(10))


def test_state_goes_through_json() -> None:
    """Saved, restored, and gone on with."""
    first, second = ManyMints(), ManyMints()
    assert summaries([mint(0), mint(1)], first) == []
    document = json.loads(json.dumps(first.state()))
    assert document["version"] == 1
    assert document["rule"] == "acme.many-mints"
    second.restore(document)
    assert summaries([mint(2)], second) == ["alice minted 3 times"]


def test_what_is_malformed_fails_when_the_class_is_defined() -> None:
    """No remember_for, or no class of the state."""
    with pytest.raises(ConfigError, match="remember_for"):

        class NoTime(KeyedDetector[Count]):
            rule = ManyMints.rule
            watches = ManyMints.watches

            keys = ManyMints.keys
            fold = ManyMints.fold

    with pytest.raises(ConfigError, match="name the class of its state"):

        class NoState(KeyedDetector):  # type: ignore[type-arg]  # that Python refuses it too is the claim
            rule = ManyMints.rule
            watches = ManyMints.watches
            remember_for = timedelta(hours=1)

            keys = ManyMints.keys
            fold = ManyMints.fold


class Broken(ManyMints):
    """Raises in one of its two methods."""

    where = "fold"

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Raise, or not."""
        if self.where == "keys":
            raise RuntimeError("keys")
        return super().keys(event, reported)

    def fold(self, _: str, __: Event, ___: Sequence[Finding], ____: View[Count], /) -> Iterable[Finding]:
        """Raise."""
        raise RuntimeError("fold")


@pytest.mark.parametrize("where", ["keys", "fold"])
def test_one_that_raises_costs_no_other_finding(where: str) -> None:
    """It is told and counted."""
    errors: list[Any] = []
    detector, tally = Broken(), Tally()
    detector.where = where
    findings = list(detect([mint(0)], detectors=["token-request", detector], on_error=errors.append, tally=tally))
    assert [finding.rule.id for finding in findings] == ["token-request"]
    assert [str(error) for error in errors] == [f"record 1: detector acme.many-mints failed: RuntimeError: {where}"]
    assert tally.failures == 1


def test_memory_forgets_what_has_expired() -> None:
    """Not before, not after its time."""
    memory: States[int] = States()
    memory.put("a", 1, START)
    assert memory.get("a", START) == 1
    assert memory.get("a", START + timedelta(microseconds=1)) is None
    memory.sweep(START + timedelta(hours=1))
    assert len(memory) == 0
    memory.put("b", 2, START)
    memory.put("b", None, START)
    assert list(memory) == []


def test_an_event_that_is_delivered_twice_is_folded_once() -> None:
    """A webhook and a queue deliver at least once: twice the recording gives what once gives, and counts the rest."""
    once, twice = Tally(), Tally()
    recorded = events(METADATA)
    expected = list(detect(recorded, tally=once))
    halves = [*recorded[:2000], *recorded[1000:3000], *recorded[2500:]]
    assert sorted(map(repr, detect(halves, tally=twice))) == sorted(map(repr, expected))
    assert twice.findings == once.findings
    assert twice.duplicates > once.duplicates


def test_a_view_holds_the_keys_of_its_event_alone() -> None:
    """Another key is a mistake; a state may have an expiry of its own."""
    states: States[int] = States()
    view = View(states, frozenset({"mine"}), START, START + timedelta(hours=1))
    view.put("mine", 1, expires=START + timedelta(minutes=5))

    assert view.get("mine") == 1
    assert [expires for _, _, expires in states] == [START + timedelta(minutes=5)]
    with pytest.raises(KeyError, match="not one of this event's keys"):
        view.get("other")
    with pytest.raises(KeyError, match="not one of this event's keys"):
        view.put("other", 1)
