# SPDX-License-Identifier: Apache-2.0
"""AWS CloudTrail: files in S3, `lookup-events`, EventBridge, rows of Athena and CloudTrail Lake, single records.

CloudWatch Logs and its subscriptions hold the record as text, which `cloudwatch` takes out; Security Lake's form has a
file of its own. Sources:

- files: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-examples.html; next to them are
  digests: …/cloudtrail-log-file-validation-digest-file-structure.html
- Insights: …/cloudtrail-insights-fields-trails.html
- https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
- https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
- https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_GetQueryResults.html
- columns: https://docs.aws.amazon.com/athena/latest/ug/create-cloudtrail-table.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from k8stokendetect.envelopes import athena, security_lake
from k8stokendetect.envelopes.base import Context, Inner, text_of
from k8stokendetect.errors import ReadError

_INSIGHT: Final = "AwsCloudTrailInsight"
_OBJECTS: Final = ("userIdentity", "requestParameters", "responseElements", "readOnly")
_VIA: Final = " via CloudTrail"
"""How the types of EventBridge end whose detail is a record: of API calls, sign-ins, services and Insights."""


def recognises(record: Any, /) -> bool:
    """Tell whether this is a record of CloudTrail, or a form in which AWS delivers such."""
    return _reader_of(record) is not None


def events(record: Any, /) -> Iterator[Inner]:
    """Yield each record, with its place."""
    reader = _reader_of(record)
    yield from reader(record) if reader else ()


def _reader_of(record: Any) -> Callable[[Any], Iterator[Inner]] | None:
    if not isinstance(record, Mapping) or "auditID" in record:
        return None
    return next((read for is_mine, read in _FORMS if is_mine(record)), None)


def is_record(record: Any, /) -> bool:
    """Tell a record by what every one has; S3's notifications have it, too, but no service of that kind.

    Where an object became text, it is a row.
    """
    source = record.get("eventSource") if isinstance(record, Mapping) else None
    if source is None or not ("eventName" in record or "eventVersion" in record) or "auditID" in record:
        return False
    is_notification = isinstance(source, str) and source.startswith("aws:")
    return not (is_notification or any(isinstance(record.get(name), str) for name in _OBJECTS))


def _record(record: Any) -> Iterator[Inner]:
    yield Inner(record, cloud="aws")


def _is_insight(record: Mapping[str, Any]) -> bool:
    return record.get("eventType") == _INSIGHT and "eventVersion" in record


def _insight(_: Any) -> Iterator[Inner]:
    yield Inner(None, skipped="an Insights event of CloudTrail")


def _is_digest(record: Mapping[str, Any]) -> bool:
    return "digestS3Object" in record and "logFiles" in record


def _digest(_: Any) -> Iterator[Inner]:
    yield Inner(None, skipped="a digest of CloudTrail's files")


def _is_file(record: Mapping[str, Any]) -> bool:
    """Tell a file; messages of Kinesis and notifications of S3 have `Records`, too."""
    items = record.get("Records")
    return isinstance(items, list) and (any(map(_is_of_file, items)) or (not items and len(record) == 1))


def _is_of_file(item: Any) -> bool:
    return is_record(item) or (isinstance(item, Mapping) and _is_insight(item))


def _file(record: Mapping[str, Any]) -> Iterator[Inner]:
    if not record["Records"]:
        yield Inner(None, ".Records", skipped="a file of CloudTrail without records")
    for index, item in enumerate(record["Records"]):
        yield Inner(item, f".Records[{index}]", cloud="aws" if is_record(item) else None)


def _is_lookup(record: Mapping[str, Any]) -> bool:
    """Tell the answer to LookupEvents."""
    items = record.get("Events")
    if not isinstance(items, list) or not record.keys() <= {"Events", "NextToken"}:
        return False
    return not items or any(isinstance(item, Mapping) and _is_found(item) for item in items)


def _lookup(record: Mapping[str, Any]) -> Iterator[Inner]:
    if not record["Events"]:
        yield Inner(None, ".Events", skipped="an answer of CloudTrail without events")
    for index, item in enumerate(record["Events"]):
        yield Inner(item, f".Events[{index}]")


def _is_found(record: Mapping[str, Any]) -> bool:
    """Tell one event of that answer, which holds its record as text."""
    return "CloudTrailEvent" in record


def _found(record: Mapping[str, Any]) -> Iterator[Inner]:
    value = record["CloudTrailEvent"]
    if not isinstance(value, str | Mapping):
        value = ReadError("a CloudTrailEvent that is neither text nor an object")
    yield Inner(value, ".CloudTrailEvent")


def _is_query(record: Mapping[str, Any]) -> bool:
    """Tell the answer to a query of CloudTrail Lake."""
    return isinstance(record.get("QueryResultRows"), list)


def _query(record: Mapping[str, Any]) -> Iterator[Inner]:
    """Put the cells of each row together: every one is an object of its own."""
    if not record["QueryResultRows"]:
        yield Inner(None, ".QueryResultRows", skipped="an answer of CloudTrail Lake without rows")
    for index, cells in enumerate(record["QueryResultRows"]):
        row: dict[str, Any] = {}
        is_row = isinstance(cells, list) and all(isinstance(cell, Mapping) for cell in cells)
        for cell in cells if is_row else ():
            row |= cell
        error = ReadError("a row of CloudTrail Lake that is not a list of cells")
        yield Inner(row if is_row else error, f".QueryResultRows[{index}]")


def _is_bus(record: Mapping[str, Any]) -> bool:
    kind = record.get("detail-type")
    return isinstance(kind, str) and kind.endswith(_VIA) and "detail" in record


def _bus(record: Mapping[str, Any]) -> Iterator[Inner]:
    context = Context(account=text_of(record, "account"), region=text_of(record, "region"))
    yield Inner(record["detail"], ".detail", context, cloud="aws" if is_record(record["detail"]) else None)


_FORMS: Final[
    tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Iterator[Inner]]], ...]
] = (
    (is_record, _record),
    (_is_file, _file),
    (_is_bus, _bus),
    (_is_found, _found),
    (_is_lookup, _lookup),
    (_is_query, _query),
    (_is_insight, _insight),
    (_is_digest, _digest),
    (athena.recognises, athena.events),
    (security_lake.recognises, security_lake.events),
)
