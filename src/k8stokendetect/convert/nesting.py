# SPDX-License-Identifier: Apache-2.0
"""Keeps deeply nested JSON away from decoders: measures the nesting of a text, and cuts the bodies of events out.

A decoder recurses as deep as its input, up to the interpreter's recursion limit; where the host has raised that limit,
a line nested 60,000 deep ends the process. The API server accepts and logs bodies nested 1,500 deep (measured on 1.36).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

MAX_NESTING: Final = 100
"""Levels of arrays and objects in one text; what Kubernetes itself writes has fewer than 30."""

DEEP: Final = f"nested deeper than {MAX_NESTING} levels"
"""Why a text is not decoded, or what a body was that was left out."""

SHORT: Final = 4096
"""A text of so many bytes is too short to exhaust the stack of a decoder."""

BODIES: Final = ("requestObject", "responseObject")
"""The fields of an event that hold what clients sent."""

_ROUNDS: Final = 16
"""As few levels are soon taken away from a text; more are counted bracket by bracket."""

_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]+|[\]}]+', re.DOTALL)
_BEGINS: Final = re.compile(rb"\s*:\s*(?=[\[{])")
_KEYS: Final = {f'"{name}"'.encode(): name for name in BODIES}


def is_deep(text: bytes, /, levels: int = MAX_NESTING) -> bool:
    """Tell whether a JSON text is nested deeper than so many levels; brackets in strings do not count."""
    if text.count(b"{") + text.count(b"[") <= levels:
        return False
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = outside = b"".join(text.translate(None, _NO_STRUCTURE).split(b'"')[::2])
    for _ in range(_ROUNDS):  # each takes one level away, or two
        if not outside:
            return False
        outside = outside.replace(b"{}", b"").replace(b"[]", b"")
    return any(depth > levels for depth in accumulate(map(_STEPS.__getitem__, brackets)))


def lost(cut: Iterable[str], /) -> frozenset[str]:
    """Name what was left out, as `Event.lost` does."""
    return frozenset(f"{name} ({DEEP})" if name in BODIES else name for name in cut)


def without_bodies(text: bytes, /) -> tuple[bytes, frozenset[str]]:
    """Return the text with null in the place of each body that is an object or an array, and which bodies those are."""
    kept: list[bytes] = []
    cut: set[str] = set()
    start = depth = 0
    begun = False
    for token in _TOKEN.finditer(text):
        if begun:
            run = token[0]
            if run[0] in b"[{":
                depth += len(run)
            elif run[0] in b"]}":
                if len(run) >= depth:
                    begun, start = False, token.start() + depth
                depth = max(0, depth - len(run))
        elif token[0] in _KEYS and (value := _BEGINS.match(text, token.end())):
            kept += (text[start : value.end()], b"null")
            cut.add(_KEYS[token[0]])
            begun, start = True, len(text)  # what is not closed is cut to its end
    return b"".join((*kept, text[start:])), frozenset(cut)
