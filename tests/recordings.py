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
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID

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


@functools.cache
def few(path: Path, each: int, *, others: bool = True) -> tuple[dict[str, Any], ...]:
    """Return a small part of a recording, in its order, in which all the same is found.

    Of each rule, severity and exclusion in its snapshot, the events of the first `each` requests, or of all that are
    critical, with the mints of the tokens that they used. With others, the first event of each resource as well.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for part, words in (("reported", 2), ("excluded", 3)):
        for line in _snapshot_of(path, part).read_text(encoding="utf-8").splitlines():
            *kind, name = line.split(" ", words)
            if len(names[str(kind)]) < each or "critical" in kind:
                names[str(kind)].add(name)
    log = records(path)
    wanted = set[str]().union(*names.values())
    chosen = {number for number, record in enumerate(log) if json.dumps(record["auditID"])[1:-1] in wanted}
    mints = {_issued(record): number for number, record in enumerate(log)}
    waiting = list(chosen)
    while waiting:
        mint = mints.get(_used(log[waiting.pop()]))
        if mint is not None and mint not in chosen:
            chosen.add(mint)
            waiting.append(mint)
    if others:
        chosen.update({_resource(log[number]): number for number in reversed(range(len(log)))}.values())
    return tuple(log[number] for number in sorted(chosen))


def few_of(findings: Iterable[Finding], each: int) -> list[Finding]:
    """Return the first so many findings of each rule, severity and exclusion."""
    seen = Counter[tuple[Any, ...]]()
    chosen = []
    for finding in findings:
        kind = (finding.rule.id, finding.severity, finding.excluded_by)
        seen[kind] += 1
        if seen[kind] <= each:
            chosen.append(finding)
    return chosen


def _resource(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an event is about."""
    ref = record.get("objectRef", {})
    return ref.get("resource"), ref.get("subresource")


def _issued(record: dict[str, Any]) -> str | None:
    """Return the id of the token that an event issued."""
    notes = record.get("annotations", {})
    return next((notes[key] for key in ISSUED_CREDENTIAL_ID if key in notes), None)


def _used(record: dict[str, Any]) -> str:
    """Return the id of the credential that a request was made with."""
    return "".join(record["user"].get("extra", {}).get(CREDENTIAL_ID, ()))


_READ: list[Path] = []
"""What has been decoded."""


@functools.cache
def _decoded(path: Path) -> tuple[Any, ...]:
    _READ.append(path)
    return tuple(map(json.loads, _lines(path)))


def _lines(path: Path) -> list[bytes]:
    with gzip.open(path) as file:
        return [line for line in file.read().split(b"\n") if line]


def _snapshot_of(path: Path, part: str) -> Path:
    return DATA / "snapshots" / f"{path.name.partition('.log')[0]}.{part}.txt"


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
