# SPDX-License-Identifier: Apache-2.0
"""What holds of a detector and any one event; each law that is broken says why it is one."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from k8stokendetect.clouds import parse_cloud_event
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import parse_event, plain
from k8stokendetect.convert.times import parse_time
from k8stokendetect.detectors import CloudDetector, Detector, KeyedDetector
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import Finding, bounded
from k8stokendetect.testing.harness import Harness, failed, resolve, watched

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
    found = harness.called(detector.take, event, reported, keys, seen=record)
    if not first == (found, _remembered(detector, keys)) == _folded(harness, before, keys, event, reported, record):
        raise failed(
            f"{harness.name}.fold gave something else when another instance folded the same event: it remembers "
            "something in `self`",
            "keep all that is remembered in the state; what is on `self` comes from the constructor and stays",
            record,
        )
    return found


def check_call(harness: Harness, detector: KeyedDetector[Any], record: Mapping[str, Any]) -> None:
    """Let a detector follow a call in AWS; one that is given none looks away.

    Raises:
        AssertionError: when `cloud_keys` or `cloud_fold` depends on more than its arguments.

    """
    if not isinstance(detector, CloudDetector):
        return
    event = parse_cloud_event(record, "aws")
    keys = harness.called(detector.cloud_keys, event, (), seen=record)
    if keys != harness.called(_another(harness).cloud_keys, event, (), seen=record):  # type: ignore[attr-defined]
        raise failed(
            f"{harness.name}.cloud_keys gave {keys!r} for a call, and something else when it was asked again",
            "let it depend on its arguments and the constructor's only, and give keys in a fixed order: no sets",
            record,
        )
    fresh = through_json(harness, detector)
    if harness.called(detector.take_call, event, (), seen=record) != harness.called(
        fresh.take_call,  # type: ignore[attr-defined]
        event,
        (),
        seen=record,
    ):
        raise failed(
            f"{harness.name}.cloud_fold gave something else after its state was saved and restored",
            "keep all that is remembered in the state, as values that JSON holds and types that say so",
            record,
        )


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
    found = harness.called(fresh.take, event, reported, keys, seen=record)
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


def check_event(harness: Harness, record: Mapping[str, Any]) -> None:
    """Raise an AssertionError when a detector breaks a law with this event."""
    before = copy.deepcopy(record)
    detector = harness.make()
    try:
        event = parse_event(record)
    except ReadError as error:
        _check_unreadable(harness, detector, error)
        return
    reported = harness.reported(detector, event)
    found = _findings(harness, detector, event, reported, record)
    for finding in found:
        check_finding(harness, detector, finding, record)
    if event != parse_event(before) or record != before:
        raise failed(
            f"{harness.name} changed the event that it was given",
            "treat `extra`, `annotations` and the bodies as read-only: copy before you pop, sort or update",
            before,
        )
    again = _findings(harness, harness.make(), event, reported, record)
    if again != found:
        raise failed(
            f"{harness.name} says two different things about one event",
            "leave out clocks (take `event.time`), random values, ids of objects and the order of sets",
            record,
        )
    _check_watches(harness, detector, event, found, record)
    if not isinstance(detector, KeyedDetector) and harness.called(lambda: [detector.matches(event)], seen=record) != [
        bool(found)
    ]:
        raise failed(
            f"{harness.name}: `matches` and `inspect` differ",
            "override `matches` and `describe`, or `inspect` alone",
            record,
        )


def _findings(
    harness: Harness, detector: Detector, event: Event, reported: Sequence[Finding], record: Mapping[str, Any]
) -> list[Finding]:
    if isinstance(detector, KeyedDetector):
        return check_steps(harness, detector, event, reported, record)
    return harness.called(detector.inspect, event, seen=record)


def check_finding(harness: Harness, detector: Detector, finding: object, record: Mapping[str, Any]) -> None:
    """Raise an AssertionError when a finding is not one, of another rule, or rests on what is not in the event."""
    _check_rule(harness, detector, finding, record)
    assert isinstance(finding, Finding)  # noqa: S101 - the line above said so, to people
    if finding != pickle.loads(pickle.dumps(finding)):  # noqa: S301 - our own bytes
        raise failed(
            f"{harness.name}: a finding is not the same after pickling",
            "let summary, evidence and caveats be plain strings and JSON values",
            record,
        )
    clean = redact(record)[0]
    for item in finding.evidence:
        try:
            there = resolve(item.path, clean)
        except LookupError:
            raise failed(
                f"{harness.name}: evidence {item.path!r} leads nowhere in the event",
                "use the names of the JSON, not of Python: `user.username`, `objectRef.namespace`, `sourceIPs[0]`, "
                "`annotations['KEY']`, `user.extra['KEY'][0]`; give no evidence for what is missing",
                record,
            ) from None
        if not _is_same(item.value, bounded(there)):
            raise failed(
                f"{harness.name}: evidence {item.path!r} says {plain(item.value)!r}, in the event stands {there!r}",
                "give the value as it stands there; put what you conclude from it into `why`",
                record,
            )


def _check_rule(harness: Harness, detector: Detector, finding: object, seen: Any) -> None:
    if not isinstance(finding, Finding):
        raise failed(
            f"{harness.name} gave a {type(finding).__name__}, not a Finding",
            "yield `self.finding(event, summary, *evidence)`",
            seen,
        )
    if finding.rule != detector.rule:
        raise failed(
            f"{harness.name} has rule {detector.rule.id!r}, and its finding says {finding.rule.id!r}",
            "make findings with `self.finding(…)`, which uses the class's own rule; write another detector for another "
            "rule",
            seen,
        )
    if not finding.summary.strip():
        raise failed(
            f"{harness.name}: the summary of a finding is empty",
            "say in a sentence who did what to whom",
            seen,
        )


def _is_same(value: Any, there: Any) -> bool:
    if isinstance(value, datetime) and isinstance(there, str):
        return value == parse_time(there)
    return bool(plain(value) == there)


def _check_unreadable(harness: Harness, detector: Detector, error: ReadError) -> None:
    for finding in harness.called(detector.inspect, error, seen=error) if Signal.UNREADABLE in detector.watches else ():
        _check_rule(harness, detector, finding, str(error))


def _check_watches(
    harness: Harness, detector: Detector, event: Event, found: Sequence[Finding], record: Mapping[str, Any]
) -> None:
    if found and not watched(detector, event):
        names = ", ".join(sorted(map(str, detector.watches)))
        raise failed(
            f"{harness.name} reports a request on {event.resource or 'no resource'!r}, and watches only {names}",
            f"add {event.resource!r} to `watches`, or `*` for every event; if it should not be reported, "
            "ask first: `if event.does(verb, resource)`",
            record,
        )
