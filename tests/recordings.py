# SPDX-License-Identifier: Apache-2.0
"""The recorded audit logs and their labels, joined request by request."""

from __future__ import annotations

import functools
import gzip
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import orjson

from k8stokendetect import Event, Finding, parse_event

DATA = Path(__file__).parent / "data"
METADATA = DATA / "metadata.log.gz"
METADATA_1_27 = DATA / "v1.27-metadata.log.gz"
REQUEST_RESPONSE = DATA / "requestresponse-excerpt.log.gz"
WEBHOOK = DATA / "webhook-excerpt.jsonl.gz"


@attrs.frozen
class Request:
    """What identifies a request across its stages: a client cannot choose the second half."""

    audit_id: str
    received: str

    @classmethod
    def of(cls, item: Finding | dict[str, Any]) -> Request:
        """Name the request of a finding or of a recorded event."""
        if isinstance(item, Finding):
            assert item.event.time is not None
            return cls(item.event.audit_id, item.event.time.isoformat(timespec="microseconds").replace("+00:00", "Z"))
        return cls(item["auditID"], item["requestReceivedTimestamp"].removesuffix("Z").ljust(26, "0") + "Z")


def records(path: Path) -> list[dict[str, Any]]:
    """Return the recorded events, split at the byte 0x0A only; they are shared: copy one before changing it."""
    return list(_decoded(path))


@functools.cache
def events(path: Path) -> tuple[Event, ...]:
    """Return the recorded events, typed."""
    return tuple(parse_event(record) for record in records(path))


def labels(path: Path) -> list[dict[str, Any]]:
    """Return the labels of a recording; they are shared: copy one before changing it."""
    return list(_decoded(_labels_of(path)))


def changed() -> list[str]:
    """Name the files of which a test changed what is shared."""
    return [path.name for path in _READ if _decoded(path) != tuple(map(orjson.loads, _lines(path)))]


_READ: list[Path] = []
"""What has been decoded."""


@functools.cache
def _decoded(path: Path) -> tuple[Any, ...]:
    _READ.append(path)
    return tuple(map(json.loads, _lines(path)))


def _lines(path: Path) -> list[bytes]:
    with gzip.open(path) as file:
        return [line for line in file.read().split(b"\n") if line]


def _labels_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".log.gz", ".labels.jsonl.gz"))


def requests(findings: Iterable[Finding]) -> Counter[Request]:
    """Count the findings of each request."""
    return Counter(Request.of(finding) for finding in findings)


@functools.cache
def labelled_token_requests(path: Path) -> dict[Request, dict[str, Any]]:
    """Join each recorded call to serviceaccounts/token with its label.

    An auditID is not unique (a client may choose it): labels of one auditID and resource are taken in their order.
    """
    waiting: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
    for label in labels(path):
        if label["resource"] == "serviceaccounts/token":
            waiting[label["auditID"]].append(label)
    joined: dict[Request, dict[str, Any]] = {}
    for record in records(path):
        ref = record.get("objectRef", {})
        request = Request.of(record)
        if (ref.get("resource"), ref.get("subresource")) == ("serviceaccounts", "token") and request not in joined:
            label = waiting[record["auditID"]].popleft()
            joined[request] = label | {"event": record}
    return joined
