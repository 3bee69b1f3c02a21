# SPDX-License-Identifier: Apache-2.0
"""Takes live tokens out of a record before anything else sees it, also out of what a broken record still reveals.

At level RequestResponse the API server writes the new JWT in plain text into `responseObject.status.token`
(measured); a TokenReview carries one in `requestObject.spec.token`, a Secret in `data.token`, and a client can put one
into its user agent or query string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from k8stokendetect.convert.credentials import REDACTED, clean_name, clean_text, is_secret_name
from k8stokendetect.convert.nesting import BODIES, DEEP, is_deep
from k8stokendetect.errors import ReadError
from k8stokendetect.identity import LONGEST_HARMLESS

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which kubectl keeps a whole object; of a Secret, with all data."""

_NAMES_ONLY: Final = frozenset({"user", "impersonatedUser", "auditID", "verb", "sourceIPs"})
"""Fields that the API server fills or checks: names, in which fewer things are taken for a credential."""


def redact(record: Mapping[str, Any], /) -> tuple[Mapping[str, Any], bool]:
    """Return the record without live tokens, and whether there was one.

    The record itself is not changed; without a token it is returned as it is, but for halves of surrogate pairs, which
    Python's json leaves in a text: U+FFFD stands for each.

    Raises:
        ReadError: when the record holds what JSON cannot, or is nested deeper than `MAX_NESTING`.

    """
    record = _checked(record)
    cleaner = _Cleaner()
    cleaned = {cleaner.text(key): cleaner.field(key, value) for key, value in record.items()}
    return (cleaned if cleaned != record else record), cleaner.found


def without_deep_bodies(record: Mapping[str, Any], /) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the record with null in the place of bodies that are nested too deeply, and which these are."""
    deep = frozenset(name for name in BODIES if record.get(name) is not None and _is_deep(record[name]))
    return ({**record, **dict.fromkeys(deep)} if deep else record), deep


def _is_deep(value: Any) -> bool:
    try:
        try:
            return is_deep(msgspec.json.encode(value, enc_hook=_as_dict))
        except UnicodeEncodeError:
            return is_deep(msgspec.json.encode(_whole(value), enc_hook=_as_dict))
    except RecursionError:
        return True
    except (TypeError, ValueError):  # no JSON, which `redact` says
        return False


def _checked(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record; refuse what is not JSON, or nested too deeply to be walked."""
    try:
        try:
            text = msgspec.json.encode(record, enc_hook=_as_dict)
        except UnicodeEncodeError:
            record = _whole(record)
            text = msgspec.json.encode(record, enc_hook=_as_dict)
        if msgspec.json.decode(text) != record:
            _check_json(record)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    else:
        if not is_deep(text):
            return record
        reason = DEEP
    raise ReadError(f"not a JSON value: {reason}")


def _whole(value: Any) -> Any:
    """Return a value with U+FFFD in the place of halves of surrogate pairs, as a text is read that holds them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"type {type(value).__name__}")


def _check_json(value: Any) -> None:
    """Refuse what the encoder takes and JSON does not have: keys that are not text, bytes, dates."""
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
    """Walks a record once; `found` tells whether a credential stood in it."""

    def __init__(self) -> None:
        self.found = False

    def field(self, key: str, value: Any) -> Any:
        """Clean a field of an event by its key."""
        if key == "requestObject":
            return self.request(value)
        if key == "objectRef" and isinstance(value, Mapping):
            return {self.text(name): self._object_name(item) for name, item in value.items()}
        if key == "annotations" and isinstance(value, Mapping):
            return {self.text(name): self.value(item) for name, item in value.items()}
        return self.name(value) if key in _NAMES_ONLY else self.value(value)

    def text(self, text: str) -> str:
        """Clean a text."""
        cleaned = clean_text(text)
        self.found = self.found or cleaned != text
        return cleaned

    def _object_name(self, value: Any) -> Any:
        """Clean a part of an object's reference: whatever a client asked for, and only a long one is a credential."""
        if isinstance(value, str):
            return value if len(value) <= LONGEST_HARMLESS else self.text(value)
        return self.value(value)

    def name(self, value: Any) -> Any:
        """Clean what the API server gives or checks."""
        if isinstance(value, str):
            cleaned = clean_name(value)
            self.found = self.found or cleaned != value
            return cleaned
        if isinstance(value, Mapping):
            return {self.name(key): self.name(item) for key, item in value.items()}
        return [self.name(item) for item in value] if isinstance(value, list | tuple) else value

    def value(self, value: Any) -> Any:
        """Clean any value."""
        if isinstance(value, str):
            return self.text(value)
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
        """Clean keys and values; a field that is called like a credential goes, and all data of a Secret."""
        is_secret = value.get("kind") == "Secret" or isinstance(value.get("type"), str)  # items of a list have no kind
        cleaned: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(item, str) and item not in {"", REDACTED} and _is_secret(key, item, value):
                self.found = self.found or key == "token" or clean_text(item) != item
                cleaned[key] = REDACTED
            elif is_secret and key in {"data", "stringData"} and isinstance(item, Mapping):
                self.mapping(item)
                cleaned[key] = dict.fromkeys(item, REDACTED)
            else:
                cleaned[self.text(key)] = self.value(item)
        return cleaned


def _is_secret(key: str, item: str, around: Mapping[str, Any]) -> bool:
    """Judge a text by its field, or, as the value of a variable, by the variable's name."""
    if key == "value" and isinstance(around.get("name"), str):
        return is_secret_name(around["name"], len(item))
    return key == "token" or is_secret_name(key, len(item)) or (key == LAST_APPLIED and '"kind":"Secret"' in item)


_NAMES: Final = ("verb", "auditID", "username", "requestURI")


def shown(fields: Mapping[str, Any], /) -> dict[str, str]:
    """Return those of the fields that say something about a call, where they are texts; tokens are removed."""
    return {name: clean_text(fields[name]) for name in _NAMES if isinstance(fields.get(name), str)}
