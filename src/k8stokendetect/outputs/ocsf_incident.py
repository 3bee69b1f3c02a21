# SPDX-License-Identifier: Apache-2.0
"""An incident in the Open Cybersecurity Schema Framework: Incident Finding (2005), with its profile `incident`.

Source: https://schema.ocsf.io/1.5.0/classes/incident_finding, and events/findings/incident_finding.json of
https://github.com/ocsf/ocsf-schema: an assignee or a group of them is required, and the profile belongs to the class.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from k8stokendetect.incidents import Incident
from k8stokendetect.incidents.story import callers, requests_of, worst_act
from k8stokendetect.outputs.ocsf_finding import (
    SEVERITIES,
    Version,
    attacks,
    cloud,
    finding_info,
    metadata,
    milliseconds,
)
from k8stokendetect.outputs.size import MOST_LISTED
from k8stokendetect.outputs.values import address, alert_facts, alerts_of, given, request_facts, time_of

_CLASS: Final = 2005
_MOST_INFO: Final = 20
"""Maximum number of alerts in `finding_info_list`, which repeats the prose of rules; `unmapped` names more of them."""

_NAMES: Final = {"User Name": 4, "User Credential ID": 19, "IP Address": 2}
"""Types of observables (https://schema.ocsf.io/1.5.0/objects/observable)."""


def incident_document(
    incident: Incident, observed: datetime | None, version: Version, /
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return an incident as an Incident Finding, and how many items of which list it leaves out."""
    alerts = alerts_of(incident)
    requests = requests_of(incident.findings)
    first, worst = callers(requests)[0], worst_act(requests)
    known = [one.ref for one in requests.values() if not one.is_witness][:MOST_LISTED]
    lists = {"finding_info_list": (len(alerts), _MOST_INFO), "unmapped.alerts": (len(alerts), MOST_LISTED)}
    document = {
        "class_uid": _CLASS,
        "class_name": "Incident Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + 1,
        "type_name": "Incident Finding: Create",
        "time": milliseconds(time_of(incident.last_seen, observed)),
        "severity_id": int(incident.severity),
        "severity": SEVERITIES[incident.severity],
        "status_id": 1,
        "status": "New",
        "assignee_group": {"name": "unassigned"},
        "message": incident.title,
        "desc": incident.title,
        "metadata": metadata(incident.id, first, version, "incident"),
        "finding_info_list": [finding_info(alert, alert.fingerprint) for alert in alerts[:_MOST_INFO]],
        "count": len(alerts),
        **given(
            cloud=cloud(first),
            start_time=milliseconds(incident.first_seen) if incident.first_seen else None,
            end_time=milliseconds(incident.last_seen) if incident.last_seen else None,
            attacks=attacks([rule for alert in alerts[:MOST_LISTED] for rule in alert.rules]),
            observables=_observables(
                {
                    "User Name": [ref.user for ref in known],
                    "IP Address": [address(ref.peer_ip or "") for ref in known],
                    "User Credential ID": [
                        id_ for ref in known for id_ in (ref.minted_credential, ref.used_credential)
                    ],
                }
            ),
        ),
        "unmapped": given(
            cluster=first.cluster,
            depth=incident.depth,
            number_of_findings=len(incident.findings),
            service_accounts=list(incident.service_accounts),
            worst=request_facts(worst.ref) if worst else None,
            advice=[given(text=step.text, command=step.command) for step in incident.advice],
            access=[one.to_dict() for one in incident.access],
            alerts=[alert_facts(alert) for alert in alerts[:MOST_LISTED]],
        ),
    }
    return document, {name: count - most for name, (count, most) in lists.items() if count > most}


def _observables(values: dict[str, list[str | None]]) -> list[dict[str, Any]]:
    return [
        {"name": "unmapped.alerts", "type_id": _NAMES[kind], "type": kind, "value": value}
        for kind, found in values.items()
        for value in dict.fromkeys(found)
        if value
    ]
