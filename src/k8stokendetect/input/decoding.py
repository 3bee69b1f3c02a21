# SPDX-License-Identifier: Apache-2.0
"""Decodes one JSON text of unknown origin; deep bodies are cut out first, and bytes that are no UTF-8 are replaced."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from k8stokendetect.convert.nesting import DEEP, SHORT, is_deep, without_bodies


class NotJSONError(ValueError):
    """A text is no JSON, or nested too deeply; its message says why and repeats nothing of it."""


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
        return _replaced(text)
    raise NotJSONError(reason)


def decode_whole(text: bytes | str, /) -> Any:
    """Return the JSON value in a text; a text with a deep body is refused, too.

    Raises:
        NotJSONError: when there is none.

    """
    value = decode(text)
    if isinstance(value, Shortened):
        raise NotJSONError(DEEP)
    return value


def _replaced(text: bytes | str) -> Any:
    """Decode with U+FFFD in the place of what is no UTF-8, as Go does."""
    if isinstance(text, str):
        text = text.encode("utf-8", "replace")
    try:
        return msgspec.json.decode(text.decode("utf-8", "replace"))
    except (msgspec.MsgspecError, RecursionError) as error:
        reason = _reason(error)
    raise NotJSONError(reason)


def _shortened(text: bytes) -> Shortened:
    rest, cut = without_bodies(text)
    if not cut or is_deep(rest):
        raise NotJSONError(DEEP)
    return Shortened(decode_whole(rest), cut)


def _reason(error: Exception) -> str:
    """Say what is wrong in words of ours: msgspec's name no value, but a path that a record chooses."""
    return (
        str(error).removeprefix("JSON is malformed: ") if type(error) is msgspec.DecodeError else "number out of range"
    )
