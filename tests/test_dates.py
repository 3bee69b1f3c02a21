# SPDX-License-Identifier: Apache-2.0
"""Times of every form, and dates that may begin with their day or their month."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dateutil import parser
from hypothesis import example, given
from hypothesis import strategies as st

from k8stokendetect import ConfigError, Tally, detect, read
from k8stokendetect.cli.app import main
from k8stokendetect.convert.times import DayOrMonthError, moment_of, parse_time
from k8stokendetect.testing import token_request, use_of
from wrappings.flat import lines

MOMENT = datetime(2026, 11, 12, 10, 11, 12, 123000, UTC)
SECONDS = 1794478272
DAY_FIRST, MONTH_FIRST, BOTH = "13/11/2026, 10:05:00", "11/13/2026, 10:05:00", "12/11/2026, 10:01:00"


@pytest.mark.parametrize(
    "value",
    [
        *(f"{SECONDS}.123", SECONDS + 0.123, SECONDS * 1000 + 123, f"{SECONDS}123", f"{SECONDS}123000"),
        *(SECONDS * 10**6 + 123000, f"{SECONDS}123000000", SECONDS * 10**9 + 123000000),
        *("Nov 12, 2026 @ 10:11:12.123", "November 12th 2026, 10:11:12.123", "2026-11-12T10:11:12.123+0000"),
        *("2026-11-12 10:11:12.123 UTC", "2026-11-12 11:11:12.123 +0100 CET", "2026-11-12T10:11:12.123 [UTC]"),
        *("2026-11-12 10:11:12,123", "12 Nov 2026 10:11:12.123", "2026/11/12 10:11:12.123"),
    ],
)
def test_a_time_of_any_form(value: Any) -> None:
    """As exports write it."""
    assert moment_of(value) == MOMENT


@given(
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)),  # noqa: DTZ001 - a text without a zone
    st.sampled_from(["%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M:%S %p"]),
    st.booleans(),
)
@example(datetime(2023, 11, 9, 0, 0), "%b %d, %Y, %I:%M:%S %p", False)  # noqa: DTZ001, FBT003
def test_when_credentials_of_aws_end(moment: datetime, form: str, is_short: bool) -> None:  # noqa: FBT001
    """As dateutil reads it, which is slow."""
    text = moment.strftime(form).replace(" 0", " " if is_short else " 0")
    assert parse_time(text) == parser.parse(text).replace(tzinfo=UTC) == moment.replace(microsecond=0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["Nov 31, 2023, 12:00:00 AM", "Nov 9, 2023, 13:61:00 AM", "Nov 9, 2023, 1:00:61 PM"])
def test_no_time_of_aws(text: str) -> None:
    """What no calendar or clock has."""
    with pytest.raises(ValueError, match="not a timestamp"):
        parse_time(text)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "yesterday",
            "0",
            0,
            1,
            True,
            -5,
            [],
            {},
            1e30,
            float("nan"),
            "12/11/26 10:00",
            "32/13/2026",
            "13:45",
            "x" * 200,
        )
    ],
)
def test_what_is_no_time(value: Any) -> None:
    """None is invented."""
    with pytest.raises(ValueError, match="not a timestamp"):
        moment_of(value)


def test_dates_with_their_year_last() -> None:
    """A day over 12 decides; equal numbers need no decision; nothing else is guessed."""
    assert parse_time(DAY_FIRST) == parse_time(MONTH_FIRST) == datetime(2026, 11, 13, 10, 5, tzinfo=UTC)
    assert parse_time("11/11/2026 00:00") == datetime(2026, 11, 11, tzinfo=UTC)
    for text in (BOTH, "12.11.2026 10:01", "12-11-2026", "1/2/2026, 1:00:00 PM", "02/01/2026 [UTC]"):
        with pytest.raises(DayOrMonthError):
            parse_time(text)
    assert parse_time(BOTH, day_first=True) == datetime(2026, 11, 12, 10, 1, tzinfo=UTC)
    assert parse_time(BOTH, day_first=False) == datetime(2026, 12, 11, 10, 1, tzinfo=UTC)
    for text, day_first in ((DAY_FIRST, False), (MONTH_FIRST, True)):
        with pytest.raises(ValueError, match="not a timestamp"):
            parse_time(text, day_first=day_first)


def timed(event: dict[str, Any], *times: Any) -> dict[str, Any]:
    """Return an event with other times."""
    received, reached = times if len(times) > 1 else times * 2
    return event | {"requestReceivedTimestamp": received, "stageTimestamp": reached}


MINT = token_request("bob")
USE = use_of(MINT)


def outcome(source: Any, **options: Any) -> tuple[list[Any], list[str]]:
    """Return the events and the errors."""
    errors: list[Any] = []
    return list(read(source, on_error=errors.append, **options)), [str(error) for error in errors]


@pytest.mark.parametrize("value", ["yesterday", 1, True, ["x"], {}, "2026-13-45T99:00:00Z"])
def test_an_unreadable_time_costs_no_event(value: Any) -> None:
    """It is a caveat, and the mint is found."""
    tally = Tally()
    (finding,) = detect([timed(MINT, value)], detectors=["token-request"], tally=tally)
    assert finding.event.time is None
    assert any("requestReceivedTimestamp (unreadable)" in caveat for caveat in finding.caveats)
    assert (tally.events, tally.unreadable) == (1, 0)


def test_an_empty_time_is_none() -> None:
    """The other one is the event's."""
    (event,) = read([timed(MINT, "", "2026-11-12T10:11:12.123Z")])
    assert (event.time, event.lost) == (MOMENT, frozenset())


def test_a_file_proves_the_order_of_its_dates(tmp_path: Path) -> None:
    """Also by what comes later; so the use is found, an hour after its mint and not a month before."""
    log = tmp_path / "export.log"
    log.write_bytes(lines([timed(MINT, BOTH), timed(USE, DAY_FIRST)]))
    for source in (log, log.read_bytes(), [log]):
        tally = Tally()
        findings = list(detect(source, tally=tally))
        assert "minted-token-used" in {finding.rule.id for finding in findings}
        assert {finding.event.time for finding in findings} == {
            datetime(2026, 11, 12, 10, 1, tzinfo=UTC),
            datetime(2026, 11, 13, 10, 5, tzinfo=UTC),
        }
        assert tally.unreadable == 0


def test_without_proof_there_is_one_question_a_file(tmp_path: Path) -> None:
    """It says how many; the events are read without a time, and the token is followed all the same."""
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(lines([timed(MINT, BOTH), timed(USE, "12/11/2026, 11:00:00")]))
    events, errors = outcome(tmp_path)
    assert [event.time for event in events] == [None] * 4
    assert len(errors) == 2
    assert all("2 events with dates that may begin with the day or with the month" in error for error in errors)
    rules = [finding.rule.id for finding in detect(tmp_path / "a.log", on_error=lambda _: None)]
    assert {"token-request", "minted-token-used"} <= set(rules)
    events, errors = outcome([timed(MINT, BOTH)])
    assert ([event.time for event in events], len(errors)) == ([None], 1)
    with (tmp_path / "a.log").open("rb") as stream:
        assert len(outcome(stream)[1]) == 1


def test_a_file_that_contradicts_itself_proves_nothing() -> None:
    """Its clear dates are read."""
    events, errors = outcome(lines([timed(MINT, text) for text in (BOTH, DAY_FIRST, MONTH_FIRST)]))
    assert [event.time is None for event in events] == [True, False, False]
    assert len(errors) == 1


def test_no_text_of_a_client_is_a_proof() -> None:
    """Only the event's own times are looked at."""
    agent = f'{DAY_FIRST} "requestReceivedTimestamp":"{DAY_FIRST}"'
    _, errors = outcome(lines([timed(MINT, BOTH) | {"userAgent": agent, "requestURI": f"/x?{agent}"}]))
    assert len(errors) == 1


@pytest.mark.parametrize(("day_first", "month"), [(True, 11), (False, 12)])
def test_an_answer(day_first: bool, month: int, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """In Python and on the command line; a date that contradicts it is no time."""
    content = lines([timed(MINT, BOTH)])
    ((event,), errors) = outcome(content, day_first=day_first)
    assert (event.time.month, errors) == (month, [])
    contradicting = MONTH_FIRST if day_first else DAY_FIRST
    ((event,), errors) = outcome(lines([timed(MINT, contradicting)]), day_first=day_first)
    assert (event.time, errors) == (None, [])
    log = tmp_path / "export.log"
    log.write_bytes(content)
    option = "--day-first" if day_first else "--month-first"
    result = CliRunner().invoke(main, ["scan", option, str(log)])
    assert f"2026-{month}-" in result.stdout
    assert result.exit_code == 1
    result = CliRunner().invoke(main, ["scan", str(log)])
    assert "Say which it is" in result.stderr
    assert result.exit_code == 2


def test_the_answer_is_yes_or_no() -> None:
    """Or nothing."""
    with pytest.raises(ConfigError, match="day_first"):
        read(b"", day_first="yes")  # type: ignore[arg-type]  # the mistake
