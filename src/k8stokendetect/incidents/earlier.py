# SPDX-License-Identifier: Apache-2.0
"""Remembers incidents that were closed, so that what belongs to one and comes later carries the same id."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, TypeAlias, TypeVar

from k8stokendetect.findings import Finding
from k8stokendetect.incidents.story import BEGINNING

K = TypeVar("K")
V = TypeVar("V")

Actor: TypeAlias = tuple[str, str, str]
"""Who called: the cluster, the name, and what else distinguishes callers of that name."""

MOST: Final = 50_000
"""Maximum number of tokens, of requests and of callers remembered; what belongs to another begins a new incident."""


class Earlier:
    """The ids of closed incidents.

    Attributes:
        tokens: by the credentials that were issued in them.

    """

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self._requests: dict[str, str] = {}
        self._actors: dict[Actor, tuple[datetime, str]] = {}

    def note(self, id_: str, finding: Finding, actor: Actor, /) -> None:
        """Remember what led to a finding of a closed incident."""
        for ref in (finding.event, *finding.related):
            _put(self._requests, ref.request_id, id_)
            if ref.minted_credential:
                _put(self.tokens, ref.minted_credential, id_)
        if finding.event.time is not None:
            before = self._actors.get(actor, (BEGINNING, ""))
            _put(self._actors, actor, max(before, (finding.event.time, id_)))

    def id_of(self, finding: Finding, actor: Actor | None, window: timedelta, /) -> str | None:
        """Return the id of the closed incident that a finding would have belonged to; None for none.

        Arguments:
            finding: a new one.
            actor: who called; None where something else decides.
            window: how close together calls of one caller are.

        """
        for ref in (finding.event, *finding.related):
            found = self._requests.get(ref.request_id) or self.tokens.get(ref.used_credential or "")
            if found is not None:
                return found
        time = finding.event.time
        if actor is None or time is None or actor not in self._actors:
            return None
        last, id_ = self._actors[actor]
        return id_ if abs(time - last) <= window else None


def _put(known: dict[K, V], key: K, value: V) -> None:
    known.pop(key, None)
    known[key] = value
    if len(known) > MOST:
        del known[next(iter(known))]
