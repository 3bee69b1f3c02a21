# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as Azure delivers those of AKS: Event Hub, storage account, Log Analytics, and tools behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

SUBSCRIPTION: Final = "5D0B1C6A-1111-4222-8333-944455566677"
CLUSTER: Final = "PROD-1"
RESOURCE_ID: Final = (
    f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{CLUSTER}"
)
COLUMNS: Final = {
    "level": "Level",
    "auditID": "AuditId",
    "stage": "Stage",
    "requestURI": "RequestUri",
    "verb": "Verb",
    "user": "User",
    "sourceIPs": "SourceIps",
    "userAgent": "UserAgent",
    "objectRef": "ObjectRef",
    "responseStatus": "ResponseStatus",
    "requestObject": "RequestObject",
    "responseObject": "ResponseObject",
    "requestReceivedTimestamp": "RequestReceivedTime",
    "stageTimestamp": "StageReceivedTime",
    "annotations": "Annotations",
}
NOT_IN_COLUMNS: Final = frozenset({"kind", "apiVersion", "impersonatedUser", "authenticationMetadata"})
TIMES: Final = ("RequestReceivedTime", "StageReceivedTime")


def record(event: Mapping[str, Any], category: str = "kube-audit", *, text: bool = True) -> dict[str, Any]:
    """Return one diagnostic record; the log is text that ends in a newline, or an object."""
    return {
        "category": category,
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "properties": {
            "log": json.dumps(event) + "\n" if text else event,
            "stream": "stdout",
            "pod": "kube-apiserver-5c9d",
            "containerID": "0a1b",
        },
        "resourceId": RESOURCE_ID,
        "serviceBuild": "na",
        "time": "2026-11-23T21:43:46.123456789Z",
    }


def log_row(event: Mapping[str, Any], category: str = "kube-audit-admin") -> dict[str, Any]:
    """Return one row of AzureDiagnostics."""
    return {
        "TenantId": "7d5e0000-0000-4000-8000-000000000000",
        "TimeGenerated": "2026-11-23T21:43:46.1234567Z",
        "Category": category,
        "OperationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "ResourceId": RESOURCE_ID,
        "log_s": json.dumps(event),
        "pod_s": "kube-apiserver-5c9d",
        "stream_s": "stdout",
        "Type": "AzureDiagnostics",
    }


def audit_row(event: Mapping[str, Any], *, text: bool = True) -> dict[str, Any]:
    """Return one row of AKSAudit, its dynamic columns as JSON text or as objects; what has no field is null."""
    columns = {column: event.get(field) for field, column in COLUMNS.items()}
    row = {name: json.dumps(value) if text and _is_object(value) else value for name, value in columns.items()}
    return row | {
        "TenantId": "7d5e0000-0000-4000-8000-000000000000",
        "TimeGenerated": "2026-11-23T21:43:46.1234567Z",
        "PodName": "kube-apiserver-5c9d",
        "Type": "AKSAudit",
        "_ResourceId": RESOURCE_ID.lower(),
    }


def portal_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same row as the portal exports it: times with their zone in the header, null as an empty text."""
    row = audit_row(event) | {"Type": "AKSAuditAdmin"}
    return {
        f"{name} [UTC]" if name in (*TIMES, "TimeGenerated") else name: "" if value is None else value
        for name, value in row.items()
    }


def cli_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same row as `az monitor log-analytics query` prints it: everything through Python's `str`.

    A dynamic column may be null, a column of type string never is.
    """
    row = audit_row(event)
    if row["UserAgent"] is None:
        row["UserAgent"] = ""
    return {"TableName": "PrimaryResult"} | {name: str(value) for name, value in row.items()}


def platformlogs(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return Elastic's document of one record."""
    return {
        "@timestamp": "2026-11-23T21:43:46.123Z",
        "cloud": {"provider": "azure"},
        "event": {"kind": "event", "action": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read"},
        "azure": {
            "subscription_id": SUBSCRIPTION,
            "resource": {"name": CLUSTER, "id": RESOURCE_ID, "group": "RG"},
            "platformlogs": {
                "category": "kube-audit",
                "event_category": "Administrative",
                "properties": {"pod": "kube-apiserver-5c9d", "log": event},
            },
        },
    }


def panther(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return Panther's Azure.MonitorActivity: the record with its own fields beside."""
    return record(event) | {"p_log_type": "Azure.MonitorActivity", "p_event_time": "2026-11-23 21:43:46.123"}


def query_result(events: list[dict[str, Any]]) -> bytes:
    """Return an answer of the Log Analytics API."""
    rows = [audit_row(event) for event in events]
    names = list(rows[0])
    table = {
        "name": "PrimaryResult",
        "columns": [{"name": name, "type": "string"} for name in names],
        "rows": [[row[name] for name in names] for row in rows],
    }
    return json.dumps({"tables": [table]}).encode()


def event_hub(events: list[dict[str, Any]]) -> bytes:
    """Return one message."""
    return json.dumps({"records": [record(event) for event in events]}).encode()


def _is_object(value: Any) -> bool:
    return isinstance(value, dict | list)


def _lines(wrap: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[list[dict[str, Any]]], bytes]:
    return lambda events: b"".join(json.dumps(wrap(event)).encode() + b"\n" for event in events)


WRAPPINGS: Final[dict[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "azure-event-hub": event_hub,
    "azure-storage": _lines(lambda event: record(event, "kube-audit-admin")),
    "azure-log-as-object": _lines(lambda event: record(event, text=False)),
    "azure-diagnostics": _lines(log_row),
    "azure-platformlogs": _lines(platformlogs),
    "azure-panther": _lines(panther),
    "azure-aksaudit": _lines(audit_row),
    "azure-aksaudit-objects": _lines(lambda event: audit_row(event, text=False)),
    "azure-aksaudit-portal": _lines(portal_row),
    "azure-aksaudit-cli": _lines(cli_row),
    "azure-query-result": query_result,
}
IN_COLUMNS: Final = frozenset(name for name in WRAPPINGS if "aksaudit" in name or "query" in name)
"""The wrappings that lose `NOT_IN_COLUMNS`."""
