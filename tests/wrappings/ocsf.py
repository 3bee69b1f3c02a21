# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as OCSF API Activity: Security Lake's v1.1.0, the bloblang mapping v1.2.0, v1.5.0, table rows.

Source: github.com/ocsf/examples, mappings/markdown/AWS/v1.1.0 and v1.5.0 (EKS Audit Logs), mappings/bloblang/AWS/eks.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

CLUSTER: Final = "prod-1"
REGION: Final = "eu-central-1"
MAPPED_EXTRA: Final = ("arn", "canonicalArn", "sessionName", "accessKeyId")
COLUMNS: Final = {
    "actor": {"session": {"credential_uid": None, "issuer": None, "uid": None}, "user": {"uid": None}},
    "api": {
        "group": None,
        "request": {"data": None},
        "response": {"code": None, "data": None, "error": None, "error_message": None, "message": None},
        "version": None,
    },
    "policy": None,
    "src_endpoint": {"intermediate_ips": None},
    "start_time_dt": None,
}
"""Columns of the table, some of which are null."""


def moment(text: str) -> datetime:
    """Return the time that an audit event has as text."""
    return datetime.fromisoformat(text)


def milliseconds(text: str) -> int:
    """Return a time as Security Lake writes `time`."""
    return microseconds(text) // 1000


def microseconds(text: str) -> int:
    """Return a time as bloblang's ts_unix_micro does."""
    return (moment(text) - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(microseconds=1)


def mapped(event: dict[str, Any]) -> dict[str, Any]:
    """Return what every version of the mapping has in common."""
    user, ref, status = event["user"], event.get("objectRef"), event.get("responseStatus", {})
    extra = user.get("extra", {})
    session = {"credential_uid": "accessKeyId", "issuer": "canonicalArn", "uid": "sessionName"}
    response = {"code": "code", "message": "message", "error": "reason", "error_message": "status"}
    record = {
        "activity_id": 1,
        "activity_name": "Create",
        "actor": {
            "session": {key: extra[name][0] for key, name in session.items() if name in extra},
            "user": {
                "name": user.get("username"),
                "groups": [{"name": name} for name in user.get("groups", [])],
                "type_id": 0,
            },
        },
        "api": {
            "operation": event["verb"],
            "request": {"uid": event["auditID"]},
            "response": {key: status[name] for key, name in response.items() if name in status},
        },
        "category_name": "Application Activity",
        "category_uid": 6,
        "class_name": "API Activity",
        "class_uid": 6003,
        "cloud": {"provider": "AWS", "region": REGION},
        "http_request": {"url": {"path": event["requestURI"]}, "user_agent": event.get("userAgent")},
        "message": event["stage"],
        "metadata": {
            "log_level": event["level"],
            "product": {
                "feature": {"name": "Elastic Kubernetes Service"},
                "name": "Amazon EKS",
                "vendor_name": "AWS",
                "version": "audit.k8s.io/v1",
            },
            "profiles": ["cloud", "datetime"],
        },
        "observables": [{"name": "actor.user.name", "type": "User Name", "type_id": 4, "value": user.get("username")}],
        "severity": "Informational",
        "severity_id": 1,
        "src_endpoint": {"ip": event["sourceIPs"][0]},
        "type_name": "API Activity: Create",
        "type_uid": 600301,
    }
    if "uid" in user:
        record["actor"]["user"]["uid"] = user["uid"]
    if "arn" in extra:
        record["cloud"]["account"] = {"uid": extra["arn"][0]}
    if ref:
        record["api"] |= {"version": ref["apiVersion"]} | (
            {"group": {"name": ref["apiGroup"]}} if "apiGroup" in ref else {}
        )
        names = {
            "name": "name",
            "namespace": "namespace",
            "type": "resource",
            "uid": "uid",
            "version": "resourceVersion",
        }
        record["resources"] = [{key: ref[name] for key, name in names.items() if name in ref}]
    return record


def left_over(event: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an event that the mapping has no place for, still nested."""
    rest = copy.deepcopy(event)
    for (
        key
    ) in "auditID verb level apiVersion stage requestURI userAgent requestReceivedTimestamp stageTimestamp".split():
        rest.pop(key, None)
    for part, keys in {
        "user": ("username", "uid", "groups"),
        "objectRef": (
            "resource",
            "subresource",
            "namespace",
            "name",
            "uid",
            "apiGroup",
            "apiVersion",
            "resourceVersion",
        ),
        "responseStatus": ("code", "message", "reason", "status"),
    }.items():
        rest[part] = {key: value for key, value in rest.get(part, {}).items() if key not in keys}
    if "extra" in rest["user"]:
        rest["user"]["extra"] = {key: value for key, value in rest["user"]["extra"].items() if key not in MAPPED_EXTRA}
    return rest


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Return what Security Lake makes of `unmapped`: texts under full names, lists joined by commas."""
    return {name: ",".join(texts) for name, texts in _gathered(value, path).items()}


def _gathered(value: Any, path: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in _leaves(value, path):
        found.setdefault(name, []).append(text)
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, f"{path}[]")
    elif value is not None:
        yield path, value if isinstance(value, str) else json.dumps(value)


def v1_1(event: dict[str, Any]) -> dict[str, Any]:
    """Return Security Lake's form of source version 2 (OCSF 1.1.0)."""
    record = mapped(event)
    record["metadata"]["version"] = "1.1.0"
    if event["sourceIPs"][1:]:
        record["src_endpoint"]["intermediate_ips"] = event["sourceIPs"][1:]
    for name, field in {"start_time": "requestReceivedTimestamp", "time": "stageTimestamp"}.items():
        record[f"{name}_dt"] = moment(event[field]).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "000"
    return record | {"time": milliseconds(event["stageTimestamp"]), "unmapped": flat(left_over(event))}


def v1_2(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the bloblang mapping makes: the second address alone, null for what is not there, all else nested."""
    record = mapped(event)
    record["metadata"]["version"] = "1.2.0"
    if event["sourceIPs"][1:]:
        record["src_endpoint"]["intermediate_ips"] = event["sourceIPs"][1]
    record["api"]["response"].setdefault("code", None)
    record["actor"]["user"].setdefault("uid", None)
    nothing = dict.fromkeys(("name", "namespace", "type", "uid", "version"))
    record["resources"] = [nothing | record.get("resources", [{}])[0]]
    unmapped = left_over(event)
    del unmapped["sourceIPs"]
    return record | {
        "start_time": microseconds(event["requestReceivedTimestamp"]),
        "start_time_dt": event["requestReceivedTimestamp"],
        "time": microseconds(event["stageTimestamp"]),
        "time_dt": event["stageTimestamp"],
        "unmapped": unmapped,
    }


def v1_5(event: dict[str, Any]) -> dict[str, Any]:
    """Return v1.5.0: bodies as text, `kind` and the authorization's reason mapped, other annotations dropped."""
    record = v1_1(event)
    record["metadata"] |= {"version": "1.5.0", "log_name": event["kind"]}
    for name in ("start_time_dt", "time_dt"):
        record[name] += "+00:00"
    for part in ("request", "response"):
        if f"{part}Object" in event:
            record["api"][part]["data"] = json.dumps(event[f"{part}Object"], separators=(",", ":"))
    reason = event.get("annotations", {}).get("authorization.k8s.io/reason")
    if reason:
        record["policy"] = {"name": reason}
    dropped = ("kind", "annotations.", "requestObject.", "responseObject.", "responseStatus.")
    kept = {key: value for key, value in record["unmapped"].items() if not key.startswith(dropped)}
    return record | {"action": "Unknown", "action_id": 0, "unmapped": {"eks_cluster_name": CLUSTER} | kept}


def row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of Security Lake's table as pyarrow gives it: null in every other column, pairs for a map."""
    record: dict[str, Any] = _with_nulls(v1_5(event), COLUMNS)
    return record | {"unmapped": [list(pair) for pair in record["unmapped"].items()]}


def _with_nulls(record: Any, columns: Any) -> Any:
    if not isinstance(columns, dict):
        return record
    names = [*columns, *(key for key in record if key not in columns)]
    return {name: _with_nulls(record.get(name, columns.get(name)), columns.get(name)) for name in names}


def lines(wrap: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[list[dict[str, Any]]], bytes]:
    """Return a function that writes one record a line."""
    return lambda events: b"".join(json.dumps(wrap(event)).encode() + b"\n" for event in events)


FORMS: Final = {"ocsf v1.1": v1_1, "ocsf v1.2 bloblang": v1_2, "ocsf v1.5": v1_5, "ocsf row": row}
WRAPPINGS: Final[dict[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    name: lines(wrap) for name, wrap in FORMS.items()
}
