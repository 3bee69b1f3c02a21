# SPDX-License-Identifier: Apache-2.0
"""Decides which claims about an event's origin no client can have made: `settled`.

A client writes `kubernetes.pod_name=x` into its user agent or a query, and a tool that takes `key=value` out of lines
adds that field to the row: Splunk (https://help.splunk.com, Configure automatic key-value field extraction),
Elasticsearch (https://www.elastic.co/docs/reference/enrich-processor/kv-processor; of a key with dots it makes objects,
and a second value it appends), Loki (https://grafana.com/docs/loki/latest/query/log_queries/, parser expressions). So a
claim counts only if one of its values at least is not in the event itself, or if it has none: then the form of the
wrapper says it. The cost: a pod that prints all that its shipper says of it is believed, with a caveat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from k8stokendetect.envelopes.base import Claim, Context
from k8stokendetect.envelopes.pods import values_of

DOUBTED: Final = "whether a pod printed it: what names the pod stands in the event, too, where a client may have put it"
"""What `Context.lost` says of an event whose claims were all dropped."""

_ENCODED: Final = re.compile(rb"%(?:2[def]|3[0-9a]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])")
"""Letters, digits and `-./:_` in percent-encoding, in small letters: nobody encodes them but to hide something."""
_ESCAPE: Final = re.compile(rb'\\+(?:u[0-9a-f]{4}|[a-z"/])|%[0-9a-f]{2}')
_OTHERS: Final = bytes(set(range(256)) - {*b"abcdefghijklmnopqrstuvwxyz0123456789"})
_MOST_PLACES: Final = 1000
"""Maximum number of words that are looked at; one that is in so many was put there."""
_PLAIN: Final = re.compile(r"[\w.:/@,=+-]*", re.ASCII)
"""What stays the same wherever it is written; anything else may be written in several ways, and proves nothing."""
_ABOUT: Final = re.compile("kubernetes|k8s|pod|container|docker|namespace|file|label|stream|^tags?$", re.IGNORECASE)
"""Keys that shippers add to an event when they merge it into their record."""


def settled(context: Context, content: Any, /) -> Context:
    """Turn claims into pods, and leave out those that an event itself may have caused.

    Arguments:
        context: of the event.
        content: the event: its text, or its fields.

    """
    if not context.claims:
        return context
    text = _as_bytes(content).lower()
    if _ENCODED.search(text):
        text += b" " + _ENCODED.sub(_decoded, text)
    text += b" " + _ESCAPE.sub(b" ", text)
    pods = context.pods.union(claim.pod for claim in context.claims if _counts(claim, text))
    lost = context.lost if pods else context.lost | {DOUBTED}
    return attrs.evolve(context, pods=pods, lost=lost, claims=())


def _counts(claim: Claim, text: bytes) -> bool:
    """Tell whether the event cannot have caused a claim; one without values is the wrapper's own form."""
    values = list(values_of(claim))
    return not values or any(_PLAIN.fullmatch(value) and not _holds(text, value.lower().encode()) for value in values)


def _as_bytes(content: Any) -> bytes:
    if isinstance(content, Mapping):
        content = {key: value for key, value in content.items() if not _ABOUT.search(str(key))}
    if isinstance(content, str):
        return content.encode("utf-8", "replace")
    if isinstance(content, bytes):
        return content
    try:
        return msgspec.json.encode(content, enc_hook=str)
    except (TypeError, ValueError, RecursionError):
        return b""


def _decoded(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[0][1:].decode()).lower()


def _holds(text: bytes, value: bytes) -> bool:
    """Tell whether a text has a value that is not part of a longer word."""
    at = text.find(value)
    for _ in range(_MOST_PLACES):
        if at < 0:
            return False
        around = text[max(0, at - 1) : at] + text[at + len(value) : at + len(value) + 1]
        if not around.strip(_OTHERS):
            return True
        at = text.find(value, at + 1)
    return True
