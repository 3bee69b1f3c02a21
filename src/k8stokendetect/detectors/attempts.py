# SPDX-License-Identifier: Apache-2.0
"""What is remembered of requests that were refused: counts per caller and window, and what each node minted for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.bounds import cut_address
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef

MAX_TARGETS: Final = 100
"""Maximum number of accounts remembered that a caller was refused for."""

MAX_PEERS: Final = 20
"""Maximum number of addresses remembered from which such requests came."""

MAX_ACCOUNTS: Final = 1000
"""Maximum number of accounts remembered of a node; a node has at most a few hundred pods."""

MAX_ADDRESSES: Final = 5000
"""Maximum number of addresses remembered: as many nodes as a cluster of Kubernetes is made for at most.

https://kubernetes.io/docs/setup/best-practices/cluster-large/
"""


@attrs.frozen
class Tried:
    """What somebody asked for in vain within a window.

    Arguments:
        since: when the window began.
        count: how many requests were refused.
        targets: whose tokens were asked for, and when last.
        last: the time of the last one.
        first: the first that was only counted, not reported by itself.
        peers: where those came from that were only counted.
        said: the count that was reported last.

    """

    since: datetime | None = None
    count: int = 0
    targets: dict[str, datetime] = attrs.field(factory=dict)
    last: datetime | None = None
    first: EventRef | None = None
    peers: tuple[str, ...] = ()
    said: int = 0

    def after(self, target: str, time: datetime, window: timedelta, /) -> Tried:
        """Return it after one more refused request; a new window begins where the last one is over."""
        if self.since is None or self.is_over(time, window):
            return Tried(time, 1, {target: time}, time)
        others = {name: when for name, when in self.targets.items() if name != target}
        targets = {**dict(list(others.items())[-MAX_TARGETS + 1 :]), target: time}
        last = max(self.last or time, time)
        return attrs.evolve(self, count=self.count + 1, targets=targets, last=last)

    def counted(self, event: Event, /) -> Tried:
        """Return it where the last request is only counted."""
        peer = cut_address(event.peer_ip or "")
        peers = self.peers if peer in self.peers or len(self.peers) >= MAX_PEERS else (*self.peers, peer)
        return attrs.evolve(self, first=self.first or EventRef.of(event), peers=peers)

    def is_over(self, now: datetime, window: timedelta, /) -> bool:
        """Tell whether a window has passed."""
        return self.since is not None and not timedelta(0) <= now - self.since < window

    def is_due(self, now: datetime | None, window: timedelta, /, *, early: bool = False) -> bool:
        """Tell whether more was counted than reported, and the window is over at a time.

        Early, before it is over, what was never reported is due, and what has become ten times as much.
        """
        if self.first is None or self.count <= self.said:
            return False
        return (early and self.count >= 10 * self.said) or (now is not None and self.is_over(now, window))


@attrs.frozen
class Node:
    """What is known of a node, or of all nodes of a cluster together.

    Arguments:
        accounts: whose tokens it got, `namespace/name`.
        addresses: where from.
        failures: how often it failed, by account and way of failing.
        foreign: accounts that it never minted for and was refused, and when last.

    """

    accounts: dict[str, bool] = attrs.field(factory=dict)
    addresses: dict[str, bool] = attrs.field(factory=dict)
    failures: dict[str, int] = attrs.field(factory=dict)
    foreign: dict[str, datetime] = attrs.field(factory=dict)

    def after_mint(self, account: str, address: str, /) -> Node:
        """Return it after a mint; the same where nothing is new, or no more is remembered."""
        accounts, addresses = self.accounts, self.addresses
        if account not in accounts and len(accounts) < MAX_ACCOUNTS:
            accounts = {**accounts, account: True}
        if address not in addresses and len(addresses) < MAX_ADDRESSES:
            addresses = {**addresses, address: True}
        if accounts is self.accounts and addresses is self.addresses:
            return self
        return Node(accounts, addresses, self.failures, self.foreign)  # `evolve` takes three times as long

    def after_failure(self, what: str, /) -> Node:
        """Return it after one more failure of a kind."""
        failures = self.failures | {what: self.failures.get(what, 0) + 1}
        return attrs.evolve(self, failures=dict(list(failures.items())[-MAX_ACCOUNTS:]))

    def after_refusal(self, account: str, time: datetime, within: timedelta, /) -> Node:
        """Return it after it was refused for an account that it never minted for."""
        recent = {name: when for name, when in self.foreign.items() if time - when <= within and name != account}
        return attrs.evolve(self, foreign={**dict(list(recent.items())[-MAX_TARGETS + 1 :]), account: time})


@attrs.frozen
class Attempts:
    """What a key of `token-request-denied` stands for: a caller, a node, or all who did not authenticate."""

    tried: Tried = Tried()
    node: Node = Node()
