# SPDX-License-Identifier: Apache-2.0
"""Events that were passed over lately, as text: a token's use may be logged before its mint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from k8stokendetect.envelopes import Context, Inner
from k8stokendetect.reading.interest import ID, Interest

MOST: Final = 16_000
"""So many are kept: some 20 MB."""

TAIL: Final = 500


_Kept = tuple[bytes | str, Inner | None, str | int]
"""An event as text, what a wrapper told of it, and where it stood: the how manyth mapping it was."""


class Aside:
    """Keeps the last events that nobody wanted, by number; when a mint is reported, by the credential ids in them."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._number = 0
        self._by_id: dict[bytes, list[int]] = {}
        self._indexed = 0
        self._known = 0

    def put(self, inner: Inner, origin: str, /) -> None:
        """Keep an event that a wrapper held, with where it stood."""
        self._put((inner.record, inner, origin))

    def put_text(self, text: bytes, number: int, /) -> None:
        """Keep a mapping that was fed, as text: the how manyth it was is all that there is to tell."""
        self._put((bytes(memoryview(text)), None, number))  # orjson leaves much room behind what it writes

    def _put(self, kept: _Kept) -> None:
        self._number += 1
        self._kept[self._number] = kept
        self._kept.pop(self._number - MOST, None)

    def wanted(self, interest: Interest, /) -> Iterator[tuple[Inner, str]]:
        """Take out those in which something stands that is followed only now."""
        while news := interest.added[self._known :]:
            self._known += len(news)
            self._index()
            for number in sorted({number for word in news for number in self._holding(word)}):
                yield _again(*self._kept.pop(number))

    def _index(self) -> None:
        """Note the ids in what came since the last time; now and then forget those of what is no longer kept."""
        if self._number - self._indexed > MOST or len(self._by_id) > 2 * MOST:
            self._by_id.clear()
            self._indexed = self._number - MOST
        for number in range(max(0, self._indexed) + 1, self._number + 1):
            for word in _ids(self._kept[number][0]) if number in self._kept else ():
                self._by_id.setdefault(word, []).append(number)
        self._indexed = self._number

    def _holding(self, word: bytes) -> Iterator[int]:
        """Yield which events hold a followed id or, without one, name the service account."""
        if ID.fullmatch(word):
            yield from (number for number in self._by_id.pop(word, ()) if number in self._kept)
            return
        name = word.decode()
        for number, (text, _, _) in self._kept.items():
            if word in text if isinstance(text, bytes) else name in text:
                yield number

    def tail(self) -> Iterator[tuple[Inner, str]]:
        """Take out the uses of tokens among the last: their mints may come in the next batch, within a minute."""
        for kept in list(self._kept.values())[-TAIL:]:
            if next(_ids(kept[0]), None) is not None:
                yield _again(*kept)
        self._kept.clear()


def _ids(text: bytes | str) -> Iterator[bytes]:
    """Yield the credential ids in an event."""
    return (match[0] for match in ID.finditer(text if isinstance(text, bytes) else text.encode("utf-8", "replace")))


def _again(text: bytes | str, inner: Inner | None, origin: str | int) -> tuple[Inner, str]:
    place, context = (inner.place, inner.context) if inner else ("", Context())
    return Inner(orjson.loads(text), place, context), origin if isinstance(origin, str) else f"record {origin}"
