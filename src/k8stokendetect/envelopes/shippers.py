# SPDX-License-Identifier: Apache-2.0
"""Records of log shippers and stores: Fluent Bit, Fluentd, Docker, Vector, Logstash, GELF, Splunk, Loki, Datadog.

Shippers that merge the event into their record need nothing: what has an auditID at top level is a native event.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.envelopes.base import Claims, Context, Inner, is_json, line_of, text_of
from k8stokendetect.envelopes.pods import claims_of, named, of_labels, of_path
from k8stokendetect.errors import ReadError

_KEYS: Final = ("log_processed", "structured", "log", "message", "msg", "full_message", "short_message", "line", "_raw")
"""Where shippers put a line or what they parsed it to.

Fluent Bit's Merge_Log_Key, OpenShift's Vector, Docker's json-file and Fluent Bit, Vector and Logstash, Fluentd,
GELF (k8saudit-ovh), logcli, Splunk's exports.
"""

_HEC_MARKS: Final = ("sourcetype", "source", "host", "index", "time")
"""Splunk's HTTP Event Collector puts text (time: a number, too) there; an ECS document has objects."""

_CLOUDWATCH: Final = frozenset({"timestamp", "message", "ingestionTime", "eventId", "id", "logStreamName"})
_CLUSTER_TAG: Final = "kube_cluster_name:"
_POD_TAGS: Final = ("kube_namespace:", "pod_name:")


def recognises(record: Any, /) -> bool:
    """Tell whether this carries a log line or its parsed form, or is a list of such from a log store.

    CloudWatch and OCSF have a `message`, too, and so has every Status and Event of Kubernetes: those are others'.
    """
    if not isinstance(record, dict) or "auditID" in record or "class_uid" in record:
        return False
    if "kind" in record and "apiVersion" in record:
        return False
    if isinstance(record.get("timestamp"), int) and _CLOUDWATCH.issuperset(record):
        return False
    return _found(record) is not None


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the rows of a log store's answer, or the audit event, or other wrapper, that a line holds."""
    yield from _found(record) or ()


def _found(record: dict[str, Any]) -> Iterator[Inner] | None:
    """Return what is in a record; None where it has none of these forms."""
    for find in (_splunk, _loki, _datadog):
        rows = find(record)
        if rows is not None:
            return _some(rows)
    carried = _carried(record)
    if carried is None:
        return None
    key, value = carried
    if not speaks_of_event(value) and speaks_of_event(record):
        return None  # it is elsewhere
    return iter([line_in(record, key)])


def line_in(record: dict[str, Any], key: str, /) -> Inner:
    """Return what a record holds under a key, with what the shipper tells about it."""
    return line_of(record[key], f".{key}", _context(record))


def _some(rows: Iterator[Inner]) -> Iterator[Inner]:
    first = next(rows, Inner(None, skipped="an answer without log lines"))
    return itertools.chain([first], rows)


def _carried(record: dict[str, Any]) -> tuple[str, Any] | None:
    """Return the key and value that most likely hold the event: parsed, else JSON, else text, else any object."""
    found = [(key, record[key]) for key in _KEYS if isinstance(record.get(key), str | dict)]
    if any(_is_mark(record, mark) for mark in _HEC_MARKS) and isinstance(record.get("event"), str | dict):
        found.insert(0, ("event", record["event"]))
    if isinstance(record.get("attributes"), dict) and "auditID" in record["attributes"]:
        found.append(("attributes", record["attributes"]))  # Datadog, of a message that it parsed
    found = [(key, value) for key, value in found if not _is_pubsub(value)]
    return min(found, key=lambda item: _rank(item[1]), default=None)


def _rank(value: Any) -> int:
    if isinstance(value, dict):
        return 0 if "auditID" in value or value.get("kind") in ("Event", "EventList") else 4
    return 1 if is_json(value) else 2 if speaks_of_event(value) else 3


def _is_mark(record: dict[str, Any], mark: str) -> bool:
    return isinstance(record.get(mark), (str, int, float) if mark == "time" else str)


def _is_pubsub(value: Any) -> bool:
    return isinstance(value, dict) and "data" in value and "auditID" not in value


def _splunk(record: dict[str, Any]) -> Iterator[Inner] | None:
    """Return the rows of a Splunk search: one a line from `/export`, or a list; None for anything else."""
    result, results, streamed = record.get("result"), record.get("results"), "preview" in record
    if isinstance(result, dict) and (streamed or "_raw" in result):
        return iter([Inner(result, ".result")])
    if isinstance(results, list) and (streamed or any(isinstance(row, dict) and "_raw" in row for row in results)):
        return (Inner(row, f".results[{index}]") for index, row in enumerate(results))
    return iter([]) if streamed and "lastrow" in record and "result" not in record else None


def _loki(record: dict[str, Any]) -> Iterator[Inner] | None:
    """Return the lines of a push (`streams`) or a query's answer (`data.result`); None for anything else."""
    data = record.get("data")
    if isinstance(record.get("streams"), list):
        streams, place = record["streams"], ".streams"
    elif isinstance(data, dict) and data.get("resultType") == "streams" and isinstance(data.get("result"), list):
        streams, place = data["result"], ".data.result"
    else:
        return None
    return (line for index, stream in enumerate(streams) for line in _loki_lines(stream, f"{place}[{index}]"))


def _loki_lines(stream: Any, place: str) -> Iterator[Inner]:
    values = stream.get("values") if isinstance(stream, dict) else None
    if not isinstance(values, list):
        yield Inner(ReadError("a Loki stream without a list of values"), place)
        return
    context = Context(cluster=text_of(stream, "stream", "cluster"), claims=of_labels(stream.get("stream")))
    for index, value in enumerate(values):
        where = f"{place}.values[{index}]"
        if isinstance(value, list) and len(value) > 1 and isinstance(value[1], str):
            metadata = Context(claims=of_labels(value[2]) if len(value) > 2 else ())  # noqa: PLR2004 - its place
            yield line_of(value[1], where, context.inside(metadata))
        else:
            yield Inner(ReadError("a Loki value without a time and a line"), where)


def _datadog(record: dict[str, Any]) -> Iterator[Inner] | None:
    """Return what the Logs API found: the attributes of a log are its message and what was parsed of it."""
    data = record.get("data")
    if not isinstance(data, list) or not any(
        isinstance(log, dict) and _is_datadog(log.get("attributes")) for log in data
    ):
        return None
    return (_datadog_log(log, f".data[{index}]") for index, log in enumerate(data))


def _is_datadog(attributes: Any) -> bool:
    return isinstance(attributes, dict) and ("message" in attributes or "attributes" in attributes)


def _datadog_log(log: Any, place: str) -> Inner:
    if isinstance(log, dict) and isinstance(log.get("attributes"), dict):
        return Inner(log["attributes"], f"{place}.attributes")
    return Inner(ReadError("a Datadog log without attributes"), place)


def _context(record: dict[str, Any]) -> Context:
    """Tell the cluster where a shipper names it; its own pod labels and host say nothing about it."""
    claims = _claims(record)
    openshift = text_of(record, "openshift", "cluster_id")  # OpenShift Logging's data model
    if openshift:
        return Context(platform="openshift", cluster=openshift, claims=claims)
    cluster = text_of(record, "fields", "k8s.cluster.name")  # OpenTelemetry's, as its Splunk exporter sends it
    return Context(cluster=cluster or next(_tagged(record.get("tags"), _CLUSTER_TAG), None), claims=claims)


def _claims(record: dict[str, Any]) -> Claims:
    """Tell whose output it is, where the wrapper says so elsewhere than in `kubernetes`.

    Vector names the file only, where it does not find a pod's metadata any more; Beats name it, and Splunk's agents.
    """
    paths = (record.get("file"), record.get("source"), text_of(record, "log", "file", "path"))
    found = claims_of(record.get("fields"))
    for path in paths:
        found += of_path(path)
    if "line" in record:  # logcli
        found += of_labels(record.get("labels"))
    namespaces, pods = (list(_tagged(record.get("tags"), tag)) for tag in _POD_TAGS)
    return found + named(namespaces, pods)


def _tagged(tags: Any, key: str) -> Iterator[str]:
    """Yield the values of a tag of Datadog's (docs.datadoghq.com, Kubernetes tag extraction)."""
    texts = (tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else iter(())
    yield from filter(None, (tag.removeprefix(key) for tag in texts if tag.startswith(key)))
