# SPDX-License-Identifier: Apache-2.0
"""Takes uses of tokens out of a stream of rows unparsed; the token's bucket knows whether it is followed."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import attrs

from k8stokendetect.convert.byte_search import find
from k8stokendetect.convert.redaction import SUSPICIOUS
from k8stokendetect.convert.times import parse_time
from k8stokendetect.reading.interest import ID, Interest
from k8stokendetect.reading.search import NATIVE
from k8stokendetect.spark.rows import Row, Source

_END: Final = b',"stageTimestamp":'
_RECEIVED: Final = re.compile(rb'"requestReceivedTimestamp":"([^"]*)",$')
_ACCOUNT: Final = b'"username":"system:serviceaccount:'
_TOKEN_SIGNS: Final = (*SUSPICIOUS, b"\\u00")
"""Texts that may be a live token or hide one: a row with any of them is read in full, which redacts it."""


@attrs.define
class EveryUse(Interest):
    """Wants every request of a service account, as well as what the detectors want."""

    def concerns(self, text: bytes, /) -> bool:
        """Return whether a detector wants a record, or it is a service account's."""
        return find(text, b"system:serviceaccount:") >= 0 or Interest.concerns(self, text)

    def of_followed(self, block: bytes, /) -> Iterator[int]:
        """Yield the positions of all token ids."""
        return self.uses(block, {b"JTI="})


@attrs.frozen
class Use:
    """A request that matters only if its token is followed.

    Arguments:
        text: the record as the API server wrote it, without any text that looks like a token.
        ids: the credential ids in it.
        time: when the request was received.
        source: where it comes from.

    """

    text: bytes
    ids: tuple[str, ...]
    time: datetime
    source: Source


class RawUses:
    """Sorts rows: unwanted rows are dropped, uses are kept unparsed, the rest goes to the reader.

    Arguments:
        interest: what the detectors want.

    """

    def __init__(self, interest: Interest) -> None:
        self._interest = Interest(interest.resources, interest.words, follows=False)
        self.found: list[Use] = []

    def __call__(self, rows: Sequence[Row], /) -> list[Row]:
        """Return the rows for the reader."""
        native = [_is_native(value) for value, _ in rows]
        block = b"".join(value + b"\n" for (value, _), plain in zip(rows, native, strict=True) if plain)
        places = self._interest.places(block, native=True) if block else []
        ends = list(
            itertools.accumulate(len(value) + 1 for (value, _), plain in zip(rows, native, strict=True) if plain)
        )
        hit = {bisect.bisect_right(ends, place) for place in places}
        number = itertools.count()
        return [
            row
            for row, plain in zip(rows, native, strict=True)
            if not plain or next(number) in hit or self._is_to_be_read(row)
        ]

    def _is_to_be_read(self, row: Row) -> bool:
        """Keep a use unparsed; return True if it has to be read instead."""
        text, source = row
        if find(text, _ACCOUNT) < 0:
            return False
        ids = tuple({found.decode("utf-8", "replace"): None for found in ID.findall(text)})
        time = _time(text)
        if not ids or time is None or any(find(text, sign) >= 0 for sign in _TOKEN_SIGNS):
            return True
        self.found.append(Use(text, ids, time, source))
        return False


def _is_native(text: bytes) -> bool:
    """Return whether a row is one whole event as the API server writes it."""
    return text.startswith(NATIVE) and text.endswith(b"}") and text.count(_END) == 1 and b"\n" not in text


def _time(text: bytes) -> datetime | None:
    """Return when the request was received: the field precedes the last one that a client cannot choose."""
    end = text.rfind(_END)
    found = _RECEIVED.search(text[max(0, end - 80) : end] + b",")
    try:
        return parse_time(found[1].decode()) if found else None
    except ValueError:
        return None
