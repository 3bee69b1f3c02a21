# SPDX-License-Identifier: Apache-2.0
"""Finds the exclusions that concern a user name, and judges events by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from k8stokendetect.events import Event
from k8stokendetect.exclusions.base import Component, Exclusion, matches
from k8stokendetect.exclusions.verdict import Verdict, judged_by

T = TypeVar("T")

_MOST: Final = 10_000
"""Maximum number of user names remembered; then all are forgotten, since a client may use any number of names."""


class NameIndex(Generic[T]):
    """Finds what belongs to a user name.

    Arguments:
        items: components, each with what is to be found by its name, in order.

    """

    def __init__(self, items: Iterable[tuple[Component, T]]) -> None:
        self._items = tuple(items)
        self._exact: dict[str, list[int]] = {}
        self._patterns: list[tuple[str, int]] = []
        for number, (component, _) in enumerate(self._items):
            for pattern in component.actor.username:
                if "*" in pattern:
                    self._patterns.append((pattern, number))
                else:
                    self._exact.setdefault(pattern, []).append(number)
        self._found: dict[str, tuple[T, ...]] = {}

    def of(self, username: str, /) -> tuple[T, ...]:
        """Return what has a pattern that this user name matches."""
        found = self._found.get(username)
        if found is None:
            if len(self._found) >= _MOST:
                self._found.clear()
            numbers = {number for pattern, number in self._patterns if matches(pattern, username)}
            numbers.update(self._exact.get(username, ()))
            found = self._found[username] = tuple([self._items[number][1] for number in sorted(numbers)])
        return found


class ExclusionIndex:
    """Judges events by exclusions.

    Arguments:
        exclusions: in the order in which they are asked.

    """

    def __init__(self, exclusions: Iterable[Exclusion]) -> None:
        self._named = NameIndex((exclusion.component, exclusion) for exclusion in exclusions)

    def named(self, username: str, /) -> tuple[Exclusion, ...]:
        """Return the exclusions whose component's name a user has."""
        return self._named.of(username)

    def judge(self, event: Event, /) -> tuple[Verdict, ...]:
        """Return the verdict of each exclusion that names the actor, that with the fewest failed checks first."""
        named = self._named.of(event.user.username)
        if not named:
            return ()
        found = [judged for one in named if (judged := judged_by(one, event))]
        if len(found) > 1:
            found.sort(key=_failed)
        return tuple(found)

    def excluding(self, event: Event, /) -> Exclusion | None:
        """Return the first exclusion that excludes an event."""
        return next((one.exclusion for one in self.judge(event) if one.excludes), None)


def _failed(judged: Verdict) -> int:
    return len(judged.failed)
