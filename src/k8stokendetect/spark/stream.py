# SPDX-License-Identifier: Apache-2.0
"""The second half of a stream: each cluster's state is one value, which Spark saves and restores after a crash."""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.errors import ConfigError
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.share import Said, Share

STATE: Final = "state binary"
"""Spark's schema for a cluster's state."""

VERSION: Final = 2
"""Version of the saved state; a checkpoint with another version is refused."""


def load(plan: Plan, cluster: str, state: bytes | None, /) -> Share:
    """Return the share of a cluster.

    Raises:
        ConfigError: when the state has another version.

    """
    if state is None:
        return Share(plan, cluster)
    version, saved = pickle.loads(zlib.decompress(state))  # noqa: S301 - from Spark's own checkpoint
    if version != VERSION:
        raise ConfigError(f"the checkpoint holds state of version {version}, not {VERSION}: start a new checkpoint")
    return Share(plan, cluster, saved)


def save(share: Share, /) -> bytes:
    """Return the share of a cluster as one value."""
    return zlib.compress(pickle.dumps((VERSION, share.save())), 1)


def folding(plan: Plan, patience: timedelta | None, /) -> Callable[[Any, Iterable[Any], Any], Iterator[Any]]:
    """Return the function that Spark calls with the new rows of a cluster, and again when none came for a while.

    Arguments:
        plan: what to look for.
        patience: how long, by the clock, events wait for earlier ones when nothing more comes; None: until more comes.

    """

    def fold(key: Any, frames: Iterable[Any], state: Any) -> Iterator[Any]:
        import pandas as pd  # noqa: PLC0415 - an extra

        share = load(plan, str(key[0]), bytes(state.get[0]) if state.exists else None)
        said: list[Said] = []
        if not state.hasTimedOut:
            for row in sorted(_rows(frames)):
                said += share.take(*row)
        if state.hasTimedOut or share.latest < _long_ago():
            said += share.rest()
        said += share.end()
        state.update((save(share),))
        if patience is not None and share.waits:
            state.setTimeoutDuration(max(1, patience // timedelta(milliseconds=1)))
        yield pd.DataFrame(said, columns=["kind", "document"], dtype=object)

    return fold


def _long_ago() -> int:
    """Return the moment before which no event waits: nothing earlier is still on its way."""
    return int((time.time() - ALLOWED_LATENESS.total_seconds()) * 1_000_000)


def _rows(frames: Iterable[Any]) -> Iterator[tuple[int, str, str, bytes]]:
    for frame in frames:
        columns = frame[["moment", "tie", "kind", "payload"]]
        for moment, tie, kind, payload in columns.itertuples(index=False, name=None):
            yield int(moment), tie, kind, bytes(payload)
