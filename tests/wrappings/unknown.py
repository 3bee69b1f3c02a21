# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events in forms that no wrapper is written for, and in lines with words before them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any, Final

from wrappings.shippers import each, lines


def text(event: Any) -> str:
    """Write an event as Go does."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def prefixed(prefix: str) -> Callable[[list[dict[str, Any]]], bytes]:
    """Return what writes every event behind a prefix."""
    return lambda events: "".join(f"{prefix}{text(event)}\n" for event in events).encode()


def otlp(events: list[dict[str, Any]]) -> bytes:
    """Return one request of OpenTelemetry's exporter (opentelemetry-proto, logs/v1/logs.proto, as JSON)."""
    logs = [{"timeUnixNano": "1795470053123000000", "body": {"stringValue": text(event)}} for event in events]
    resource = {"attributes": [{"key": "host.name", "value": {"stringValue": "cp-1"}}]}
    return lines([{"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": logs}]}]}])


def wazuh(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record of Wazuh's archives: the line, and what was parsed of it."""
    return {"timestamp": "2026-11-23T21:43:46.123+0000", "full_log": text(event), "data": event, "location": "x"}


def graylog(event: dict[str, Any]) -> dict[str, Any]:
    """Return a GELF record of which the short message is cut."""
    return {"version": "1.1", "host": "cp-1", "short_message": text(event)[:80], "full_message": text(event)}


def packed(events: list[dict[str, Any]]) -> bytes:
    """Return an envelope with compressed lines."""
    data = gzip.compress("\n".join(map(text, events)).encode(), mtime=0)
    return lines([{"batch": {"payload": base64.b64encode(data).decode(), "count": len(events)}}])


WRAPPINGS: Final[dict[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "journald": each(lambda event: {"MESSAGE": text(event), "_SYSTEMD_UNIT": "k3s.service", "PRIORITY": "6"}),
    "eventbridge": each(lambda event: {"version": "0", "detail-type": "audit", "source": "k8s", "detail": event}),
    "filebeat json": each(lambda event: {"json": event, "log": {"offset": 3, "file": {"path": "/audit.log"}}}),
    "event.original": each(lambda event: {"@timestamp": "2026-11-23", "event": {"original": text(event)}}),
    "wazuh": each(wazuh),
    "graylog": each(graylog),
    "insights console": lambda events: json.dumps(
        [{"@timestamp": "2026-11-23 21:43:46.123", "@message": event} for event in events], indent=1
    ).encode(),
    "otlp": otlp,
    "packed": packed,
    "JSON string": lambda events: lines(map(text, events)),
    "syslog 3164": prefixed("Nov 23 21:43:46 cp-1 kube-apiserver[123]: "),
    "syslog 5424": prefixed('<134>1 2026-11-23T21:43:46.123Z cp-1 kube-apiserver 123 - [m@1 a="b"] '),
    "grep": prefixed("/var/log/kubernetes/audit/audit-2026-11-20.log:17:"),
    "logcli": prefixed('2026-11-23T21:43:46Z {job="audit", namespace="kube-system"} '),
    "kubectl logs --prefix": prefixed("[pod/kube-apiserver-cp-1/kube-apiserver] "),
    "syslog in JSON": each(lambda event: {"syslog": {"text": f"<13>Nov 23 21:43:46 cp-1 audit: {text(event)}"}}),
    "CRI in JSON": each(lambda event: {"raw": f"2026-11-23T21:43:46.123456789Z stdout F {text(event)}\n"}),
}
