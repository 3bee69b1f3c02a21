# SPDX-License-Identifier: Apache-2.0
"""Finds the exclusions whose name an actor has: most events have none, and need no proof looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from k8stokendetect.exclusions.base import Exclusion, matches

_MOST: Final = 10_000
"""So many user names are remembered; then all are forgotten, since a client may come under any number of names."""


class Named:
    """Some exclusions, by the user names that they may concern.

    Arguments:
        exclusions: in the order in which they are to be asked.

    """

    def __init__(self, exclusions: Iterable[Exclusion]) -> None:
        self._exclusions = tuple(exclusions)
        self._found: dict[str, tuple[Exclusion, ...]] = {}

    def of(self, username: str, /) -> tuple[Exclusion, ...]:
        """Return those with a pattern that this user name matches."""
        found = self._found.get(username)
        if found is None:
            if len(self._found) >= _MOST:
                self._found.clear()
            found = self._found[username] = tuple(
                exclusion
                for exclusion in self._exclusions
                if any(matches(pattern, username) for pattern in exclusion.actor.username)
            )
        return found
