# SPDX-License-Identifier: Apache-2.0
"""Makes a CloudEvent of an entry of Cloud Audit Logs: a token exchanged at a pool, or any other call.

Sources: https://cloud.google.com/iam/docs/audit-logging/examples-workload-identity (all steps, from the exchange to the
call in a service account's name),
https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from k8stokendetect.clouds.event import Caller, CloudEvent, Exchange
from k8stokendetect.clouds.wire import clean, clean_id, required_time, structured, text_at, time_or_none
from k8stokendetect.convert.converter import go_name
from k8stokendetect.errors import ReadError

_EXCHANGE: Final = "ExchangeToken"
_IMPERSONATES: Final = ("GenerateAccessToken", "GenerateIdToken", "SignBlob", "SignJwt")
"""What IAM Credentials does in the name of a service account, also under `google.iam.credentials.v1.IAMCredentials.`:
https://cloud.google.com/iam/docs/audit-logging/audit-logging-iamcreds."""

_CODES: Final = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
"""https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""

_READS: Final = "data_access"
_PRINCIPAL: Final = re.compile(r"principal://[^/]+/(.+?)/subjects?/(.+)", re.DOTALL)
_OF_GKE: Final = re.compile(r"(?:serviceAccount:)?([^\[\]]+\.svc\.id\.goog)\[([^/\[\]]+)/([^/\[\]]+)\]")
"""The older form of GKE's identities:
https://cloud.google.com/python/docs/reference/securitycenter/latest (ServiceAccountDelegationInfo)."""

_ACCOUNTS: Final = "projects/-/serviceAccounts/"


class _Status(msgspec.Struct, gc=False):
    code: int | None = None


class _Person(msgspec.Struct, gc=False, rename=go_name):
    principal_email: str | None = None


class _Delegation(msgspec.Struct, gc=False, rename=go_name):
    principal_subject: str | None = None
    first_party_principal: _Person | None = None


class _Who(msgspec.Struct, gc=False, rename=go_name):
    principal_email: str | None = None
    principal_subject: str | None = None
    service_account_delegation_info: list[_Delegation] | None = None


class _Where(msgspec.Struct, gc=False, rename=go_name):
    caller_ip: str | None = None
    caller_supplied_user_agent: str | None = None


class _Payload(msgspec.Struct, gc=False, rename=go_name):
    method_name: str
    service_name: str | None = None
    resource_name: str | None = None
    status: _Status | None = None
    authentication_info: _Who | None = None
    request_metadata: _Where | None = None
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Resource(msgspec.Struct, gc=False):
    labels: dict[str, Any] | None = None


class _Entry(msgspec.Struct, gc=False, rename=go_name):
    proto_payload: _Payload
    timestamp: str
    insert_id: str = ""
    log_name: str | None = None
    resource: _Resource | None = None


def parse_google(record: Mapping[str, Any], /, *, origin: str | None = None) -> CloudEvent:
    """Make a CloudEvent of a LogEntry with a `protoPayload`.

    Arguments:
        record: the decoded JSON object; it is not changed.
        origin: file and line, for errors and findings.

    Raises:
        ReadError: when it is not such an entry, or a field has a wrong type; says the JSON path.

    """
    entry = structured(record, _Entry)
    payload = entry.proto_payload
    who, where = payload.authentication_info or _Who(), payload.request_metadata or _Where()
    principal = clean_id(who.principal_subject) or clean_id(who.principal_email)
    labels = (entry.resource and entry.resource.labels) or {}
    code = payload.status.code if payload.status else None
    return CloudEvent(
        id=clean_id(entry.insert_id),
        time=required_time(entry.timestamp, "$.timestamp"),
        cloud="google",
        action=clean_id(payload.method_name),
        service=clean_id(payload.service_name),
        account=clean_id(text_at(labels, "$.resource.labels", "project_id")),
        region=clean_id(text_at(labels, "$.resource.labels", "location")),
        error=_error(code),
        source_ip=clean(where.caller_ip),
        user_agent=clean(where.caller_supplied_user_agent),
        caller=Caller(principal=principal, name=clean_id(who.principal_email), session=_delegated(who)),
        exchange=_exchange(payload, principal, labels),
        resources=tuple(filter(None, (clean(payload.resource_name),))),
        read_only=None if entry.log_name is None else entry.log_name.endswith(_READS),
        origin=origin,
    )


def _error(code: int | None) -> str:
    if not code:
        return ""
    return _CODES[code] if 0 < code < len(_CODES) else f"gRPC code {code}"


def _delegated(who: _Who) -> str:
    """Return who took on the service account in whose name the call was made, the first of several."""
    for step in who.service_account_delegation_info or ():
        person = step.first_party_principal
        if found := step.principal_subject or (person and person.principal_email):
            return clean_id(found)
    return ""


def _identity(principal: str) -> tuple[str, str]:
    """Return pool and subject of a principal; no pool where it is the subject itself."""
    if found := _PRINCIPAL.fullmatch(principal):
        return found[1], found[2]
    if found := _OF_GKE.fullmatch(principal):
        return found[1], f"ns/{found[2]}/sa/{found[3]}"
    return "", principal


def _exchange(payload: _Payload, principal: str, labels: Mapping[str, Any]) -> Exchange | None:
    method = payload.method_name.rpartition(".")[2]
    request, answer = "$.protoPayload.request", "$.protoPayload.response"
    if method == _EXCHANGE:
        mapped = [text_at(payload.metadata, "$.protoPayload.metadata", key) for key in _MAPPED]
        return Exchange(
            kind="pool",
            subject=principal,
            provider=clean_id(payload.resource_name),
            audience=clean(text_at(payload.request, request, "audience")),
            session=clean_id(next(filter(None, mapped), "")),
            credential_kind=clean_id(text_at(payload.request, request, "subjectTokenType")),
            credential_fingerprint=clean_id(_fingerprint(payload.metadata)),
        )
    if method in _IMPERSONATES:
        pool, subject = _identity(principal)
        named = text_at(payload.request, request, "name").removeprefix(_ACCOUNTS)
        email = text_at(labels, "$.resource.labels", "email_id")
        return Exchange(
            kind="impersonation",
            provider=pool,
            subject=subject,
            role=clean_id(email or named or (payload.resource_name or "").removeprefix(_ACCOUNTS)),
            expires=time_or_none(text_at(payload.response, answer, "expireTime")),
        )
    return None


_MAPPED: Final = ("mapped_principal", "mappedPrincipal")


def _fingerprint(metadata: Mapping[str, Any] | None) -> str:
    """Return the fingerprint of the key that verified the token; the others decrypt."""
    keys = (metadata or {}).get("keyInfo")
    if keys is None:
        return ""
    if not isinstance(keys, list):
        raise ReadError("expected a list", path="$.protoPayload.metadata.keyInfo")
    for index, key in enumerate(keys):
        path = f"$.protoPayload.metadata.keyInfo[{index}]"
        if text_at(key, path, "use") in ("", "verify"):
            found = text_at(key, path, "fingerprint") or text_at(key, path, "fingerprintSha256")
            if found:
                return found
    return ""
