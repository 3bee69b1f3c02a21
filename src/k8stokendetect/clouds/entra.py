# SPDX-License-Identifier: Apache-2.0
"""Makes a CloudEvent of a sign-in of Entra ID: of a service principal, or of a managed identity.

A record of a diagnostic setting has its fields in `properties`, in camelCase; a row of Log Analytics has columns:
https://learn.microsoft.com/azure/azure-monitor/reference/tables/aadserviceprincipalsigninlogs and
…/aadmanagedidentitysigninlogs. Neither names the subject of the token that was exchanged; in the directory, the
federated credential does (Graph, federatedIdentityCredentials).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from k8stokendetect.clouds.event import Caller, CloudEvent, Exchange
from k8stokendetect.clouds.wire import clean, clean_id, required_time, structured
from k8stokendetect.convert.converter import go_name
from k8stokendetect.errors import ReadError

CATEGORIES: Final = ("ManagedIdentitySignInLogs", "ServicePrincipalSignInLogs")
"""Of diagnostic settings: https://learn.microsoft.com/entra/identity/monitoring-health/concept-diagnostic-settings-logs-options."""

TABLES: Final = ("AADManagedIdentitySignInLogs", "AADServicePrincipalSignInLogs")

_ADDRESSES: Final = {"ip_address": "IPAddress"}
_DONE: Final = frozenset({"", "0", "Success"})
"""The result of a sign-in that succeeded: its error code is 0."""


def _column(field: str) -> str:
    name = go_name(field)
    return _ADDRESSES.get(field) or name[:1].upper() + name[1:]


class _Row(msgspec.Struct, gc=False, rename=_column):
    """A row of Log Analytics; an export may have made texts of the numbers."""

    id: str | None = None
    time_generated: str | int | None = None
    created_date_time: str | int | None = None
    category: str | None = None
    correlation_id: str | None = None
    app_id: str | None = None
    service_principal_id: str | None = None
    service_principal_name: str | None = None
    resource_identity: str | None = None
    resource_display_name: str | None = None
    federated_credential_id: str | None = None
    client_credential_type: str | None = None
    unique_token_identifier: str | None = None
    ip_address: str | None = None
    location: str | None = None
    user_agent: str | None = None
    result_type: str | int | None = None
    type: str | None = None
    aad_tenant_id: str | None = msgspec.field(default=None, name="AADTenantId")


class _Status(msgspec.Struct, gc=False, rename=go_name):
    error_code: int | None = None


class _Properties(msgspec.Struct, gc=False, rename=go_name):
    id: str | None = None
    created_date_time: str | None = None
    correlation_id: str | None = None
    app_id: str | None = None
    service_principal_id: str | None = None
    service_principal_name: str | None = None
    resource_id: str | None = None
    resource_display_name: str | None = None
    federated_credential_id: str | None = None
    client_credential_type: str | None = None
    unique_token_identifier: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    status: _Status | None = None


class _Diagnostic(msgspec.Struct, gc=False, rename=go_name):
    """What a diagnostic setting sends to an event hub or a storage account."""

    category: str
    properties: _Properties
    time: str | None = None
    result_type: str | int | None = None
    caller_ip_address: str | None = None
    correlation_id: str | None = None
    tenant_id: str | None = None
    location: str | None = None


def parse_sign_in(
    record: Mapping[str, Any], /, *, origin: str | None = None, day_first: bool | None = None
) -> CloudEvent:
    """Make a CloudEvent of a sign-in.

    Arguments:
        record: a record of a diagnostic setting, or a row of Log Analytics; it is not changed.
        origin: file and line, for errors and findings.
        day_first: how a date such as 12/11/2026 in a portal's export is meant; None refuses it.

    Raises:
        ReadError: when a field has a wrong type, or there is no time; says the JSON path.

    """
    if "properties" in record:
        return _event(_of_diagnostic(structured(record, _Diagnostic)), "$.time", origin, day_first)
    columns = {name.removesuffix(" [UTC]"): value for name, value in record.items()}  # the portal's headers
    return _event(structured(columns, _Row), "$.TimeGenerated", origin, day_first)


def _of_diagnostic(found: _Diagnostic) -> _Row:
    """Return a record of a diagnostic setting as the row that Log Analytics would make of it."""
    inner = found.properties
    code = inner.status.error_code if inner.status else None
    return _Row(
        id=inner.id,
        time_generated=found.time,
        created_date_time=inner.created_date_time,
        category=found.category,
        correlation_id=inner.correlation_id or found.correlation_id,
        app_id=inner.app_id,
        service_principal_id=inner.service_principal_id,
        service_principal_name=inner.service_principal_name,
        resource_identity=inner.resource_id,
        resource_display_name=inner.resource_display_name,
        federated_credential_id=inner.federated_credential_id,
        client_credential_type=inner.client_credential_type,
        unique_token_identifier=inner.unique_token_identifier,
        ip_address=inner.ip_address or found.caller_ip_address,
        location=found.location,
        user_agent=inner.user_agent,
        result_type=code if found.result_type is None else found.result_type,
        aad_tenant_id=found.tenant_id,
    )


def _event(row: _Row, path: str, origin: str | None, day_first: bool | None) -> CloudEvent:  # noqa: FBT001 - as above
    if not (row.id or row.correlation_id):
        raise ReadError("a sign-in with neither Id nor CorrelationId", path="$")
    error = str(row.result_type) if row.result_type is not None else ""
    when = row.created_date_time or row.time_generated
    return CloudEvent(
        id=clean_id(row.id or row.correlation_id),
        time=required_time(when, path, day_first=day_first),
        cloud="azure",
        action="Sign-in",
        service=clean(row.resource_display_name or row.resource_identity),
        account=clean_id(row.aad_tenant_id),
        region=clean_id(row.location),
        error="" if error in _DONE else clean_id(error),
        source_ip=clean(row.ip_address),
        user_agent=clean(row.user_agent),
        caller=Caller(
            principal=clean_id(row.service_principal_id),
            kind=clean_id(row.category or (row.type or "").removeprefix("AAD")),
            name=clean(row.service_principal_name),
        ),
        exchange=Exchange(
            kind="sign-in",
            role=clean_id(row.app_id),
            session=clean_id(row.unique_token_identifier),
            credential=clean_id(row.federated_credential_id),
            credential_kind=clean_id(row.client_credential_type),
        ),
        resources=tuple(filter(None, (clean_id(row.resource_identity),))),
        shared_id=clean_id(row.correlation_id),
        origin=origin,
    )
