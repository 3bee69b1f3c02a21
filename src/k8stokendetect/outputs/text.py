# SPDX-License-Identifier: Apache-2.0
"""What a person reads at a terminal: plain text in which no field can steer the terminal."""

from __future__ import annotations

from datetime import UTC

from k8stokendetect.convert.structure import plain
from k8stokendetect.findings import Finding
from k8stokendetect.outputs.caller import facts_of

LONGEST_VALUE = 200
"""A value is cut after this many characters; the JSON form has it whole."""


def neutral(text: str, /) -> str:
    r"""Return the text with every character that is not printable as a backslash escape: ESC becomes `\x1b`.

    A failed request's name may hold newlines, escape codes and NUL; a user agent may turn the direction of writing.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def to_text(finding: Finding, /, previous: Finding | None = None) -> str:
    """Return a finding as some lines of text, without the last line end.

    Arguments:
        finding: what to show.
        previous: what was shown before: another finding about the same request says only what is new, any other
            begins with an empty line.

    """
    again = previous if previous is not None and previous.event == finding.event else None
    lines = _also(finding) if again else _head(finding, first=previous is None)
    if finding.excluded_by:
        lines.append(f"    excluded by {finding.excluded_by}")
    known = {(item.path, item.why) for item in facts_of(again)} if again else set()
    for item in facts_of(finding):
        if (item.path, item.why) not in known:
            lines.append(f"    {item.path} = {_short(plain(item.value))}  ({item.why})")
    lines += [f"    note: {caveat}" for caveat in finding.caveats if not again or caveat not in again.caveats]
    return "\n".join(neutral(line) for line in lines)


def _also(finding: Finding) -> list[str]:
    return [f"  also {str(finding.severity).upper()} {finding.rule.id}: {finding.summary}"]


def _head(finding: Finding, *, first: bool) -> list[str]:
    event = finding.event
    when = event.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if event.time else "at an unknown time"
    head = [str(finding.severity).upper(), finding.rule.id, when, event.origin or ""]
    lines = ["  ".join(part for part in head if part), f"  {finding.summary}"]
    return lines if first else ["", *lines]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"
