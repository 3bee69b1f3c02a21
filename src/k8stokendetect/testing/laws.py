# SPDX-License-Identifier: Apache-2.0
"""What holds of a detector and any one event; each law that is broken says why it is one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import parse_event, plain
from k8stokendetect.convert.times import parse_time
from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.testing.bench import Bench, watched
from k8stokendetect.testing.keyed_laws import check_steps
from k8stokendetect.testing.lessons import lesson
from k8stokendetect.testing.paths import resolve

__tracebackhide__ = True  # pytest shows the lesson, not these lines


def check_event(bench: Bench, record: Mapping[str, Any]) -> None:
    """Raise an AssertionError when a detector breaks a law with this event."""
    before = copy.deepcopy(record)
    detector = bench.make()
    try:
        event = parse_event(record)
    except ReadError as error:
        _check_unreadable(bench, detector, error)
        return
    reported = bench.reported(detector, event)
    found = _findings(bench, detector, event, reported, record)
    for finding in found:
        check_finding(bench, detector, finding, record)
    if event != parse_event(before) or record != before:
        raise lesson(
            f"{bench.name} changed the event that it was given",
            "the other detectors see the same event, and whoever called `detect` goes on with the same record: what "
            "one detector takes away, another does not find",
            "treat `extra`, `annotations` and the bodies as read-only: copy before you pop, sort or update",
            before,
        )
    again = _findings(bench, bench.make(), event, reported, record)
    if again != found:
        raise lesson(
            f"{bench.name} says two different things about one event",
            "findings are compared, counted and folded by value; a log that is read again must give the same ones",
            "leave out clocks (take `event.time`), random values, ids of objects and the order of sets",
            record,
        )
    _check_watches(bench, detector, event, found, record)
    if not isinstance(detector, KeyedDetector) and bench.called(lambda: [detector.matches(event)], seen=record) != [
        bool(found)
    ]:
        raise lesson(
            f"{bench.name}: `matches` and `inspect` differ",
            "an excluded event is only asked whether it matches: it is counted wrongly",
            "override `matches` and `describe`, or `inspect` alone",
            record,
        )


def _findings(
    bench: Bench, detector: Detector, event: Event, reported: Sequence[Finding], record: Mapping[str, Any]
) -> list[Finding]:
    if isinstance(detector, KeyedDetector):
        return check_steps(bench, detector, event, reported, record)
    return bench.called(detector.inspect, event, seen=record)


def check_finding(bench: Bench, detector: Detector, finding: object, record: Mapping[str, Any]) -> None:
    """Raise an AssertionError when a finding is none, of another rule, or rests on what is not in the event."""
    _check_rule(bench, detector, finding, record)
    assert isinstance(finding, Finding)  # noqa: S101 - the line above said so, to people
    if finding != pickle.loads(pickle.dumps(finding)):  # noqa: S301 - our own bytes
        raise lesson(
            f"{bench.name}: a finding is not the same after pickling",
            "findings are compared by value, and come from other processes by pickling",
            "let summary, evidence and caveats be plain strings and JSON values",
            record,
        )
    clean = redact(record)[0]
    for item in finding.evidence:
        try:
            there = resolve(item.path, clean)
        except LookupError:
            raise lesson(
                f"{bench.name}: evidence {item.path!r} leads nowhere in the event",
                "whoever handles the alert looks there for the proof, and outputs point the SIEM there",
                "use the names of the JSON, not of Python: `user.username`, `objectRef.namespace`, `sourceIPs[0]`, "
                "`annotations['KEY']`, `user.extra['KEY'][0]`; give no evidence for what is missing",
                record,
            ) from None
        if not _is_same(item.value, there):
            raise lesson(
                f"{bench.name}: evidence {item.path!r} says {plain(item.value)!r}, in the event stands {there!r}",
                "evidence is quoted as fact: it must be what the log says, so that it can be found again",
                "give the value as it stands there; put what you conclude from it into `why`",
                record,
            )


def _check_rule(bench: Bench, detector: Detector, finding: object, seen: Any) -> None:
    if not isinstance(finding, Finding):
        raise lesson(
            f"{bench.name} gave a {type(finding).__name__}, not a Finding",
            "`detect` refuses it, tells an error, and nothing is found",
            "yield `self.finding(event, summary, *evidence)`",
            seen,
        )
    if finding.rule != detector.rule:
        raise lesson(
            f"{bench.name} has rule {detector.rule.id!r}, and its finding says {finding.rule.id!r}",
            "exclusions, counts and the SIEM go by the rule's id: the finding would be excused by another rule's "
            "exclusions and counted as another rule's",
            "make findings with `self.finding(…)`, which uses the class's own rule; write another detector for another "
            "rule",
            seen,
        )
    if not finding.summary.strip():
        raise lesson(
            f"{bench.name}: the summary of a finding is empty",
            "it is the one line that people read",
            "say in a sentence who did what to whom",
            seen,
        )


def _is_same(value: Any, there: Any) -> bool:
    if isinstance(value, datetime) and isinstance(there, str):
        return value == parse_time(there)
    return bool(plain(value) == there)


def _check_unreadable(bench: Bench, detector: Detector, error: ReadError) -> None:
    for finding in bench.called(detector.inspect_unreadable, error, seen=error):
        _check_rule(bench, detector, finding, str(error))


def _check_watches(
    bench: Bench, detector: Detector, event: Event, found: Sequence[Finding], record: Mapping[str, Any]
) -> None:
    if found and not watched(detector, event):
        names = ", ".join(sorted(detector.watches or ()))
        raise lesson(
            f"{bench.name} reports a request on {event.resource or 'no resource'!r}, and watches only {names}",
            "`detect` hands a detector what it watches and nothing else: in real use this finding does not exist, and "
            "nobody is told",
            f"add {event.resource!r} to `watches`, or set it to None for every event; if it should not be reported, "
            "ask first: `if event.does(verb, resource)`",
            record,
        )
