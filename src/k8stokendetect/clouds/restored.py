# SPDX-License-Identifier: Apache-2.0
"""Puts back the types that CloudTrail's fields have, where a table, a query or a spreadsheet changed them.

- CloudTrail Lake keeps parameters and answers as maps from text to text, so that numbers and objects in them are text:
  https://github.com/aws-samples/cloud-trail-lake-query-samples
- Athena's table has only text, times without a zone and `readonly` as text:
  https://docs.aws.amazon.com/athena/latest/ug/create-cloudtrail-table.html
- pandas makes a number of an account, without the zeros it begins with, or one with a fraction where some are missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_BODIES: Final = ("requestParameters", "responseElements")
_OBJECTS: Final = (*_BODIES, "userIdentity", "sessionContext", "sessionIssuer", "webIdFederationData")
_ACCOUNTS: Final = ("accountId", "recipientAccountId")
_TRUTH: Final = {"true": True, "false": False, "1": True, "0": False, "": None}
_MOST: Final = 10**20
"""No number in CloudTrail is as large; one of thousands of digits cannot be written as text."""
_NUMBER: Final = re.compile(r"([0-9]{1,15})(?:\.0*)?")

_SERVICE: Final = re.compile(
    r"(?:vpce-[^.]+\.)?([a-z0-9-]+?)(?:-fips)?"
    r"(?:|(?:\.[a-z]+(?:-[a-z]+)+-[0-9]+)?(?:\.vpce)?\.(?:amazonaws\.[a-z.]+|api\.aws|api\.amazonwebservices\.[a-z.]+)"
    r"|\.[a-z]+(?:-[a-z]+)+-[0-9]+\.[a-z0-9.-]+)"
)
"""A service by its name or by any of its endpoints: of a Region, FIPS, dual-stack, of China, of another partition.

The endpoints: https://docs.aws.amazon.com/general/latest/gr/sts.html. AWS documents NAME.amazonaws.com alone, for China
too (https://docs.amazonaws.cn/eventbridge/latest/ref/events-ref-sts.html); the other forms can mean nothing else.
"""


def service_of(source: str, /) -> str:
    """Return `sts.amazonaws.com` for every way to write an event source of STS, and so on; others as they are."""
    found = _SERVICE.fullmatch(source.lower())
    return f"{found[1]}.amazonaws.com" if found else source


def number_of(value: Any, /) -> int | None:
    """Return a number, also from a text or a fraction; None for anything else: no exchange is lost for that."""
    found = _NUMBER.fullmatch(text) if isinstance(text := text_of_number(value), str) else None
    return int(found[1]) if found else None


def object_of(value: Any, /) -> Any:
    """Return an object or a list that became JSON text; None for an empty text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value) if value.strip() else None
    except (msgspec.DecodeError, RecursionError):
        return value


def text_of_number(value: Any, /) -> Any:
    """Return a number as text; anything else as it is."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number and abs(value) < _MOST else value


def restored(record: Mapping[str, Any], /) -> dict[str, Any]:
    """Return a record with the types that CloudTrail gives its fields, as far as that is certain."""
    made = {key: _restored(key, value) for key, value in record.items()}
    resources = object_of(made.get("resources"))
    listed = [resources] if isinstance(resources, Mapping) else resources
    made["resources"] = [one for one in listed if one is not None] if isinstance(listed, list) else listed
    return made


def _restored(key: str, value: Any) -> Any:
    if key == "readOnly":
        return _TRUTH.get(str(value).strip().lower(), value)
    if key in _OBJECTS:
        value = object_of(value)
        is_identity = key not in _BODIES and isinstance(value, Mapping)
        return {name: _restored(name, item) for name, item in value.items()} if is_identity else value
    text = text_of_number(value)
    return text.zfill(12) if key in _ACCOUNTS and isinstance(text, str) and text is not value else text
