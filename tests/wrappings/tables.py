# SPDX-License-Identifier: Apache-2.0
"""Writes audit events as the tables that portals, query services and libraries export."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import yaml
from pyarrow import feather, ipc, parquet

from wrappings import azure, cloudwatch, flat, gcp

Events = list[dict[str, Any]]
Rows = list[dict[str, Any]]

AUDIT_COLUMNS: Final = (
    "Level AuditId Stage RequestUri Verb User SourceIps UserAgent ObjectRef ResponseStatus RequestObject "
    "ResponseObject RequestReceivedTime StageReceivedTime Annotations"
).split()
FIELDS: Final = (
    "Level auditID Stage requestURI Verb User sourceIPs userAgent objectRef responseStatus requestObject "
    "responseObject requestReceivedTimestamp stageTimestamp annotations"
).split()


def text(value: Any) -> str:
    """Write JSON without blanks."""
    return json.dumps(value, separators=(",", ":"))


def table(rows: Iterable[Mapping[str, Any]], delimiter: str = ",", **options: Any) -> bytes:
    """Write rows with a header; what a row does not have is an empty cell."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, delimiter=delimiter, restval="", **options)
    writer.writeheader()
    writer.writerows(listed)
    return file.getvalue().encode()


def portal_time(moment: str) -> str:
    """Write a time as Azure's portal does for an American reader."""
    return datetime.fromisoformat(moment).strftime("%m/%d/%Y, %I:%M:%S.%f %p")


def audit_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of AKSAudit as the portal writes it."""
    row: dict[str, Any] = {"TimeGenerated [UTC]": "11/23/2026, 9:43:45.000 PM"}
    for column, field in zip(AUDIT_COLUMNS, FIELDS, strict=True):
        value = event.get(field[0].lower() + field[1:])
        if column.endswith("Time"):
            row[f"{column} [UTC]"] = portal_time(value) if value else ""
        else:
            row[column] = value if isinstance(value, str) else "" if value is None else text(value)
    return row | {"Type": "AKSAudit", "_ResourceId": azure.RESOURCE_ID}


def cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write what is no text as JSON."""
    return {key: value if isinstance(value, str) else text(value) for key, value in row.items() if value is not None}


def diagnostics_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of AzureDiagnostics as the portal writes it."""
    return {
        "TimeGenerated [UTC]": "11/23/2026, 9:43:45.000 PM",
        "ResourceId": azure.RESOURCE_ID.upper(),
        "Category": "kube-audit",
        "log_s": text(event),
        "pod_s": "kube-apiserver-1",
    }


def insights_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of Logs Insights as its console writes it."""
    return {cell["field"]: cell["value"] for cell in cloudwatch.row(event)}


def splunk_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a Splunk export: the event, and fields that were extracted of it."""
    return {"_raw": text(event), "_time": "2026-11-23T21:43:45.581+0000", "host": "cp-1", **flat.splunk(event)}


def kibana_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a Kibana report."""
    return {"@timestamp": "Nov 23, 2026 @ 21:43:45.581", "message": text(event), "host.name": "-"}


def indented_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose cell spans lines."""
    return {"ts": "2026-11-23", "message": json.dumps(event, indent=2)}


def spark(events: Events) -> bytes:
    """Write as Spark does, whose quotes have a backslash."""
    rows = [{"host": "cp-1", "value": text(event), "message": text(event)} for event in events]
    return table(rows, quoting=csv.QUOTE_MINIMAL, doublequote=False, escapechar="\\")


def sink_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Rename an entry as a sink to BigQuery does; `bq --format=json` writes numbers as texts."""
    payload = dict(entry["protoPayload"])
    for key in ("request", "response"):
        if key in payload:
            payload[f"{key}Json"] = text(payload.pop(key))
    if "code" in payload.get("status", {}):
        payload["status"] = {**payload["status"], "code": str(payload["status"]["code"])}
    labels = {re.sub(r"\W", "_", key): value for key, value in entry["labels"].items()}
    rest = {key: value for key, value in entry.items() if key not in ("protoPayload", "labels")}
    return {**rest, "labels": labels, "protopayload_auditlog": payload, "jsonpayload_v1": None}


def analytics_row(value: Any) -> Any:
    """Rename an entry as Log Analytics' view does."""
    if isinstance(value, list):
        return [analytics_row(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        keep = key in ("labels", "request", "response")
        found[flat.snake(key)] = item if keep else analytics_row(item)
    if "proto_payload" in found:
        found["proto_payload"] = {"type": "x", "audit_log": found["proto_payload"]}
    return found


def explorer_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Flatten an entry as the Logs Explorer's CSV does."""
    return cells(dict(flat.dotted(entry)))


def schema(rows: Rows) -> list[dict[str, Any]]:
    """Return BigQuery's description of rows."""
    fields = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) is not None]
        lists = any(isinstance(value, list) for value in values)
        items = [item for value in values for item in value] if lists else values
        field: dict[str, Any] = {"name": name, "type": "STRING", "mode": "REPEATED" if lists else "NULLABLE"}
        if any(isinstance(item, dict) for item in items):
            field |= {"type": "RECORD", "fields": schema(items)}
        fields.append(field)
    return fields


def rest(value: Any, field: dict[str, Any]) -> Any:
    """Return a value as BigQuery's REST API does."""
    if field["mode"] == "REPEATED":
        return {"v": [rest(item, {**field, "mode": "NULLABLE"}) for item in value or []]}
    if field["type"] == "RECORD" and value is not None:
        return {"v": {"f": [rest(value.get(inner["name"]), inner) for inner in field["fields"]]}}
    return {"v": value if value is None or isinstance(value, str) else text(value)}


def bigquery_rest(events: Events) -> bytes:
    """Write an answer of jobs.getQueryResults."""
    rows = [sink_row(gcp.entry(event)) for event in events]
    fields = schema(rows)
    listed = [{"f": [rest(row.get(field["name"]), field) for field in fields]} for row in rows]
    return text({"kind": "bigquery#getQueryResultsResponse", "schema": {"fields": fields}, "rows": listed}).encode()


def columns_and(events: Events, names: str, rows: str, row: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Write a list of names and a list of rows."""
    listed = [row(event) for event in events]
    keys = list(dict.fromkeys(key for one in listed for key in one))
    return text({names: keys, rows: [[one.get(key) for key in keys] for one in listed]}).encode()


def athena(events: Events) -> bytes:
    """Write an answer of GetQueryResults."""
    listed = [flat.cells(event) for event in events]
    keys = list(dict.fromkeys(key for one in listed for key in one))
    rows = [{"Data": [{"VarCharValue": key} for key in keys]}]
    rows += [{"Data": [{"VarCharValue": one[key]} if key in one else {} for key in keys]} for one in listed]
    return text({"ResultSet": {"Rows": rows}}).encode()


def insights_fields(events: Events) -> bytes:
    """Write an answer of GetQueryResults of a query that chose every field."""
    rows = [
        [{"field": key, "value": str(value)} for key, value in flat.dotted(event, lists=".{}") if value is not None]
        for event in events
    ]
    return text({"results": rows, "status": "Complete", "statistics": {}}).encode()


def arrow(rows: Rows) -> pa.Table:
    """Return rows with their times as times."""
    columns = dict.fromkeys(key for row in rows for key in row)
    listed = {key: [row.get(key) for row in rows] for key in columns}
    for key in ("requestReceivedTimestamp", "stageTimestamp"):
        if key in listed:
            listed[key] = [datetime.fromisoformat(str(value)) for value in listed[key]]
    return pa.table(listed)


def whole(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event whose objects without a schema became texts, as a lake keeps them."""
    row = {key: text(value) if key.endswith("Object") else value for key, value in event.items()}
    row["annotations"] = text(event.get("annotations", {}))
    for key in ("user", "impersonatedUser"):
        if key in event:
            row[key] = {**event[key], "extra": text(event[key].get("extra", {}))}
    status = event.get("responseStatus", {})
    row["responseStatus"] = {key: status[key] for key in ("code", "status", "reason", "message") if key in status}
    return row


def in_memory(write: Callable[[Any, io.BytesIO], object]) -> Callable[[Events], bytes]:
    """Return a function that writes a file of columns."""

    def written(events: Events) -> bytes:
        file = io.BytesIO()
        write(arrow([whole(event) for event in events]), file)
        return file.getvalue()

    return written


def ipc_file(rows: Any, file: io.BytesIO) -> None:
    """Write an Arrow file."""
    with ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)


def yaml_entries(events: Events) -> bytes:
    """Write as `gcloud logging read` does."""
    return yaml.safe_dump_all(map(gcp.entry, events), explicit_start=True, encoding="utf-8")


def csv_of(row: Callable[[dict[str, Any]], dict[str, Any]], **options: Any) -> Callable[[Events], bytes]:
    """Return a function that writes a table."""
    return lambda events: table(map(row, events), **options)


WRAPPINGS: Final[dict[str, Callable[[Events], bytes]]] = {
    "portal aksaudit": csv_of(audit_row),
    "portal log_s": lambda events: b"\xef\xbb\xbf" + table(map(diagnostics_row, events)),
    "insights": csv_of(insights_row, quoting=csv.QUOTE_ALL),
    "insights fields": insights_fields,
    "splunk": csv_of(splunk_row),
    "splunk json_rows": lambda events: columns_and(events, "fields", "rows", splunk_row),
    "kibana": csv_of(kibana_row),
    "pandas split": lambda events: columns_and(events, "columns", "data", flat.WHOLE["json_normalize"]),
    "pandas csv": csv_of(lambda event: {"": "0", **flat.python_cells(event)}),
    "cells that span lines": csv_of(indented_row),
    "semicolons": lambda events: b"sep=;\r\n" + table(map(kibana_row, events), ";"),
    "tabs": csv_of(flat.cells, delimiter="\t"),
    "spark": spark,
    "athena": athena,
    "parquet": in_memory(parquet.write_table),
    "arrow": in_memory(ipc_file),
    "feather": in_memory(feather.write_feather),
}

GOOGLE: Final[dict[str, Callable[[Events], bytes]]] = {
    "gcloud yaml": yaml_entries,
    "bq json": lambda events: text([sink_row(gcp.entry(event)) for event in events]).encode(),
    "bq rest": bigquery_rest,
    "log analytics": lambda events: text([analytics_row(gcp.entry(event)) for event in events]).encode(),
    "explorer csv": lambda events: table(explorer_row(gcp.entry(event)) for event in events),
}
"""What is lost here is what Cloud Logging loses."""
