# SPDX-License-Identifier: Apache-2.0
"""Fits styled text into the columns of a window: counts cells, cuts, wraps, shares a line among columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias


class Span(NamedTuple):
    """A piece of a line: its text, and a style such as `critical`, `dim`, `command`; empty for none."""

    text: str
    style: str = ""


Line: TypeAlias = tuple[Span, ...]

WRAPPED: Final = "┆ "
"""Begins a line that goes on with the one above, so that no line begins with a name that a client chose."""


_NARROWEST: Final = 3
"""Cells that a column has in the narrowest window."""


def cells(text: str, /) -> int:
    """Count the cells that a text takes in a window: East Asian wide characters take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fitted(text: str, most: int, /, *, keep_end: bool = False) -> str:
    """Cut a text to a number of cells; `…` stands for what was cut, at the end or at the beginning."""
    if cells(text) <= most:
        return text
    if keep_end:
        return fitted(text[::-1], most)[::-1]
    kept = sum(end < most for end in accumulate(map(_cells_of, text)))
    return f"{text[:kept]}…"


def plain(line: Line, /) -> str:
    """Return a line without its styles."""
    return "".join(span.text for span in line).rstrip()


def shared(rows: Sequence[Sequence[str]], room: int, least: Sequence[int], /) -> list[int]:
    """Return how wide each column is: as wide as its widest text, the widest ones narrower until all fit.

    Arguments:
        rows: the texts; each row has one for each column.
        room: the cells for all columns.
        least: what each column keeps, as long as there is room at all.

    """
    widths = [max(map(cells, column), default=0) for column in zip(*rows, strict=True)]
    while sum(widths) > room:
        spare = [width > low for width, low in zip(widths, least, strict=True)]
        widest = max(range(len(widths)), key=lambda place: (spare[place], widths[place]))
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def wrapped(spans: Iterable[Span], width: int | None, first: Line, further: Line, /) -> Iterator[Line]:
    """Yield lines of at most a width: words stay whole where they fit; a longer word is broken.

    Arguments:
        spans: the text.
        width: of the window, in cells; None for one line of any length.
        first: begins the first line.
        further: begins every other line; then follows `WRAPPED`.

    """
    if width is None:
        yield (*first, *spans)
        return
    line, free = list(first), width - cells(plain_of(first))
    start = (*further, Span(WRAPPED, "dim"))
    room = max(width - cells(plain_of(start)), 1)
    is_begun = False
    for span in spans:
        for word in _words(span.text):
            text = word if is_begun else word.lstrip(" ")
            if is_begun and cells(text.rstrip(" ")) > free:
                yield tuple(line)
                line, free, text = list(start), room, word.lstrip(" ")
            while cells(text.rstrip(" ")) > free:
                part = _beginning(text, free)
                yield (*line, Span(part, span.style))
                line, free, text = list(start), room, text[len(part) :]
            if text:
                line.append(Span(text, span.style))
                free -= cells(text)
                is_begun = True
    yield tuple(line)


def plain_of(line: Line, /) -> str:
    """Return a line without its styles, its last spaces included."""
    return "".join(span.text for span in line)


def _words(text: str) -> Iterator[str]:
    """Yield words, each with the spaces before it."""
    begin = 0
    while begin < len(text):
        end = begin
        while end < len(text) and text[end] == " ":
            end += 1
        while end < len(text) and text[end] != " ":
            end += 1
        yield text[begin:end]
        begin = end


def _beginning(text: str, most: int) -> str:
    """Return as many characters as fit, at least one."""
    return text[: max(1, sum(end <= most for end in accumulate(map(_cells_of, text))))]
