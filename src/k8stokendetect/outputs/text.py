# SPDX-License-Identifier: Apache-2.0
"""Findings and alerts as text for a terminal, in which no value can steer the terminal or a shell it is pasted into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from k8stokendetect.convert.structure import plain as plain_value
from k8stokendetect.findings import EventRef, Evidence, Finding, Severity
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from k8stokendetect.incidents import Alert
from k8stokendetect.incidents.deeds import done
from k8stokendetect.outputs.columns import Line, Span, cells, fitted, plain, wrapped
from k8stokendetect.outputs.values import is_command
from k8stokendetect.words import caller_of, escape, named


def caller_facts(ref: EventRef, /) -> tuple[Evidence, ...]:
    """Return who made a request, from where, with what and by which right; each only where it was logged.

    Of a call in a cloud its finding has all of it.
    """
    if ref.cloud is not None:
        return ()
    facts = {
        "user.username": (ref.user, "who called"),
        "user.groups": (_with_count(ref.groups, ref.more_groups), "the caller's groups"),
        f"user.extra['{CREDENTIAL_ID}'][0]": (ref.used_credential, "the credential the call was made with"),
        "impersonatedUser.username": (ref.impersonating, "whom the caller impersonated"),
        ref.peer_path: (ref.peer_ip, "the peer that the API server saw"),
        "userAgent": (ref.user_agent, "what the client calls itself"),
        "objectRef.namespace": (ref.namespace, "the namespace of the object"),
        "objectRef.name": (ref.name, "the object"),
        f"annotations['{REASON}']": (ref.reason, "what gave the right, or refused it"),
    }
    return tuple(Evidence(path, value, why) for path, (value, why) in facts.items() if value)


def facts_of(finding: Finding, /) -> Iterator[Evidence]:
    """Yield the facts about the caller that no evidence of the finding has, then its evidence."""
    if not is_command(finding.event):
        known = {item.path for item in finding.evidence}
        yield from (fact for fact in caller_facts(finding.event) if fact.path not in known)
    yield from finding.evidence


def _with_count(items: tuple[str, ...], more: int) -> tuple[str, ...]:
    return (*items, f"… and {more} more") if more else items


LONGEST_VALUE = 200
"""A value is cut after this many characters; the JSON form has it whole."""


def neutral(text: str, /) -> str:
    r"""Return the text with every character that is not printable as a backslash escape: ESC becomes `\x1b`.

    A failed request's name may hold newlines, escape codes and NUL; a user agent may turn the direction of writing.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


_INERT: Final = str.maketrans({"'": "’", '"': "”", "`": "’", **{char: escape(char) for char in ";$|&<>!"}})  # noqa: RUF001
"""What a shell would act on; in a sentence of our own, a quotation mark or an apostrophe is a typographic one."""

_QUOTED: Final = re.compile(r"`([-\w ./:=]+)`")
"""Code in a sentence of our own: a shell would run what stands in backticks."""


def inert(text: str, /) -> str:
    """Return a sentence for a terminal: nothing in it steers the terminal, or is run if it is pasted into a shell.

    A semicolon between two clauses would end a command there; a dash stands for it.
    """
    shown = _QUOTED.sub(r"\1", neutral(text)).replace("; ", " – ").translate(_INERT)  # noqa: RUF001
    return f"{shown[:-1]}{escape(shown[-1])}" if shown.endswith("\\") else shown


def utc(time: datetime | None, /) -> str:
    """Return a time in UTC, to the second."""
    if time is None:
        return "time unknown"
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + "Z"


def span(first: datetime | None, last: datetime | None, /) -> str:
    """Return a span of time in UTC, to the second; a day is named once."""
    start, end = utc(first), utc(last)
    if start == end:
        return start
    return f"{start} to {end[11:] if start[:10] == end[:10] else end}"


def cut(text: str, longest: int, /) -> str:
    """Cut a text and say how long it was."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def new_facts(finding: Finding, again: Finding | None, /) -> tuple[Evidence, ...]:
    """Return the facts of a finding, without those that an earlier one about the same request has shown."""
    known = {(item.path, item.why) for item in facts_of(again)} if again else ()
    return tuple(item for item in facts_of(finding) if (item.path, item.why) not in known)


def severity_span(severity: Severity, /) -> Span:
    """Return the word for a severity in eight cells, with its style."""
    return Span(f"{word_of(severity):<8}", str(severity))


def word_of(severity: Severity, /) -> str:
    """Return the word for a severity in capitals, eight letters at most."""
    return "INFO" if severity is Severity.INFORMATIONAL else str(severity).upper()


def place_of(origin: str | None, /) -> str:
    """Return file and line without the folders; empty where they are not known."""
    return named(_origin(origin).rpartition("/")[2], 60)


def _origin(origin: str | None) -> str:
    """Return the place without the signs around `stdin` and `stream`, which a shell would act on."""
    return (origin or "").replace("<stdin>", "stdin", 1).replace("<stream>", "stream", 1)


def to_text(finding: Finding, /, previous: Finding | None = None) -> str:
    """Return a finding as some lines of text, without the last line end.

    Arguments:
        finding: what to show.
        previous: what was shown before: another finding about the same request says only what is new, any other
            begins with an empty line.

    """
    return "\n".join(map(plain, finding_lines(finding, previous)))


def finding_lines(finding: Finding, /, previous: Finding | None = None, width: int | None = None) -> Iterator[Line]:
    """Yield the lines of `to_text`, with styles, each as wide as the window at most.

    Arguments:
        finding: what to show.
        previous: what was shown before.
        width: in cells; None for lines of any length.

    """
    event = finding.event
    again = previous if previous is not None and previous.event == event else None
    word = severity_span(finding.severity)
    if again:
        head = Span(f"also {word.text.rstrip()}", word.style)
        yield from wrapped((head, Span(f" {finding.rule.id}: {inert(finding.summary)}")), width, _IN, _FURTHER)
    else:
        if previous:
            yield ()
        place = named(_origin(event.origin), 200)
        head = Span(word.text.rstrip(), word.style)
        rest = "  ".join(filter(None, (finding.rule.id, utc(event.time), place)))
        yield from wrapped((head, Span(f"  {rest}")), width, (), _FURTHER)
        yield from wrapped((Span(inert(finding.summary)),), width, _SUMMARY, _FURTHER)
    if finding.excluded_by:
        yield from wrapped((Span(f"excluded by {named(finding.excluded_by)}"),), width, _IN, _FURTHER)
    for item in new_facts(finding, again):
        value = cut(neutral(str(plain_value(item.value))), LONGEST_VALUE)
        spans = (Span(f"{neutral(item.path)} = {value}"), Span(f"  ({neutral(item.why)})", "dim"))
        yield from wrapped(spans, width, _FACT, _OF_FACT)
    for caveat in finding.caveats:
        if not again or caveat not in again.caveats:
            yield from wrapped((Span(f"note: {neutral(caveat)}", "dim"),), width, _FACT, _OF_FACT)


_IN: Final[Line] = (Span("  "),)
_SUMMARY: Final[Line] = (Span("  ▸ "),)
_FURTHER: Final[Line] = (Span("      "),)
_FACT: Final[Line] = (Span("    | ", "dim"),)
"""Begins a line with a fact, in which everything printable is shown as it is.

A shell into which it is pasted refuses a line that begins with a pipe, before it looks at the rest: bash discards the
line (github.com/bminor/bash parse.y, reset_parser).
"""
_OF_FACT: Final[Line] = (Span("    |   ", "dim"),)


def alert_line(alert: Alert, /, width: int | None = None) -> Line:
    """Return an alert as one line: severity, time, what happened, and the place in the log.

    Arguments:
        alert: what to show.
        width: of the window, in cells; what is wider is cut.

    """
    place = place_of(alert.event.origin)
    text = _what_happened(alert)
    if width is not None:
        place = fitted(place, max(width // 5, 12), keep_end=True)
        room = max(width - 34 - cells(place), 10)
        text = fitted(text if cells(text) <= room else _what_happened(alert, brief=True), room)
    return (*_head(alert), Span(text), Span(f"  {place}" if place else "", "dim"))


def alert_lines(alert: Alert, /, width: int | None = None) -> Iterator[Line]:
    """Yield the same, with nothing cut: what is wider than the window goes on in another line."""
    place = place_of(alert.event.origin)
    line = (*_head(alert), Span(_what_happened(alert)), Span(f"  {place}" if place else "", "dim"))
    if width is not None and cells(plain(line)) > width:
        line = (*line[:-2], Span(_what_happened(alert, brief=True)), line[-1])
    yield from wrapped(line, width, (), _ALERT)


def _head(alert: Alert) -> Line:
    return severity_span(alert.severity), Span(f"  {utc(alert.event.time):<20}  ")


def _what_happened(alert: Alert, *, brief: bool = False) -> str:
    """Say it in the words of the finding, or only who did what to what."""
    number = f", {alert.count:,} requests" if alert.count > 1 else ""
    mark = f"excluded by {named(alert.excluded_by)}: " if alert.excluded_by else ""
    if brief and not is_command(alert.event):
        return f"{mark}{caller_of(alert.event)} {done(alert.event)}{number}"
    return f"{mark}{inert(alert.summary)}{number}"


_ALERT: Final[Line] = (Span(" " * 10),)
