# SPDX-License-Identifier: Apache-2.0
"""What a record that cannot be read still reveals: an attacker can make an event too long, or too deep, on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from k8stokendetect.convert.redaction import clean_text

LONGEST_LOOK: Final = 1024 * 1024 + 64 * 1024
"""Maximum number of bytes read of a broken record: requestURI stands after auditID, before verb and user (types.go).

A client may fill its Audit-ID header as far as Go's limit on all headers, 1 MiB (net/http DefaultMaxHeaderBytes).
"""

_FIELD: Final = re.compile(r'"(auditID|requestURI|verb|username)"\s*:\s*"([^"\\]*)')
_ESCAPES: Final = re.compile(r"\\+(?=[\"/\\])")


NAMES: Final = ("verb", "auditID", "username", "requestURI")


def shown(fields: Mapping[str, Any], /) -> dict[str, str]:
    """Return those of the fields that say something about a call, where they are texts; tokens are removed."""
    return {name: clean_text(fields[name]) for name in NAMES if isinstance(fields.get(name), str)}


def revealed(text: bytes | str, /) -> dict[str, str]:
    """Return the fields that the beginning of a broken record shows, the first of each; tokens are removed.

    The record may stand in a string of a wrapper, and that in another: its quotes are then escaped once or more often.
    """
    shown = text[:LONGEST_LOOK]
    shown = _ESCAPES.sub("", shown.decode("utf-8", "replace") if isinstance(shown, bytes) else shown)
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(clean_text(shown)):
        found.setdefault(name, value)
    return found
