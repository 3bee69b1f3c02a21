# SPDX-License-Identifier: Apache-2.0
"""Alerts, findings and incidents in the Elastic Common Schema: for Elasticsearch, Elastic Security and OpenSearch.

Source of the fields: the ECS field reference, 8.17; they are the same in 9.x. What ECS has no field for is under
`k8stokendetect`, in texts and numbers of one type each, so that no two documents can conflict in an index. Kibana's
rule "External Alerts" makes an alert of each document whose `event.kind` is `alert`, by its `event.ingested`, and takes
our risk score and severity:
https://github.com/elastic/detection-rules/blob/main/rules/promotions/external_alerts.toml
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from k8stokendetect.convert.times import format_time
from k8stokendetect.findings import EventRef, Finding, Rule, Severity
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.incidents.story import callers, requests_of, worst_act
from k8stokendetect.outputs.size import MOST_LISTED, bounded, one_line
from k8stokendetect.outputs.values import (
    AttackEntry,
    address,
    alert_facts,
    alert_of,
    alerts_of,
    as_text,
    given,
    is_command,
    request_facts,
    resource_of,
    tactics,
    technique,
    time_of,
    unique,
    without_empty,
)

ECS_VERSION: Final = "8.17.0"

PRODUCT: Final = "k8stokendetect"

_SCORES: Final = (0, 1, 21, 47, 73, 99)
"""Risk scores by severity; Elastic Security uses these for low, medium, high and critical."""

_LOW: Final = _SCORES[Severity.LOW]
"""What Elastic Security has no word for counts as this: as anything else it would become medium."""

CLOUD_NAMES: Final = {"aws": "aws", "azure": "azure", "google": "gcp"}
"""What ECS calls them: https://www.elastic.co/guide/en/ecs/8.17/ecs-cloud.html."""

_PROVIDERS: Final[dict[str | None, str]] = {"eks": "aws", "aks": "azure", "gke": "gcp"}


def to_ecs(item: Alert | Finding | Incident, /, *, observed: datetime | None = None) -> dict[str, Any]:
    """Return an alert, a finding or an incident as an ECS document; nothing in it is empty, and no key holds a dot.

    The rule of an alert is that of its worst finding; `k8stokendetect.rules` has all. Excluded findings are not
    alerts: their `event.kind` is `event`. A text of more than 1,024 characters, which an index would not find, and a
    document of more than 64 KiB are cut, and `k8stokendetect.left_out` says what of.

    Arguments:
        item: what to say.
        observed: when it is written: `event.ingested`, until an ingest pipeline overwrites it, and the time to give
            where the record has none; without it that is the beginning of 1970. `k8stokendetect.event.time` is only
            there where a time was logged.

    """
    if isinstance(item, Incident):
        left = len({finding.event.request_id for finding in item.findings}) - MOST_LISTED
        document = without_empty(_incident(item, observed))
        return bounded(document, _note, {"alerts": left} if left > 0 else {}, is_indexed=True)
    return bounded(without_empty(_request(item, observed)), _note, is_indexed=True)


def to_ecs_line(item: Alert | Finding | Incident, /, *, observed: datetime | None = None) -> str:
    """Return one line of an ECS document in printable ASCII, without the line end."""
    return one_line(to_ecs(item, observed=observed))


def _note(document: dict[str, Any], left_out: list[dict[str, Any]]) -> None:
    document[PRODUCT] = {**document[PRODUCT], "left_out": left_out}


def _request(item: Alert | Finding, observed: datetime | None) -> dict[str, Any]:
    alert = alert_of(item)
    ref, rule = alert.event, alert.worst.rule
    account = ref.token_account
    resource = resource_of(ref)
    target = f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}" if account else None
    return {
        "@timestamp": format_time(time_of(ref.time, observed)),
        "ecs": {"version": ECS_VERSION},
        "message": alert.summary,
        "event": {
            **_event(alert.severity, ref, observed, is_alert=not alert.excluded_by),
            "action": rule.id,
            "id": item.fingerprint,
            "dataset": f"{PRODUCT}.{'alert' if isinstance(item, Alert) else 'finding'}",
        },
        "rule": _rule(rule),
        **given(
            tags=["excluded"] if alert.excluded_by else [],
            threat=_threat(alert.rules),
            user=given(
                name=ref.user,
                effective=given(name=ref.impersonating),
                target=given(name=target),
            ),
            source=_source(ref),
            user_agent=given(original=ref.user_agent),
            http={} if ref.cloud else given(request=given(id=ref.audit_id), response=given(status_code=ref.code)),
            orchestrator={} if is_command(ref) or ref.cloud else _orchestrator(ref, resource),
            cloud=_cloud(ref),
            related=_related((ref, *alert.related), target),
        ),
        PRODUCT: _own(alert) | (_parts(alert) if isinstance(item, Alert) else {}),
    }


def _event(severity: Severity, ref: EventRef, observed: datetime | None, *, is_alert: bool) -> dict[str, Any]:
    worked = ref.mints_token or ref.succeeded
    is_open = ref.code is None and ref.cloud is None
    return {
        "kind": "alert" if is_alert else "event",
        "category": ["intrusion_detection"],
        "type": ["allowed" if worked else "info" if is_open else "denied"],
        "outcome": "success" if worked else "unknown" if is_open else "failure",
        "severity": max(_SCORES[severity], _LOW),
        "risk_score": float(_SCORES[severity]),
        "provider": PRODUCT,
        "module": PRODUCT,
        "ingested": format_time(time_of(None, observed)) if observed else None,
    }


def _rule(rule: Rule) -> dict[str, Any]:
    reference = next((text for text in rule.references if text), None)
    return given(id=rule.id, name=rule.title, ruleset=PRODUCT, description=rule.description, reference=reference)


def _threat(rules: Sequence[Rule]) -> dict[str, Any]:
    ids = dict.fromkeys(id_ for rule in rules for id_ in rule.techniques)
    whole = [technique(id_) for id_ in dict.fromkeys(id_.partition(".")[0] for id_ in ids)]
    parts = [technique(id_) for id_ in ids if "." in id_]
    known = given(
        technique={**_columns(whole), **given(subtechnique=_columns(parts))},
        tactic=_columns(tactics(name for rule in rules for name in rule.tactics)),
    )
    return {"framework": "MITRE ATT&CK", **known} if known else {}


def _columns(entries: list[AttackEntry]) -> dict[str, list[str]]:
    """Return the entries as ECS has them: a list of ids, a list of names, a list of pages."""
    return given(
        id=unique(entry.id for entry in entries),
        name=unique(entry.name for entry in entries),
        reference=unique(entry.reference for entry in entries),
    )


def _orchestrator(ref: EventRef, resource: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "kubernetes",
        **given(
            cluster=given(name=ref.cluster),
            namespace=resource.get("namespace"),
            resource=given(type=resource.get("type"), name=resource.get("name")),
        ),
    }


def _cloud(ref: EventRef) -> dict[str, Any]:
    provider = _PROVIDERS.get(ref.platform) if ref.cloud is None else CLOUD_NAMES.get(ref.cloud.cloud)
    service = ref.resource if ref.cloud else ""
    return given(provider=provider, account=given(id=ref.account), region=ref.region, service=given(name=service))


def _source(ref: EventRef) -> dict[str, str]:
    """Name the peer, the only address that a client cannot choose."""
    return given(address=ref.peer_ip, ip=address(ref.peer_ip or ""))


def _related(refs: Iterable[EventRef], *more: str | None) -> dict[str, Any]:
    refs = tuple(refs)
    return given(
        user=unique([*(name for ref in refs for name in (ref.user, ref.impersonating)), *more]),
        ip=unique(address(text) for ref in refs for text in ref.source_ips),
    )


def _own(alert: Alert) -> dict[str, Any]:
    """Return what ECS has no field for."""
    return given(
        severity=str(alert.severity),
        excluded_by=alert.excluded_by,
        count=alert.count if alert.count > 1 else None,
        last=format_time(alert.last) if alert.last else None,
        enable=alert.enable,
        caveats=list(alert.caveats),
        response=alert.worst.rule.response,
        event=request_facts(alert.event),
        related=[request_facts(ref) for ref in alert.related],
        evidence=[given(path=item.path, value=as_text(item.value), why=item.why) for item in alert.evidence],
    )


def _parts(alert: Alert) -> dict[str, Any]:
    """Return what joins an alert with its findings, its mint and its incident."""
    return given(
        id=alert.id,
        incident=alert.incident,
        mint=alert.mint.request_id if alert.mint else None,
        findings=[finding.fingerprint for finding in alert.findings],
        rules=[
            given(id=finding.rule.id, name=finding.rule.title, severity=str(finding.severity), summary=finding.summary)
            for finding in alert.findings
        ],
    )


def _incident(incident: Incident, observed: datetime | None) -> dict[str, Any]:
    requests = requests_of(incident.findings)
    first, worst, alerts = callers(requests)[0], worst_act(requests), alerts_of(incident)
    ref = worst.ref if worst else alerts[0].event
    refs = [one.ref for one in requests.values() if not one.is_witness][:MOST_LISTED]
    return {
        "@timestamp": format_time(time_of(incident.last_seen, observed)),
        "ecs": {"version": ECS_VERSION},
        "message": incident.title,
        "event": {
            **_event(incident.severity, ref, observed, is_alert=True),
            **given(
                start=format_time(incident.first_seen) if incident.first_seen else None,
                end=format_time(incident.last_seen) if incident.last_seen else None,
            ),
            "action": "incident",
            "id": incident.id,
            "dataset": f"{PRODUCT}.incident",
        },
        **given(
            threat=_threat([rule for alert in alerts[:MOST_LISTED] for rule in alert.rules]),
            user=given(name=first.user),
            source=_source(first),
            orchestrator={"type": "kubernetes", **given(cluster=given(name=first.cluster))},
            cloud=_cloud(first),
            related=_related(refs),
        ),
        PRODUCT: given(
            severity=str(incident.severity),
            id=incident.id,
            depth=incident.depth,
            number_of_alerts=len(alerts),
            number_of_findings=len(incident.findings),
            service_accounts=list(incident.service_accounts),
            credentials=list(incident.credentials),
            worst=request_facts(ref),
            advice=[given(text=step.text, command=step.command) for step in incident.advice],
            access=[one.to_dict() for one in incident.access],
            alerts=[alert_facts(alert) for alert in alerts[:MOST_LISTED]],
        ),
    }
