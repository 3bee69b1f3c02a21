# SPDX-License-Identifier: Apache-2.0
"""Findings as alerts in the Elastic Common Schema: for Elasticsearch, Elastic Security and OpenSearch.

Source of the fields: the ECS field reference, 8.17; they are the same in 9.x. What ECS has no field for is under
`k8stokendetect`, in texts and numbers of one type each, so that no two documents can conflict in an index.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from k8stokendetect.convert.times import format_time
from k8stokendetect.findings import EventRef, Finding, Rule
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.outputs.values import (
    AttackEntry,
    address,
    as_text,
    given,
    is_command,
    one_line,
    request_facts,
    resource_of,
    tactics,
    technique,
    time_of,
    unique,
)

ECS_VERSION: Final = "8.17.0"

PRODUCT: Final = "k8stokendetect"

_SCORES: Final = (0, 1, 21, 47, 73, 99)
"""By severity; Elastic Security uses these for low, medium, high and critical."""


_PROVIDERS: Final[dict[str | None, str]] = {"eks": "aws", "aks": "azure", "gke": "gcp"}


def to_ecs(finding: Finding, /, *, observed: datetime | None = None) -> dict[str, Any]:
    """Return a finding as an ECS document; nothing in it is null, and no key holds a dot.

    An excluded finding is no alert: its `event.kind` is `event`.

    Arguments:
        finding: what to say.
        observed: the time to give where the record has none, such as when it was read; by default the beginning of
            1970. `k8stokendetect.event.time` is only there where a time was logged.

    """
    ref, rule = finding.event, finding.rule
    account = ref.token_account
    resource = resource_of(ref)
    target = f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}" if account else None
    return {
        "@timestamp": format_time(time_of(finding, observed)),
        "ecs": {"version": ECS_VERSION},
        "message": finding.summary,
        "event": _event(finding),
        "rule": _rule(rule),
        **given(
            tags=["excluded"] if finding.excluded_by else [],
            threat=_threat(rule),
            user=given(
                name=ref.user,
                effective=given(name=ref.impersonating),
                target=given(name=target),
            ),
            source=_source(ref),
            user_agent=given(original=ref.user_agent),
            http=given(request=given(id=ref.audit_id), response=given(status_code=ref.code)),
            orchestrator={} if is_command(ref) else _orchestrator(ref, resource),
            cloud=given(provider=_PROVIDERS.get(ref.platform), account=given(id=ref.account), region=ref.region),
            related=_related(finding, target),
        ),
        PRODUCT: _own(finding),
    }


def to_ecs_line(finding: Finding, /, *, observed: datetime | None = None) -> str:
    """Return a finding as one line of an ECS document in printable ASCII, without the line end."""
    return one_line(to_ecs(finding, observed=observed))


def _event(finding: Finding) -> dict[str, Any]:
    ref = finding.event
    worked = ref.mints_token or ref.succeeded
    outcome = "success" if worked else "unknown" if ref.code is None else "failure"
    return {
        "kind": "event" if finding.excluded_by else "alert",
        "category": ["intrusion_detection"],
        "type": ["allowed" if worked else "info" if ref.code is None else "denied"],
        "action": finding.rule.id,
        "outcome": outcome,
        "severity": _SCORES[finding.severity],
        "risk_score": float(_SCORES[finding.severity]),
        "id": finding.fingerprint,
        "provider": PRODUCT,
        "module": PRODUCT,
        "dataset": f"{PRODUCT}.finding",
    }


def _rule(rule: Rule) -> dict[str, Any]:
    reference = next((text for text in rule.references if text), None)
    return given(id=rule.id, name=rule.title, ruleset=PRODUCT, description=rule.description, reference=reference)


def _threat(rule: Rule) -> dict[str, Any]:
    whole = [technique(id_) for id_ in dict.fromkeys(id_.partition(".")[0] for id_ in rule.techniques)]
    parts = [technique(id_) for id_ in dict.fromkeys(rule.techniques) if "." in id_]
    known = given(
        technique={**_columns(whole), **given(subtechnique=_columns(parts))}, tactic=_columns(tactics(rule.tactics))
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


def _source(ref: EventRef) -> dict[str, str]:
    """Name the peer, the only address that a client cannot choose."""
    return given(address=ref.peer_ip, ip=address(ref.peer_ip or ""))


def _related(finding: Finding, target: str | None) -> dict[str, Any]:
    refs = (finding.event, *finding.related)
    return given(
        user=unique([*(name for ref in refs for name in (ref.user, ref.impersonating)), target]),
        ip=unique(address(text) for ref in refs for text in ref.source_ips),
    )


def _own(finding: Finding) -> dict[str, Any]:
    """Return what ECS has no field for."""
    return given(
        severity=str(finding.severity),
        excluded_by=finding.excluded_by,
        count=finding.count if finding.count > 1 else None,
        last=format_time(finding.last) if finding.last else None,
        enable=finding.enable,
        caveats=list(finding.caveats),
        response=finding.rule.response,
        event=request_facts(finding.event),
        related=[request_facts(ref) for ref in finding.related],
        evidence=[given(path=item.path, value=as_text(item.value), why=item.why) for item in finding.evidence],
    )
