# SPDX-License-Identifier: Apache-2.0
"""What is remembered of requests that were refused: counts per caller and window, and what each node minted for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

MAX_TARGETS: Final = 100
"""Maximum number of accounts remembered that a caller was refused for."""

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

    """

    since: datetime | None = None
    count: int = 0
    targets: dict[str, datetime] = attrs.field(factory=dict)

    def after(self, target: str, time: datetime, window: timedelta, /) -> Tried:
        """Return it after one more refused request; a new window begins where the last one is over."""
        if self.since is None or not timedelta(0) <= time - self.since < window:
            return Tried(time, 1, {target: time})
        others = {name: when for name, when in self.targets.items() if name != target}
        return Tried(self.since, self.count + 1, {**dict(list(others.items())[-MAX_TARGETS + 1 :]), target: time})

    @property
    def is_round(self) -> bool:
        """The count is a power of ten: it is reported again."""
        return str(self.count).rstrip("0") == "1"


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
