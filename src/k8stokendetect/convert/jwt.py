# SPDX-License-Identifier: Apache-2.0
"""Finds JSON Web Tokens in a text: a header that is JSON, in base64url, and a dot after it, on one line or several."""

from __future__ import annotations

import binascii
import re
from itertools import accumulate
from typing import Final

_BREAK: Final = r"(?:\\+[rn]|[\r\n])++(?:[ \t]|\\+t)*+"
_RUN: Final = re.compile(rf"[A-Za-z0-9_-]++(?:(?:\.|%(?:25)*+2[Ee]|{_BREAK})[A-Za-z0-9_-]*+)*+")
_LINES: Final = re.compile(_BREAK)
_SIGNS: Final = (re.compile("ey[AIJKL]").search, re.compile("ew[ok0]").search)
"""Base64 of `{"`, `{ `, `{` before a line end or tab; two patterns that begin alike are found faster than one."""

_START: Final = re.compile(
    r"(?:ey[AIJKL]|ew[ok0]|(?<![A-Za-z0-9_-])(?:I[ACH]|C[ginQSX]|D[QSX])[A-Za-z0-9])(?=[A-Za-z0-9_-]{7})"
)
"""The same; or base64 of white space where no such character stands before it; `{"":{}}` has ten characters."""

_SPACED: Final = re.compile(
    "|".join(
        rf"{first}(?<![A-Za-z0-9_-]{first})[{then}][A-Za-z0-9_-]*+(?:\.|%|\\|[\r\n])"
        for first, then in {"I": "ACH", "C": "ginQSX", "D": "QSX"}.items()
    )
).search
_SPLIT_SIGN: Final = re.compile(rf"e{_BREAK}[yw]|e[yw]{_BREAK}[AIJKLok0]")
_FIRST_KEY: Final = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:')
_PROBE: Final = 24
"""Characters of a header that are decoded: enough to distinguish JSON from chance, and a fixed cost for each."""

_SHORTEST_PROOF: Final = 12
"""Characters of JSON that prove a header without the colon after its first key."""

_LONGEST_CHARACTER: Final = 4
"""Bytes of UTF-8."""

_LONGEST_WORD: Final = 20
"""Letters of a word that may follow a token on the next line."""

_TO_BASE64: Final = str.maketrans("-_", "+/")


def has_jwt_sign(text: str, /) -> bool:
    """Tell quickly whether a token may stand in a text."""
    return (
        _SIGNS[0](text) is not None
        or _SIGNS[1](text) is not None
        or _SPACED(text) is not None
        or (("\n" in text or "\\" in text or "\r" in text) and _SPLIT_SIGN.search(text) is not None)
    )


def cut_jwt(text: str, instead: str, /) -> str:
    """Return the text with `instead` in the place of every token."""
    return _RUN.sub(lambda run: _cut(run[0], text[run.end() : run.end() + 1], instead), text)


def _cut(run: str, after: str, instead: str) -> str:
    """Cut a run of a token's characters where a token begins in it.

    Arguments:
        run: the characters, with dots and line breaks.
        after: the character after it.
        instead: what to put there.

    """
    if "." not in run and "%" not in run:
        return run
    lines = _LINES.split(run)
    flat = "".join(lines)
    last = max(flat.rfind("."), flat.rfind("%"))
    for start in _START.finditer(flat, 0, last):
        if _is_header(flat[start.start() : start.start() + _PROBE]):
            break
    else:
        return run
    place = start.start()
    if len(lines) == 1:
        return run[:place] + instead
    breaks = list(_LINES.finditer(run))
    ends = list(accumulate(map(len, lines)))
    number = next(index for index, end in enumerate(ends) if place < end)
    begin = place if not number else breaks[number - 1].end() + place - ends[number - 1]
    word = lines[-1]
    is_next_word = number < len(breaks) and after.isspace() and word.isalpha() and len(word) <= _LONGEST_WORD
    return run[:begin] + instead + (run[breaks[-1].start() :] if is_next_word else "")


def _is_header(encoded: str) -> bool:
    """Distinguish a header from chance: it begins as a JSON object does; `greyJohn.smith` does not."""
    for end in (".", "%"):
        if end in encoded:
            encoded = encoded[: encoded.index(end)]
    try:
        data = binascii.a2b_base64(encoded.translate(_TO_BASE64) + "A" * (-len(encoded) % 4))[: len(encoded) * 3 // 4]
    except ValueError:
        return False
    text = data.decode(errors="ignore")
    if not data.startswith(text.encode()) or len(data) - len(text.encode()) >= _LONGEST_CHARACTER:
        return False  # not UTF-8 that may end within a character
    opened = text.lstrip()
    if not opened.startswith("{") or not all(char.isprintable() or char.isspace() for char in text):
        return False
    inner = opened[1:].lstrip()
    if inner and inner[0] != '"':
        return False
    return len(text) >= _SHORTEST_PROOF or _FIRST_KEY.match(text) is not None
