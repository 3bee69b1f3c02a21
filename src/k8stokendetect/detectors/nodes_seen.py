# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a cluster minted tokens, and which of them the log had never seen before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

WARM_UP: Final = timedelta(hours=1)
"""How long other nodes have to mint before a new one counts.

A kubelet renews a token after 80 % of its lifetime, and those that pods have by default live for an hour:
https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
"""

ENOUGH: Final = 20
"""How many mints of nodes that takes besides."""

MOST_NODES: Final = 5000
"""As many as a cluster of Kubernetes is made for: https://kubernetes.io/docs/setup/best-practices/cluster-large/."""

GROWING: Final = 3
"""A cluster that got so many new nodes within `PERIOD` gets them by design."""

PERIOD: Final = timedelta(days=7)
DAY: Final = timedelta(days=1)


@attrs.frozen
class NodesSeen:
    """The nodes of a cluster.

    Arguments:
        since: when a node first minted.
        mints: how often nodes minted, as far as `ENOUGH`.
        names: each node, with the day on which it was last seen to mint.
        new: when nodes came that had never been seen before.

    """

    since: datetime
    mints: int = 0
    names: dict[str, datetime] = attrs.field(factory=dict)
    new: tuple[datetime, ...] = ()

    def is_new(self, name: str, now: datetime, /) -> bool:
        """Tell whether a node was never seen before, after others have minted for long enough."""
        return name not in self.names and self.mints >= ENOUGH and now - self.since >= WARM_UP

    def grows(self, now: datetime, /) -> bool:
        """Tell whether new nodes are nothing new in this cluster."""
        return sum(now - time <= PERIOD for time in self.new) >= GROWING

    def after(self, name: str, now: datetime, /) -> NodesSeen:
        """Return what is known once a node has minted; little of it changes with most mints."""
        if self.is_new(name, now):
            return attrs.evolve(self, names=self._with(name, now), new=(*self.new, now)[-GROWING:])
        is_fresh = name in self.names and now - self.names[name] < DAY
        if is_fresh and self.mints >= ENOUGH:
            return self
        return attrs.evolve(
            self, names=self.names if is_fresh else self._with(name, now), mints=min(self.mints + 1, ENOUGH)
        )

    def _with(self, name: str, now: datetime) -> dict[str, datetime]:
        names = {other: seen for other, seen in self.names.items() if other != name}
        if len(names) >= MOST_NODES:
            names.pop(next(iter(names)))
        return names | {name: now}
