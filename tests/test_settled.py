# SPDX-License-Identifier: Apache-2.0
"""What is set aside is counted without making its finding: the counts and what is reported stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from builders import token_request
from k8stokendetect import Detector, Event, Finding, Tally, detect, parse_event
from k8stokendetect.detectors import BUILTIN, TokenRequest
from k8stokendetect.engine import pipeline as stages
from k8stokendetect.errors import ReadError
from recordings import METADATA, METADATA_1_27, events
from strategies import audit_events, damaged_events

TELLING = tuple(cls() for cls in BUILTIN if cls.reports is not Detector.reports)
KUBELET = parse_event(
    token_request(
        "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux)"
    )
)


class Picky(TokenRequest):
    """Reports nothing, and inherits what tells that it would."""

    def inspect(self, _: Event, /) -> Iterator[Finding]:
        """Yield nothing."""
        return iter(())


class Unsure(TokenRequest):
    """Cannot tell."""

    def reports(self, _: Event, /) -> bool:
        """Raise."""
        raise RuntimeError("not today")


def test_some_detectors_tell() -> None:
    """The two rules of the advisory, to which most exclusions apply, tell without a finding."""
    assert {detector.rule.id for detector in TELLING} == {"token-request", "token-request-uri"}


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_reports_says_what_inspect_does(path: Path) -> None:
    """On every recorded event `reports` is true just where `inspect` yields its one finding."""
    for event in events(path):
        for detector in TELLING:
            assert len(list(detector.inspect(event))) == int(bool(detector.reports(event)))


@given(audit_events | damaged_events())
def test_reports_says_what_inspect_does_of_any_event(record: dict[str, object]) -> None:
    """So it is for events that no API server wrote; what it tells has neither a key nor related requests."""
    try:
        event = parse_event(record)
    except ReadError:
        return
    for detector in TELLING:
        found = list(detector.inspect(event))
        assert len(found) == int(bool(detector.reports(event)))
        assert not any(finding.key or finding.related for finding in found)


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_the_counts_are_the_same_as_of_made_findings(path: Path) -> None:
    """Reported, set aside and repeated are counted alike, whether set-aside findings are made or not."""
    made, counted = Tally(), Tally()
    recorded = events(path)
    twice = [*recorded, *recorded]
    reported = [finding for finding in detect(twice, keep_excluded=True, tally=made) if not finding.excluded_by]
    assert list(detect(twice, tally=counted)) == reported
    assert made.excluded
    assert (counted.findings, counted.excluded) == (made.findings, made.excluded)
    assert counted.duplicates == made.duplicates


def test_requests_that_differ_in_what_a_client_cannot_choose_are_no_repetition() -> None:
    """An auditID chosen by the client hides nothing: another user, peer, target or time is another request."""
    other = token_request(
        "system:node:worker-2", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux)"
    )
    tally = Tally()
    assert not list(detect([KUBELET, parse_event(other), KUBELET], detectors=["token-request"], tally=tally))
    assert (tally.excluded.total(), tally.duplicates) == (2, 1)


def test_a_subclass_that_overrides_only_inspect_is_asked() -> None:
    """What its parent tells is not taken for its own."""
    tally = Tally()
    assert not list(detect([KUBELET], detectors=[Picky()], tally=tally))
    assert not tally.excluded
    assert not stages._tells(Picky())  # noqa: SLF001 - the reason
    assert stages._tells(TokenRequest())  # noqa: SLF001 - the reason


def test_where_reports_raises_inspect_is_asked() -> None:
    """Nothing is lost: the finding is made, set aside and counted."""
    tally = Tally()
    assert not list(detect([KUBELET], detectors=[Unsure()], tally=tally))
    assert tally.excluded.total() == 1
