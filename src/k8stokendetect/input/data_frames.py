# SPDX-License-Identifier: Apache-2.0
"""Rows of data frames and tables, told by their methods: none of their libraries is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_MANY: Final = 1000


def has_rows(source: Any, /) -> bool:
    """Tell a pyarrow Table or RecordBatch, a Polars or pandas DataFrame, a DuckDB relation, or a DB-API cursor."""
    return _reader_of(source) is not None


def rows_of(source: Any, /) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of what `has_rows`."""
    reader = _reader_of(source)
    yield from reader(source) if reader else ()


def _reader_of(source: Any) -> Callable[[Any], Iterator[Mapping[str, Any]]] | None:
    if isinstance(source, Mapping | str | bytes | list):
        return None
    return next((read for method, read in _READERS.items() if callable(getattr(source, method, None))), None)


def _of_query(query: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a DuckDB relation, or of a cursor of the DB-API (peps.python.org/pep-0249)."""
    columns = getattr(query, "columns", None)
    names = [str(column[0]) for column in query.description or ()] if columns is None else list(map(str, columns))
    rows = query.iter_rows() if callable(getattr(query, "iter_rows", None)) else _fetched(query)
    yield from (dict(zip(names, row, strict=True)) for row in rows)


def _fetched(query: Any) -> Iterator[Any]:
    while rows := query.fetchmany(_MANY):
        yield from rows


def _of_table(table: Any) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _of_pandas(frame: Any) -> Iterator[Mapping[str, Any]]:
    names = [str(name) for name in frame.columns]
    yield from (dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None))


_READERS: Final[dict[str, Callable[[Any], Iterator[Mapping[str, Any]]]]] = {
    "fetchall": _of_query,
    "to_batches": _of_table,
    "to_pylist": lambda batch: iter(batch.to_pylist()),
    "iter_rows": lambda frame: iter(frame.iter_rows(named=True)),  # Polars
    "itertuples": _of_pandas,
}
