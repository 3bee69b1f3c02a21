# SPDX-License-Identifier: Apache-2.0
"""Remembers which tokens the log has seen minted, so that one that it has not is noticed when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from k8stokendetect.events import ITS_MINT, Event

MOST_MINTS: Final = 50_000
"""Maximum number of tokens remembered, those of nodes left out, which are bound to pods."""

_LONGEST: Final = 200


class MintsSeen:
    """The ids of tokens that were issued, with their clusters; those that were minted or first used last.

    Arguments:
        names: from before.

    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = dict.fromkeys([str(name) for name in names][-MOST_MINTS:])

    def add(self, event: Event, /) -> None:
        """Remember a mint, or that a token is in use."""
        name = f"{event.cluster or ''} {event.minted_credential or event.used_credential}"[:_LONGEST]
        self.names.pop(name, None)
        self.names[name] = None
        if len(self.names) > MOST_MINTS:
            del self.names[next(iter(self.names))]

    def compare(self, event: Event, /) -> Event:
        """Return a use, with `ITS_MINT` among what is usual where the mint of its token is not remembered."""
        name = f"{event.cluster or ''} {event.used_credential}"[:_LONGEST]
        if name in self.names:
            self.add(event)
            return event
        return attrs.evolve(event, usual=event.usual | {ITS_MINT})
