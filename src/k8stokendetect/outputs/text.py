# SPDX-License-Identifier: Apache-2.0
"""What a person reads at a terminal: plain text in which no field can steer the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from k8stokendetect.convert.structure import plain
from k8stokendetect.findings import EventRef, Evidence, Finding
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from k8stokendetect.outputs.values import is_command


def caller_facts(ref: EventRef, /) -> tuple[Evidence, ...]:
    """Return who made a request, from where, with what and by which right; each only where it was logged."""
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


def to_text(finding: Finding, /, previous: Finding | None = None) -> str:
    """Return a finding as some lines of text, without the last line end.

    Arguments:
        finding: what to show.
        previous: what was shown before: another finding about the same request says only what is new, any other
            begins with an empty line.

    """
    event, severity = finding.event, str(finding.severity).upper()
    again = previous if previous is not None and previous.event == event else None
    if again:
        lines = [f"  also {severity} {finding.rule.id}: {finding.summary}"]
    else:
        head = (severity, finding.rule.id, utc(event.time), event.origin or "")
        lines = [*([""] if previous else []), "  ".join(filter(None, head)), f"  {finding.summary}"]
    if finding.excluded_by:
        lines.append(f"    excluded by {finding.excluded_by}")
    lines += [
        f"    {item.path} = {cut(str(plain(item.value)), LONGEST_VALUE)}  ({item.why})"
        for item in new_facts(finding, again)
    ]
    lines += [f"    note: {caveat}" for caveat in finding.caveats if not again or caveat not in again.caveats]
    return "\n".join(neutral(line) for line in lines)
