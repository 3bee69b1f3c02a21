# SPDX-License-Identifier: Apache-2.0
"""Resolves the paths of evidence: `user.extra['KEY'][0]` in a decoded audit event."""

from __future__ import annotations

import re
from typing import Any, Final

_STEP: Final = re.compile(r"\.?(\w+)|\['([^']*)'\]|\[(\d+)\]")


def resolve(path: str, record: Any, /) -> Any:
    """Return what stands at a path.

    Raises:
        LookupError: when nothing stands there, or the path is malformed.

    """
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if not step:
            raise LookupError(f"malformed path {path!r}")
        name, key, index = step.groups()
        try:
            record = record[int(index)] if index is not None else record[name if name is not None else key]
        except TypeError:
            raise LookupError(path) from None
        position = step.end()
    return record
