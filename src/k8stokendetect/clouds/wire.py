# SPDX-License-Identifier: Apache-2.0
"""What the readers of all clouds share: strict types, texts without credentials, times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from k8stokendetect.clouds.restored import object_of, text_of_number
from k8stokendetect.convert.credentials import clean_name, clean_text, is_encoded, is_suspect
from k8stokendetect.convert.nesting import DEEP
from k8stokendetect.convert.times import DayOrMonthError, moment_of
from k8stokendetect.errors import ReadError
from k8stokendetect.identity import LONGEST_HARMLESS, SERVICE_ACCOUNT_PREFIX

T = TypeVar("T")

_KINDS: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "array": "a list",
    "object": "an object",
}
_WRONG_TYPE: Final = re.compile(r"Expected `([^`]*)`(?:, got `([^`]*)`)?(?: - at `([^`]*)`)?")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`(?: - at `([^`]*)`)?")
_HIDDEN: Final = frozenset({"HIDDEN_DUE_TO_SECURITY_REASONS", "***"})
"""What AWS writes in the place of a secret (https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html)."""


_ACCOUNT: Final = re.compile(
    SERVICE_ACCOUNT_PREFIX + r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z"
)
"""A service account, whose parts are DNS names, at the end of a text: a namespace may be called `prod-password`.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""


def structured(record: Any, kind: type[T], path: str = "$", /) -> T:
    """Return a record's fields with their types; nothing is coerced, and unknown fields are left out.

    Arguments:
        record: as JSON gives it.
        kind: a `msgspec.Struct`.
        path: of the record.

    Raises:
        ReadError: when a field has another type or is missing; says the JSON path, and no value.

    """
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        reason, where = _explained(str(error))
    except RecursionError:
        reason, where = DEEP, ""
    raise ReadError(reason, path=f"{path}{where}")  # outside the handler: a chained exception would hold the record


def _explained(message: str) -> tuple[str, str]:
    """Say in our words what msgspec says, which names types and fields of ours, and no value."""
    if found := _MISSING.match(message):
        return "required field missing", f"{(found[2] or '$').removeprefix('$')}.{found[1]}"
    if found := _WRONG_TYPE.match(message):
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in found[1].split(" | ") if kind != "null")
        got = f", got {_KINDS.get(found[2], found[2])}" if found[2] else ""
        return f"expected {wanted}{got}", (found[3] or "").removeprefix("$")
    return "of a wrong type", ""


def clean(text: str | None, /) -> str:
    """Return a text that a client may choose, without credentials; nothing for none, and for what a cloud removed."""
    return clean_text(_writable(text)) if text and text not in _HIDDEN else ""


def clean_id(text: str | None, /) -> str:
    """Return a name that the cloud gives or checks, as `redact` cleans those of audit events; nothing for none."""
    if not text or text in _HIDDEN:
        return ""
    account = _ACCOUNT.search(text) if len(text) > LONGEST_HARMLESS else None
    if account is None:
        return clean_name(_writable(text))
    return clean_name(_writable(text[: account.start()])) + account[0]


def cleaners(texts: Iterable[str | None], /) -> tuple[Callable[[str | None], str], Callable[[str | None], str]]:
    """Return `clean` and `clean_id`, or faster ones that do the same to these texts: most hold no credential."""
    given = [text for text in texts if text]
    together = "|".join(given)
    if not together.isascii() or is_suspect(together) or not _HIDDEN.isdisjoint(given):
        return clean, clean_id
    if max(map(len, given), default=0) > LONGEST_HARMLESS and is_encoded(together):
        return clean, clean_id
    return _as_it_is, _as_it_is


def _as_it_is(text: str | None, /) -> str:
    return text or ""


def _writable(text: str) -> str:
    """Replace half a surrogate pair, which could not be written."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def text_at(value: Any, path: str, *keys: str) -> str:
    """Follow keys into nested objects and return the text at the end, as it is; nothing where there is none.

    A number becomes text; objects may be JSON text.

    Arguments:
        value: an object of a request or of an answer, or None.
        path: where it stands.
        keys: from object to object.

    Raises:
        ReadError: when an object on the way, or the text, has another type.

    """
    for key in keys:
        value = object_of(value)
        if value is None:
            return ""
        if not isinstance(value, Mapping):
            raise ReadError("expected an object", path=path)
        value, path = value.get(key), f"{path}.{key}"
    if value is None:
        return ""
    value = text_of_number(value)
    if not isinstance(value, str):
        raise ReadError("expected a string", path=path)
    return value


def required_time(value: Any, path: str, /, *, day_first: bool | None = None) -> datetime:
    """Return when something happened, UTC.

    Arguments:
        value: a text, or a number since 1970.
        path: where it stands.
        day_first: how a date such as 12/11/2026 is meant; None refuses it.

    Raises:
        ReadError: when it is not a time.

    """
    reason = "not a timestamp"
    try:
        moment = moment_of(value, day_first=day_first)
    except DayOrMonthError as error:
        moment, reason = None, str(error)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise ReadError(reason, path=path)
    return moment


def time_or_none(value: Any, /) -> datetime | None:
    """Return a time; None where it cannot be read: the rest tells enough about an exchange."""
    try:
        return moment_of(value.replace("\u202f", " ")) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
