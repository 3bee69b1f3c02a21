# SPDX-License-Identifier: Apache-2.0
"""Events that were passed over lately, as text: a token's use may be logged before its mint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs
import orjson

from k8stokendetect._interest import Interest
from k8stokendetect.envelopes import Inner

MOST: Final = 16_000
"""So many are kept: some 20 MB."""

TAIL: Final = 500


class Aside:
    """Keeps the last events that nobody wanted."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Inner, str]] = deque(maxlen=MOST)
        self._known = 0

    def put(self, inner: Inner, origin: str, /) -> None:
        """Keep an event, with where it stood."""
        self._kept.append((inner, origin))

    def wanted(self, interest: Interest, /) -> Iterator[tuple[Inner, str]]:
        """Take out those in which something stands that is followed only now."""
        while news := [word.decode() for word in interest.added[self._known :]]:
            self._known += len(news)
            for kept in [kept for kept in self._kept if any(word in kept[0].record for word in news)]:
                self._kept.remove(kept)
                yield _again(*kept)

    def tail(self) -> Iterator[tuple[Inner, str]]:
        """Take out the uses of tokens among the last: their mints may come in the next batch, within a minute."""
        for kept in list(self._kept)[-TAIL:]:
            if "JTI=" in kept[0].record:
                yield _again(*kept)
        self._kept.clear()


def _again(inner: Inner, origin: str) -> tuple[Inner, str]:
    return attrs.evolve(inner, record=orjson.loads(inner.record), skipped=None), origin
