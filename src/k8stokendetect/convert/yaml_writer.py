# SPDX-License-Identifier: Apache-2.0
"""Writes a Sigma document as YAML, with comments: a mapping of texts, numbers, lists and mappings, nothing else."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

Scalar: TypeAlias = str | int | bool | date

_WIDTH: Final = 116
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS_OF_YAML: Final = frozenset("y n yes no on off true false null".split())
_INDENT: Final = "    "


def write(document: Mapping[str, Any], comments: Mapping[str, Sequence[str]] | None = None, /) -> str:
    """Write one document.

    Arguments:
        document: keys are written as they are; a text with a line's end becomes a literal block.
        comments: lines to stand above a key of the document.

    """
    lines: list[str] = []
    for key, value in document.items():
        for comment in (comments or {}).get(key, ()):
            lines += textwrap.wrap(
                comment, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False
            )
        lines += _entry(key, value, "")
    return "\n".join(lines) + "\n"


def paragraph(text: str, /) -> str:
    """Break a text into lines, as a literal block shows it."""
    return textwrap.fill(text, _WIDTH - len(_INDENT), break_long_words=False, break_on_hyphens=False) + "\n"


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{indent}{key}:"
        for name, item in value.items():
            yield from _entry(name, item, indent + _INDENT)
    elif isinstance(value, list | tuple):
        yield f"{indent}{key}:"
        for item in value:
            yield from _item(item, indent + _INDENT)
    elif isinstance(value, str) and value.endswith("\n"):
        yield f"{indent}{key}: |"
        yield from (f"{indent}{_INDENT}{line}" for line in value.splitlines())
    else:
        yield f"{indent}{key}: {scalar(value)}"


def _item(value: Any, indent: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{indent}- {scalar(value)}"
        return
    lines = [line for name, item in value.items() for line in _entry(name, item, "")]
    yield from (f"{indent}{'  ' if number else '- '}{line}" for number, line in enumerate(lines))


def scalar(value: Scalar, /) -> str:
    """Write one value: a text in quotes unless it is a plain word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped) + '"'
