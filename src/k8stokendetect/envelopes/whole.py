# SPDX-License-Identifier: Apache-2.0
"""The text of an event next to fields that a tool took out of it, any of which a client may have chosen.

Splunk takes `key=value` out of all of `_raw`, the user agent, too (https://help.splunk.com, Configure automatic
key-value field extraction), and other tools do the same. So the text says what a row is, not the other keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8stokendetect.envelopes.base import Inner

KEYS: Final = ("_raw", "@message", "message", "line", "Line", "log", "log_s", "msg", "event.original", "body")
"""Where an export keeps the event as it was."""

_MORE: Final = (*KEYS, "full_message", "short_message")


def texts_of(record: Any, /) -> dict[str, str]:
    """Return the texts of a record that may be the event as it was, by key; none for an event in its own form.

    What is a part of another was taken out of that one. No tool makes an object out of `key=value`.
    """
    if not isinstance(record, Mapping) or isinstance(record.get("user"), Mapping):
        return {}
    found = {key: text for key in _MORE if isinstance(text := record.get(key), str) and "{" in text}
    if len(found) == len(record):  # no key says anything else
        return {}
    return {
        key: text
        for key, text in found.items()
        if not any(len(other) > len(text) and text in other for other in found.values())
    }


def carries(inners: Iterable[Inner], texts: Mapping[str, str], record: Mapping[str, Any], /) -> bool:
    """Tell whether one of these texts was taken out, whole, or an object of the record, and is not left out."""
    objects = [value for value in record.values() if isinstance(value, dict)]
    return any(
        inner.record in texts.values()
        if isinstance(inner.record, str)
        else any(inner.record is value for value in objects)
        for inner in inners
        if not inner.skipped
    )
