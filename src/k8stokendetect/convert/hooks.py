# SPDX-License-Identifier: Apache-2.0
"""What the converter takes for each JSON type; nothing is ever coerced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import cattrs

from k8stokendetect.convert.times import parse_time

T = TypeVar("T")

_KINDS: dict[type, str] = {str: "a string", int: "an integer", bool: "a boolean"}


class WrongTypeError(Exception):
    """A value has another JSON type than the field; says which types, never the value."""

    def __init__(self, wanted: str, value: object) -> None:
        names = {
            str: "a string",
            bool: "a boolean",
            int: "a number",
            float: "a number",
            list: "a list",
            tuple: "a list",
        }
        got = "an object" if isinstance(value, Mapping) else names.get(type(value), f"a {type(value).__name__}")
        super().__init__(f"expected {wanted}, got {got}")


def scalar(kind: type[T]) -> Callable[[Any, type[T]], T]:
    """Return a hook that takes this type and no other."""

    def structure(value: Any, _: type[T]) -> T:
        if type(value) is kind or (kind is str and isinstance(value, kind)):
            return value
        raise WrongTypeError(_KINDS[kind], value)

    return structure


def strings(value: Any, _: Any) -> tuple[str, ...]:
    """Take a list of strings; a lone string is none."""
    if not isinstance(value, list | tuple):
        raise WrongTypeError("a list of strings", value)
    for item in value:
        if not isinstance(item, str):
            raise WrongTypeError("a list of strings", item)
    return tuple(value)


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Take a JSON object."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise WrongTypeError("an object", value)
    return cast("Mapping[str, Any]", value)


def without_nulls(value: Any) -> Mapping[str, Any]:
    """Take a JSON object; null is treated as absent."""
    fields = as_mapping(value)
    return {key: item for key, item in fields.items() if item is not None} if None in fields.values() else fields


def string_mapping(value: Any, _: Any) -> dict[str, str]:
    """Take an object of strings, as annotations are."""
    for item in as_mapping(value).values():
        if not isinstance(item, str):
            raise WrongTypeError("an object of strings", item)
    return dict(value)


def keyed_strings(value: Any, kind: Any) -> dict[str, str]:
    """Take an object of strings whose keys are strings, too: YAML knows others."""
    for key in as_mapping(value):
        if not isinstance(key, str):
            raise WrongTypeError("an object of strings", key)
    return string_mapping(value, kind)


def string_lists(value: Any, kind: Any) -> dict[str, tuple[str, ...]]:
    """Take an object of lists of strings, as a user's extra is."""
    return {key: strings(item, kind) for key, item in as_mapping(value).items() if item is not None}


def is_optional(kind: Any) -> bool:
    """Tell whether a type is `X | None`."""
    return get_origin(kind) in {Union, UnionType} and len(get_args(kind)) == 2 and type(None) in get_args(kind)  # noqa: PLR2004 - it and None


def optional(kind: Any, converter: cattrs.BaseConverter) -> Callable[[Any, Any], Any]:
    """Make a hook that knows what stands behind `X | None`; cattrs would look it up for every value."""
    inner = next(item for item in get_args(kind) if item is not type(None))
    hook = converter.get_structure_hook(inner)
    return lambda value, _: None if value is None else hook(value, inner)


def timestamp(value: Any, _: Any) -> datetime:
    """Take a time as a text."""
    if not isinstance(value, str):
        raise WrongTypeError("a timestamp", value)
    return parse_time(value)
