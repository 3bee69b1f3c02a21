# SPDX-License-Identifier: Apache-2.0
"""Events that were passed over lately, as text: a token's use may be logged before its mint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from k8stokendetect._interest import Interest
from k8stokendetect.envelopes import Context, Inner

MOST: Final = 16_000
"""So many are kept: some 20 MB."""

TAIL: Final = 500


class Aside:
    """Keeps the last events that nobody wanted."""

    def __init__(self) -> None:
        self._kept: deque[tuple[bytes | str, Inner | None, str | int]] = deque(maxlen=MOST)
        self._known = 0

    def put(self, inner: Inner, origin: str, /) -> None:
        """Keep an event that a wrapper held, with where it stood."""
        self._kept.append((inner.record, inner, origin))

    def put_text(self, text: bytes, number: int, /) -> None:
        """Keep a mapping that was fed, as text: the how manyth it was is all that there is to tell."""
        self._kept.append((text, None, number))

    def wanted(self, interest: Interest, /) -> Iterator[tuple[Inner, str]]:
        """Take out those in which something stands that is followed only now."""
        while news := interest.added[self._known :]:
            self._known += len(news)
            words = [(word, word.decode()) for word in news]
            for kept in [kept for kept in self._kept if _holds(kept[0], words)]:
                self._kept.remove(kept)
                yield _again(*kept)

    def tail(self) -> Iterator[tuple[Inner, str]]:
        """Take out the uses of tokens among the last: their mints may come in the next batch, within a minute."""
        for kept in list(self._kept)[-TAIL:]:
            if _holds(kept[0], [(b"JTI=", "JTI=")]):
                yield _again(*kept)
        self._kept.clear()


def _holds(text: bytes | str, words: Iterable[tuple[bytes, str]]) -> bool:
    return any(word in text if isinstance(text, bytes) else name in text for word, name in words)


def _again(text: bytes | str, inner: Inner | None, origin: str | int) -> tuple[Inner, str]:
    place, context = (inner.place, inner.context) if inner else ("", Context())
    return Inner(orjson.loads(text), place, context), origin if isinstance(origin, str) else f"record {origin}"
