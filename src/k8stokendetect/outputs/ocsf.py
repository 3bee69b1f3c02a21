# SPDX-License-Identifier: Apache-2.0
"""Findings in the Open Cybersecurity Schema Framework: Detection Finding (2004), for Security Lake and others.

Source: schema.ocsf.io, 1.5.0; 1.9.0 has the same fields. No profile is used.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from k8stokendetect.findings import EventRef, Evidence, Finding, Rule
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

OCSF_VERSION: Final = "1.5.0"

_PRODUCT: Final = "k8stokendetect"
_CLASS: Final = 2004
_SEVERITIES: Final = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
_OBSERVABLES: Final = {
    "IP Address": 2,
    "User Name": 4,
    "Resource UID": 10,
    "HTTP User-Agent": 16,
    "User Credential ID": 19,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ocsf(finding: Finding, /, *, observed: datetime | None = None) -> dict[str, Any]:
    """Return a finding as an OCSF Detection Finding; nothing in it is null.

    The request and the related ones are `evidences`, in this order. An excluded finding is `Suppressed` and
    no alert. What OCSF has no attribute for is in `unmapped`.

    Arguments:
        finding: what to say.
        observed: the time to give where the record has none, such as when it was read; by default the beginning of
            1970. `finding_info.first_seen_time` is only there where a time was logged.

    """
    refs = (finding.event, *finding.related)
    evidences = [_evidence(ref, () if number else finding.evidence) for number, ref in enumerate(refs)]
    resource = _resource(finding.event)
    return {
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + 1,
        "type_name": "Detection Finding: Create",
        "time": _milliseconds(time_of(finding, observed)),
        "severity_id": int(finding.severity),
        "severity": _SEVERITIES[finding.severity],
        "status_id": 3 if finding.excluded_by else 1,
        "status": "Suppressed" if finding.excluded_by else "New",
        "is_alert": finding.excluded_by is None,
        "message": finding.summary,
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": _PRODUCT, "vendor_name": _PRODUCT, "version": _our_version()},
            "profiles": [],
            "uid": finding.fingerprint,
            "event_code": finding.rule.id,
            "log_name": _log_name(finding.event),
        },
        "finding_info": _finding_info(finding),
        "evidences": evidences,
        **given(
            unmapped=_unmapped(finding),
            status_detail=f"excluded by {finding.excluded_by}" if finding.excluded_by else None,
            resources=[resource] if resource else [],
            observables=list(_observables(evidences, finding.event)),
            remediation=_remediation(finding.rule),
            count=finding.count if finding.count > 1 else None,
            end_time=_milliseconds(finding.last) if finding.last else None,
        ),
    }


def to_ocsf_line(finding: Finding, /, *, observed: datetime | None = None) -> str:
    """Return a finding as one line of an OCSF event in printable ASCII, without the line end."""
    return one_line(to_ocsf(finding, observed=observed))


@cache
def _our_version() -> str:
    return importlib.metadata.version(_PRODUCT)


def _log_name(ref: EventRef) -> str:
    return "Linux audit log" if is_command(ref) else "Kubernetes audit log"


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)


def _finding_info(finding: Finding) -> dict[str, Any]:
    rule, time = finding.rule, finding.event.time
    related = [
        given(
            uid=ref.audit_id,
            title=f"{ref.verb} {ref.target}" if ref.verb and ref.target else None,
            first_seen_time=_milliseconds(seen) if (seen := ref.time) else None,
        )
        for ref in finding.related
        if ref.audit_id
    ]
    return given(
        uid=finding.fingerprint,
        title=rule.title,
        desc=rule.description or finding.summary,
        types=[rule.id],
        first_seen_time=_milliseconds(time) if time else None,
        last_seen_time=_milliseconds(finding.last) if finding.last else None,
        src_url=next((text for text in rule.references if text.startswith("https://")), None),
        data_sources=[_log_name(finding.event)],
        analytic={"type_id": 1, "type": "Rule", **given(uid=rule.id, name=rule.title, desc=rule.description)},
        attacks=list(_attacks(rule)),
        related_events=related,
    )


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


def _evidence(ref: EventRef, facts: tuple[Evidence, ...]) -> dict[str, Any]:
    """Return what is known of a request, and the facts that a finding rests on."""
    ip = address(ref.peer_ip or "")
    return given(
        actor=given(
            user=given(name=ref.user, credential_uid=ref.used_credential, groups=_groups(ref)) if ref.user else None,
            session=None if ref.user else given(credential_uid=ref.used_credential),
        ),
        src_endpoint=given(ip=ip, name=None if ip else ref.peer_ip),
        http_request=given(user_agent=ref.user_agent),
        api={
            "operation": ref.verb or "unknown",
            "service": {"name": "auditd" if is_command(ref) else "kube-apiserver"},
            **given(request=given(uid=ref.audit_id), response=given(code=ref.code)),
        },
        data=[given(path=item.path, value=as_text(item.value), why=item.why) for item in facts],
    )


def _groups(ref: EventRef) -> list[dict[str, str]]:
    return [{"name": group} for group in ref.groups if group]


def _resource(ref: EventRef) -> dict[str, Any]:
    path = "/".join(part for part in (ref.namespace, ref.name) if part)
    return given(uid=path or ref.target, **resource_of(ref)) if ref.target else {}


def _observables(evidences: list[dict[str, Any]], ref: EventRef) -> Iterator[dict[str, Any]]:
    """Yield what a SIEM joins on, each with its place in the document."""
    for number, item in enumerate(evidences):
        user = item.get("actor", {}).get("user", {})
        here = f"evidences[{number}]"
        yield from _observable(f"{here}.actor.user.name", "User Name", user.get("name"))
        yield from _observable(f"{here}.actor.user.credential_uid", "User Credential ID", user.get("credential_uid"))
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


def _unmapped(finding: Finding) -> dict[str, Any]:
    return given(
        excluded_by=finding.excluded_by,
        caveats=list(finding.caveats),
        enable=finding.enable,
        event=request_facts(finding.event),
        related=[request_facts(ref) for ref in finding.related],
    )
