# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as Google Cloud Logging writes those of GKE, and as Pub/Sub delivers its entries."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

PROJECT: Final = "project-1"
CLUSTER: Final = "prod-1"
LOCATION: Final = "europe-west3"
GRPC: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 6, 422: 3, 500: 13}
"""What becomes of HTTP codes that are no success (google/rpc/code.proto); of 405, 409 and 422, the likeliest."""
READS: Final = ("get", "list", "watch")


def payload(event: dict[str, Any]) -> dict[str, Any]:
    """Return the AuditLog of an event; bodies with the type that Google puts beside theirs."""
    code = event.get("responseStatus", {}).get("code")
    path = resource_name(event)
    method = method_name(event)
    user = event["user"].get("username")
    log: dict[str, Any] = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "authenticationInfo": {"principalEmail": user} if user else {},
        "methodName": method,
        "requestMetadata": {"callerIp": event["sourceIPs"][0]}
        | ({"callerSuppliedUserAgent": event["userAgent"]} if event.get("userAgent") else {}),
        "resourceName": path,
        "serviceName": "k8s.io",
    }
    if code != 401:
        permission = {"permission": method, "resource": path}
        log["authorizationInfo"] = [permission if code == 403 else {"granted": True, **permission}]
    if code is not None:
        log["status"] = (
            {"code": GRPC[code], "message": event["responseStatus"].get("message", "refused")} if code >= 400 else {}
        )
    for ours, theirs in (("requestObject", "request"), ("responseObject", "response")):
        if ours in event:
            log[theirs] = {"@type": "authentication.k8s.io/v1.TokenRequest", **event[ours]}
    return log


def resource_name(event: dict[str, Any]) -> str:
    """Return group, version and path of the objectRef, or the path of no resource."""
    ref = event.get("objectRef")
    if ref is None:
        return str(event["requestURI"].partition("?")[0].strip("/"))
    parts = [ref.get("apiGroup", "core"), ref["apiVersion"]]
    if "namespace" in ref and ref.get("resource") != "namespaces":
        parts += ["namespaces", ref["namespace"]]
    return "/".join([*parts, ref.get("resource", ""), *(ref[key] for key in ("name", "subresource") if key in ref)])


def method_name(event: dict[str, Any]) -> str:
    """Return the method: a group with a domain is written backwards, one without belongs to io.k8s."""
    ref = event.get("objectRef")
    if ref is None:
        return f"io.k8s.{event['verb']}"
    group = ref.get("apiGroup", "core")
    domain = ".".join(reversed(group.split("."))) if "." in group else f"io.k8s.{group}"
    what = [ref["apiVersion"], ref.get("resource", ""), *([ref["subresource"]] if "subresource" in ref else [])]
    return ".".join([domain, *what, event["verb"]])


def entry(event: dict[str, Any]) -> dict[str, Any]:
    """Return one LogEntry."""
    kind = "data_access" if event["verb"] in READS else "activity"
    return {
        "insertId": event["auditID"],
        "labels": event.get("annotations", {}),
        "logName": f"projects/{PROJECT}/logs/cloudaudit.googleapis.com%2F{kind}",
        "operation": {"first": True, "id": event["auditID"], "last": True, "producer": "k8s.io"},
        "protoPayload": payload(event),
        "receiveTimestamp": "2026-11-23T21:43:47.157698684Z",
        "resource": resource(),
        "timestamp": event["requestReceivedTimestamp"],
    }


def resource(kind: str = "k8s_cluster") -> dict[str, Any]:
    """Return the monitored resource."""
    return {
        "labels": {"cluster_name": CLUSTER, "location": LOCATION, "project_id": PROJECT},
        "type": kind,
    }


def collected(**content: Any) -> dict[str, Any]:
    """Return what an agent collected on a node of a cluster that runs its own API server."""
    return {
        "insertId": "1g9aj2ff8e1y2a",
        "labels": {"compute.googleapis.com/resource_name": "cp-1"},
        "logName": f"projects/{PROJECT}/logs/kube-apiserver-audit",
        "receiveTimestamp": "2026-11-23T21:43:47.157698684Z",
        "resource": resource("k8s_node"),
        "timestamp": "2026-11-23T21:43:46.590000Z",
        **content,
    }


def message(inner: dict[str, Any], *, pushed: bool = False) -> dict[str, Any]:
    """Return a Pub/Sub message; a pushed one has two of its names twice."""
    twice = {"message_id": "2070443601311540", "publish_time": "2026-11-23T21:43:48.789Z"}
    return {
        "attributes": {"logging.googleapis.com/timestamp": inner["timestamp"]},
        "data": base64.b64encode(json.dumps(inner).encode()).decode(),
        "messageId": "2070443601311540",
        "publishTime": "2026-11-23T21:43:48.789Z",
        **(twice if pushed else {}),
    }


def push(event: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a push request."""
    return {
        "message": message(entry(event), pushed=True),
        "subscription": f"projects/{PROJECT}/subscriptions/audit",
    }


def pulled(event: dict[str, Any]) -> dict[str, Any]:
    """Return one message of a pull."""
    return {"ackId": "RVNEUAYWLF1GSFE3GQhoUQ5PXiM_NSAoRRIICBQFfH1xU1x1Xl", "message": message(entry(event))}


def _lines(wrap: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], bytes]:
    return lambda events: b"".join(json.dumps(wrap(event)).encode() + b"\n" for event in events)


WRAPPINGS: Final[dict[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "gke log entries": _lines(entry),
    "gke gcloud logging read": lambda events: json.dumps([entry(event) for event in events], indent=2).encode(),
    "gke pub/sub push": _lines(push),
    "gke pub/sub message": _lines(lambda event: message(entry(event))),
    "gke gcloud pubsub pull": lambda events: json.dumps([pulled(event) for event in events], indent=2).encode(),
    "gke pub/sub pull": lambda events: json.dumps({"receivedMessages": [pulled(event) for event in events]}).encode(),
    "gke self-managed, jsonPayload": _lines(lambda event: collected(jsonPayload=event)),
    "gke self-managed, textPayload": _lines(lambda event: collected(textPayload=json.dumps(event) + "\n")),
    "gke self-managed, a shipper's record": _lines(lambda event: collected(jsonPayload={"log": json.dumps(event)})),
}
AS_LOGGED: Final = frozenset(name for name in WRAPPINGS if "self-managed" in name)
"""Those that carry the event as the API server wrote it; all others lose much of it."""
