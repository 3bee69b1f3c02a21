# SPDX-License-Identifier: Apache-2.0
"""What holds of a keyed detector's steps: its two methods are pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from k8stokendetect.detectors import KeyedDetector, Step
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.testing.bench import Bench
from k8stokendetect.testing.lessons import lesson

__tracebackhide__ = True  # pytest shows the lesson, not these lines

_PURE = (
    "the same code runs in a loop, in a test and in Spark's keyed state, where a step may be taken again, elsewhere, "
    "and where all that is kept is the state of the key"
)


def check_steps(
    bench: Bench, detector: KeyedDetector[Any], event: Event, reported: Sequence[Finding], record: Mapping[str, Any]
) -> list[Finding]:
    """Take the steps of an event and return the findings.

    Raises:
        AssertionError: when a step is not pure.

    """
    other = _another(bench)
    keys = bench.called(detector.keys, event, reported, seen=record)
    if not all(isinstance(key, str) for key in keys):
        raise lesson(
            f"{bench.name}.keys gave {keys!r}, not strings",
            "keys are looked up, saved as JSON and spread over machines",
            "join what names the thing into one string, such as `f'{namespace}/{name}'`",
            record,
        )
    if keys != bench.called(other.keys, event, reported, seen=record):
        raise lesson(
            f"{bench.name}.keys gave {keys!r} for an event, and something else when it was asked again",
            _PURE,
            "let it depend on its arguments and the constructor's only, and give keys in a fixed order: no sets",
            record,
        )
    now = event.time or datetime.min.replace(tzinfo=UTC)
    for key in keys:
        _check_step(bench, detector, key, (event, reported, detector.memory.get(key, now)), record)
    return bench.called(detector.observe, event, reported, keys, seen=record)


def _check_step(
    bench: Bench, detector: KeyedDetector[Any], key: str, given: tuple[Any, ...], record: Mapping[str, Any]
) -> None:
    event, reported, state = given
    before = copy.deepcopy(state)
    first = bench.called(lambda: [detector.step(key, event, reported, state)], seen=record)[0]
    if not isinstance(first, Step):
        raise lesson(
            f"{bench.name}.step gave a {type(first).__name__}, not a Step",
            "the engine takes state and findings out of it",
            "return `Step(state, findings)`; to forget the key, `Step()`",
            record,
        )
    if state != before:
        raise lesson(
            f"{bench.name}.step changed the state that it was given: mutable state",
            _PURE,
            "make the state frozen (`@attrs.frozen`, tuples for lists) and return a new one: `attrs.evolve(state, …)`",
            record,
        )
    fresh = _another(bench)
    again = fresh.step(key, event, reported, copy.deepcopy(before))
    if again != first:
        raise lesson(
            f"{bench.name}.step gave something else when the same step was taken by another instance: it remembers "
            "something in `self`, or in a mutable state",
            _PURE,
            "keep all that is remembered in the state; what is on `self` comes from the constructor and stays",
            record,
        )


def _another(bench: Bench) -> KeyedDetector[Any]:
    """Make another instance; the suite comes here with keyed detectors only."""
    return cast("KeyedDetector[Any]", bench.make())


def through_json(bench: Bench, detector: KeyedDetector[Any]) -> KeyedDetector[Any]:
    """Return a new instance that goes on with the state of this one, saved as JSON and restored."""
    fresh = _another(bench)
    try:
        fresh.restore(json.loads(json.dumps(detector.state())))
    except (TypeError, ValueError, ConfigError) as error:
        raise lesson(
            f"{bench.name}: its state does not survive JSON: {error}",
            "between batches, restarts and machines the state is kept as JSON; one that is lost lets an attack go on "
            "unseen",
            "let the state be one plain value or an attrs class of plain values (str, int, float, bool, datetime, "
            "tuples and mappings of these), with types in its annotations",
        ) from error
    return fresh
