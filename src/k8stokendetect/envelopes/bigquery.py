# SPDX-License-Identifier: Apache-2.0
"""Log entries of Google Cloud whose names or nesting a query changed; they are made LogEntries again.

- `protopayload_auditlog.methodName`: tables of a sink to BigQuery, whose labels have word characters only
  (docs.cloud.google.com/logging/docs/export/bigquery)
- `proto_payload.audit_log.method_name`: Log Analytics, `_AllLogs` (docs.cloud.google.com/logging/docs/analyze)
- `protoPayload.methodName`: the CSV of the Logs Explorer, and whatever else flattens entries
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.convert.redaction import shown
from k8stokendetect.envelopes import cells
from k8stokendetect.envelopes.base import Inner
from k8stokendetect.envelopes.keys import letters, restored
from k8stokendetect.errors import ReadError

PAYLOAD: Final = re.compile(r"proto[\W_]*payload(?:[\W_]*audit[\W_]*log)?(?:[\W_]+(.+))?", re.IGNORECASE | re.DOTALL)
_LABELS: Final = re.compile(r"labels[\W_]+(.+)", re.IGNORECASE | re.DOTALL)
_RESOURCE: Final = re.compile(r"resource[\W_]*labels[\W_]+(.+)", re.IGNORECASE | re.DOTALL)
_ENTRY: Final = {
    letters(path): path
    for path in ("insertId", "logName", "timestamp", "receiveTimestamp", "operation.id", "resource.type")
}
_FIELDS: Final = {
    letters(path): path
    for path in (
        "serviceName methodName resourceName authenticationInfo.principalEmail authenticationInfo.principalSubject "
        "requestMetadata.callerIp requestMetadata.callerSuppliedUserAgent status.code status.message "
        "authorizationInfo authenticationInfo.serviceAccountDelegationInfo request response metadata"
    ).split()
} | {"requestjson": "request", "responsejson": "response", "metadatajson": "metadata"}
_BODIES: Final = ("protoPayload.request", "protoPayload.response", "protoPayload.metadata")
_OBJECTS: Final = ("resource", "resource.labels", "labels", "operation")
_DEEPEST: Final = 4
_TRUE: Final = {"true": True, "True": True, "false": False, "False": False}


def recognises(record: Any, /) -> bool:
    """Tell an entry whose payload has another name than `protoPayload`, or became text or single columns."""
    if not isinstance(record, Mapping) or "auditID" in record or isinstance(record.get("protoPayload"), Mapping):
        return False
    keys = [key for key in record if isinstance(key, str) and PAYLOAD.fullmatch(key)]
    return any(not isinstance(record[key], Mapping | str) or record[key] for key in keys if record[key] is not None)


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the LogEntry, to be asked again."""
    if not isinstance(record, Mapping):
        return
    entry: dict[str, Any] = {"protoPayload": {}}
    try:
        for path, value in _leaves(record, "", _DEEPEST):
            _put(entry, path, value)
    except cells.CellError as error:
        yield Inner(ReadError(f"a log entry of Google Cloud: {error}", revealed=_revealed(entry)))
        return
    if not entry["protoPayload"]:
        yield Inner(ReadError("a log entry of Google Cloud whose payload is of an unknown form"))
    else:
        yield Inner(entry)


def _leaves(record: Mapping[Any, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield path and value of everything; what is a field of an entry is not looked into."""
    for key, value in record.items():
        here = f"{path}.{key}" if path else str(key)
        whole = _field(here)
        if whole is None and (here in _OBJECTS or PAYLOAD.fullmatch(here)):
            value = cells.decoded(value)  # noqa: PLW2901 - a cell
        if whole is None and isinstance(value, Mapping) and depth:
            yield from _leaves(value, here, depth - 1)
        else:
            yield here, value


def _field(path: str) -> str | None:
    """Return where the value of a path belongs; None for what is not a field of an entry."""
    if payload := PAYLOAD.fullmatch(path):
        field = _FIELDS.get(letters(payload[1] or ""))
        return f"protoPayload.{field}" if field else None
    return _ENTRY.get(letters(path))


def _put(entry: dict[str, Any], path: str, value: Any) -> None:
    """Keep a value where it belongs."""
    if cells.is_absent(value):
        return
    field = _field(path)
    if field is not None:
        *steps, last = field.split(".")
        node = entry
        for step in steps:
            node = node.setdefault(step, {})
        if field == "protoPayload.status.code":
            value = cells.number(value)
        elif field in _BODIES or last == "serviceAccountDelegationInfo":
            value = cells.decoded(value)
        elif last == "authorizationInfo":
            value = _infos(cells.decoded(value))
        node.setdefault(last, value)
    elif label := _RESOURCE.fullmatch(path):
        entry.setdefault("resource", {}).setdefault("labels", {})[_snake(label[1])] = value
    elif label := _LABELS.fullmatch(path):
        entry.setdefault("labels", {})[restored(label[1])] = cells.text(value)


def _infos(infos: Any) -> Any:
    """Return the decisions of the authorizer; `granted` may have become text, or null where it is false."""
    if not isinstance(infos, list):
        return infos
    return [_given(info) if isinstance(info, Mapping) else info for info in infos]


def _given(info: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in info.items() if value is not None}
    granted = given.get("granted")
    return given | {"granted": _TRUE.get(granted, granted)} if isinstance(granted, str) else given


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def _revealed(entry: Mapping[str, Any]) -> dict[str, str]:
    """Say what was found of the call; resourceName stands for the URI."""
    payload = entry["protoPayload"]
    who = payload.get("authenticationInfo") or {}
    method = payload.get("methodName")
    verb = method.rpartition(".")[2] if isinstance(method, str) else None
    uri, user = payload.get("resourceName"), who.get("principalEmail")
    return shown({"verb": verb, "requestURI": uri, "username": user})
