# SPDX-License-Identifier: Apache-2.0
"""Findings, alerts or incidents as an Arrow table with a type for each column; and findings back from one."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from k8stokendetect.convert.converter import go_name
from k8stokendetect.convert.structure import plain
from k8stokendetect.convert.times import format_time
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import BoundObjectRef
from k8stokendetect.findings import EventRef, Finding, Rule
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.outputs.frames import of_one_kind
from k8stokendetect.outputs.native import finding_of

try:
    import pyarrow as pa
except ModuleNotFoundError:
    raise ConfigError("pyarrow is missing: pip install 'k8stokendetect[arrow]'") from None

_PAGE: Final = 10_000
"""Rows of a batch."""

TEXT: Final = pa.string()
TEXTS: Final = pa.list_(TEXT)
NUMBER: Final = pa.int64()
TIME: Final = pa.timestamp("us", tz="UTC")


def _type_of(hint: Any) -> pa.DataType:
    """Return Arrow's type for that of an attribute."""
    if attrs.has(hint):
        names = attrs.fields_dict(hint)
        of_kubernetes = hint.__module__ == BoundObjectRef.__module__
        types_ = {name: _type_of(one) for name, one in get_type_hints(hint).items() if name in names}
        return pa.struct({go_name(name) if of_kubernetes else name: one for name, one in types_.items()})
    known = {str: TEXT, int: NUMBER, datetime: TIME, bool: pa.bool_()}
    if hint in known:
        return known[hint]
    first, *_ = (one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is tuple:
        return pa.list_(_type_of(first))
    if get_origin(hint) in {Union, types.UnionType}:
        return _type_of(first)
    if get_origin(hint) is Literal:
        return TEXT
    raise TypeError(hint)


_REQUEST: Final = pa.struct([("request_id", TEXT), *_type_of(EventRef), ("target", TEXT)])
_EVIDENCE: Final = pa.list_(pa.struct({"path": TEXT, "value": TEXT, "is_json": pa.bool_(), "why": TEXT}))
_SAID: Final = {
    "severity": TEXT,
    "time": TIME,
    "summary": TEXT,
    "actor": TEXT,
    "target": TEXT,
    "techniques": TEXTS,
    "event": _REQUEST,
    "evidence": _EVIDENCE,
    "caveats": TEXTS,
    "excluded_by": TEXT,
    "enable": TEXT,
    "count": NUMBER,
    "last": TIME,
    "fingerprint": TEXT,
}
"""What a finding and an alert have in common."""

FINDING_SCHEMA: Final = pa.schema({"rule_id": TEXT, "title": TEXT, **_SAID, "related": pa.list_(_REQUEST), "key": TEXT})
ALERT_SCHEMA: Final = pa.schema(
    {
        "id": TEXT,
        "rules": pa.list_(pa.struct({"id": TEXT, "title": TEXT})),
        **_SAID,
        "mint": _REQUEST,
        "incident": TEXT,
        "related": TEXTS,
        "findings": TEXTS,
    }
)
INCIDENT_SCHEMA: Final = pa.schema(
    {
        "id": TEXT,
        "severity": TEXT,
        "title": TEXT,
        "first_seen": TIME,
        "last_seen": TIME,
        **dict.fromkeys(("actors", "service_accounts", "credentials"), TEXTS),
        "depth": NUMBER,
        "continues": pa.bool_(),
        "enable": TEXTS,
        "advice": pa.list_(pa.struct({"text": TEXT, "command": TEXT})),
        "access": pa.list_(
            pa.struct(
                {
                    "caller": TEXT,
                    "service_accounts": TEXTS,
                    **dict.fromkeys(("binding", "role", "subject", "change", "command"), TEXT),
                    "also_loses": NUMBER,
                    "warnings": TEXTS,
                }
            )
        ),
        "findings": TEXTS,
    }
)
_SCHEMAS: Final[Mapping[type, pa.Schema]] = {
    Finding: FINDING_SCHEMA,
    Alert: ALERT_SCHEMA,
    Incident: INCIDENT_SCHEMA,
}


def to_arrow(items: Iterable[Finding | Alert | Incident], /) -> pa.Table:
    """Return a table with a row for each finding, alert or incident.

    The columns are those of our own JSON; `time` is that of the request, times are in UTC, and what is not known is
    null. The value of a piece of evidence is a text: as it stands, or JSON where `is_json`. An alert and an incident
    name their findings by fingerprint. Half a surrogate pair, which Arrow does not have, becomes U+FFFD.

    Arguments:
        items: all of one kind; without any, the table has the columns of findings.

    Raises:
        ConfigError: when the items are of different kinds or of none of these.

    """
    kind, found = of_one_kind(items, "to_arrow")
    schema = _SCHEMAS[kind]
    batches = []
    while page := list(islice(found, _PAGE)):
        rows = map(_row, page)
        batches.append(pa.RecordBatch.from_pylist([_fitted(row, schema) for row in rows], schema))
    return pa.Table.from_batches(batches, schema)


def findings_of(source: Any, /, *, rules: Iterable[Rule] = ()) -> Iterator[Finding]:
    """Yield the findings of a table that `to_arrow` made, wherever it was since; each as `finding_of` returns it.

    Arguments:
        source: what has Arrow's stream interface (a table of pyarrow, a frame of Polars, a relation of DuckDB), or rows
            as mappings.
        rules: of detectors of your own.

    Raises:
        ReadError: when a row is not a finding, see `finding_of`.

    """
    rules = tuple(rules)
    if hasattr(source, "__arrow_c_stream__"):
        source = (row for batch in pa.RecordBatchReader.from_stream(source) for row in batch.to_pylist())
    for row in source:
        document = _json(row)
        evidence = [
            {**item, "value": json.loads(item["value"]) if item["is_json"] else item["value"]}
            for item in document["evidence"]
        ]
        yield finding_of({**document, "evidence": evidence}, rules=rules)


def _row(item: Finding | Alert | Incident) -> dict[str, Any]:
    if isinstance(item, Incident):
        findings = [finding.fingerprint for finding in item.findings]
        return {**attrs.evolve(item, findings=()).to_dict(), "findings": findings}
    evidence = [{**one.to_dict(), **_value(plain(one.value))} for one in item.evidence]
    return {"key": "", "enable": "", "count": 1, **item.to_dict(), "time": item.event.time, "evidence": evidence}


def _value(value: Any) -> dict[str, Any]:
    is_json = not isinstance(value, str)
    return {"value": json.dumps(value) if is_json else value, "is_json": is_json}


def _fitted(value: Any, kind: pa.DataType | pa.Schema) -> Any:
    """Return a value of our JSON as Arrow wants it for a type."""
    if value is None:
        return None
    if isinstance(kind, pa.Schema) or pa.types.is_struct(kind):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_fitted(item, kind.value_type) for item in value]
    if pa.types.is_timestamp(kind):
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


def _json(value: Any) -> Any:
    """Return a row as JSON has it, whichever library read it."""
    if isinstance(value, datetime):
        return format_time(value.astimezone(UTC))
    if isinstance(value, Mapping):
        found = {name: _json(item) for name, item in value.items()}
        if isinstance(cloud := found.get("cloud"), dict):  # which is written without what is not known
            found["cloud"] = {name: item for name, item in cloud.items() if item is not None}
        return found
    return [_json(item) for item in value] if isinstance(value, list) else value
