# SPDX-License-Identifier: Apache-2.0
"""Writes suggestions as a file of exclusions in which every line is a comment, until a person confirms it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from k8stokendetect.convert.times import format_time
from k8stokendetect.exclusions.write import quoted, to_toml
from k8stokendetect.suggestions import Left, Suggestion, Suggestions

MOST_WRITTEN: Final = 200
"""Of further suggestions, and of further callers for which there is none, only the number is written."""

UNCHECKED: Final = "the day on which you looked, as YYYY-MM-DD without quotes"
"""Stands where only a person can give the day; `load_exclusions` refuses it."""

_HEAD: Final = """\
## Exclusions that `k8stokendetect scan --suggest-exclusions` suggests, the most frequent callers first.
## Every line is a comment: this file excludes nobody yet. Read what each would hide; for each that you confirm,
## remove the first `# ` of its lines (those that begin with `## ` are explanations), and say in `because` who runs it,
## and in `checked` on which day you looked: without that day the entry is refused.
## Then: k8stokendetect scan --exclusions THIS-FILE LOG
"""


def suggestions_to_toml(found: Suggestions, /) -> str:
    """Return a TOML document that `load_exclusions` reads, as it is and with any of its entries confirmed.

    Confirmed is an entry whose lines are not comments any more, and in which the day stands in place of `UNCHECKED`.
    """
    suggested, left = found.all(), found.left()
    parts = [_HEAD, *map(_entry, suggested[:MOST_WRITTEN])]
    if len(suggested) > MOST_WRITTEN:
        parts.append(f"## {len(suggested) - MOST_WRITTEN:,} more: confirm these first and scan again.\n")
    if not suggested:
        parts.append("## Everyone who minted a token is excluded already, or can never be excluded.\n")
    if left:
        parts.append("".join(_left(left)))
    return "\n".join(parts)


def _entry(one: Suggestion) -> str:
    (username,) = one.exclusion.component.actor.username
    lines = [f"## {_mints(one.mints)} of {quoted(username)}, {_time(one.first)} to {_time(one.last)}"]
    lines += [f"## WARNING: {warning}" for warning in one.warnings]
    if one.enable:
        lines.append(f"## This fits `{one.enable}`; if you run it: `--enable {one.enable}`. It covers more than this.")
    (provenance,) = one.exclusion.component.provenance
    unchecked = f"provenance = [{{ source = {quoted(provenance.source)}, checked = {quoted(UNCHECKED)} }}]"
    table = [unchecked if line.startswith("provenance = ") else line for line in to_toml(one.exclusion).splitlines()]
    return "\n".join((*lines, *(f"# {line}" for line in table), ""))


def _left(left: Iterable[Left]) -> Iterator[str]:
    yield "## Nothing is suggested for:\n"
    for number, one in enumerate(left):
        if number == MOST_WRITTEN:
            yield "## and others\n"
            return
        yield f"## {_mints(one.mints)} of {quoted(one.username)}: {quoted(one.why)}\n"


def _mints(number: int) -> str:
    return f"{number:,} mint{'' if number == 1 else 's'}"


def _time(time: datetime | None) -> str:
    return format_time(time) if time else "a time that was not logged"
