# SPDX-License-Identifier: Apache-2.0
"""What holds of a keyed detector: its two methods depend on their arguments alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from k8stokendetect.detectors import KeyedDetector
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.testing.failures import failed
from k8stokendetect.testing.harness import Harness

__tracebackhide__ = True  # pytest shows the message, not these lines


def check_steps(
    harness: Harness, detector: KeyedDetector[Any], event: Event, reported: Sequence[Finding], record: Mapping[str, Any]
) -> list[Finding]:
    """Let a detector follow an event and return the findings.

    Raises:
        AssertionError: when `keys` or `fold` depends on more than its arguments.

    """
    other = _another(harness)
    keys = harness.called(detector.keys, event, reported, seen=record)
    if not all(isinstance(key, str) for key in keys):
        raise failed(
            f"{harness.name}.keys gave {keys!r}, not strings",
            "join what names the thing into one string, such as `f'{namespace}/{name}'`",
            record,
        )
    if keys != harness.called(other.keys, event, reported, seen=record):
        raise failed(
            f"{harness.name}.keys gave {keys!r} for an event, and something else when it was asked again",
            "let it depend on its arguments and the constructor's only, and give keys in a fixed order: no sets",
            record,
        )
    before = _remembered(detector, keys)
    first = _folded(harness, before, keys, event, reported, record)
    found = harness.called(detector.follow, event, reported, keys, seen=record)
    if not first == (found, _remembered(detector, keys)) == _folded(harness, before, keys, event, reported, record):
        raise failed(
            f"{harness.name}.fold gave something else when another instance folded the same event: it remembers "
            "something in `self`",
            "keep all that is remembered in the state; what is on `self` comes from the constructor and stays",
            record,
        )
    return found


Remembered: TypeAlias = dict[str, tuple[Any, datetime]]


def _remembered(detector: KeyedDetector[Any], keys: Collection[str]) -> Remembered:
    """Return a copy of what is remembered of these keys."""
    return copy.deepcopy({key: (state, expires) for key, state, expires in detector.states if key in keys})


def _folded(
    harness: Harness,
    before: Remembered,
    keys: Collection[str],
    event: Event,
    reported: Sequence[Finding],
    record: Mapping[str, Any],
) -> tuple[list[Finding], Remembered]:
    """Fold an event by a new instance that remembers the same; return the findings and what is remembered then."""
    fresh, given = _another(harness), copy.deepcopy(before)
    for key, (state, expires) in given.items():
        fresh.states.put(key, state, expires)
    found = harness.called(fresh.follow, event, reported, keys, seen=record)
    if given != before:
        raise failed(
            f"{harness.name}.fold changed the state that it was given: mutable state",
            "make the state frozen (`@attrs.frozen`, tuples for lists) and put a new one: `attrs.evolve(state, …)`",
            record,
        )
    return found, _remembered(fresh, keys)


def _another(harness: Harness) -> KeyedDetector[Any]:
    """Make another instance; the suite comes here with keyed detectors only."""
    return cast("KeyedDetector[Any]", harness.make())


def through_json(harness: Harness, detector: KeyedDetector[Any]) -> KeyedDetector[Any]:
    """Return a new instance that goes on with the state of this one, saved as JSON and restored."""
    fresh = _another(harness)
    try:
        fresh.restore(json.loads(json.dumps(detector.state())))
    except (TypeError, ValueError, ConfigError) as error:
        raise failed(
            f"{harness.name}: its state does not survive JSON: {error}",
            "let the state be one plain value or an attrs class of plain values (str, int, float, bool, datetime, "
            "tuples and mappings of these), with types in its annotations",
        ) from error
    return fresh
