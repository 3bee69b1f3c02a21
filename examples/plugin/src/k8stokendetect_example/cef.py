# SPDX-License-Identifier: Apache-2.0
"""An output: findings in ArcSight's Common Event Format, a line each."""

from importlib.metadata import version

from k8stokendetect import Finding, Severity

_SEVERITIES = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 3,
    Severity.MEDIUM: 6,
    Severity.HIGH: 8,
    Severity.CRITICAL: 10,
}


def to_cef(finding: Finding, /) -> str:
    """Return a finding as one line of CEF, without the line end."""
    event = finding.event
    head = ("k8stokendetect", "k8stokendetect", version("k8stokendetect"), finding.rule.id, finding.rule.title)
    fields = {
        "externalId": finding.fingerprint,
        "rt": str(int(event.time.timestamp() * 1000)) if event.time else "",
        "suser": event.user,
        "src": event.source_ips[-1] if event.source_ips else "",
        "requestClientApplication": event.user_agent,
        "act": event.verb,
        "cs1Label": "target" if event.target else "",
        "cs1": event.target or "",
        "cs2Label": "exclusion" if finding.excluded_by else "",
        "cs2": finding.excluded_by or "",
        "msg": finding.summary,
    }
    extension = " ".join(f"{key}={_value(text)}" for key, text in fields.items() if text)
    return "|".join(["CEF:0", *map(_header, head), str(_SEVERITIES[finding.severity]), extension])


def _header(text: str) -> str:
    return _one_line(text).replace("\\", r"\\").replace("|", r"\|")


def _value(text: str) -> str:
    return _one_line(text).replace("\\", r"\\").replace("=", r"\=")


def _one_line(text: str) -> str:
    """Replace what is not printable: a client chooses its user agent, and could begin a line of its own."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
