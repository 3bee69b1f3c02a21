# SPDX-License-Identifier: Apache-2.0
"""Writes an exclusion as the TOML that `load_exclusions` reads; no text can leave its quotes."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.exclusions.base import Component, Exclusion

_ORDER: Final = (
    *("id", "actor", "namespaces", "names", "own_namespace", "token", "if_unseen", "platforms"),
    *("rules", "because", "hides", "provenance", "expires"),
)


def to_toml(exclusion: Exclusion, /) -> str:
    """Return an exclusion as an `[[exclusion]]` table, without what is default; it ends with a line end.

    Raises:
        ConfigError: when a text holds half a character of UTF-16, which TOML cannot express.

    """
    component = exclusion.component
    own = {field.name: field for field in attrs.fields(Exclusion)}
    parts = {field.name: field for field in attrs.fields(Component)}
    lines = ["[[exclusion]]"]
    for name in _ORDER:
        holder, field = (exclusion, own[name]) if name in own else (component, parts[name])
        value = getattr(holder, name)
        if name == "id" or value != field.default:
            lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        given = ((field.name, getattr(value, field.name), field.default) for field in fields)
        pairs = (f"{name} = {_value(_alone(name, item))}" for name, item, default in given if item != default)
        return f"{{ {', '.join(pairs)} }}"
    return str(value)


def _alone(name: str, value: Any) -> Any:
    """Write one user name without a list around it."""
    return value[0] if name == "username" and len(value) == 1 else value


def quoted(text: str, /) -> str:
    r"""Return a text as a basic string of TOML, in which everything that does not print is escaped.

    https://toml.io/en/v1.0.0#string: `\uXXXX` and `\UXXXXXXXX` stand for any character but surrogates.
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    if "\ud800" <= char <= "\udfff":
        raise ConfigError("a string holds half a surrogate pair, which TOML cannot express")
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"  # noqa: PLR2004 - what four digits hold
