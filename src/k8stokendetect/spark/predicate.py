# SPDX-License-Identifier: Apache-2.0
"""The library's interest as a condition that Spark evaluates itself: what it drops, the reader would pass over."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable
from typing import Any, Final

from k8stokendetect.reading.interest import Interest
from k8stokendetect.reading.search import BETWEEN, EVENT_HUB, INNER, NATIVE

_ENDS: Final = (',"stageTimestamp":', ',\\"stageTimestamp\\":')
_ACCOUNTS: Final = ('"username":"system:serviceaccount:', '\\"username\\":\\"system:serviceaccount:')
_IDS: Final = ('["JTI=', '[\\"JTI=')
_ID: Final = 'JTI=[^"\\\\]+'


def condition(value: Any, interest: Interest, /, *, followed: Collection[str], every_use: bool) -> Any:
    """Return the condition that a row must be looked at.

    A row is dropped only where it is whole, as `_search` tells it of a line, and holds none of the needles.

    Arguments:
        value: the column, text.
        interest: of the detectors.
        followed: which tokens and accounts are followed.
        every_use: which ones is not known yet.

    """
    wanted = _needles(value, interest)
    if interest.follows:
        account = functools.reduce(operator.or_, (value.contains(name) for name in _ACCOUNTS))
        wanted = wanted | (account if every_use else account & _followed(value, followed))
    return ~_whole(value) | wanted


def _needles(value: Any, interest: Interest) -> Any:
    """Return whether one of the texts stands in a row; where more is asked of it, Python asks."""
    one, together = needles(interest)
    found = [value.contains(word.decode()) for word in one]
    found += [functools.reduce(operator.and_, (value.contains(word.decode()) for word in words)) for words in together]
    return functools.reduce(operator.or_, found)


def _followed(value: Any, followed: Collection[str]) -> Any:
    """Return whether a service account's request is one of a followed token, or of a token without an id."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra

    without_id = ~functools.reduce(operator.or_, (value.contains(text) for text in _IDS))
    several = ~value.startswith(NATIVE.decode()) & value.contains(BETWEEN.decode())
    ids = [name for name in followed if name.startswith("JTI=")]
    names = [name for name in followed if not name.startswith("JTI=")]
    found = without_id | several
    if ids:
        found |= sf.arrays_overlap(sf.regexp_extract_all(value, sf.lit(_ID), sf.lit(0)), sf.array(*map(sf.lit, ids)))
    if names:
        accounts = sf.regexp_extract_all(value, sf.lit("system:serviceaccount:[a-z0-9.-]+:[a-z0-9.-]+"), sf.lit(0))
        found |= sf.arrays_overlap(accounts, sf.array(*map(sf.lit, names)))
    return found


def _whole(value: Any) -> Any:
    """Tell whether a row is one whole event, or one wrapper of whole events, as `_search` does of lines."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra

    native = value.startswith(NATIVE.decode())
    inner, inner_end = _count(value, INNER.decode()), _count(value, _ENDS[1])
    ends = _count(value, '}"') + _count(value, '}\\n"')
    hub = value.startswith(EVENT_HUB.decode())
    wrapped = value.startswith('{"') & (inner > 0) & (inner == inner_end) & (inner == ends) & ((inner == 1) | hub)
    return value.endswith("}") & ~value.contains("\n") & sf.when(native, value.contains(_ENDS[0])).otherwise(wrapped)


def _count(value: Any, text: str) -> Any:
    """Return how many times a text stands in a row."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra

    rest = sf.replace(value, sf.lit(text), sf.lit(""))
    return (sf.octet_length(value) - sf.octet_length(rest)) / len(text)


def needles(interest: Interest, /) -> tuple[list[bytes], list[tuple[bytes, ...]]]:
    """Return the texts of which one stands in whatever is of interest, and those that stand there together."""
    single = [word for word in interest.words if isinstance(word, bytes)]
    together: Iterable[tuple[bytes, ...]] = [word for word in interest.words if isinstance(word, tuple)]
    marks = [b"issued-credential-id", b'"data"', b'"data\\', *(b"%%%d" % digit for digit in range(4, 8))]
    alone = [*interest.resources, *single, *marks]
    kept = [word for word in alone if not any(other != word and other in word for other in alone)]
    return sorted(set(kept)), list(together)
