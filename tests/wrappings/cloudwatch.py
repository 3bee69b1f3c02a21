# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as EKS writes them to CloudWatch Logs, and as AWS and others hand them on."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

Events = list[dict[str, Any]]

ACCOUNT = "111122223333"
CLUSTER = "prod"
REGION = "eu-central-1"
GROUP = f"/aws/eks/{CLUSTER}/cluster"
STREAM = "kube-apiserver-audit-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
MILLISECONDS = 1795470162057


def text(value: Any) -> str:
    """Write JSON as Go does: without blanks."""
    return json.dumps(value, separators=(",", ":"))


def lines(values: list[Any]) -> bytes:
    """Write JSON lines."""
    return "".join(text(value) + "\n" for value in values).encode()


def packed(value: Any) -> str:
    """Compress and encode as a subscription does."""
    return base64.b64encode(gzip.compress(text(value).encode(), mtime=0)).decode()


def batches(events: Events, size: int = 50) -> list[Events]:
    """Cut into deliveries."""
    return [events[start : start + size] for start in range(0, len(events), size)]


def log_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of GetLogEvents, which names no stream."""
    return {"timestamp": MILLISECONDS, "message": text(event), "ingestionTime": MILLISECONDS + 900}


def filtered_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of FilterLogEvents."""
    return {"logStreamName": STREAM, **log_event(event), "eventId": "3795" + "0" * 52}


def payload(events: Events) -> dict[str, Any]:
    """Return what the data of a subscription decompresses to."""
    return {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": GROUP,
        "logStream": STREAM,
        "subscriptionFilters": ["audit"],
        "logEvents": [{"id": "3795", "timestamp": MILLISECONDS, "message": text(event)} for event in events],
    }


def row(event: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row of Logs Insights for `fields @timestamp, @message, @logStream, @log`."""
    return [
        {"field": "@timestamp", "value": "2026-11-23 21:42:42.057"},
        {"field": "@message", "value": text(event)},
        {"field": "@logStream", "value": STREAM},
        {"field": "@log", "value": f"{ACCOUNT}:{GROUP}"},
        {"field": "@ptr", "value": "CmEKJgoiMTEx"},
    ]


def kinesis(events: Events) -> dict[str, Any]:
    """Return what Kinesis hands a Lambda function."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "0a1b",
                    "sequenceNumber": "4954",
                    "data": packed(payload(batch)),
                    "approximateArrivalTimestamp": 1795470163.1,
                },
                "eventSource": "aws:kinesis",
                "eventName": "aws:kinesis:record",
                "awsRegion": REGION,
                "eventSourceARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/audit",
            }
            for batch in batches(events)
        ]
    }


def firehose(events: Events) -> dict[str, Any]:
    """Return what Firehose hands a transformation."""
    return {
        "invocationId": "2b4d1ad9-2f48-94bd-a088-767c317e994a",
        "deliveryStreamArn": f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/audit",
        "region": REGION,
        "records": [
            {
                "recordId": f"4954664{number}",
                "approximateArrivalTimestamp": MILLISECONDS,
                "data": packed(payload(batch)),
            }
            for number, batch in enumerate(batches(events))
        ],
    }


def sentinel(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of AWSEKSLogs."""
    ref = event.get("objectRef", {})
    return {
        "TimeGenerated": event.get("requestReceivedTimestamp"),
        "AuthDecision": event.get("annotations", {}).get("authorization.k8s.io/decision"),
        "AwsAccountId": ACCOUNT,
        "ClusterName": CLUSTER,
        "ObjectRef": f"{ref.get('namespace')}/{ref.get('resource')}/{ref.get('name')}",
        "RawEvent": event,
        "Region": REGION,
        "Verb": event.get("verb"),
        "Type": "AWSEKSLogs",
    }


def panther_time(time: str) -> str:
    """Return a time as Panther writes it: milliseconds, no zone, no zeros at the end."""
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    fraction = fraction[:3].rstrip("0")
    return seconds.replace("T", " ") + (f".{fraction}" if fraction else "")


def panther_key(key: str) -> str:
    """Return a key of `extra` as Panther writes it."""
    return key.replace(".", "_").replace("/", "_slash_")


def panther(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of Amazon.EKS.Audit; the metadata of a responseStatus is dropped."""
    changed = dict(event)
    for key in event.keys() & {"requestReceivedTimestamp", "stageTimestamp"}:
        changed[key] = panther_time(event[key])
    for key in event.keys() & {"user", "impersonatedUser"}:
        if "extra" in event[key]:
            extra = {panther_key(name): values for name, values in event[key]["extra"].items()}
            changed[key] = event[key] | {"extra": extra}
    if "responseStatus" in event:
        changed["responseStatus"] = {k: v for k, v in event["responseStatus"].items() if k != "metadata"}
    return {
        **changed,
        "p_any_ip_addresses": event.get("sourceIPs"),
        "p_event_time": changed.get("requestReceivedTimestamp"),
        "p_log_type": "Amazon.EKS.Audit",
        "p_row_id": "c2a7d8dd7c858dcae0a1aaf314b2a207",
        "p_source_label": "our-eks-logs",
    }


WRAPPINGS: dict[str, Callable[[Events], bytes]] = {
    "cloudwatch log events": lambda events: lines([log_event(event) for event in events]),
    "cloudwatch filter-log-events": lambda events: text(
        {"events": [filtered_event(event) for event in events], "searchedLogStreams": []}
    ).encode(),
    "cloudwatch get-log-events": lambda events: text(
        {
            "events": [log_event(event) for event in events],
            "nextForwardToken": "f/3795/s",
            "nextBackwardToken": "b/3795/s",
        }
    ).encode(),
    "cloudwatch insights results": lambda events: text(
        {
            "results": [row(event) for event in events],
            "statistics": {"recordsMatched": float(len(events))},
            "status": "Complete",
        }
    ).encode(),
    "cloudwatch insights rows": lambda events: lines([row(event) for event in events]),
    "cloudwatch subscription": lambda events: lines(
        [{"awslogs": {"data": packed(payload(batch))}} for batch in batches(events)]
    ),
    "cloudwatch subscription, decoded": lambda events: lines([payload(batch) for batch in batches(events)]),
    "cloudwatch kinesis": lambda events: text(kinesis(events)).encode(),
    "cloudwatch firehose": lambda events: text(firehose(events)).encode(),
    "sentinel AWSEKSLogs": lambda events: lines([sentinel(event) for event in events]),
    "sentinel AWSEKSLogs, RawEvent as text": lambda events: lines(
        [sentinel(event) | {"RawEvent": text(event)} for event in events]
    ),
    "panther Amazon.EKS.Audit": lambda events: lines([panther(event) for event in events]),
}
