# SPDX-License-Identifier: Apache-2.0
"""What a record that cannot be read still reveals: an attacker can make an event too long, or too deep, on purpose."""

from __future__ import annotations

import re
from typing import Final

from k8stokendetect._redaction import clean_text

LONGEST_LOOK: Final = 64 * 1024
"""So many bytes of a broken record are looked at: requestURI stands before verb and user on the wire (types.go)."""

_FIELD: Final = re.compile(r'"(auditID|requestURI|verb|username)"\s*:\s*"([^"\\]*)')
_ESCAPES: Final = re.compile(r"\\+(?=[\"/\\])")


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
