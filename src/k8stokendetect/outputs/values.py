# SPDX-License-Identifier: Apache-2.0
"""What the forms for a SIEM share: values as text, nothing empty, alerts in brief, the names of MITRE ATT&CK."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from k8stokendetect.convert.structure import plain
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.incidents import Alert, Incident

_NOTHING: Final[tuple[object, ...]] = (None, "", (), [], {})


def given(**fields: Any) -> dict[str, Any]:
    """Return these fields without those that are None or empty; a number, 0 and False stay."""
    return {name: value for name, value in fields.items() if not any(value is no or value == no for no in _NOTHING)}


def without_empty(value: Any, /) -> Any:
    """Return a copy of a document in which nothing is None or empty, at any depth; a list keeps its empty texts."""
    if isinstance(value, dict):
        return {name: item for name, one in value.items() if (item := without_empty(one)) or _is_number(item)}
    if isinstance(value, list | tuple):
        return [item for one in value if (item := without_empty(one)) or item == "" or _is_number(item)]
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)  # also False


def unique(texts: Iterable[str | None], /) -> list[str]:
    """Return the texts that are there, each once, in their order."""
    return list(dict.fromkeys(text for text in texts if text))


def as_text(value: Any, /) -> str:
    """Return a value of any kind as text: a SIEM gives a field one type, and an audit event's fields have many."""
    known = _with_text_keys(plain(value))
    return known if isinstance(known, str) else json.dumps(known, ensure_ascii=False)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(plain(key)): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def address(text: str, /) -> str | None:
    """Return an IP address in its usual form; None if it is not one: behind a proxy a client can forge it."""
    try:
        known = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if "%" in text else str(known)


def time_of(time: datetime | None, observed: datetime | None, /) -> datetime:
    """Return a time in UTC; where none was logged `observed`, or the beginning of 1970."""
    time = time or observed or datetime.fromtimestamp(0, UTC)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def is_command(ref: EventRef, /) -> bool:
    """Tell a command on a host from a request; a client may call its HTTP method so, but a request has a stage."""
    return ref.verb == "execve" and not ref.stage


def resource_of(ref: EventRef, /) -> dict[str, str]:
    """Return `type`, `namespace` and `name` of what a request was about, those that are known.

    A service account whose token was requested is a `serviceaccounts`.
    """
    kind = "serviceaccounts" if ref.token_account else ref.resource
    return given(type=kind, namespace=ref.namespace, name=ref.name)


def request_facts(ref: EventRef, /) -> dict[str, Any]:
    """Return everything known of a request under the names of our own JSON, without what is empty."""
    counts = {"more_groups", "more_audiences", "more_source_ips"}
    return given(**{name: value for name, value in ref.to_dict().items() if value or name not in counts})


TECHNIQUES: Final = {  # attack.mitre.org, Enterprise matrix
    "T1078": "Valid Accounts",
    "T1078.004": "Cloud Accounts",
    "T1098": "Account Manipulation",
    "T1098.006": "Additional Container Cluster Roles",
    "T1528": "Steal Application Access Token",
    "T1550": "Use Alternate Authentication Material",
    "T1550.001": "Application Access Token",
    "T1552": "Unsecured Credentials",
    "T1552.001": "Credentials In Files",
    "T1552.004": "Private Keys",
    "T1552.007": "Container API",
    "T1606": "Forge Web Credentials",
}

TACTICS: Final = {
    "reconnaissance": "TA0043",
    "resource-development": "TA0042",
    "initial-access": "TA0001",
    "execution": "TA0002",
    "persistence": "TA0003",
    "privilege-escalation": "TA0004",
    "defense-evasion": "TA0005",
    "credential-access": "TA0006",
    "discovery": "TA0007",
    "lateral-movement": "TA0008",
    "collection": "TA0009",
    "command-and-control": "TA0011",
    "exfiltration": "TA0010",
    "impact": "TA0040",
}


@attrs.frozen
class AttackEntry:
    """A technique, a part of one, or a tactic.

    Arguments:
        id: such as `T1552.007` or `TA0006`; empty where it is not known.
        name: as ATT&CK writes it; empty where it is not known.
        reference: its page; empty without an id.

    """

    id: str
    name: str
    reference: str


def technique(id_: str, /) -> AttackEntry:
    """Return a technique, or a part of one, by its id; one that is not in the table goes by its id alone."""
    return AttackEntry(id_, TECHNIQUES.get(id_, ""), f"https://attack.mitre.org/techniques/{id_.replace('.', '/')}/")


def tactics(names: Iterable[str], /) -> list[AttackEntry]:
    """Return the tactics that rules name as `credential-access`."""
    return [_tactic(name) for name in dict.fromkeys(names) if name.strip()]


def _tactic(name: str) -> AttackEntry:
    id_ = TACTICS.get(name, "")
    words = [word if word == "and" else word.capitalize() for word in name.split("-")]
    return AttackEntry(id_, " ".join(words), f"https://attack.mitre.org/tactics/{id_}/" if id_ else "")


def alert_of(item: Alert | Finding, /) -> Alert:
    """Return an alert, or a finding as an alert of its own."""
    return item if isinstance(item, Alert) else Alert.of([item])


def alert_facts(alert: Alert, /) -> dict[str, Any]:
    """Return what the document of an incident says about one of its alerts; the alert's own document has the rest."""
    ref = alert.event
    return given(
        id=alert.id,
        fingerprint=alert.fingerprint,
        severity=str(alert.severity),
        summary=alert.summary,
        rules=[rule.id for rule in alert.rules],
        time=plain(ref.time),
        actor=ref.user,
        target=ref.target,
        verb=ref.verb,
        code=ref.code,
        peer=ref.peer_ip,
        origin=ref.origin,
        count=alert.count if alert.count > 1 else None,
        mint=alert.mint.request_id if alert.mint else None,
    )


def alerts_of(incident: Incident, /) -> list[Alert]:
    """Return the alerts of an incident, the worst first, then the earliest."""
    same: dict[str, list[Finding]] = {}
    for finding in incident.findings:
        same.setdefault(finding.event.request_id, []).append(finding)
    return sorted((Alert.of(findings, incident.id) for findings in same.values()), key=lambda alert: -alert.severity)
