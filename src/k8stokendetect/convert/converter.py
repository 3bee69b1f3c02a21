# SPDX-License-Identifier: Apache-2.0
"""The strict converter factory: JSON values to attrs classes without any coercion, and what is wrong with a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Final, Union, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from k8stokendetect.convert.times import parse_time
from k8stokendetect.errors import ConfigError, did_you_mean

Hook = Callable[[Any, Any], Any]

_KINDS: Final[dict[type, str]] = {str: "a string", int: "an integer", bool: "a boolean"}
_GOT: Final[dict[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    tuple: "a list",
}
_GO_NAMES: Final = {
    "audit_id": "auditID",
    "request_uri": "requestURI",
    "source_ips": "sourceIPs",
    "non_resource_urls": "nonResourceURLs",
}


_UNKNOWN_KEY: Final = "unknown key "


class WrongTypeError(Exception):
    """A value has another JSON type than the field; says which types, never the value."""

    def __init__(self, wanted: str, value: object) -> None:
        got = "an object" if isinstance(value, Mapping) else _GOT.get(type(value), f"a {type(value).__name__}")
        super().__init__(f"expected {wanted}, got {got}")


def go_name(name: str, /) -> str:
    """Return the JSON name of a field of the Go type: `object_ref` is `objectRef`."""
    return _GO_NAMES.get(name) or re.sub(r"_(.)", lambda match: match[1].upper(), name)


def strict_converter(
    *,
    forbid_extra_keys: bool = False,
    name: Callable[[str], str] = go_name,
    classes: Callable[[Any], bool] = attrs.has,
) -> cattrs.Converter:
    """Make a converter that takes each JSON type as it is and coerces nothing; null is treated as absent.

    Arguments:
        forbid_extra_keys: refuse keys that the class does not know.
        name: from a field's name to its key.
        classes: which attrs classes these keys are for; the others are read as `cattrs` writes them.

    """
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in _KINDS:
        converter.register_structure_hook(kind, scalar(kind))
    converter.register_structure_hook(datetime, _timestamp)
    converter.register_structure_hook_factory(classes, lambda kind: class_hook(converter, kind, name=name))
    converter.register_structure_hook_factory(_is_tuple, _list_hook)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], strings)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, str], _string_mapping)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    return converter


def class_hook(
    converter: cattrs.Converter,
    kind: Any,
    /,
    *,
    name: Callable[[str], str] = go_name,
    hooks: Mapping[str, Hook] | None = None,
    omit: Collection[str] = (),
) -> Hook:
    """Make the hook of an attrs class, which takes nothing but an object.

    Arguments:
        converter: what structures its fields.
        kind: the class.
        name: from a field's name to its key.
        hooks: for single fields, instead of what the converter does for their type.
        omit: fields that are not read.

    """
    fields: dict[str, Any] = {
        field.name: override(omit=True)
        if field.name in omit
        else override(rename=name(field.name), struct_hook=(hooks or {}).get(field.name))
        for field in attrs.fields(kind)
    }
    structure = make_dict_structure_fn(kind, converter, **fields)
    known = {name(field) for field in fields if field not in omit}
    forbids = converter.forbid_extra_keys

    def strict(value: Any, _: Any) -> Any:
        given = value if type(value) is dict else as_mapping(value)
        if None in given.values():  # an unknown key is refused, also one that is null
            given = {key: item for key, item in given.items() if item is not None or (forbids and key not in known)}
        return structure(given, kind)

    return strict


def scalar(kind: type) -> Hook:
    """Return a hook that takes this type and no other."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is kind or (kind is str and isinstance(value, kind)):
            return value
        raise WrongTypeError(_KINDS[kind], value)

    return structure


def strings(value: Any, _: Any) -> tuple[str, ...]:
    """Take a list of strings, but no single string."""
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


def _string_mapping(value: Any, _: Any) -> dict[str, str]:
    """Take an object of strings; in YAML the keys may be something else."""
    given: Mapping[Any, Any] = as_mapping(value)
    found = {key: text for key, text in given.items() if text is not None}
    for key, text in found.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise WrongTypeError("an object of strings", text if isinstance(key, str) else key)
    return found


def _timestamp(value: Any, _: Any) -> datetime:
    if not isinstance(value, str):
        raise WrongTypeError("a timestamp", value)
    return parse_time(value)


def _is_tuple(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple and get_args(kind)[1:] == (...,)


def _is_optional(kind: Any) -> bool:
    """Tell whether a type is `X | None`."""
    return get_origin(kind) in {Union, UnionType} and len(get_args(kind)) == 2 and type(None) in get_args(kind)  # noqa: PLR2004 - it and None


def _optional_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    """Look up the hook of X in `X | None` once; cattrs would do so for every value."""
    inner = next(item for item in get_args(kind) if item is not type(None))
    hook = converter.get_structure_hook(inner)
    return lambda value, _: None if value is None else hook(value, inner)


def _list_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    """Take a list and nothing else that can be iterated over."""
    wanted: Any = list.__class_getitem__(get_args(kind)[0])
    inner = converter.get_structure_hook(wanted)

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise WrongTypeError("a list", value)
        return tuple(inner(value, wanted))

    return structure


def explain(error: Exception, path: str = "$", /, *, name: Callable[[str], str] = go_name) -> tuple[str, str]:
    """Return the first problem of several and its path, without any value of the record.

    An unknown key comes first: a misspelt key also leaves the right one missing.

    Arguments:
        error: what the converter raised.
        path: of the value.
        name: as in `strict_converter`.

    """

    def reason(problem: BaseException, _: object) -> str:
        if isinstance(problem, cattrs.ForbiddenExtraKeysError):
            key, known = min(map(str, problem.extra_fields)), [name(field.name) for field in attrs.fields(problem.cl)]
            return f"{_UNKNOWN_KEY}{key!r}{did_you_mean(key, known)}"
        if isinstance(problem, KeyError):
            return "required field missing"
        if isinstance(problem, WrongTypeError | ConfigError):
            return str(problem)
        return "not a timestamp" if isinstance(problem, ValueError) else "of a wrong type"

    problems = cattrs.transform_error(error, path, reason)
    first = next((problem for problem in problems if problem.startswith(_UNKNOWN_KEY)), problems[0])
    what, _, where = first.rpartition(" @ ")
    return what, re.sub(r"(?<=\.)\w+", lambda step: name(step[0]), where)
