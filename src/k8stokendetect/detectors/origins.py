# SPDX-License-Identifier: Apache-2.0
"""From where an actor mints: networks, clients and certificates that are its own, and where else it was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.findings import EventRef

MAX_VALUES: Final = 50
"""Maximum number of networks, clients and certificates remembered of an actor; beyond, each new one is reported."""

SILENT: Final = timedelta(hours=24)
"""An origin that was not seen for so long is given up: what came in its place is its successor."""

OVERLAP: Final = timedelta(seconds=60)
"""How long a renewed certificate and its successor may both be in use: connections stay open (fact 44: 2 to 9 s)."""


MOST_WAITING: Final = 20
"""Maximum number of a node's mints from a new network that are kept until it shows whether the node has moved."""

MOST_REPORTED: Final = 20
"""Maximum number of them reported within `SILENT` where both networks are in use."""


@attrs.frozen
class Move:
    """A node with its usual certificate and client in a new network: it has moved, or somebody stole the certificate.

    Arguments:
        network: the new one.
        since: when it mints from there.
        waiting: what it minted from there after the first, as long as the usual network is silent.
        reported: how many were reported since both networks are in use; None as long as they are not.

    """

    network: str
    since: datetime
    waiting: tuple[EventRef, ...] = ()
    reported: int | None = None

    def lasts(self, now: datetime, /) -> bool:
        """Tell whether it is still open."""
        return now - self.since <= SILENT


@attrs.frozen
class Origins:
    """How often an actor minted, and from where.

    Arguments:
        mints: how many.
        seen: `network`, `client` and `certificate`, with the values that are the actor's own.
        last: when a value of each kind was last seen that is the actor's own.
        renewed: certificates that were replaced, and when.
        move: of a node, where it mints from a network that is new.

    """

    mints: int = 0
    seen: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    last: dict[str, datetime] = attrs.field(factory=dict)
    renewed: dict[str, datetime] = attrs.field(factory=dict)
    move: Move | None = None

    def new(self, here: dict[str, str], /) -> list[str]:
        """Return the kinds of which this value is new.

        A kind that was never logged before, such as certificates after an upgrade to 1.32, is not a change.
        """
        seen = self.seen
        return [kind for kind, value in here.items() if kind in seen and value not in seen[kind]]

    def full(self, kinds: Iterable[str], /) -> list[str]:
        """Return the kinds of which no more values are remembered."""
        return [kind for kind in kinds if len(self.seen[kind]) >= MAX_VALUES]

    def succeeded(self, kinds: Iterable[str], now: datetime, /) -> list[str]:
        """Return the kinds whose new value is learned though it is reported.

        Anybody can choose a client's name; of networks and certificates, the actor's own have to fall silent first.
        """
        return [kind for kind in kinds if kind == "client" or now - self.last.get(kind, now) > SILENT]

    def after(self, here: dict[str, str], learned: Collection[str], new: Collection[str], now: datetime, /) -> Origins:
        """Return what is known after a mint from here; what is new and not learned stays foreign.

        Arguments:
            here: where it came from.
            learned: the kinds whose new value is the actor's own.
            new: the kinds whose value is new.
            now: its time.

        """
        if not new and here.keys() <= self.last.keys() and now - min(self.last.values()) < OVERLAP:
            return Origins(self.mints + 1, self.seen, self.last, self.renewed, self.move)
        seen = {kind: (value,) for kind, value in here.items()} | self.seen
        if learned:
            full = self.full(learned)
            seen |= {kind: (*seen[kind], here[kind]) for kind in learned if kind not in full}
        own = {kind: now for kind in here if kind not in new or kind in learned}
        return Origins(self.mints + 1, seen, self.last | own, self.renewed, self.move)

    def renew(self, certificate: str, now: datetime, /) -> Origins:
        """Return it with a certificate in the place of those before."""
        former = dict.fromkeys(self.seen["certificate"], now)
        renewed = dict(list((self.renewed | former).items())[-MAX_VALUES:])
        return attrs.evolve(self, seen={**self.seen, "certificate": (certificate,)}, renewed=renewed)
