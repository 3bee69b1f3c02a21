# SPDX-License-Identifier: Apache-2.0
"""Writes an alert in ArcSight's Common Event Format: one line.

What is escaped (https://help.forcepoint.com/emailsec/en-us/on-prem/8.5.x/email_siem/guid-b4c8e212-b0d7-43f0-ba45-91013abf86ac.html):
the backslash everywhere, the pipe in the header, the equals sign in the extension. Line ends, and all else that is not
printable, are written as backslash escapes before that, so that they stay visible and mean nothing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from k8stokendetect.findings import Severity
from k8stokendetect.incidents import Alert
from k8stokendetect.outputs.values import address
from k8stokendetect.sinks.wording import LONGEST_SUMMARY, plain

SEVERITIES: Final = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 3,
    Severity.MEDIUM: 6,
    Severity.HIGH: 8,
    Severity.CRITICAL: 10,
}
"""CEF's scale: 0 to 3 low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high."""

_LONGEST: Final = 1023
"""Of most of CEF's text fields, in characters."""


def to_cef(alert: Alert, /) -> str:
    """Return an alert as one line of CEF, without the line end."""
    event = alert.event
    rule = alert.rules[0]
    head = ("k8stokendetect", "k8stokendetect", version("k8stokendetect"), rule.id, rule.title)
    peer = address(event.source_ips[-1]) if event.source_ips else None
    custom = {
        "target": event.target or "",
        "incident": alert.incident or "",
        "rules": " ".join(rule.id for rule in alert.rules),
        "cluster": event.cluster or "",
        "credential": event.used_credential or "",
        "issued": event.minted_credential or "",
    }
    fields = {
        "externalId": alert.fingerprint,
        "rt": str(int(event.time.timestamp() * 1000)) if event.time else "",
        "suser": event.user,
        "c6a2" if peer and ":" in peer else "src": peer or "",
        "c6a2Label": "Source IPv6 Address" if peer and ":" in peer else "",
        "requestClientApplication": event.user_agent,
        "request": event.request_uri,
        "act": event.verb,
        "outcome": "" if event.code is None else str(event.code),
        "cnt": str(alert.count),
        **_custom(custom),
        "msg": plain(alert.summary, LONGEST_SUMMARY),
    }
    extension = " ".join(f"{key}={_value(text)}" for key, text in fields.items() if text)
    return "|".join(["CEF:0", *map(_header, head), str(SEVERITIES[alert.severity]), extension])


def _custom(named: dict[str, str]) -> dict[str, str]:
    """Give custom strings their numbers: `cs1` with `cs1Label`."""
    found: dict[str, str] = {}
    for number, (name, text) in enumerate(named.items(), 1):
        if text:
            found |= {f"cs{number}Label": name, f"cs{number}": text}
    return found


def _header(text: str) -> str:
    return _ascii(text).replace("\\", r"\\").replace("|", r"\|")


def _ascii(text: str) -> str:
    """Cut a text, and write all but printable ASCII as escapes: an output may have any encoding."""
    return plain(text, _LONGEST).encode("ascii", "backslashreplace").decode("ascii")


def _value(text: str) -> str:
    return _ascii(text).replace("\\", r"\\").replace("=", r"\=")
