# SPDX-License-Identifier: Apache-2.0
"""What a failed check says: what is wrong, why it matters, how to mend it, and with which event it was seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from k8stokendetect.convert.redaction import clean_text

_SHOWN: Final = 1500


def lesson(wrong: str, why: str, mend: str, seen: Any = None) -> AssertionError:
    """Return an error that teaches.

    Arguments:
        wrong: what is wrong, naming the class and the method.
        why: why it matters to whoever relies on it.
        mend: how to mend it.
        seen: the event or record with which it was seen; tokens in it are not repeated.

    """
    parts = [wrong, f"Why it matters: {why}", f"How to mend it: {mend}"]
    if seen is not None:
        text = clean_text(seen.decode(errors="replace") if isinstance(seen, bytes) else _as_text(seen))
        parts.append(f"Seen with: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}")
    return AssertionError("\n\n".join(parts))


def _as_text(seen: Any) -> str:
    if isinstance(seen, Mapping | list | tuple):
        return json.dumps(seen, ensure_ascii=False, default=repr)
    return str(seen)
