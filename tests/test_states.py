# SPDX-License-Identifier: Apache-2.0
"""What a keyed detector remembers: who makes room for whom, and what is packed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from k8stokendetect.detectors import states as module
from k8stokendetect.detectors.packing import Packing
from k8stokendetect.detectors.states import States

START: Final = datetime(2026, 7, 1, tzinfo=UTC)


def test_the_state_that_expires_first_makes_room_and_is_counted() -> None:
    """A state that expires now is still remembered, also after a sweep."""
    states: States[int] = States(limit=2)
    for key, minutes in (("late", 3), ("soon", 1), ("later", 2)):
        states.put(key, minutes, START + timedelta(minutes=minutes))
    states.sweep(START + timedelta(minutes=2))

    assert sorted(key for key, _, _ in states) == ["late", "later"]
    assert states.forgotten == 1


def test_states_that_were_not_written_to_for_longest_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees it; what has no form in JSON stays as it is."""
    monkeypatch.setattr(module, "MOST_WHOLE", 1)
    states: States[list[str]] = States(Packing(list[str]))
    held = {key: [f"{key}{number}" for number in range(50)] for key in "abc"} | {"d": ["\ud800"], "e": []}
    for key, state in held.items():
        states.put(key, state, START)
    whole = [key for key, state in held.items() if states.get(key, START) is state]

    assert {key: state for key, state, _ in states} == held
    assert {key: states.get(key, START) for key in held} == held
    assert whole == ["d", "e"]
    states.put("a", ["new"], START)
    assert (states.get("a", START), states.get("e", START)) == (["new"], [])


def test_a_state_is_dropped_in_a_sweep_once_its_time_has_passed() -> None:
    """A sweep is due after the allowed lateness, and where the log goes back before the last one."""
    states: States[int] = States()
    states.sweep(START)
    states.put("a", 1, START + timedelta(seconds=30))
    states.sweep(START + timedelta(seconds=60))
    kept = len(states)
    states.sweep(START + timedelta(seconds=61))

    assert (kept, len(states)) == (1, 0)


def test_the_last_moments_of_time_are_no_error() -> None:
    """Nothing is later than the year 9999."""
    states: States[int] = States()
    end = datetime.max.replace(tzinfo=UTC)
    states.put("a", 1, end)
    states.sweep(end)

    assert states.get("a", end) == 1


def test_a_forgotten_key_has_no_state() -> None:
    """None forgets it, also where nothing was remembered."""
    states: States[int] = States()
    states.put("a", 1, START)
    states.put("a", None, START)
    states.put("b", None, START)

    assert (states.get("a", START), len(states)) == (None, 0)
