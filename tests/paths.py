# SPDX-License-Identifier: Apache-2.0
"""Resolves the paths of evidence: `user.extra['KEY'][0]` in a decoded audit event."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r"\.?(\w+)|\['([^']*)'\]|\[(\d+)\]")


def resolve(path: str, record: Any) -> Any:
    """Return what stands at a path; raises LookupError when nothing does."""
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        assert step, f"malformed path {path!r}"
        name, key, index = step.groups()
        record = record[int(index)] if index is not None else record[name if name is not None else key]
        position = step.end()
    return record
