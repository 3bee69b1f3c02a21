# SPDX-License-Identifier: Apache-2.0
"""The overview of incidents: how many, and of each a line: who, as whom, the worst that succeeded, when, from where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Self

import attrs

from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.incidents import Incident
from k8stokendetect.incidents.deeds import done
from k8stokendetect.incidents.story import BEGINNING, Request, callers, requests_of, worst_act
from k8stokendetect.outputs.columns import WRAPPED, Line, Span, cells, fitted, shared, wrapped
from k8stokendetect.outputs.text import place_of, span, word_of
from k8stokendetect.words import account_or_user, caller_of, named

_HEADS: Final = ("", "", "who", "as whom", "worst act that succeeded", "UTC", "from", "log")
_SHORT_HEADS: Final = ("", "", "who", "as whom", "worst act", "UTC", "from", "log")
_LEAST: Final = (99, 99, 8, 8, 22, 99, 11, 8)
"""What each column keeps in a window that is too narrow."""

_SHORT: Final = {
    Severity.INFORMATIONAL: "INFO",
    Severity.LOW: "LOW",
    Severity.MEDIUM: "MED",
    Severity.HIGH: "HIGH",
    Severity.CRITICAL: "CRIT",
}


@attrs.frozen
class Entry:
    """What the overview says about an incident.

    Arguments:
        severity: of the incident.
        first_seen: the time of its first request.
        last_seen: the time of its last request.
        id: of the incident.
        who: the callers; the first by name.
        as_whom: whose token, or whom they impersonated, for the worst act; `-` for neither.
        act: the worst that succeeded, in plain words, with what it was done to.
        time: of that.
        peer: from where.
        place: in the log.

    """

    severity: Severity
    first_seen: datetime | None
    last_seen: datetime | None
    id: str
    who: str
    as_whom: str
    act: str
    time: datetime | None
    peer: str
    place: str

    @property
    def log(self) -> str:
        """The name of the log file; empty where it has none."""
        name, colon, line = self.place.rpartition(":")
        return name if colon and line.isdecimal() else ""

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Sorts the worst first, then the earliest."""
        return -self.severity, self.first_seen or BEGINNING, self.id

    @classmethod
    def of(cls, incident: Incident, /) -> Self:
        """Sum up an incident."""
        requests = requests_of(incident.findings)
        first, *others = callers(requests)
        worst = worst_act(requests)
        ref = worst.ref if worst else max(requests.values(), key=lambda one: one.severity).ref
        return cls(
            severity=incident.severity,
            first_seen=incident.first_seen,
            last_seen=incident.last_seen,
            id=incident.id,
            who=caller_of(first) + (f" +{len(others):,}" if others else ""),
            as_whom=_as_whom(ref, first),
            act=done(ref).partition(", impersonating ")[0] if worst else _nothing(requests.values()),
            time=ref.time,
            peer=named(ref.peer_ip or "") or "-",
            place=place_of(ref.origin) or "-",
        )


def _as_whom(ref: EventRef, first: EventRef) -> str:
    if ref.impersonating is not None:
        return named(account_or_user(ref.impersonating)) or "somebody"
    return "-" if caller_of(ref) == caller_of(first) else caller_of(ref)


def _nothing(requests: Iterable[Request]) -> str:
    tried = sum(request.count for request in requests)
    return f"nothing, {tried:,} request{'s' if tried > 1 else ''} refused"


def overview_lines(
    entries: Sequence[Entry], /, *, alerts: int, findings: int, width: int | None = None, limit: int = 0
) -> Iterator[Line]:
    """Yield the numbers, and a line for each of the first incidents.

    Arguments:
        entries: of all incidents, the worst first.
        alerts: how many there are.
        findings: how many there are.
        width: of the window, in cells; None for lines of any length.
        limit: maximum number of incidents that get a line; 0 for all.

    """
    shown = entries[:limit] if limit else entries
    numbers = f"{_number(len(entries), 'incident')}, {_number(alerts, 'alert')}, {_number(findings, 'finding')}"
    first = min((one.first_seen for one in entries if one.first_seen), default=None)
    last = max((one.last_seen for one in entries if one.last_seen), default=None)
    when = f", {span(first, last)}" if first else ""
    logs = {entry.log for entry in entries}
    log = f", {next(iter(logs))}" if len(logs) == 1 and all(logs) else ""
    yield from wrapped((Span(f"{numbers}{when}{log}", "title"),), width, (), ())
    yield tuple(_by_severity(Counter(entry.severity for entry in entries)))
    yield ()
    yield from _table(shown, width, has_log=not log)
    if len(shown) < len(entries):
        rest = _by_severity(Counter(entry.severity for entry in entries[len(shown) :]))
        number = f"… {len(entries) - len(shown):,} more: "
        hint = (Span(". --limit 0 prints all; --min-severity, --since, --until, --actor choose"),)
        yield from wrapped((Span(number), *rest, *hint), width, (), ())


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _by_severity(counts: Counter[Severity]) -> Iterator[Span]:
    for place, (severity, count) in enumerate(sorted(counts.items(), reverse=True)):
        yield Span(f"{', ' if place else ''}{count:,} {severity}", str(severity))


def _table(entries: Sequence[Entry], width: int | None, *, has_log: bool) -> Iterator[Line]:
    """Draw the lines; where they do not fit they are shorter, and what is cut even so stands below, whole."""
    rows = _rows(entries, has_log=has_log)
    room = (1 << 30) if width is None else width - len(_HEADS) + 1
    if sum(shared(rows, 1 << 30, _LEAST)) > room:
        rows = _rows(entries, has_log=has_log, is_short=True)
    widths = shared(rows, room, _LEAST)
    styles = ["dim", *(str(entry.severity) for entry in entries)]
    for row, style in zip(rows, styles, strict=True):
        texts = [
            fitted(text, most, keep_end=place == len(row) - 1)
            for place, (text, most) in enumerate(zip(row, widths, strict=True))
        ]
        padded = [f"{text}{' ' * (most - cells(text))} " for text, most in zip(texts, widths, strict=True)]
        rest = padded[1][len(texts[1]) :] + "".join(padded[2:]).rstrip()
        yield Span(padded[0], "dim"), Span(texts[1], style), Span(rest, "dim" if row is rows[0] else "")
        hidden = [text for text, most in zip(row, widths, strict=True) if cells(text) > most]
        if hidden and row is not rows[0]:
            indent: Line = (Span(" " * len(padded[0])),)
            yield from wrapped((Span(", ".join(hidden), "dim"),), width, (*indent, Span(WRAPPED, "dim")), indent)


def _rows(entries: Sequence[Entry], *, has_log: bool, is_short: bool = False) -> list[tuple[str, ...]]:
    days = {entry.time.astimezone(UTC).date() for entry in entries if entry.time}
    clock = "%H:%M:%S" if len(days) <= 1 else "%m-%d %H:%M" if is_short else "%Y-%m-%d %H:%M:%S"
    return [
        _SHORT_HEADS if is_short else _HEADS,
        *(
            (
                f"#{number}",
                _SHORT[entry.severity] if is_short else word_of(entry.severity),
                entry.who,
                entry.as_whom,
                _short(entry.act) if is_short else entry.act,
                entry.time.astimezone(UTC).strftime(clock) if entry.time else "-",
                entry.peer,
                entry.place if has_log else f"line {entry.place.rpartition(':')[2]}",
            )
            for number, entry in enumerate(entries, 1)
        ),
    ]


def _short(act: str) -> str:
    return act.replace("minted a token for ", "minted: ").replace("listed the ", "listed ")
