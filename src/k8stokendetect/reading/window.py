# SPDX-License-Identifier: Apache-2.0
"""Keeps the text of recent requests that were skipped: a token's use may be logged before its mint."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, TypeAlias

KEPT: Final = 16 * 1024 * 1024
"""Bytes of recent requests that are kept."""

_CHUNK: Final = 512 * 1024
"""Bytes that are forgotten at a time."""

TAIL: Final = 500
"""How many of the last requests `tail` returns at most."""

Where: TypeAlias = tuple[Any, ...]
"""How a request is read again: by which function, then what that is called with."""

Kept: TypeAlias = tuple[Any, ...]
"""A request: the credential that it was made with, then as `Where`."""


class _Chunk:
    """Requests that are forgotten together; which credentials they have is noted when it is asked for."""

    def __init__(self) -> None:
        self.size = 0
        self.kept: list[Kept | None] = []
        self._noted = 0
        self._known: set[str] = set()

    def take(self, credentials: Collection[str], /) -> Iterator[Kept]:
        """Yield what was made with these credentials, once, in the order in which it came."""
        self._known.update([kept[0] for kept in self.kept[self._noted :] if kept is not None])
        self._noted = len(self.kept)
        if self._known.isdisjoint(credentials):
            return
        self._known.difference_update(credentials)
        for number, kept in enumerate(self.kept[: self._noted]):
            if kept is not None and kept[0] in credentials:
                self.kept[number] = None
                yield kept

    def pop(self, most: int, /) -> Iterator[Kept]:
        """Take out the last requests, the last of all first."""
        for number in range(len(self.kept) - 1, -1, -1):
            if most == 0:
                return
            kept, self.kept[number] = self.kept[number], None
            if kept is not None:
                most -= 1
                yield kept


class Window:
    """The most recent requests, as text, by the credential that they were made with.

    It is for one reading of a log, and never printed, saved or pickled: what it holds was not redacted.

    Arguments:
        limit: bytes that are kept.

    """

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._size = 0
        self._chunk = _Chunk()
        self._chunks = deque([self._chunk])

    def __reduce__(self) -> Any:
        raise TypeError("raw text is never pickled")

    def add(self, requests: Iterable[Kept], size: int, /) -> None:
        """Keep requests of so many bytes together."""
        chunk = self._chunk
        chunk.kept += requests
        chunk.size += size
        if chunk.size >= _CHUNK:
            self._next_chunk()

    def _next_chunk(self) -> None:
        self._size += self._chunk.size
        self._chunk = _Chunk()
        self._chunks.append(self._chunk)
        while self._size > self._limit:
            self._size -= self._chunks.popleft().size

    def take(self, credentials: Iterable[str], /) -> Iterator[Kept]:
        """Yield the requests that were made with these credentials, once, in the order in which they came."""
        wanted = frozenset(credentials)
        for chunk in list(self._chunks):
            yield from chunk.take(wanted)

    def tail(self) -> list[Kept]:
        """Take out the last requests that were made with tokens."""
        last: deque[Kept] = deque(maxlen=TAIL)
        for chunk in reversed(self._chunks):
            last.extendleft(chunk.pop(TAIL - len(last)))
        return list(last)
