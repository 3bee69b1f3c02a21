# SPDX-License-Identifier: Apache-2.0
"""Records of clouds' logs for tests, and the forms in which AWS delivers those of CloudTrail."""

from __future__ import annotations

import base64
import copy
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "clouds"
RECORDS: list[dict[str, Any]] = json.loads((FOLDER / "cloudtrail.json").read_text(encoding="utf-8"))["Records"]
ENTRIES: list[dict[str, Any]] = [json.loads(line) for line in (FOLDER / "google.jsonl").read_bytes().splitlines()]
SIGN_INS: list[dict[str, Any]] = json.loads((FOLDER / "entra.json").read_text(encoding="utf-8"))["records"]


def record(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a record of CloudTrail with other values for some fields, which are dropped where they are `...`."""
    found = copy.deepcopy(RECORDS[index]) | changes
    return {key: value for key, value in found.items() if value is not ...}


def text(value: Any) -> str:
    """Write JSON as AWS does."""
    return json.dumps(value, separators=(",", ":"))


def file(records: list[dict[str, Any]]) -> bytes:
    """Return an object in S3, decompressed."""
    return text({"Records": records}).encode()


def lines(records: list[dict[str, Any]], wrap: Callable[[dict[str, Any]], Any] = lambda item: item) -> bytes:
    """Return one JSON document a line."""
    return "".join(f"{text(wrap(item))}\n" for item in records).encode()


def lookup(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer to LookupEvents."""
    keys = ("eventName", "eventSource", "eventID")
    return {
        "Events": [
            {name[:1].upper() + name[1:]: item.get(name) for name in keys} | {"CloudTrailEvent": text(item)}
            for item in records
        ],
        "NextToken": "x",
    }


def bus(item: dict[str, Any]) -> dict[str, Any]:
    """Return what EventBridge delivers."""
    head = {"version": "0", "id": "6a7e8feb", "detail-type": "AWS API Call via CloudTrail", "source": "aws.sts"}
    return {**head, "account": "111122223333", "time": "2026-03-02T10:01:00Z", "region": "eu-west-1", "detail": item}


def log_event(item: dict[str, Any]) -> dict[str, Any]:
    """Return a log event of CloudWatch's."""
    return {"logStreamName": "111122223333_CloudTrail_eu-west-1", "timestamp": 1772445660000, "message": text(item)}


def subscription(records: list[dict[str, Any]]) -> bytes:
    """Return what a subscription to a log group hands a Lambda function."""
    events = [{"id": str(index), "timestamp": 1772445660000, "message": text(one)} for index, one in enumerate(records)]
    source = {"owner": "111122223333", "logGroup": "CloudTrail/DefaultLogGroup", "logStream": "111122223333_CloudTrail"}
    payload = text({"messageType": "DATA_MESSAGE", **source, "logEvents": events}).encode()
    return text({"awslogs": {"data": base64.b64encode(gzip.compress(payload)).decode()}}).encode()


def archive(records: list[dict[str, Any]]) -> bytes:
    """Return a tar of two objects of S3, each compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number, part in enumerate((records[:1], records[1:])):
            content = gzip.compress(file(part))
            info = tarfile.TarInfo(f"AWSLogs/{number}.json.gz")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


WAYS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "an object in S3": file,
    "compressed": lambda records: gzip.compress(file(records)),
    "indented": lambda records: json.dumps({"Records": records}, indent=2).encode(),
    "an array": lambda records: text(records).encode(),
    "one a line": lines,
    "joined by Firehose": lambda records: "".join(map(text, records)).encode(),
    "lookup-events": lambda records: json.dumps(lookup(records), indent=4).encode(),
    "LookupEvents": lambda records: text(lookup(records)).encode(),
    "EventBridge": lambda records: lines(records, bus),
    "CloudWatch, events": lambda records: lines(records, log_event),
    "CloudWatch, filter-log-events": lambda records: text({"events": [log_event(item) for item in records]}).encode(),
    "CloudWatch, subscription": subscription,
    "CloudWatch, export task": lambda records: b"".join(
        b"2026-03-02T10:01:00.000Z " + text(item).encode() + b"\n" for item in records
    ),
    "Splunk": lambda records: lines(records, lambda item: {"preview": False, "result": {"_raw": text(item)}}),
    "Athena": lambda _: (FOLDER / "athena.csv").read_bytes(),
    "Security Lake": lambda _: (FOLDER / "security-lake.jsonl").read_bytes(),
}
