# SPDX-License-Identifier: Apache-2.0
"""Rows of Arrow, pandas, Polars, DuckDB and Spark as JSON would have them: times, ids, numbers, lists and nulls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from k8stokendetect.convert.nesting import MAX_NESTING
from k8stokendetect.convert.times import format_time

_JSON: Final = frozenset({str, int, bool, type(None)})
_MAPS: Final = ("annotations", "extra", "labels")
"""Objects that are maps in a schema: an empty one is an empty list of pairs."""

_UNPACK: Final = ("as_py", "tolist", "to_list", "asDict", "item")
"""Methods that return Python's own values: of pyarrow's scalars, of arrays, series and rows, of numpy's scalars."""


def is_json(record: Mapping[str, Any], /) -> bool:
    """Tell whether a record has nothing but what JSON has; nesting that is too deep is for others to refuse."""
    return _is_json(record.values(), MAX_NESTING)


def _is_json(items: Iterable[Any], depth: int) -> bool:
    for item in items:
        kind = type(item)
        if kind in _JSON:
            continue
        if kind is dict or kind is list:
            if depth and not _is_json(item.values() if kind is dict else item, depth - 1):
                return False
        elif kind is not float or item != item:  # noqa: PLR0124 - NaN
            return False
    return True


def as_record(record: Mapping[Any, Any], /) -> dict[str, Any]:
    """Return a row as JSON would have it, with a null for what is missing: its columns say what an export chose."""
    return {str(key): as_json({key: value}).get(str(key)) for key, value in record.items()}


def as_json(value: Any, /, depth: int = MAX_NESTING) -> Any:
    """Return a value as JSON would have it; what is missing (NaN, NaT, null) is left out of objects.

    A list of pairs, as pyarrow makes of a map, becomes an object. What cannot be converted stays, for the reader to
    refuse.

    Arguments:
        value: of any type.
        depth: how many levels are converted.

    """
    if not depth or type(value) in _JSON:
        return value
    if isinstance(value, Mapping):
        found = {str(key): as_json(item, depth - 1) for key, item in value.items()}
        empty: dict[str, Any] = {key: {} for key in _MAPS if found.get(key) == []}
        return {key: item for key, item in (found | empty).items() if item is not None}
    if isinstance(value, list | tuple):
        return _as_list(value, depth)
    scalar = _as_scalar(value)
    if scalar is not value:
        return scalar
    for name in _UNPACK:
        unpack = getattr(value, name, None)
        if callable(unpack):
            return as_json(unpack(), depth - 1)
    return value


def _as_list(value: Sequence[Any], depth: int) -> Any:
    if value and all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in value):  # noqa: PLR2004 - pairs
        return as_json(dict(value), depth)
    return [as_json(item, depth - 1) for item in value]


def _as_scalar(value: Any) -> Any:
    """Convert single values; the same object where it is of no such type."""
    if type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, date | UUID):
        return str(value)
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return value
