# SPDX-License-Identifier: Apache-2.0
"""Takes live tokens out of a record before anything else sees it, also out of what a broken record still reveals.

At level RequestResponse the API server writes the new JWT in clear into `responseObject.status.token`
(measured); a TokenReview carries one in `requestObject.spec.token`, a Secret in `data.token`, and a client can put one
into its user agent or query string.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from k8stokendetect.convert.nesting import BODIES, DEEP, is_deep
from k8stokendetect.errors import ReadError

REDACTED: Final = "<token removed>"
"""Stands where a token stood."""

SUSPICIOUS: Final = (
    *(b"eyJ", b"eyA", b"ewo", b"ewk", b"ew0", b"ZXl", b"%"),
    *(b'"token":', b'"Secret', b'"data":', b'"stringData":'),
)
_SIGN: Final = re.compile("ey[JA]|ew[ok0]|ZXl")  # base64 of `{"`, `{ `, `{` before a line end or tab; base64 of `ey`
_RUN: Final = re.compile(r"[A-Za-z0-9_-]++(?:(?:\.|%2[Ee])[A-Za-z0-9_-]*+)*+")  # possessive: linear on hostile text
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]++")
_PROBE: Final = 24
"""How many characters of a header are decoded: enough to tell JSON from chance, and a fixed cost for each."""


def redact(record: Mapping[str, Any], /) -> tuple[Mapping[str, Any], bool]:
    """Return the record without live tokens, and whether there was one.

    The record itself is not changed; without a token it is returned as it is.

    Raises:
        ReadError: when the record holds what JSON cannot, or is nested deeper than `MAX_NESTING`.

    """
    if not _may_hold_token(record):
        return record, False
    cleaner = _Cleaner()
    cleaned = {
        cleaner.value(key): cleaner.request(value) if key == "requestObject" else cleaner.value(value)
        for key, value in record.items()
    }
    return (cleaned if cleaned != record else record), cleaner.found


def without_deep_bodies(record: Mapping[str, Any], /) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the record with null in the place of bodies that are nested too deeply, and which these are."""
    deep = frozenset(name for name in BODIES if record.get(name) is not None and _is_deep(record[name]))
    return ({**record, **dict.fromkeys(deep)} if deep else record), deep


def _is_deep(value: Any) -> bool:
    try:
        return is_deep(msgspec.json.encode(value, enc_hook=_as_dict))
    except RecursionError:
        return True
    except (TypeError, ValueError):  # no JSON, which `redact` says
        return False


def _may_hold_token(record: Mapping[str, Any]) -> bool:
    """Search the whole record once, as text: a hundred times faster than walking it."""
    try:
        text = msgspec.json.encode(record, enc_hook=_as_dict)
        if msgspec.json.decode(text) != record:
            _check_json(record)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    else:
        if not is_deep(text):
            return any(sign in text for sign in SUSPICIOUS)
        reason = DEEP
    raise ReadError(f"not a JSON value: {reason}")


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"type {type(value).__name__}")


def _check_json(value: Any) -> None:
    """Refuse what the encoder takes and JSON does not have: keys that are no text, bytes, dates."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key of type {type(key).__name__}")
            _check_json(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item)
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise TypeError(f"type {type(value).__name__}")


class _Cleaner:
    """Walks a record once; `found` tells whether a token stood in it."""

    def __init__(self) -> None:
        self.found = False

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            cleaned = clean_text(value)
            self.found = self.found or cleaned != value
            return cleaned
        if isinstance(value, Mapping):
            return self.mapping(value)
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def request(self, body: Any) -> Any:
        """Clean a requestObject: the `token` in its status is any text that the client sent, and no live token."""
        status = body.get("status") if isinstance(body, Mapping) else None
        if not isinstance(status, Mapping) or "token" not in status:
            return self.value(body)
        cleaned = self.mapping({**body, "status": {key: item for key, item in status.items() if key != "token"}})
        cleaned["status"]["token"] = _Cleaner().mapping({"token": status["token"]})["token"]
        return cleaned

    def mapping(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Clean keys and values; a field called `token` goes whatever it looks like, and all data of a Secret."""
        is_secret = value.get("kind") == "Secret" or isinstance(value.get("type"), str)  # items of a list have no kind
        cleaned: dict[str, Any] = {}
        for key, item in value.items():
            if key == "token" and isinstance(item, str) and item not in {"", REDACTED}:
                self.found = True
                cleaned[key] = REDACTED
            elif is_secret and key in {"data", "stringData"} and isinstance(item, Mapping):
                self.mapping(item)
                cleaned[key] = dict.fromkeys(item, REDACTED)
            else:
                cleaned[self.value(key)] = self.value(item)
        return cleaned


def clean_text(text: str, /) -> str:
    """Replace every JWT in a text, also in base64 or percent-encoding."""
    if _SIGN.search(text):
        text = _BASE64_RUN.sub(_cut_at_base64, _RUN.sub(_cut_at_token, text))
    if "%" in text:
        path, mark, query = text.partition("?")
        text = f"{_unless_hidden(path)}{mark}{_unless_hidden(query)}"
    return text


def _cut_at_token(run: re.Match[str]) -> str:
    """Cut a run of token characters where a token begins in it: a header that is JSON, and a dot after it."""
    text = run[0]
    if "." not in text and "%2" not in text:
        return text
    for sign in _SIGN.finditer(text):
        if _is_json(text[sign.start() : sign.start() + _PROBE]):
            return text[: sign.start()] + REDACTED
    return text


def _cut_at_base64(run: re.Match[str]) -> str:
    """Cut a run of base64 where a token begins in it, encoded once more, as in the data of a Secret."""
    text = run[0]
    for sign in _SIGN.finditer(text):
        if sign[0] == "ZXl" and _is_json(_decoded(text[sign.start() : sign.start() + 2 * _PROBE])[:_PROBE]):
            return text[: sign.start()] + REDACTED
    return text


def _is_json(encoded: str) -> bool:
    """Tell a header from chance: a dozen printable characters that begin with a brace; `greyJohn.smith` has none."""
    text = _decoded(re.split(r"[.%]", encoded, maxsplit=1)[0])
    return len(text) >= 12 and text[0] == "{" and all(char.isprintable() or char.isspace() for char in text)  # noqa: PLR2004 - as said


def _decoded(text: str) -> str:
    """Base64 or base64url to text; empty when it is neither."""
    try:
        return base64.b64decode(text[: len(text) // 4 * 4].translate(_TO_BASE64)).decode("ascii")
    except ValueError:
        return ""


_TO_BASE64: Final = str.maketrans("-_", "+/")


def _unless_hidden(text: str) -> str:
    """Return the text, unless its percent-decoded form, once or twice, holds a token."""
    plain = unquote(unquote(text))
    return text if plain == text or _RUN.sub(_cut_at_token, plain) == plain else REDACTED


_NAMES: Final = ("verb", "auditID", "username", "requestURI")


def shown(fields: Mapping[str, Any], /) -> dict[str, str]:
    """Return those of the fields that say something about a call, where they are texts; tokens are removed."""
    return {name: clean_text(fields[name]) for name in _NAMES if isinstance(fields.get(name), str)}
