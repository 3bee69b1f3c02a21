# SPDX-License-Identifier: Apache-2.0
"""Timestamps as audit logs and their wrappers write them, to UTC and back; none is ever invented."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DEFAULTS = (datetime(2000, 2, 3, 0), datetime(2001, 3, 4, 5))  # noqa: DTZ001 - without a zone, as the text
_WORDS_OF_A_DATE = frozenset(
    "T Z AM PM UTC GMT JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC MON TUE WED THU FRI SAT SUN".split()
)


def parse_time(text: str, /) -> datetime:
    """Parse a timestamp into UTC; one without a zone is UTC.

    `fromisoformat` first, dateutil for what it refuses. dateutil fills in what is missing from a default date;
    a text that means another time with another default is refused, so that no time is ever invented.

    Raises:
        ValueError: when it is no timestamp; does not repeat it.

    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _parse_unusual_time(text)
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("not a timestamp") from None


def _parse_unusual_time(text: str) -> datetime:
    from dateutil import parser  # noqa: PLC0415 - rarely needed

    if _WORDS_OF_A_DATE.issuperset(word.upper() for word in re.findall(r"[^\W\d_]+", text)):
        try:
            readings = [parser.parse(text, default=default) for default in _DEFAULTS]
        except (ValueError, OverflowError):
            readings = []
        if readings and readings[0] == readings[1]:
            return readings[0]
    raise ValueError("not a timestamp")


def format_time(moment: datetime, /) -> str:
    """Write a time as Kubernetes does."""
    return moment.isoformat().replace("+00:00", "Z")
