# SPDX-License-Identifier: Apache-2.0
"""EKS: CloudWatch Logs events, as its API, Logs Insights, subscriptions, Kinesis, Sentinel and Panther hand them on.

A message that was too long ends in `[Truncated...]` and is not JSON: it is yielded on as text, like any other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from k8stokendetect.envelopes.base import Context, Inner, from_base64, text_of
from k8stokendetect.envelopes.pods import of_path
from k8stokendetect.errors import ReadError

AUDIT_STREAM: Final = "kube-apiserver-audit-"
_EKS_STREAMS: Final = tuple(
    "kube-apiserver- authenticator- kube-controller-manager- kube-scheduler- cloud-controller-manager-".split()
)
"""Stream names of an EKS control plane: docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html."""

_EKS_GROUP: Final = re.compile(
    r"(?:arn:[^:]*:logs:(?P<region>[^:]+):)?(?:(?P<account>[0-9]{12}):)?(?:log-group:)?"
    r"/aws/eks/(?P<cluster>[^/:]+)/cluster(?::\*)?"
)
"""A log group by name, by ARN (Live Tail), or as `account:name` (`@log` of Logs Insights)."""

_GROUP_KEYS: Final = ("logGroup", "logGroupName", "logGroupIdentifier", "@log")
_STREAM_KEYS: Final = ("logStream", "logStreamName", "@logStream")
_LOG_EVENT_KEYS: Final = frozenset(
    "timestamp message ingestionTime eventId id owner extractedFields logGroup logGroupName logGroupIdentifier "
    "logStream logStreamName".split()
)
_PAGE_KEYS: Final = frozenset({"searchedLogStreams", "nextForwardToken", "nextBackwardToken"})
_KINESIS: Final = frozenset({"kinesis", "Data"})
_ZONELESS_TIME: Final = re.compile(r"\A(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\Z")

_Object: TypeAlias = dict[str, Any]


def recognises(record: Any, /) -> bool:
    """Tell whether this is a form in which CloudWatch Logs or a product fed by it delivers events of EKS."""
    return _reader_of(record) is not None


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the message of each log event, or the decompressed payload, with its place."""
    reader = _reader_of(record)
    yield from reader(record) if reader else ()


def _reader_of(record: Any) -> Callable[[Any], Iterator[Inner]] | None:
    if isinstance(record, list):
        return _read_row if _is_row(record) else None
    if not isinstance(record, dict):
        return None
    if _is_panther(record):
        return _read_panther
    if "auditID" in record:  # an audit event itself
        return None
    return next((read for is_mine, read in _FORMS if is_mine(record)), None)


def _first_text(mapping: _Object, keys: tuple[str, ...]) -> str | None:
    return next((text for key in keys if (text := text_of(mapping, key))), None)


def _eks_group(source: _Object) -> re.Match[str] | None:
    return _EKS_GROUP.fullmatch(_first_text(source, _GROUP_KEYS) or "")


def _context(source: _Object) -> Context:
    """Tell cluster and account; a log group of another name may hold the audit log of any cluster."""
    account = text_of(source, "owner")
    group = _eks_group(source)
    if group:
        return Context("eks", group["cluster"], account or group["account"], group["region"])
    stream = _first_text(source, _STREAM_KEYS) or ""
    named_otherwise = (stream or _first_text(source, _GROUP_KEYS)) and not stream.startswith(AUDIT_STREAM)
    return Context(None if named_otherwise else "eks", account=account, claims=of_path(stream))


def _is_of_another_log(source: _Object) -> bool:
    """Tell whether EKS writes no audit events to this stream; a log group of another name may call its audit log so."""
    stream = _first_text(source, _STREAM_KEYS)
    if stream is None or stream.startswith(AUDIT_STREAM):
        return False
    return _eks_group(source) is not None or (
        _first_text(source, _GROUP_KEYS) is None and stream.startswith(_EKS_STREAMS)
    )


def _handed_on(value: Any, place: str, context: Context, what: str) -> Inner:
    """Pass on a text, or an object where somebody decoded it already; anything else is an error."""
    if isinstance(value, str | dict):
        return Inner(value, place, context)
    return Inner(ReadError(f"{what} that is neither text nor an object"), place, context)


def message_of(message: Any, place: str, source: _Object) -> Inner:
    """Return the message of a log event; skipped where its source says that it is of another log."""
    if _is_of_another_log(source):
        return Inner(message, place, _context(source), skipped="another log of the EKS control plane")
    return _handed_on(message, place, _context(source), "the message of a CloudWatch log event")


def _is_log_event(record: Any) -> bool:
    """Tell a log event by its source, or by having nothing but CloudWatch's fields; shippers write times as text."""
    if not isinstance(record, dict) or "message" not in record:
        return False
    if _eks_group(record) or (_first_text(record, _STREAM_KEYS) or "").startswith(_EKS_STREAMS):
        return True
    return type(record.get("timestamp")) is int and record.keys() <= _LOG_EVENT_KEYS


def _read_log_event(record: _Object) -> Iterator[Inner]:
    yield message_of(record["message"], ".message", record)


def _each(items: Any, place: str, read: Callable[[Any, str], Iterator[Inner]]) -> Iterator[Inner]:
    if not isinstance(items, list):
        yield Inner(ReadError("an answer of CloudWatch Logs without its list"), place)
    elif not items:
        yield Inner(None, place, skipped="an empty answer of CloudWatch Logs")
    else:
        for index, item in enumerate(items):
            yield from read(item, f"{place}[{index}]")


def _read_listed(item: Any, place: str, source: _Object | None = None) -> Iterator[Inner]:
    """Yield the message of a log event in a list; its source is named next to the list, or in itself."""
    if isinstance(item, dict):
        yield message_of(item.get("message"), f"{place}.message", item if source is None else source)
    else:
        yield Inner(ReadError("a CloudWatch log event that is not an object"), place)


def _is_page(record: _Object) -> bool:
    """Tell the answer to FilterLogEvents or GetLogEvents, with or without its paging."""
    items = record.get("events")
    return ("events" in record and not _PAGE_KEYS.isdisjoint(record)) or (
        isinstance(items, list) and any(map(_is_log_event, items))
    )


def _read_page(record: _Object) -> Iterator[Inner]:
    yield from _each(record["events"], ".events", _read_listed)


def _is_row(record: Any) -> bool:
    return (
        isinstance(record, list)
        and bool(record)
        and all(isinstance(cell, dict) and isinstance(cell.get("field"), str) and "value" in cell for cell in record)
    )


def _read_row(row: Any, place: str = "") -> Iterator[Inner]:
    if not _is_row(row):
        yield Inner(ReadError("a result of Logs Insights that is not a row"), place)
        return
    fields = {cell["field"]: cell["value"] for cell in row}
    messages = [index for index, cell in enumerate(row) if cell["field"] == "@message"]
    for index in messages:
        yield message_of(row[index]["value"], f"{place}[{index}].value", fields)
    if not messages:  # the query chose fields
        yield Inner(fields, place, _context(fields))


def _is_message_row(record: _Object) -> bool:
    """Tell a row of Logs Insights as its console exports it: with names for keys."""
    return "@message" in record


def _read_message_row(record: _Object) -> Iterator[Inner]:
    yield message_of(record["@message"], ".@message", record)


def _is_results(record: _Object) -> bool:
    """Tell the answer to GetQueryResults; Splunk's `results` are objects, not rows."""
    results = record.get("results")
    return ("results" in record and {"status", "statistics"} <= record.keys()) or (
        isinstance(results, list) and any(map(_is_row, results))
    )


def _read_results(record: _Object) -> Iterator[Inner]:
    yield from _each(record["results"], ".results", _read_row)


def _base64(data: Any, place: str) -> Inner:
    """Decode base64, of gzip or, where Firehose decompressed it already, of text."""
    if not isinstance(data, str):
        return Inner(ReadError("data of a subscription that is not text"), place)
    return Inner(from_base64(data, "a subscription"), place)


def _is_subscription(record: _Object) -> bool:
    return isinstance(record.get("awslogs"), dict) and "data" in record["awslogs"]


def _read_subscription(record: _Object) -> Iterator[Inner]:
    yield _base64(record["awslogs"]["data"], ".awslogs.data")


def _is_payload(record: _Object) -> bool:
    """Tell what a subscription's data holds."""
    named = "messageType" in record or "logGroup" in record
    return ("logEvents" in record and named) or record.get("messageType") == "CONTROL_MESSAGE"


def _read_payload(record: _Object) -> Iterator[Inner]:
    if record.get("messageType") == "CONTROL_MESSAGE":  # CloudWatch Logs asks whether the destination is reachable
        yield Inner(record, skipped="a control message of CloudWatch Logs")
    else:
        yield from _each(record["logEvents"], ".logEvents", functools.partial(_read_listed, source=record))


def _is_kinesis(record: _Object) -> bool:
    """Tell what Kinesis hands a Lambda function, or GetRecords returns; CloudTrail files, too, have `Records`."""
    items = record.get("Records")
    if items is None:  # one of them, where they were read one by one
        return isinstance(record.get("kinesis"), dict) or record.keys() >= {"Data", "PartitionKey"}
    return isinstance(items, list) and any(isinstance(item, dict) and _KINESIS.intersection(item) for item in items)


def _read_kinesis(record: _Object) -> Iterator[Inner]:
    # No region: the stream may be in another than the log group (CloudWatch Logs guide, cross-account subscriptions).
    items = record.get("Records")
    for index, item in enumerate([record] if items is None else items):
        place = "Data" if isinstance(item, dict) and "Data" in item else "kinesis.data"
        where = "" if items is None else f".Records[{index}]"
        yield _base64(text_of(item, *place.split(".")), f"{where}.{place}")


def _is_firehose(record: _Object) -> bool:
    """Tell what Firehose hands a Lambda function or an HTTP endpoint; Azure's records have a category."""
    items = record.get("records")
    first = items[0] if isinstance(items, list) and items else None
    return isinstance(first, dict) and isinstance(first.get("data"), str) and "category" not in first


def _read_firehose(record: _Object) -> Iterator[Inner]:
    for index, item in enumerate(record["records"]):
        yield _base64(text_of(item, "data"), f".records[{index}].data")


def _is_sentinel(record: _Object) -> bool:
    """Tell a row of AWSEKSLogs (learn.microsoft.com/azure/azure-monitor/reference/tables/awsekslogs)."""
    return "RawEvent" in record and ("ClusterName" in record or "AwsAccountId" in record)


def _read_sentinel(record: _Object) -> Iterator[Inner]:
    cluster, account, region = (text_of(record, key) for key in ("ClusterName", "AwsAccountId", "Region"))
    yield _handed_on(record["RawEvent"], ".RawEvent", Context("eks", cluster, account, region), "a RawEvent")


def _is_panther(record: _Object) -> bool:
    return record.get("p_log_type") == "Amazon.EKS.Audit"


def _read_panther(record: _Object) -> Iterator[Inner]:
    """Yield the event without Panther's own fields; they hold no cluster name, but a label somebody chose."""
    event = {key: value for key, value in record.items() if not key.startswith("p_")}
    for key in ("requestReceivedTimestamp", "stageTimestamp"):
        if isinstance(event.get(key), str):
            event[key] = _ZONELESS_TIME.sub(r"\1T\2Z", event[key])
    for key in ("user", "impersonatedUser"):
        user = event.get(key)
        if isinstance(user, dict) and isinstance(user.get("extra"), dict):
            event[key] = user | {"extra": _restored(user["extra"])}
    yield Inner(event, context=Context("eks"), is_event=True)


def _restored(extra: _Object) -> _Object:
    """Undo Panther's `authentication_kubernetes_io_slash_pod-name`: no two keys become one."""
    restored: _Object = {}
    for key, value in extra.items():
        domain, slash, name = key.partition("_slash_")  # a domain name has no underscore of its own
        wanted = f"{domain.replace('_', '.')}/{name.replace('_slash_', '/')}" if slash else key
        restored[key if wanted in extra or wanted in restored else wanted] = value
    return restored


_FORMS: Final[tuple[tuple[Callable[[_Object], bool], Callable[[_Object], Iterator[Inner]]], ...]] = (
    (_is_payload, _read_payload),
    (_is_log_event, _read_log_event),
    (_is_page, _read_page),
    (_is_message_row, _read_message_row),
    (_is_results, _read_results),
    (_is_subscription, _read_subscription),
    (_is_kinesis, _read_kinesis),
    (_is_firehose, _read_firehose),
    (_is_sentinel, _read_sentinel),
)
