# SPDX-License-Identifier: Apache-2.0
"""Timestamps as audit logs, their wrappers and exports write them, to UTC and back; none is ever invented."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_DEFAULTS = (datetime(2000, 2, 3, 0), datetime(2001, 3, 4, 5))  # noqa: DTZ001 - without a zone, as the text
_MONTHS: Final = (
    "January February March April May June July August September October November December "
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
)
_AWS_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WORDS_OF_A_DATE = frozenset(f"T Z AM PM UTC GMT st nd rd th MON TUE WED THU FRI SAT SUN {_MONTHS}".upper().split())
_LONGEST: Final = 80
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = re.compile(r"([0-9]{9,11})\.([0-9]{1,9})")
_UNITS: Final = ((10**8, 10**11, 10**6), (10**11, 10**14, 10**3), (10**14, 10**17, 1))
"""From and below which number a time is in seconds, milliseconds or microseconds (nanoseconds above): 1973 to 5138."""

_NUMBERS_FIRST: Final = re.compile(r"(?<![0-9])([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(?![0-9])")
"""A date with its year last, as spreadsheets and portals write it in the reader's own order."""

_NAMED_OFFSET: Final = re.compile(r"([+-][0-9]{4}) [A-Z]{1,5}\Z")
_LAST_MONTH: Final = 12
_NOON: Final = 12


_AWS: Final = re.compile(
    rf"({'|'.join(_AWS_MONTHS)}) ([0-9]{{1,2}}), ([0-9]{{4}}),? ([0-9]{{1,2}}):([0-9]{{2}}):([0-9]{{2}}) ([AP])M"
)
"""As STS writes when credentials end, `Nov 9, 2023, 12:00:00 AM`.

https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html
"""


class DayOrMonthError(ValueError):
    """A date may begin with its day or with its month, and nothing says which."""


def parse_time(text: str, /, *, day_first: bool | None = None) -> datetime:
    """Parse a timestamp into UTC; one without a zone is UTC.

    `fromisoformat` first, dateutil for what it refuses. dateutil fills in what is missing from a default date;
    a text that means another time with another default is refused, so that no time is ever invented. Numbers are
    seconds, milliseconds, microseconds or nanoseconds since 1970, by their size.

    Arguments:
        text: the timestamp.
        day_first: how a date such as 12/11/2026 is meant; None refuses it.

    Raises:
        DayOrMonthError: when a date may begin with its day or its month, and `day_first` is None.
        ValueError: when it is not a timestamp, or contradicts `day_first`; does not repeat it.

    """
    if text.isdecimal() and len(text) > len("20260101"):
        return _since_epoch(int(text[:40]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _parse_unusual_time(text, day_first=day_first)
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("not a timestamp") from None


def moment_of(value: Any, /, *, day_first: bool | None = None) -> datetime | None:
    """Parse what stands in a record for a time: a text, or a number since 1970; None where it is empty.

    Raises:
        ValueError: as `parse_time` does; also for a value of any other type.

    """
    if isinstance(value, str):
        return parse_time(value, day_first=day_first) if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_epoch(value)
    raise ValueError("not a timestamp")


def is_day_first(text: str, /) -> bool | None:
    """Tell which number of a date with its year last can only be the day; None where both can, or it is not a date."""
    found = _NUMBERS_FIRST.search(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    first, second = int(found[1]) > _LAST_MONTH, int(found[3]) > _LAST_MONTH
    return None if first == second else first


def has_order(text: str, /) -> bool:
    """Tell whether there is a date with its year last in a text."""
    return len(text) <= _LONGEST and _NUMBERS_FIRST.search(text) is not None


def _since_epoch(number: float) -> datetime:
    for start, end, unit in _UNITS:
        if start <= number < end:
            return _EPOCH + timedelta(microseconds=round(number * unit))
    if 10**17 <= number < 10**20:
        return _EPOCH + timedelta(microseconds=int(number) // 1000)
    raise ValueError("not a timestamp")


def _parse_aws_time(text: str) -> datetime | None:
    """Parse a time as STS writes it, as dateutil would, many times faster; None for any other."""
    found = _AWS.fullmatch(text)
    if found is None or not 1 <= int(found[4]) <= _NOON:
        return None
    month, hour = _AWS_MONTHS.index(found[1]) + 1, int(found[4]) % _NOON + _NOON * (found[7] == "P")
    try:
        return datetime(int(found[3]), month, int(found[2]), hour, int(found[5]), int(found[6]), tzinfo=UTC)
    except ValueError:
        return None


def _parse_unusual_time(text: str, *, day_first: bool | None) -> datetime:
    if moment := _parse_aws_time(text):
        return moment
    from dateutil import parser  # noqa: PLC0415 - rarely needed

    if len(text) > _LONGEST:
        raise ValueError("not a timestamp")
    if seconds := _SECONDS.fullmatch(text):
        return _since_epoch(int(seconds[1])) + timedelta(microseconds=int(f"{seconds[2]}000000"[:6]))
    # Azure's portal names the zone in brackets; Kibana writes `Nov 12, 2026 @ 10:11:12.123` (its setting `dateFormat`).
    # Go's `String` names the zone behind its offset.
    text = _NAMED_OFFSET.sub(r"\1", text.removesuffix("[UTC]").replace(" @ ", " "))
    order = _order(text, day_first=day_first)
    if _WORDS_OF_A_DATE.issuperset(word.upper() for word in re.findall(r"[^\W\d_]+", text)):
        try:
            readings = [parser.parse(text, default=default, dayfirst=order) for default in _DEFAULTS]
        except (ValueError, OverflowError):
            readings = []
        if readings and readings[0] == readings[1]:
            return readings[0]
    raise ValueError("not a timestamp")


def _order(text: str, *, day_first: bool | None) -> bool:
    """Return whether the day comes first in a date with its year last.

    Raises:
        DayOrMonthError: when nothing says so.
        ValueError: when the date contradicts the order that is given, or its year has two digits.

    """
    found = _NUMBERS_FIRST.search(text)
    if found is None:
        return False
    known, numbers = is_day_first(text), (int(found[1]), int(found[3]))
    is_no_date = len(found[4]) == len("26") or min(numbers) > _LAST_MONTH
    if is_no_date or (None not in (known, day_first) and known is not day_first):
        raise ValueError("not a timestamp")
    if known is None and day_first is None and numbers[0] != numbers[1]:
        raise DayOrMonthError("a date that may begin with its day or with its month")
    return bool(day_first if known is None else known)


def format_time(moment: datetime, /) -> str:
    """Write a time as Kubernetes does."""
    return moment.isoformat().replace("+00:00", "Z")
