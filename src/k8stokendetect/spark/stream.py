# SPDX-License-Identifier: Apache-2.0
"""The second half of a stream: each bucket's state is one value, which Spark saves and restores after a crash."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from k8stokendetect.errors import ConfigError
from k8stokendetect.spark.back import Part, Said
from k8stokendetect.spark.plan import Plan

STATE: Final = "state binary"
"""Spark's schema for a bucket's state."""

VERSION: Final = 1
"""Version of a bucket's saved state; a checkpoint with another version is refused."""


def load(plan: Plan, bucket: int, state: bytes | None, /) -> dict[str | None, Part]:
    """Return the parts of a bucket.

    Raises:
        ConfigError: when the state has another version.

    """
    if state is None:
        return {}
    version, saved = pickle.loads(zlib.decompress(state))  # noqa: S301 - from Spark's own checkpoint
    if version != VERSION:
        raise ConfigError(f"the checkpoint holds state of version {version}, not {VERSION}: start a new checkpoint")
    return {name: Part(plan, bucket, part) for name, part in saved.items()}


def save(parts: dict[str | None, Part], /) -> bytes:
    """Return the parts of a bucket as one value."""
    return zlib.compress(pickle.dumps((VERSION, {name: part.save() for name, part in parts.items()})), 1)


def folding(plan: Plan, patience: timedelta, /) -> Callable[[Any, Iterable[Any], Any], Iterator[Any]]:
    """Return the function that Spark calls with the new rows of a bucket, and again when none came for a while.

    Arguments:
        plan: what to look for.
        patience: how long, by the clock, a bucket waits for earlier rows after its last ones.

    """
    milliseconds = max(1, patience // timedelta(milliseconds=1))

    def fold(key: Any, frames: Iterable[Any], state: Any) -> Iterator[Any]:
        import pandas as pd  # noqa: PLC0415 - an extra

        bucket = int(key[0])
        parts = load(plan, bucket, bytes(state.get[0]) if state.exists else None)
        if not state.hasTimedOut:
            _put(plan, bucket, parts, frames)
        said: list[Said] = []
        for part in parts.values():
            said += part.ready(everything=state.hasTimedOut)
        state.update((save(parts),))
        if any(part.waits for part in parts.values()):
            state.setTimeoutDuration(milliseconds)
        yield pd.DataFrame(said, columns=["kind", "document"], dtype=object)

    return fold


def _put(plan: Plan, bucket: int, parts: dict[str | None, Part], frames: Iterable[Any]) -> None:
    for frame in frames:
        columns = frame[["part", "moment", "tie", "kind", "payload"]]
        for name, moment, tie, kind, payload in columns.itertuples(index=False, name=None):
            known = name if isinstance(name, str) else None
            if known not in parts:
                parts[known] = Part(plan, bucket)
            parts[known].put((int(moment), tie, kind, bytes(payload)))
