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

    def grows(self, now: datetime, /) -> bool:
        """Tell whether new nodes are nothing new in this cluster."""
        return sum(now - time <= PERIOD for time in self.new) >= GROWING

    def after(self, name: str, now: datetime, /) -> tuple[NodesSeen, bool]:
        """Return what is known once a node has minted, and whether it was never seen before, others long enough.

        With most mints nothing changes.
        """
        seen = self.names.get(name)
        if seen is not None and now - seen < DAY and self.mints >= ENOUGH:
            return self, False
        is_new = seen is None and self.mints >= ENOUGH and now - self.since >= WARM_UP
        names = dict(self.names)
        if names.pop(name, None) is None and len(names) >= MOST_NODES:
            del names[next(iter(names))]
        names[name] = now
        new = (*self.new, now)[-GROWING:] if is_new else self.new
        return NodesSeen(self.since, min(self.mints + 1, ENOUGH), names, new), is_new
