# SPDX-License-Identifier: Apache-2.0
"""Small HTML tables for notebooks, without a template engine: every text is cut, made visible and escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST_TEXT: Final = 300
"""A longer text is cut; `to_dict()` has it whole."""

LONGEST_CARD: Final = 60_000
"""Of rows that would make a card longer, only the number is shown."""

_OPEN: Final = '<div class="tex2jax_ignore mathjax_ignore"><table style="text-align:left">'
"""The classes keep MathJax, which notebooks run over all output, from reading what a client wrote as a formula.

https://docs.mathjax.org/en/latest/options/document.html#the-configuration-block (ignoreHtmlClass).
"""
_CLOSE: Final = "</table></div>"
_CELL: Final = ' style="text-align:left;vertical-align:top"'


def card(head: str, rows: Iterable[tuple[str, str | Sequence[tuple[str, str]]]], /) -> str:
    """Return a table of a head and rows.

    Arguments:
        head: one line.
        rows: a name, and a text or several texts, each with the command for it; rows without any are left out.

    """
    parts = [f"<tr><th colspan=2{_CELL}>{_shown(head)}</th></tr>"]
    for name, value in rows:
        texts = [(value, "")] if isinstance(value, str) else value
        lines = "<br>".join(_line(text, command) for text, command in texts if text)
        parts += [f"<tr><th{_CELL}>{_shown(name)}</th><td{_CELL}>{lines}</td></tr>"] if lines else []
    return _within(parts)


def table(names: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
    """Return a table with a head of names."""
    head = "".join(f"<th{_CELL}>{_shown(name)}</th>" for name in names)
    cells = ("".join(f"<td{_CELL}>{_shown(text)}</td>" for text in row) for row in rows)
    return _within([f"<tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in cells)])


def _within(rows: Sequence[str]) -> str:
    """Join as many rows as fit, and say how many more there are."""
    size = kept = 0
    for row in rows:
        size += len(row)
        if size > LONGEST_CARD:
            break
        kept += 1
    more = f"<tr><td>… and {len(rows) - kept:,} more rows</td></tr>" if kept < len(rows) else ""
    return f"{_OPEN}{''.join(rows[:kept])}{more}{_CLOSE}"


def _line(text: str, command: str) -> str:
    return f"{_shown(text)} <code>{html.escape(_visible(command))}</code>" if command else _shown(text)


def _shown(text: str) -> str:
    seen = _visible(text[: LONGEST_TEXT + 1])
    return html.escape(seen if len(seen) <= LONGEST_TEXT else f"{seen[:LONGEST_TEXT]}…")


def _visible(text: str) -> str:
    """Write out what does not print: control characters, and those that turn the direction of writing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
