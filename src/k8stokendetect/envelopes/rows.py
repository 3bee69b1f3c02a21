# SPDX-License-Identifier: Apache-2.0
"""Tables as JSON: a list of names, and rows of values; as query services and libraries answer.

Splunk `output_mode=json_rows` and `json_cols`, pandas `orient="split"` and `"table"`, ClickHouse `JSON` and
`JSONCompact`, Elasticsearch's and OpenSearch's SQL, BigQuery's REST API
(cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults), Athena's GetQueryResults
(docs.aws.amazon.com/athena/latest/APIReference/API_ResultSet.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.envelopes.base import Inner, text_of
from k8stokendetect.errors import ReadError

_NAMES: Final = ("columns", "fields", "schema", "meta", "header", "headers", "column_names")
_ROWS: Final = ("rows", "data", "values", "datarows", "results")
_DEEPEST: Final = 16


def recognises(record: Any, /) -> bool:
    """Tell an object with names and rows next to each other."""
    if not isinstance(record, Mapping) or "auditID" in record or "tables" in record:
        return False
    return _table_of(record) is not None or _athena(record) is not None


def events(record: Any, /) -> Iterator[Inner]:
    """Yield a mapping for each row, to be asked again."""
    if not isinstance(record, Mapping):
        return
    table = _table_of(record)
    if table is not None:
        names, rows, place = table
    else:
        cells = _athena(record) or []
        names, rows, place = (cells[0] if cells else []), cells[1:], ".ResultSet.Rows"
    if not rows:
        yield Inner(None, place, skipped="a table without rows")
    for index, row in enumerate(rows):
        if isinstance(row, Mapping) and "f" not in row:
            yield Inner(row, f"{place}[{index}]")
            continue
        values = _values(row, names)
        fits = values is not None and len(values) == len(names)
        inner = dict(zip(map(_name, names), values, strict=True)) if values is not None and fits else None
        error = ReadError("a row that does not fit its columns")
        yield Inner(error if inner is None else inner, f"{place}[{index}]")


def _table_of(record: Mapping[str, Any]) -> tuple[list[Any], list[Any], str] | None:
    """Return names, rows and where they stand; None where there is no such pair."""
    for key in _NAMES:
        names = _names(record.get(key))
        if not names:
            continue
        if key == "fields" and _is_rows(record.get("columns")):  # json_cols: a list of values for each name
            lengths = {len(column) for column in record["columns"]}
            if len(record["columns"]) == len(names) and len(lengths) == 1:
                return names, [list(row) for row in zip(*record["columns"], strict=True)], ".columns"
        for rows in _ROWS:
            if rows != key and _is_rows(record.get(rows)):
                return names, record[rows], f".{rows}"
    return None


def _names(value: Any) -> list[Any]:
    """Return the columns of a list, or of BigQuery's schema; empty for anything else."""
    columns = value.get("fields") if isinstance(value, Mapping) else value
    return columns if isinstance(columns, list) and all(_name(column) for column in columns) else []


def _name(column: Any) -> str | None:
    return column if isinstance(column, str) and column else text_of(column, "name")


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list | Mapping) for row in value)


def _values(row: Any, columns: list[Any]) -> list[Any] | None:
    if isinstance(row, list):
        return row
    cells = row.get("f") if isinstance(row, Mapping) else None
    if not isinstance(cells, list) or len(cells) != len(columns):
        return None
    return [_value(cell, column, _DEEPEST) for cell, column in zip(cells, columns, strict=True)]


def _value(cell: Any, column: Any, depth: int) -> Any:
    """Return what a cell of BigQuery's REST API holds: `{"v": …}`, again of cells where the column says so."""
    value = cell.get("v") if isinstance(cell, Mapping) and "v" in cell else cell
    if not depth or not isinstance(column, Mapping) or value is None:
        return value
    if column.get("mode") == "REPEATED" and isinstance(value, list):
        return [_value(item, {**column, "mode": "NULLABLE"}, depth - 1) for item in value]
    inner = _names(column.get("fields"))
    cells = value.get("f") if isinstance(value, Mapping) else None
    if not inner or not isinstance(cells, list) or len(cells) != len(inner):
        return value
    pairs = zip(inner, cells, strict=True)
    return {_name(field): _value(item, field, depth - 1) for field, item in pairs}


def _athena(record: Mapping[str, Any]) -> list[list[Any]] | None:
    """Return the rows of an answer of Athena, the first of which has the names; None for anything else."""
    answer = record.get("ResultSet")
    rows = answer.get("Rows") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and _is_data(row.get("Data")) for row in rows):
        return None
    return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]


def _is_data(cells: Any) -> bool:
    return isinstance(cells, list) and all(isinstance(cell, Mapping) for cell in cells)
