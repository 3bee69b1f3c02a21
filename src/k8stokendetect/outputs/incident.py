# SPDX-License-Identifier: Apache-2.0
"""Our own JSON of an incident: one a line, ASCII only, with all its findings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from k8stokendetect.convert.structure import finding_to_mapping
from k8stokendetect.convert.times import format_time
from k8stokendetect.events import JsonValue
from k8stokendetect.incidents import Incident

if TYPE_CHECKING:
    from k8stokendetect.incidents.access import Access


def incident_to_mapping(incident: Incident, /) -> dict[str, JsonValue]:
    """Return an incident as JSON; the names are stable once released."""
    return {
        "id": incident.id,
        "severity": str(incident.severity),
        "title": incident.title,
        "actors": list(incident.actors),
        "service_accounts": list(incident.service_accounts),
        "credentials": list(incident.credentials),
        "first_seen": format_time(incident.first_seen) if incident.first_seen else None,
        "last_seen": format_time(incident.last_seen) if incident.last_seen else None,
        "depth": incident.depth,
        "advice": list(incident.advice),
        "access": [_access(one) for one in incident.access],
        "findings": [finding_to_mapping(finding) for finding in incident.findings],
    }


def to_incident_line(incident: Incident, /) -> str:
    """Return an incident as one line of JSON, without the line end; only printable ASCII stands in it."""
    return json.dumps(incident_to_mapping(incident), separators=(",", ":")).replace("\x7f", "\\u007f")


def _access(one: Access) -> dict[str, JsonValue]:
    grant, change = one.grant, one.change
    return {
        "caller": one.caller,
        "service_accounts": list(one.accounts),
        "binding": str(grant.binding),
        "role": str(grant.role),
        "subject": str(grant.subject),
        "change": str(change.kind),
        "command": change.command,
        "also_loses": len(change.loses),
        "warnings": list(change.warnings),
    }
