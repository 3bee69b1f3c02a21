# SPDX-License-Identifier: Apache-2.0
"""Alerts and findings in the Open Cybersecurity Schema Framework: Detection Finding (2004).

Source: https://schema.ocsf.io/1.5.0 and https://github.com/ocsf/ocsf-schema. `credential_uid` of a user exists since
1.0; since 1.6 it is deprecated, and there is `programmatic_credentials` (objects/user.json of each tag). The profile
`cloud` (profiles/cloud.json) is used where the log told a cloud; it demands a provider.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeAlias, get_args

from k8stokendetect.events import Platform
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule
from k8stokendetect.incidents import Alert
from k8stokendetect.outputs.values import (
    AttackEntry,
    address,
    alert_of,
    as_text,
    given,
    is_command,
    request_facts,
    resource_of,
    tactics,
    technique,
    time_of,
    unique,
)

Version: TypeAlias = Literal["1.5.0", "1.8.0"]
VERSIONS: Final[tuple[Version, ...]] = get_args(Version)
DEFAULT_VERSION: Final = "1.5.0"

_PRODUCT: Final = "k8stokendetect"
_CLASS: Final = 2004
SEVERITIES: Final = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
_OBSERVABLES: Final = {
    "IP Address": 2,
    "User Name": 4,
    "Resource UID": 10,
    "HTTP User-Agent": 16,
    "User Credential ID": 19,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOUDS: Final[dict[str | None, tuple[str, int, str]]] = {
    "eks": ("AWS", 10, "AWS Account"),
    "aks": ("Azure", 13, "Azure Subscription"),
    "gke": ("GCP", 11, "GCP Project"),
}
"""Provider, type of its accounts (https://schema.ocsf.io/1.5.0/objects/account), by platform."""


def detection_document(item: Alert | Finding, observed: datetime | None, version: Version, /) -> dict[str, Any]:
    """Return an alert or a finding as a Detection Finding."""
    alert = alert_of(item)
    refs = (alert.event, *alert.related)
    evidences = [_evidence(ref, () if number else alert.evidence, version) for number, ref in enumerate(refs)]
    return {
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + 1,
        "type_name": "Detection Finding: Create",
        "time": milliseconds(time_of(alert.event.time, observed)),
        "severity_id": int(alert.severity),
        "severity": SEVERITIES[alert.severity],
        "status_id": 3 if alert.excluded_by else 1,
        "status": "Suppressed" if alert.excluded_by else "New",
        "is_alert": alert.excluded_by is None,
        "message": alert.summary,
        "metadata": {**metadata(item.fingerprint, alert.event, version), "event_code": alert.worst.rule.id},
        "finding_info": finding_info(alert, item.fingerprint),
        "evidences": evidences,
        **given(
            unmapped=_unmapped(alert, joined=isinstance(item, Alert)),
            status_detail=f"excluded by {alert.excluded_by}" if alert.excluded_by else None,
            cloud=cloud(alert.event),
            resources=[_resource(alert.event), _cluster(alert.event)],
            observables=list(_observables(evidences, alert.event)),
            remediation=_remediation(alert.worst.rule),
            count=alert.count if alert.count > 1 else None,
            end_time=milliseconds(alert.last) if alert.last else None,
        ),
    }


def metadata(uid: str, ref: EventRef, version: Version, /, *profiles: str) -> dict[str, Any]:
    """Return who wrote the document, its id, the kind of log, and the profiles: these, and that of a cloud."""
    return {
        "version": version,
        "product": {"name": _PRODUCT, "vendor_name": _PRODUCT, "version": _our_version()},
        "uid": uid,
        "log_name": _log_name(ref),
        "profiles": [*profiles, *(["cloud"] if cloud(ref) else [])],
    }


def cloud(ref: EventRef, /) -> dict[str, Any]:
    """Return where a request was made, as the profile `cloud` has it; empty where the log told no cloud."""
    platform = ref.platform if ref.cloud is None else _PLATFORMS.get(ref.cloud.cloud)
    provider, type_id, type_ = _CLOUDS.get(platform, ("Unknown", 0, "Unknown"))
    if provider == "Unknown" and not (ref.account or ref.region):
        return {}
    account = {"uid": ref.account, "type_id": type_id, "type": type_} if ref.account else None
    return given(provider=provider, account=account, region=ref.region)


@cache
def _our_version() -> str:
    return importlib.metadata.version(_PRODUCT)


_PLATFORMS: Final[dict[str, Platform]] = {"aws": "eks", "azure": "aks", "google": "gke"}
LOGS: Final = {"aws": "AWS CloudTrail", "azure": "Entra ID sign-in logs", "google": "Google Cloud Audit Logs"}


def _log_name(ref: EventRef) -> str:
    if ref.cloud is not None:
        return LOGS.get(ref.cloud.cloud, "cloud audit log")
    return "Linux audit log" if is_command(ref) else "Kubernetes audit log"


def milliseconds(time: datetime, /) -> int:
    """Return a time as OCSF has it."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def finding_info(alert: Alert, uid: str, /) -> dict[str, Any]:
    """Return what was found, by the rule of the worst finding; all rules are `types`."""
    rule, time = alert.worst.rule, alert.event.time
    related = [
        given(
            uid=ref.audit_id,
            title=f"{ref.verb} {ref.target}" if ref.verb and ref.target else None,
            first_seen_time=milliseconds(seen) if (seen := ref.time) else None,
        )
        for ref in alert.related
        if ref.audit_id
    ]
    return given(
        uid=uid,
        title=rule.title,
        desc=rule.description or alert.summary,
        types=[one.id for one in alert.rules],
        first_seen_time=milliseconds(time) if time else None,
        last_seen_time=milliseconds(alert.last) if alert.last else None,
        src_url=next((text for text in rule.references if text.startswith("https://")), None),
        data_sources=[_log_name(alert.event)],
        analytic=_analytic(rule),
        related_analytics=[_analytic(one) for one in alert.rules[1:]],
        attacks=attacks(alert.rules),
        related_events=related,
    )


def _analytic(rule: Rule) -> dict[str, Any]:
    return {"type_id": 1, "type": "Rule", **given(uid=rule.id, name=rule.title, desc=rule.description)}


def attacks(rules: Sequence[Rule], /) -> list[dict[str, Any]]:
    """Return the techniques and tactics of some rules, each once."""
    found: list[dict[str, Any]] = []
    for rule in rules:
        found += (one for one in _attacks(rule) if one not in found)
    return found


def _attacks(rule: Rule) -> Iterator[dict[str, Any]]:
    """Yield the techniques, with the tactic where there is one; several go apart: no rule says which is whose."""
    several = [_named(tactic) for tactic in tactics(rule.tactics)]
    together = several.pop() if len(several) == 1 and rule.techniques else None
    for id_ in dict.fromkeys(rule.techniques):
        part = _named(technique(id_)) if "." in id_ else None
        yield given(technique=_named(technique(id_.partition(".")[0])), sub_technique=part, tactic=together)
    for tactic in several:
        yield {"tactic": tactic}


def _named(entry: AttackEntry) -> dict[str, str]:
    return given(uid=entry.id, name=entry.name, src_url=entry.reference)


def _evidence(ref: EventRef, facts: tuple[Evidence, ...], version: Version) -> dict[str, Any]:
    """Return what is known of a request, and the facts that a finding rests on."""
    ip = address(ref.peer_ip or "")
    return given(
        actor=given(
            user=given(name=ref.user, groups=_groups(ref), **_credential(ref, version)) if ref.user else None,
            session=None if ref.user else given(credential_uid=ref.used_credential),
        ),
        src_endpoint=given(ip=ip, name=None if ip else ref.peer_ip),
        http_request=given(user_agent=ref.user_agent),
        api={
            "operation": ref.verb or "unknown",
            "service": {"name": ref.resource if ref.cloud else "auditd" if is_command(ref) else "kube-apiserver"},
            **given(request=given(uid=ref.audit_id), response=given(code=ref.code)),
        },
        data=[given(path=item.path, value=as_text(item.value), why=item.why) for item in facts],
    )


def _credential(ref: EventRef, version: Version) -> dict[str, Any]:
    if version == DEFAULT_VERSION:
        return {"credential_uid": ref.used_credential}
    kind = "Client Certificate" if (ref.used_credential or "").startswith("X509") else "Access Token"
    known = {"uid": ref.used_credential, "type": kind}
    return {"programmatic_credentials": [known] if ref.used_credential else []}


def _groups(ref: EventRef) -> list[dict[str, str]]:
    return [{"name": group} for group in ref.groups if group]


def _resource(ref: EventRef) -> dict[str, Any]:
    path = "/".join(part for part in (ref.namespace, ref.name) if part)
    return given(uid=path or ref.target, **resource_of(ref)) if ref.target else {}


def _cluster(ref: EventRef) -> dict[str, Any]:
    """Return the cluster as a resource of its own: OCSF has no attribute for it."""
    return given(type="Kubernetes cluster", uid=ref.cluster, name=ref.cluster, region=ref.region) if ref.cluster else {}


def _observables(evidences: list[dict[str, Any]], ref: EventRef) -> Iterator[dict[str, Any]]:
    """Yield what a SIEM joins on, each with its place in the document."""
    for number, item in enumerate(evidences):
        user = item.get("actor", {}).get("user", {})
        here = f"evidences[{number}]"
        yield from _observable(f"{here}.actor.user.name", "User Name", user.get("name"))
        yield from _observable(f"{here}.actor.user.credential_uid", "User Credential ID", user.get("credential_uid"))
        for index, one in enumerate(user.get("programmatic_credentials", ())):
            place = f"{here}.actor.user.programmatic_credentials[{index}].uid"
            yield from _observable(place, "User Credential ID", one["uid"])
        yield from _observable(f"{here}.src_endpoint.ip", "IP Address", item.get("src_endpoint", {}).get("ip"))
        agent = item.get("http_request", {}).get("user_agent")
        yield from _observable(f"{here}.http_request.user_agent", "HTTP User-Agent", agent)
    yield from _observable("unmapped.event.impersonating", "User Name", ref.impersonating)
    yield from _observable("unmapped.event.minted_credential", "User Credential ID", ref.minted_credential)
    yield from _observable("resources[0].uid", "Resource UID", _resource(ref).get("uid"))


def _observable(name: str, kind: str, value: str | None) -> Iterator[dict[str, Any]]:
    if value:
        yield {"name": name, "type_id": _OBSERVABLES[kind], "type": kind, "value": value}


def _remediation(rule: Rule) -> dict[str, Any]:
    return given(desc=rule.response, references=unique(rule.references)) if rule.response else {}


def _unmapped(alert: Alert, *, joined: bool) -> dict[str, Any]:
    """Return what OCSF has no attribute for; what joins an alert with others where it is one."""
    more = given(
        id=alert.id,
        incident=alert.incident,
        mint=alert.mint.request_id if alert.mint else None,
        findings=[finding.fingerprint for finding in alert.findings],
        rules=[
            given(id=finding.rule.id, severity=str(finding.severity), summary=finding.summary)
            for finding in alert.findings
        ],
    )
    return given(
        excluded_by=alert.excluded_by,
        caveats=list(alert.caveats),
        enable=alert.enable,
        event=request_facts(alert.event),
        related=[request_facts(ref) for ref in alert.related],
        **(more if joined else {}),
    )
