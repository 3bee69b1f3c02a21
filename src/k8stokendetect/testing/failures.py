# SPDX-License-Identifier: Apache-2.0
"""What a failed law prints: one sentence, what is wrong and how to mend it, and the smallest event that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from k8stokendetect.convert.redaction import clean_text

_SHOWN: Final = 1500


def failed(wrong: str, mend: str, seen: Any = None) -> AssertionError:
    """Return the error of a failed law.

    Arguments:
        wrong: what is wrong, naming the class and the method.
        mend: how to mend it.
        seen: the event or record that shows it; tokens in it are not repeated.

    """
    sentence = f"{wrong}; {mend}."
    if seen is None:
        return AssertionError(sentence)
    text = clean_text(seen.decode(errors="replace") if isinstance(seen, bytes) else _as_text(seen))
    return AssertionError(f"{sentence}\n\nSeen with: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}")


def _as_text(seen: Any) -> str:
    if isinstance(seen, Mapping | list | tuple):
        return json.dumps(seen, ensure_ascii=False, default=repr)
    return str(seen)
