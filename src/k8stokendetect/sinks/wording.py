# SPDX-License-Identifier: Apache-2.0
"""What a message about an alert says: the title in our own words, the rest neutral and cut."""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

from k8stokendetect.incidents import Alert
from k8stokendetect.outputs.native import to_alert_line
from k8stokendetect.outputs.size import one_line
from k8stokendetect.outputs.text import cut, neutral, utc

LONGEST_FACT: Final = 300
LONGEST_SUMMARY: Final = 600


@attrs.frozen
class Message:
    """An alert for people.

    Arguments:
        title: severity and rule: nothing that a client chose.
        summary: one sentence, which names who and what; printable characters only.
        facts: names of ours with values of the log; printable characters only.

    """

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Summary and facts, a line each."""
        return "\n".join((self.summary, *(f"{name}: {value}" for name, value in self.facts)))


def message_of(alert: Alert, /) -> Message:
    """Word an alert for people."""
    event = alert.event
    facts = {
        "when": utc(event.time),
        "caller": event.user,
        "from": event.source_ips[-1] if event.source_ips else "",
        "client": event.user_agent,
        "token for": str(event.token_account or ""),
        "cluster": event.cluster or "",
        "requests": str(alert.count) if alert.count > 1 else "",
        "rules": ", ".join(rule.id for rule in alert.rules),
        "incident": alert.incident or "",
        "fingerprint": alert.fingerprint,
    }
    return Message(
        f"{str(alert.severity).upper()}: {plain(alert.rules[0].title, LONGEST_FACT)}",
        plain(alert.summary, LONGEST_SUMMARY),
        tuple((name, plain(value, LONGEST_FACT)) for name, value in facts.items() if value),
    )


def plain(text: str, longest: int, /) -> str:
    """Return a text on one line, in printable characters, cut."""
    return neutral(cut(text, longest))


def to_json(alert: Alert, /) -> str:
    """Return an alert as one line of JSON in printable ASCII, without the line end."""
    return to_alert_line(alert)


def to_short_json(alert: Alert, /) -> str:
    """Return what a message says as one line of JSON: for what takes little at a time."""
    message = message_of(alert)
    return one_line({"title": message.title, "summary": message.summary, **dict(message.facts)})


def body_of(document: dict[str, Any], /) -> bytes:
    """Return a document as JSON in printable ASCII: no byte of it means anything to a terminal or a header."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
