# SPDX-License-Identifier: Apache-2.0
"""The options that choose what is printed: severity, time, caller, number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from k8stokendetect import Alert, ConfigError
from k8stokendetect.cli.selecting import Choice
from test_incidents import START, found, one, ref, used

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T21:43", datetime(2026, 11, 23, 21, 43, tzinfo=UTC)),
        ("2026-11-23T21:43:00+02:00", datetime(2026, 11, 23, 19, 43, tzinfo=UTC)),
        ("2026-11-23T21:43:00Z", datetime(2026, 11, 23, 21, 43, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
    ],
)
def test_a_time_is_a_day_a_time_or_how_long_ago(text: str, time: datetime) -> None:
    """In UTC where it has no zone."""
    assert Choice.of(since=text, now=NOW).since == time


def test_a_day_is_included() -> None:
    """Until the end of it."""
    late = found(ref(minutes=179))

    assert Choice.of(until="2026-11-23").wants(late)
    assert not Choice.of(until="2026-11-22").wants(late)


@pytest.mark.parametrize("text", ["", "yesterday", "24", "99999999999d", "999999999w", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match=r"--until: .* is not a time; write 2026-11-23"):
        Choice.of(until=text)


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    """Nothing would be printed."""
    with pytest.raises(ConfigError, match="--since is later than --until"):
        Choice.of(since="2026-11-24", until="2026-11-23")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, True),
        ({"min_severity": "medium"}, True),
        ({"min_severity": "HIGH"}, False),
        ({"since": "2026-11-23T21:00Z"}, True),
        ({"since": "2026-11-23T21:01Z"}, False),
        ({"until": "2026-11-23T21:00Z"}, True),
        ({"until": "2026-11-23T20:59Z"}, False),
        ({"actors": ("alice",)}, True),
        ({"actors": ("bob", "al*")}, True),
        ({"actors": ("Alice",)}, False),
    ],
)
def test_findings_and_alerts_are_chosen(options: dict[str, str], wanted: bool) -> None:  # noqa: FBT001 - parametrized
    """By what they are about; what is not printed is counted by its option."""
    choice = Choice.of(**options)  # type: ignore[arg-type]

    assert choice.wants(found(ref())) is wanted
    assert choice.wants(Alert.of([found(ref())])) is wanted
    assert sum(choice.dropped.values()) == (0 if wanted else 2)
    assert {name.replace("-", "_").strip("_") for name in choice.dropped} <= {*options, "actor"}


def test_an_incident_is_chosen_by_all_of_it() -> None:
    """By its worst severity, by every caller in it, by any time between its first and last request."""
    mint = ref(minted_credential="JTI=1")
    incident = one(found(mint), used(mint, minutes=30))

    for options in (
        {"actors": ("prod/payments-sa",)},
        {"actors": ("system:serviceaccount:prod:payments-sa",)},
        {"min_severity": "high"},
        {"since": "2026-11-23T21:10Z", "until": "2026-11-23T21:20Z"},
    ):
        assert Choice.of(**options).wants(incident)
    assert not Choice.of(since="2026-11-23T21:31Z").wants(incident)


def test_what_has_no_time_is_printed() -> None:
    """Nobody knows that it does not belong there."""
    assert Choice.of(since="1h", until="0s", now=START).wants(found(ref(time=None)))
