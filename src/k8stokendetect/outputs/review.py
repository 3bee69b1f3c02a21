# SPDX-License-Identifier: Apache-2.0
"""A review of rights and mints, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from k8stokendetect.cluster import AttackPath
from k8stokendetect.convert.times import format_time
from k8stokendetect.events import JsonValue
from k8stokendetect.outputs.text import neutral
from k8stokendetect.review import Review, Status, Unexplained, UsedRight
from k8stokendetect.words import SOMEBODY, listed, often

MOST: Final = 40
"""Maximum number of rights or mints printed in each part; the JSON form has all of them."""

_HEADS: Final = {
    Status.NEVER_USED: "granted and never used in this log: remove it",
    Status.UNEXPECTED: "used by someone who has it only because everybody has: give it to those who need it instead",
    Status.USED: "granted and used",
}


def review_to_mapping(found: Review, /) -> dict[str, JsonValue]:
    """Return a review as JSON; the names are stable once released."""
    return {
        "mints": found.mints,
        "nameless": found.nameless,
        "first_seen": _time(found.first),
        "last_seen": _time(found.last),
        "rights": [_right(one) for one in found.rights],
        "unexplained": [
            {
                "user": one.user,
                "service_account": one.account,
                "cause": str(one.cause),
                "why": one.why,
                "mints": one.mints,
                "first_seen": _time(one.first),
                "last_seen": _time(one.last),
            }
            for one in found.unexplained
        ],
    }


def to_review_text(found: Review, /) -> str:
    """Return a review as lines of text, without the last line end; no name can steer the terminal."""
    return "\n".join(neutral(line) for line in _lines(found))


def _right(one: UsedRight) -> dict[str, JsonValue]:
    way = one.way
    return {
        "status": str(one.status),
        "subject": str(one.subject),
        "binding": str(way.binding),
        "role": str(way.role),
        "namespace": way.namespace or None,
        "names": list(way.accounts),
        "mints": one.mints,
        "users": dict(one.users),
        "service_accounts": dict(one.accounts),
        "unexpected": list(one.unexpected),
        "first_seen": _time(one.first),
        "last_seen": _time(one.last),
        "command": one.change.command if one.change else None,
        "also_loses": len(one.change.loses) if one.change else 0,
        "warnings": list(one.change.warnings) if one.change else [],
    }


def _time(time: datetime | None) -> str | None:
    return format_time(time) if time else None


def _lines(found: Review) -> Iterator[str]:
    span = f", {found.first.astimezone(UTC):%Y-%m-%d} to {found.last:%Y-%m-%d}" if found.first and found.last else ""
    yield f"{found.mints:,} mints{span}; {len(found.rights):,} rights to mint"
    if found.nameless:
        yield f"{found.nameless:,} more for an account that was not logged"
    for status in Status:
        rights = found.of(status)
        yield from _part(_HEADS[status], [line for one in rights[:MOST] for line in _of_right(one)], len(rights))
    shown = [line for one in found.unexplained[:MOST] for line in _of_mints(one)]
    yield from _part("minted although the snapshot grants nothing", shown, len(found.unexplained))


def _part(head: str, lines: Sequence[str], number: int) -> Iterator[str]:
    if number:
        yield ""
        yield f"{head} ({number:,}):"
        yield from lines
        if number > MOST:
            yield f"  … {number - MOST:,} more"


def _of_right(one: UsedRight) -> Iterator[str]:
    yield f"  {one.subject} may mint {_reach(one.way)}: {one.way.binding}, {one.way.role}"
    if one.mints:
        yield f"    used {often(one.mints)} by {_counted(one.users)} for {_counted(one.accounts)}"
    if one.unexpected:
        yield f"    unexpected: {listed(one.unexpected)}"
    if one.change:
        yield from (f"    note: {warning}" for warning in one.change.warnings)
        yield f"    {one.change.command}"


def _of_mints(one: Unexplained) -> Iterator[str]:
    yield f"  {one.user or SOMEBODY} minted {often(one.mints)} for {one.account}"
    yield f"    it {one.why}"


def _reach(way: AttackPath) -> str:
    place = f"in {way.namespace}" if way.namespace else "in every namespace"
    return f"for {listed(way.accounts)} {place}" if way.accounts else f"for every service account {place}"


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return listed(f"{name} ({number:,})" for name, number in counts)
