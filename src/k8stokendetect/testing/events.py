# SPDX-License-Identifier: Apache-2.0
"""Changes events without changing what they say, or plants tokens in them, for the conformance suites."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from k8stokendetect.convert.times import parse_time
from k8stokendetect.testing.builders import LIVE_TOKEN


def received(event: Mapping[str, Any]) -> datetime:
    """Return when the API server received a request; the beginning of time where that was not logged."""
    try:
        return parse_time(str(event.get("requestReceivedTimestamp")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def reordered(value: Any) -> Any:
    """Return the same JSON with the fields of every object in reverse order."""
    if isinstance(value, Mapping):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def with_tokens(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield copies of a record with a usable token where real logs have it, and where a client can put one."""
    whole = copy.deepcopy(dict(record))
    yield whole | {"userAgent": f"curl/8 {LIVE_TOKEN}", "requestURI": f"{record.get('requestURI', '/')}?t={LIVE_TOKEN}"}
    status = {"token": LIVE_TOKEN, "expirationTimestamp": None}
    body = {"kind": "TokenRequest", "spec": {"audiences": [f"x {LIVE_TOKEN}"]}, "status": status}
    for name in ("requestObject", "responseObject"):
        yield whole | {name: {**record[name], "status": status} if isinstance(record.get(name), Mapping) else body}
    yield whole | {"annotations": {**record.get("annotations", {}), "note": LIVE_TOKEN}}


def moved(events: Sequence[Mapping[str, Any]], seed: int, lateness: timedelta) -> list[Mapping[str, Any]]:
    """Return events in another order, none later than so much after one that came after it; equal times stay.

    Seeds 0 and 1 hold back every other one, as far as may be; all others are random.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    delays: dict[datetime, float] = {}
    placed = []
    for event in events:
        time = received(event)
        share = float((len(delays) + seed) % 2) if seed in (0, 1) else chance.random()
        delay = delays.setdefault(time, 0.99 * share)
        placed.append((time + lateness * delay, event))
    return [event for _, event in sorted(placed, key=lambda item: item[0])]
