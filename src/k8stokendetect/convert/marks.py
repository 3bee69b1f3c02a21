# SPDX-License-Identifier: Apache-2.0
"""Tells whether a text or a value speaks of an audit event, whatever holds it: `speaks_of_event`."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_MARK: Final = re.compile(
    rb'audit\.k8s\.io/v\d|auditID|AuditId\\*"| AUDIT: id='
    rb'|methodName\\*"\s*:\s*\\*"io\.k8s\.|methodName[\'"]?: *io\.k8s\.'
)
"""What only audit events have: their API group and id, the beginning of a legacy line, the methods of GKE's entries."""


def speaks_of_event(content: Any, /) -> bool:
    """Tell whether anything in a text, or in a decoded value, can be of an audit event; what cannot be told is."""
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    elif not isinstance(content, bytes):
        try:
            content = msgspec.json.encode(content, enc_hook=str)
        except (TypeError, ValueError, RecursionError):
            return True
    return _MARK.search(content) is not None
