# SPDX-License-Identifier: Apache-2.0
"""Which alerts, findings and incidents to print: by severity, time, caller and number."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.words import account_or_user

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO: Final = re.compile(r"(\d{1,9})([smhdw])")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@attrs.frozen(kw_only=True)
class Choice:
    """What to print of what was found; by default everything.

    Arguments:
        min_severity: the lowest severity.
        since: the earliest time, in UTC; what has no time is printed.
        until: the latest time.
        actors: user names, of which `*` may stand for any characters, or `namespace/name` of service accounts.
        limit: how many are printed at most; 0 for all, None for what suits the form.
        dropped: counts what was not printed, by the option that it did not fit.

    """

    min_severity: Severity | None = None
    since: datetime | None = None
    until: datetime | None = None
    actors: tuple[str, ...] = ()
    limit: int | None = None
    dropped: Counter[str] = attrs.field(factory=Counter, eq=False)

    @classmethod
    def of(
        cls,
        *,
        min_severity: str | None = None,
        since: str | None = None,
        until: str | None = None,
        actors: tuple[str, ...] = (),
        limit: int | None = None,
        now: datetime | None = None,
    ) -> Self:
        """Read the options; raises ConfigError for one that is wrong.

        Arguments:
            min_severity: its name.
            since: a day, a time (UTC where it has no zone), or how long ago, such as `90m`, `24h`, `7d`.
            until: the same; a day is included.
            actors: see above.
            limit: see above.
            now: from when `24h` counts; by default the clock.

        """
        now = now or datetime.now(UTC)
        chosen = cls(
            min_severity=Severity.of(min_severity) if min_severity else None,
            since=_time("--since", since, now),
            until=_time("--until", until, now, end_of_day=True),
            actors=actors,
            limit=limit,
        )
        if chosen.since and chosen.until and chosen.since > chosen.until:
            raise ConfigError("--since is later than --until")
        return chosen

    def wants(self, item: Alert | Finding | Incident, /) -> bool:
        """Tell whether to print it; what is not printed is counted."""
        reason = self._against(item)
        if reason is not None:
            self.dropped[reason] += 1
        return reason is None

    def matches(self, item: Alert | Finding | Incident, /) -> bool:
        """Tell the same, and count nothing."""
        return self._against(item) is None

    def _against(self, item: Alert | Finding | Incident) -> str | None:
        """Return the option that something does not fit; None where it fits all."""
        first, last, users = _facts(item)
        if self.min_severity is not None and item.severity < self.min_severity:
            return "--min-severity"
        if self.since is not None and last is not None and last < self.since:
            return "--since"
        if self.until is not None and first is not None and first > self.until:
            return "--until"
        if self.actors and not any(self._is_actor(user) for user in users):
            return "--actor"
        return None

    def _is_actor(self, user: str) -> bool:
        names = {user, account_or_user(user)}
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in self.actors)


def _facts(item: Alert | Finding | Incident) -> tuple[datetime | None, datetime | None, tuple[str, ...]]:
    """Return when it began and ended, and who acted."""
    if isinstance(item, Incident):
        return item.first_seen, item.last_seen, item.actors
    return item.event.time, item.last or item.event.time, (item.event.user,)


def _time(option: str, text: str | None, now: datetime, *, end_of_day: bool = False) -> datetime | None:
    if text is None:
        return None
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        if end_of_day and _DAY.fullmatch(text):
            time = time.replace(hour=23, minute=59, second=59, microsecond=999_999)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option}: {text!r} is not a time; write 2026-11-23, 2026-11-23T21:43:00Z or how long ago, such as 24h or "
            "7d"
        ) from None
