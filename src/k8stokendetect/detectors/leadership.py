# SPDX-License-Identifier: Apache-2.0
"""Which credential of a control-plane identity is at work: the one that holds its lease, or the one that took over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.findings import EventRef

LEASE_DURATION: Final = timedelta(seconds=15)
"""Nobody else takes a lease that was renewed within this time, unless its holder gave it up (client-go defaults)."""

STALE: Final = timedelta(minutes=1)
"""A lease that was not renewed for so long says nothing about who works now."""

FIGHT: Final = timedelta(hours=1)
"""How long two credentials stay suspect after they held the lease by turns."""

MAX_CREDENTIALS: Final = 8
"""Live credentials of one identity; more are several clusters whose records do not say which is which."""

ALIVE: Final = timedelta(hours=2)
"""A credential that minted within this time is in use: a controller's token lives for an hour."""

FEW: Final = 5
"""A credential that minted for fewer accounts has not shown that it is the component's own."""

MAX_KEPT: Final = 2 * MAX_CREDENTIALS
MAX_TARGETS: Final = 64
MAX_WAITING: Final = 10


@attrs.frozen
class Minter:
    """What one credential minted.

    Arguments:
        last: when it minted last.
        targets: for which service accounts.
        waiting: its first mints, as long as it is open whether they begin a failover.

    """

    last: datetime
    targets: tuple[str, ...] = ()
    waiting: tuple[EventRef, ...] = ()

    def after(self, mint: EventRef, time: datetime, *, waits: bool) -> Minter:
        """Return what is known after one more mint."""
        target = mint.target or ""
        targets = self.targets if target in self.targets else (*self.targets, target)[-MAX_TARGETS:]
        return Minter(max(time, self.last), targets, (*self.waiting, mint)[:MAX_WAITING] if waits else ())


@attrs.frozen
class Doubt:
    """Why mints may be somebody else's.

    Arguments:
        mints: which ones.
        other: the other credential of the same identity.
        why: what speaks against these.
        certain: it is known which of the two is the component's own.

    """

    mints: tuple[EventRef, ...]
    other: str
    why: str
    certain: bool = True


@attrs.frozen
class Leadership:
    """What the log has shown of one identity in one cluster.

    Arguments:
        holder: the credential that renewed the lease last; empty where no lease was seen.
        renewed: when it did.
        before: the one that held it before.
        until: when that one renewed it last.
        fighting: two credentials that held the lease by turns.
        fought: when they did last.
        minters: what each credential minted, the one at work last.
        live: every credential that minted or held the lease, and when it did last, about.
        warned: it was said that there are too many of them.

    """

    holder: str = ""
    renewed: datetime | None = None
    before: str = ""
    until: datetime | None = None
    fighting: tuple[str, ...] = ()
    fought: datetime | None = None
    minters: dict[str, Minter] = attrs.field(factory=dict)
    live: dict[str, datetime] = attrs.field(factory=dict)
    warned: bool = False

    @property
    def is_crowded(self) -> bool:
        """More credentials are live than those of one cluster can be."""
        return len(self.live) > MAX_CREDENTIALS

    def seen(self, credential: str, time: datetime, /) -> Leadership:
        """Return what is known once a credential was used: with most uses nothing changes."""
        last = self.live.get(credential)
        if last is not None and abs(time - last) < STALE:
            return self
        live = {name: when for name, when in self.live.items() if name != credential and time - when <= ALIVE}
        return attrs.evolve(self, live={**dict(list(live.items())[-MAX_KEPT:]), credential: time})

    def after_lease(self, credential: str, time: datetime, /) -> Leadership:
        """Return what is known after a credential renewed or took the lease."""
        if credential == self.holder:
            return attrs.evolve(self, renewed=time)
        taken = attrs.evolve(self, holder=credential, renewed=time, before=self.holder, until=self.renewed)
        returns = credential == self.before and self.until is not None and time - self.until < LEASE_DURATION
        return attrs.evolve(taken, fighting=(self.holder, credential), fought=time) if returns else taken

    def after_mint(self, mint: EventRef, credential: str, time: datetime, /) -> tuple[Leadership, Doubt | None]:
        """Return what is known after a mint, and what speaks against this one or earlier ones."""
        if credential in self.fighting and self.fought is not None and time - self.fought <= FIGHT:
            other = next(name for name in self.fighting if name != credential)
            return self, Doubt((mint,), other, "two credentials held its lease in turns", certain=False)
        if self.renewed is None or time - self.renewed > STALE:
            return self._without_lease(mint, credential, time)
        left = credential == self.before and self.until is not None and time - self.until <= LEASE_DURATION
        if credential == self.holder or left:
            return self._with(credential, mint, time), None
        return self, Doubt((mint,), self.holder, "another credential holds its lease")

    def _without_lease(self, mint: EventRef, credential: str, time: datetime) -> tuple[Leadership, Doubt | None]:
        """Compare with the credential that minted before: a failover has to look like one."""
        live = [name for name, minter in self.minters.items() if name != credential and time - minter.last <= ALIVE]
        at_work = live[-1] if live else credential
        known = self.minters.get(credential)
        if at_work == credential or len(live) >= MAX_CREDENTIALS:
            return self._with(credential, mint, time), None
        other = self.minters[at_work]
        if known is None or (known.waiting and not other.waiting):
            if (mint.target or "") in other.targets:
                return self._with(credential, mint, time, waits=True), None
            young = len(other.targets) < FEW
            doubt = Doubt((mint,), at_work, "another credential is active, which never minted for it", not young)
            return (self._with(credential, mint, time) if young else self), doubt
        after = self._with(credential, mint, time)
        if other.waiting and len(other.targets) < max(2, len(known.targets) / 2):
            del after.minters[at_work]
            return after, Doubt(other.waiting, credential, "the other credential minted before and after")
        return after, None

    def _with(self, credential: str, mint: EventRef, time: datetime, *, waits: bool = False) -> Leadership:
        """Return it with one more mint of a credential, which is the one at work now."""
        before = self.minters.get(credential) or Minter(time)
        others = [(name, minter) for name, minter in self.minters.items() if name != credential]
        return attrs.evolve(
            self, minters={**dict(others[-MAX_KEPT:]), credential: before.after(mint, time, waits=waits)}
        )
