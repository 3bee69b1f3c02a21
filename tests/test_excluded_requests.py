# SPDX-License-Identifier: Apache-2.0
"""An excluded request is counted without a finding: counts and what is reported are as if each were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from builders import token_request
from k8stokendetect import ConfigError, DetectorError, Event, Finding, KeyedDetector, Tally, detect, parse_event
from k8stokendetect.detectors import BUILTIN, TokenRequest
from k8stokendetect.errors import ReadError
from recordings import METADATA, METADATA_1_27, events
from strategies import audit_events, damaged_events

STATELESS = tuple(cls() for cls in BUILTIN if not issubclass(cls, KeyedDetector))
KUBELET = parse_event(
    token_request(
        "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux)"
    )
)


class Unsure(TokenRequest):
    """Cannot tell."""

    def matches(self, _: Event, /) -> bool:
        """Raise."""
        raise RuntimeError("not today")


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_matches_says_what_inspect_does(path: Path) -> None:
    """On every recorded event `matches` is true just where `inspect` yields its one finding."""
    for event in events(path):
        for detector in STATELESS:
            assert len(list(detector.inspect(event))) == int(detector.matches(event))


@given(audit_events | damaged_events())
def test_matches_says_what_inspect_does_of_any_event(record: dict[str, object]) -> None:
    """So it is for events that no API server wrote; what it tells has neither a key nor related requests."""
    try:
        event = parse_event(record)
    except ReadError:
        return
    for detector in STATELESS:
        found = list(detector.inspect(event))
        assert len(found) == int(detector.matches(event))
        assert not any(finding.key or finding.related for finding in found)


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_the_counts_are_the_same_as_of_made_findings(path: Path) -> None:
    """Reported, excluded and repeated are counted alike, whether excluded findings are made or not."""
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


def test_a_subclass_cannot_override_inspect_alone() -> None:
    """Its parent's `matches` would count what it does not report."""
    with pytest.raises(ConfigError, match="override matches and describe"):

        class Picky(TokenRequest):
            """Reports nothing."""

            def inspect(self, _: Any, /) -> Iterator[Finding]:
                """Yield nothing."""
                return iter(())


def test_where_matches_raises_an_error_is_reported() -> None:
    """And counted, as for any other method of a detector."""
    tally, errors = Tally(), list[Exception]()
    assert not list(detect([KUBELET], detectors=[Unsure()], tally=tally, on_error=errors.append))
    assert isinstance(errors[0], DetectorError)
    assert (tally.failures, tally.excluded.total()) == (1, 0)
