# SPDX-License-Identifier: Apache-2.0
"""Writes any value in at most three lines of a terminal, whatever it holds."""

from __future__ import annotations

import reprlib
from collections.abc import Sized
from typing import Any, Final, TypeVar

import attrs

T = TypeVar("T")

LONGEST_REPR: Final = 3 * 80
"""Three lines of the narrowest terminal; no repr of a public value is longer."""

_WIDEST: Final = 80
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _WIDEST - 10
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxlevel = 4


def short_repr(value: object, /, **shown: object) -> str:
    """Write a value as its class and some of its attributes, each cut, so that it fits in three lines.

    Arguments:
        value: what to write.
        shown: the attributes; those that are None or empty are left out.

    """
    return _written(type(value).__name__, shown, is_all=False)


def short(value: object, /) -> str:
    """Write any value in a line, a text as it is."""
    return value if isinstance(value, str) else _SHORT.repr(value)


def with_short_repr(cls: type[T], /) -> type[T]:
    """Let values of an attrs class be written as their class and fields, as far as they fit: a decorator."""
    cls.__repr__ = _fields_repr  # type: ignore[method-assign]  # this decorator replaces it
    return cls


def _fields_repr(value: Any) -> str:
    shown: dict[str, object] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name, None)
        if field.repr and not (isinstance(item, type(field.default)) and item == field.default):
            shown[field.alias or field.name] = item
    return _written(type(value).__name__, shown, is_all=True)


def _written(name: str, shown: dict[str, object], *, is_all: bool) -> str:
    """Write a class and attributes; the end says so where some are left out."""
    text, room = "", LONGEST_REPR - len(f"{name}(, …)")
    for attribute, item in shown.items():
        if item is None or (isinstance(item, Sized) and not len(item)):
            continue
        written = _SHORT.repr(item)
        written = written if len(written) < _WIDEST else f"{written[:_WIDEST]}…"
        part = f"{', ' if text else ''}{attribute}={written}"
        if len(text) + len(part) > room:
            is_all = False
            break
        text += part
    return f"{name}({text})" if is_all else f"{name}({text}{', ' if text else ''}…)"


class Listing(tuple[T, ...]):
    """A tuple that is written as the number of its items and the names of the first: a default in a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        names = [str(getattr(item, "id", item)) for item in self[:3]]
        more = ", …" if len(self) > len(names) else ""
        return f"<{len(self)}: {', '.join(map(_SHORT.repr, names))}{more}>".replace("'", "")
