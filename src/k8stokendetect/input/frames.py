# SPDX-License-Identifier: Apache-2.0
"""Rows of data frames and tables, told by their methods: none of their libraries is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_MANY: Final = 1000


def rows_of(source: Any, /) -> Iterator[Mapping[str, Any]] | None:
    """Return the rows of a pyarrow Table or RecordBatch, a Polars or pandas DataFrame, or a DuckDB relation.

    None for anything else, a lone row among them.
    """
    rows: Iterator[Mapping[str, Any]]
    if isinstance(source, Mapping | str | bytes | list):
        return None
    if _has(source, "to_batches"):
        return (row for batch in source.to_batches() for row in batch.to_pylist())
    if _has(source, "to_pylist"):
        rows = iter(source.to_pylist())
        return rows
    if _has(source, "iter_rows"):
        rows = iter(source.iter_rows(named=True))
        return rows
    if _has(source, "itertuples"):
        names = [str(name) for name in source.columns]
        return (dict(zip(names, row, strict=True)) for row in source.itertuples(index=False, name=None))
    return _fetched(source) if _has(source, "fetchmany") and hasattr(source, "columns") else None


def _fetched(relation: Any) -> Iterator[Mapping[str, Any]]:
    names = [str(name) for name in relation.columns]
    while rows := relation.fetchmany(_MANY):
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def _has(source: Any, method: str) -> bool:
    return callable(getattr(source, method, None))
