# SPDX-License-Identifier: Apache-2.0
"""Azure AKS: diagnostic records, alone or in Event Hub messages, Log Analytics rows and Elastic's platformlogs.

Categories kube-audit and kube-audit-admin hold audit events, the second a part of the first; all others are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from k8stokendetect.convert.broken import revealed
from k8stokendetect.envelopes.base import Context, Inner, line_of, text_of
from k8stokendetect.envelopes.pods import named
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole

AUDIT: Final = ("kube-audit", "kube-audit-admin")
_OTHER_LOGS: Final = frozenset(
    # learn.microsoft.com: supported logs of Microsoft.ContainerService/managedClusters; the csi-aksarc ones: AKS Arc
    "cloud-controller-manager cluster-autoscaler csi-aksarcdisk-controller csi-aksarcnfs-controller "
    "csi-aksarcsmb-controller csi-azuredisk-controller csi-azurefile-controller csi-snapshot-controller "
    "fleet-mcs-controller-manager fleet-member-agent fleet-member-net-controller-manager guard karpenter-events "
    "kube-apiserver kube-controller-manager kube-scheduler".split()
)
_AUDIT_TABLES: Final = ("AKSAudit", "AKSAuditAdmin", "ArcK8sAudit", "ArcK8sAuditAdmin")
_LOG_TABLES: Final = ("AzureDiagnostics", "AKSControlPlane")
_CLUSTER: Final = re.compile(
    r"/subscriptions/([^/]+)/resourcegroups/[^/]+/providers/"
    r"microsoft\.(?:containerservice/managed|(kubernetes/connected))clusters/([^/]+)",
    re.IGNORECASE,
)

# Which column holds what: learn.microsoft.com, tables/AKSAudit; the other columns (TimeGenerated, PodName, TenantId)
# are not part of the event. No column holds impersonatedUser or authenticationMetadata.
_PLAIN_COLUMNS: Final = {
    "Level": "level",
    "AuditId": "auditID",
    "Stage": "stage",
    "RequestUri": "requestURI",
    "Verb": "verb",
    "UserAgent": "userAgent",
    "RequestReceivedTime": "requestReceivedTimestamp",
    "StageReceivedTime": "stageTimestamp",
}
_DYNAMIC_COLUMNS: Final = {
    "User": "user",
    "SourceIps": "sourceIPs",
    "ObjectRef": "objectRef",
    "ResponseStatus": "responseStatus",
    "RequestObject": "requestObject",
    "ResponseObject": "responseObject",
    "Annotations": "annotations",
}
_OMITTED_IF_EMPTY: Final = ("userAgent", "requestReceivedTimestamp", "stageTimestamp")
_BODIES: Final = ("RequestObject", "ResponseObject")
_LOST_IN_COLUMNS: Final = frozenset({"impersonation"})


def recognises(record: Any, /) -> bool:
    """Tell whether this has one of the forms in which Azure or a tool behind it delivers AKS logs."""
    return isinstance(record, Mapping) and "auditID" not in record and any(is_it(record) for is_it, _ in _FORMS)


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the audit event, or the records to be asked again, with cluster and subscription where a record says so."""
    for is_it, read in _FORMS:
        if is_it(_mapping(record)):
            yield from read(record)
            return


def _is_event_hub(record: Mapping[str, Any]) -> bool:
    """Amazon's Firehose has `records` too: one of them must be Azure's."""
    records = record.get("records")
    return isinstance(records, list) and any(
        isinstance(item, Mapping) and (_is_diagnostic(item) or _is_metric(item)) for item in records
    )


def _event_hub(message: Mapping[str, Any]) -> Iterator[Inner]:
    for index, item in enumerate(message["records"]):
        yield Inner(item, f".records[{index}]")


def _is_diagnostic(record: Mapping[str, Any]) -> bool:
    """Tell by what every Azure resource log has; Panther and table manifests leave out the resourceId."""
    return "category" in record and (
        "resourceId" in record or record["category"] in AUDIT or "log" in _mapping(record.get("properties"))
    )


def _diagnostic(record: Mapping[str, Any]) -> Iterator[Inner]:
    properties, context = record.get("properties"), context_of(record.get("resourceId"))
    if isinstance(properties, str):  # not documented by Azure; as JSON columns become text on their way
        yield by_category(record["category"], properties, ".properties", context)
    else:
        yield by_category(record["category"], _mapping(properties).get("log"), ".properties.log", context)


def _is_metric(record: Mapping[str, Any]) -> bool:
    """Tell a metric: a diagnostic setting may send them to the same Event Hub."""
    return "metricName" in record and "resourceId" in record


def _metric(_: Mapping[str, Any]) -> Iterator[Inner]:
    yield Inner(None, skipped="a metric")


def _is_platformlogs(record: Mapping[str, Any]) -> bool:
    return "category" in _mapping(_mapping(record.get("azure")).get("platformlogs"))


def _platformlogs(document: Mapping[str, Any]) -> Iterator[Inner]:
    """Read Elastic's form: a log that is not JSON, as one cut off in the middle, has moved to `message`.

    Source: elastic/integrations packages/azure, data_stream/platformlogs, ingest pipeline default.yml.
    """
    azure = _mapping(document["azure"])
    logs = _mapping(azure["platformlogs"])
    properties = _mapping(logs.get("properties"))
    context = context_of(_mapping(azure.get("resource")).get("id") or azure.get("resource_id"))
    if "log" not in properties and "message" in document:
        yield by_category(logs["category"], document["message"], ".message", context)
    else:
        yield by_category(logs["category"], properties.get("log"), ".azure.platformlogs.properties.log", context)


def _is_log_row(record: Mapping[str, Any]) -> bool:
    return "log_s" in record or record.get("Type") in _LOG_TABLES


def _log_row(row: Mapping[str, Any]) -> Iterator[Inner]:
    yield by_category(row.get("Category"), row.get("log_s"), ".log_s", _row_context(row))


def _is_audit_row(record: Mapping[str, Any]) -> bool:
    told = "AuditId" in record and ("RequestUri" in record or "Verb" in record or "ObjectRef" in record)
    return told or record.get("Type") in _AUDIT_TABLES


def _audit_row(row: Mapping[str, Any]) -> Iterator[Inner]:
    """Rename the columns back. A null column means that the event had no such field.

    So does an empty text, except where the API server always writes the field, empty or not (types.go: no omitempty).
    """
    columns = {name.removesuffix(" [UTC]"): value for name, value in row.items()}  # the portal's headers
    event = {field: columns[column] for column, field in _PLAIN_COLUMNS.items() if columns.get(column) is not None}
    for field in _OMITTED_IF_EMPTY:
        if event.get(field) == "":
            del event[field]
    for column, field in _DYNAMIC_COLUMNS.items():
        try:
            value = _dynamic(column, columns.get(column))
        except NotJSONError:
            shown = revealed(columns[column]) | revealed(_texts_of(event))
            yield Inner(ReadError("a column that is not JSON", path=f"$.{column}", revealed=shown))
            return
        if value is not None:
            event[field] = value
    yield Inner(event, context=_row_context(row, _LOST_IN_COLUMNS), is_event=True)


def _dynamic(column: str, value: Any) -> Any:
    """Decode a column that an export made text of; `az monitor log-analytics query` makes `None` of null.

    A body may be the text `skipped-too-big-size-object`, which stays.

    Raises:
        NotJSONError: when the text is not JSON.

    """
    if not isinstance(value, str):
        return value
    if value in ("", "None"):
        return None
    try:
        return decode_whole(value)
    except NotJSONError:
        if column in _BODIES:
            return value
        raise


def _texts_of(event: Mapping[str, Any]) -> str:
    """Write what identifies a call as an event would begin, for `revealed` to find; the URI may be long, so last."""
    names = ("verb", "auditID", "requestURI")
    return json.dumps({name: event[name] for name in names if isinstance(event.get(name), str)}, ensure_ascii=False)


def _is_container_row(record: Mapping[str, Any]) -> bool:
    return "LogMessage" in record and ("PodName" in record or "LogSource" in record)


def _container_row(row: Mapping[str, Any]) -> Iterator[Inner]:
    """Read what a pod printed. Source: learn.microsoft.com, tables/ContainerLogV2; its message may be JSON already."""
    said = {key: row.get(key) for key in ("PodNamespace", "PodName", "ContainerName", "ContainerId")}
    claims = named(row.get("PodNamespace"), row.get("PodName"), said, printed=True)
    context, message = attrs.evolve(_row_context(row), claims=claims), row["LogMessage"]
    if isinstance(message, str | Mapping):
        yield line_of(message, ".LogMessage", context)
    else:
        yield Inner(message, ".LogMessage", context, skipped="a log line of something else")


def _is_query_result(record: Mapping[str, Any]) -> bool:
    tables = record.get("tables")
    return isinstance(tables, list) and any(_is_table(table) for table in tables)


def _is_table(table: Any) -> bool:
    table = _mapping(table)
    return isinstance(table.get("columns"), list) and isinstance(table.get("rows"), list)


def _query_result(result: Mapping[str, Any]) -> Iterator[Inner]:
    """Read an answer of the Log Analytics API. Source: learn.microsoft.com, azure-monitor/logs/api/response-format."""
    if result.get("error"):
        yield Inner(ReadError("a Log Analytics result that says it is incomplete"), ".error")
    for number, table in enumerate(result["tables"]):
        yield from _table(table, f".tables[{number}]")


def _table(table: Any, place: str) -> Iterator[Inner]:
    names = [text_of(column, "name") for column in table["columns"]] if _is_table(table) else [None]
    if None in names:
        yield Inner(ReadError("a Log Analytics table without named columns and rows"), place)
        return
    if not table["rows"]:
        yield Inner(None, place, skipped="a table without rows")
    for index, row in enumerate(table["rows"]):
        fits = isinstance(row, list) and len(row) == len(names)
        record = dict(zip(names, row, strict=True)) if fits else ReadError("a row that does not fit its columns")
        yield Inner(record, f"{place}.rows[{index}]")


def by_category(category: Any, log: Any, place: str, context: Context) -> Inner:
    """Pass on the log of a record unless its category names another log."""
    name = category.lower() if isinstance(category, str) else None
    if name is not None and name not in AUDIT:
        what = f"log category {name}" if name in _OTHER_LOGS else "another log category"
        return Inner(log, place, context, skipped=what)
    if isinstance(log, str | Mapping):
        return Inner(log, place, context)
    return Inner(ReadError("an Azure record of the audit log without its log"), place)


def _row_context(row: Mapping[str, Any], lost: frozenset[str] = frozenset()) -> Context:
    context = context_of(row.get("_ResourceId") or row.get("ResourceId"), lost)
    connected = isinstance(row.get("Type"), str) and row["Type"].startswith("Arc")
    return attrs.evolve(context, platform="kubernetes") if connected else context


def context_of(resource: Any, lost: frozenset[str] = frozenset()) -> Context:
    """Take cluster and subscription from a resource id, which some sources write in capitals, some in small letters.

    A connected cluster (Arc) runs outside of Azure: none of AKS's own identities is in it.
    """
    match = _CLUSTER.fullmatch(resource) if isinstance(resource, str) else None
    account, connected, cluster = match.groups() if match else (None, None, None)
    return Context("kubernetes" if connected else "aks", cluster=cluster, account=account, lost=lost)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_FORMS: Final[
    tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Iterator[Inner]]], ...]
] = (
    (_is_event_hub, _event_hub),
    (_is_query_result, _query_result),
    (_is_audit_row, _audit_row),
    (_is_log_row, _log_row),
    (_is_container_row, _container_row),
    (_is_diagnostic, _diagnostic),
    (_is_metric, _metric),
    (_is_platformlogs, _platformlogs),
)
