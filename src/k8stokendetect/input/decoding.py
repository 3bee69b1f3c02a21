# SPDX-License-Identifier: Apache-2.0
"""Decodes one JSON text of unknown origin; deep bodies are cut out first, and what only Go takes is replaced."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import attrs
import msgspec

from k8stokendetect.convert.nesting import DEEP, SHORT, is_deep, without_bodies

_OUT_OF_RANGE: Final = "number out of range"
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
_PARTS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|-?[0-9][0-9.eE+-]*+', re.DOTALL)
_PAIRS: Final = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u]|\\u(?![dD][89a-fA-F]))"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)


class NotJSONError(ValueError):
    """A text is not JSON, or nested too deeply; its message says why and repeats nothing of it."""


@attrs.frozen
class Shortened:
    """A record without its deep bodies, or without its end.

    Arguments:
        record: the rest.
        cut: what is missing.

    """

    record: Any
    cut: frozenset[str]


def decode(text: bytes | str, /) -> Any:
    """Return the JSON value in a text, or a `Shortened` one.

    Raises:
        NotJSONError: when there is none.

    """
    if len(text) > SHORT:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        if is_deep(data):
            return _shortened(data)
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        return _shortened(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    except msgspec.MsgspecError as error:
        reason = _reason(error)
    except UnicodeError:
        reason = ""
    return _replaced(text, reason)


def decode_whole(text: bytes | str, /) -> Any:
    """Return the JSON value in a text; a text with a deep body is refused, too.

    Raises:
        NotJSONError: when there is none.

    """
    value = decode(text)
    if isinstance(value, Shortened):
        raise NotJSONError(DEEP)
    return value


def _replaced(text: bytes | str, reason: str) -> Any:
    """Decode with U+FFFD in the place of what is not UTF-8 or half a surrogate pair, and with texts for huge numbers.

    Go takes these halves, too (https://pkg.go.dev/encoding/json#Unmarshal), and a client chooses its body: a field that
    nobody knows must not make an event unreadable.
    """
    shown = (text if isinstance(text, bytes) else text.encode("utf-8", "replace")).decode("utf-8", "replace")
    if reason:
        if reason != _OUT_OF_RANGE and not _HALF.search(shown):
            raise NotJSONError(reason)
        shown = _PARTS.sub(_readable, shown)
    try:
        return msgspec.json.decode(shown)
    except (msgspec.MsgspecError, RecursionError) as error:
        again = _reason(error)
    if not reason:
        return _replaced(shown, again)
    raise NotJSONError(reason)


def _readable(part: re.Match[str]) -> str:
    """Return a string without halves of surrogate pairs; a number as it is, or as text where no float holds it."""
    text = part[0]
    if text[0] == '"':
        return _PAIRS.sub(lambda found: found[1] or "\\ufffd", text) if _HALF.search(text) else text
    try:
        return text if math.isfinite(float(text)) else f'"{text}"'
    except ValueError:
        return text


def _shortened(text: bytes) -> Shortened:
    rest, cut = without_bodies(text)
    if not cut or is_deep(rest):
        raise NotJSONError(DEEP)
    return Shortened(decode_whole(rest), cut)


def _reason(error: Exception) -> str:
    """Say what is wrong in words of ours: msgspec's name no value, but a path that a record chooses."""
    return str(error).removeprefix("JSON is malformed: ") if type(error) is msgspec.DecodeError else _OUT_OF_RANGE
