# SPDX-License-Identifier: Apache-2.0
"""Decides which detectors are asked about an event, and which of them match one that is only counted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from k8stokendetect.convert.shapes import MOST, Kind, kind_of
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector, KeyedDetector
from k8stokendetect.engine.guard import Guard
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.events import Event

_OURS: Final = frozenset({*BUILTIN, *OPTIONAL})
"""Whether one of these matches depends on an event's kind alone (a law in the tests)."""


class Asked(NamedTuple):
    """The detectors that an event concerns.

    Attributes:
        reporting: those that remember nothing and are asked for findings.
        matching: those that remember nothing and match, from whose rules the event is excluded: they are counted.
        keyed: those that remember.

    """

    reporting: tuple[Detector, ...]
    matching: tuple[Detector, ...]
    keyed: tuple[KeyedDetector[Any], ...]


class Asking:
    """Asks them once for all events of a kind.

    Arguments:
        watchers: the detectors that run.
        helpers: rules that nobody asked for; nothing of theirs is counted.
        guard: calls them.
        keep_excluded: findings that are excluded are wanted, too.

    """

    def __init__(self, watchers: Watchers, helpers: Collection[str], guard: Guard, *, keep_excluded: bool) -> None:
        self._watchers = watchers
        self._helpers = helpers
        self._guard = guard
        self._keep_excluded = keep_excluded
        self._known: dict[tuple[Kind, frozenset[str]], Asked] = {}

    def of(self, event: Event, excluded: frozenset[str], /) -> Asked:
        """Return the detectors that an event concerns, which is excluded from some rules."""
        kind = kind_of(event)
        found = self._known.get((kind, excluded)) if kind is not None else None
        if found is None:
            stateless, keyed = self._watchers.of(event)
            none = frozenset[str]() if self._keep_excluded else excluded
            reporting = tuple([one for one in stateless if one.rule.id not in none])
            counted = [one for one in stateless if one.rule.id in none and one.rule.id not in self._helpers]
            found = Asked(reporting, tuple(self._guard.matching(counted, event)), keyed)
            if kind is not None and _OURS.issuperset(map(type, counted)):
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[kind, excluded] = found
        return found
