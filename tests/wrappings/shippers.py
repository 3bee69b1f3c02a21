# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as log shippers send them and log stores give them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

CLUSTER: Final = "prod-1"


def lines(records: Iterable[Any]) -> bytes:
    """Return JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def each(wrap: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], bytes]:
    """Return what wraps every event into a line of its own."""
    return lambda events: lines(wrap(event) for event in events)


def fluent_bit(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record of Fluent Bit's tail input with its kubernetes filter; Docker's json-file looks the same."""
    return {
        "date": 1795470053.123,
        "log": json.dumps(event) + "\n",
        "stream": "stdout",
        "time": "2026-11-23T21:43:46.123456789Z",
        "kubernetes": {"pod_name": "kube-apiserver-cp-1", "namespace_name": "kube-system"},
    }


def vector(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record of Vector's file source."""
    return {
        "file": "/var/log/kubernetes/audit.log",
        "host": "cp-1",
        "message": json.dumps(event),
        "source_type": "file",
        "timestamp": "2026-11-23T21:43:46.123456789Z",
    }


def logstash(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record of Logstash or Filebeat, where `log`, `event` and `host` are objects."""
    return {
        "@timestamp": "2026-11-23T21:43:46.123Z",
        "@version": "1",
        "message": json.dumps(event),
        "event": {"original": json.dumps(event)},
        "host": {"name": "cp-1"},
        "log": {"file": {"path": "/var/log/kubernetes/audit.log"}, "offset": 3},
    }


def openshift(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record of OpenShift Logging that was not merged."""
    return {
        "@timestamp": "2026-11-23T21:43:46.123Z",
        "log_type": "audit",
        "log_source": "kubeAPI",
        "openshift": {"cluster_id": CLUSTER, "sequence": 7},
        "structured": event,
        "message": json.dumps(event),
    }


def hec(event: dict[str, Any], *, text: bool = False) -> dict[str, Any]:
    """Return what Splunk's HTTP Event Collector is sent."""
    return {
        "time": 1795470053.123,
        "host": "cp-1",
        "source": "/var/log/kubernetes/audit.log",
        "sourcetype": "kube:apiserver:audit",
        "index": "k8s",
        "event": json.dumps(event) if text else event,
        "fields": {"k8s.cluster.name": CLUSTER},
    }


def splunk_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a Splunk search."""
    return {"_raw": json.dumps(event), "_time": "2026-11-23T21:43:46.123+00:00", "sourcetype": "kube:apiserver:audit"}


def loki_streams(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one stream of Loki."""
    values = [["1795470053123456789", json.dumps(event)] for event in events]
    return [{"stream": {"job": "audit", "cluster": CLUSTER}, "values": values}]


def datadog(event: dict[str, Any], *, parsed: bool) -> dict[str, Any]:
    """Return one log of Datadog's Logs API: with its message, or with what was parsed of it."""
    attributes = {
        "attributes": event if parsed else {},
        "service": "kube-apiserver",
        "status": "info",
        "tags": ["env:prod", f"kube_cluster_name:{CLUSTER}"],
        "timestamp": "2026-11-23T21:43:46.123Z",
    }
    return {
        "id": "AAAA",
        "type": "log",
        "attributes": attributes if parsed else attributes | {"message": json.dumps(event)},
    }


WRAPPINGS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "fluent bit log": each(fluent_bit),
    "fluent bit log_processed": each(
        lambda event: {"log": json.dumps(event), "log_processed": event, "stream": "stdout"}
    ),
    "fluentd msg": each(lambda event: {"msg": json.dumps(event), "tag": "kube-apiserver-audit"}),
    "fluentd log object": each(lambda event: {"log": event, "time": "2026-11-23T21:43:46Z"}),
    "vector message": each(vector),
    "logstash message": each(logstash),
    "sekoia message": each(lambda event: {"message": json.dumps(event) + "\n", "sekoiaio": {"intake": {}}}),
    "openshift structured": each(openshift),
    "gelf in a message": each(
        lambda event: {"message": json.dumps({"_appID": "a", "version": "1.1", "short_message": json.dumps(event)})}
    ),
    "splunk hec object": each(hec),
    "splunk hec text": each(lambda event: hec(event, text=True)),
    "splunk export": each(lambda event: {"preview": False, "offset": 0, "lastrow": True, "result": splunk_row(event)}),
    "splunk rows": each(splunk_row),
    "splunk results": lambda events: lines([{"preview": False, "results": [splunk_row(event) for event in events]}]),
    "loki push": lambda events: lines([{"streams": loki_streams(events)}]),
    "loki query": lambda events: lines(
        [{"status": "success", "data": {"resultType": "streams", "result": loki_streams(events), "stats": {}}}]
    ),
    "logcli": each(
        lambda event: {"labels": {"job": "audit"}, "line": json.dumps(event), "timestamp": "2026-11-23T21:43:46Z"}
    ),
    "datadog messages": lambda events: lines([{"data": [datadog(event, parsed=False) for event in events]}]),
    "datadog attributes": lambda events: lines([{"data": [datadog(event, parsed=True) for event in events]}]),
    "a shipper around a shipper": each(lambda event: {"message": json.dumps(fluent_bit(event)), "host": "relay"}),
}
"""One file of each kind."""
