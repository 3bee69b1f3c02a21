# SPDX-License-Identifier: Apache-2.0
"""Whole logs: the events of an attack, the bytes that an API server writes, events that are moved or hold tokens."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from k8stokendetect.convert.times import parse_time
from k8stokendetect.testing.builders import (
    LIVE_TOKEN,
    START,
    request,
    service_account_user,
    token_request,
    use_of,
    user_of,
)


def attack(start: datetime = START) -> list[dict[str, Any]]:
    """Return the events of a whole attack, in their order.

    Who runs code in a pod of `web/frontend` looks round, mints a token for `prod/payments-sa`, reads the secrets of
    `prod` with it, is refused a token of `kube-system`, mints one for `prod/deployer` with the first token, and makes
    that one cluster-admin.
    """

    def at(seconds: float) -> datetime:
        return start + timedelta(seconds=seconds)

    ip, tool = "10.244.1.7", "curl/8.5.0"
    pod = service_account_user("web/frontend", "JTI=0d0d3b3e-4d7a-4f62-9f0e-0c5b2d2f3a11", pod="frontend-7d9c")
    first = token_request(pod, "prod/payments-sa", ip=ip, user_agent=tool, time=at(20))
    second = token_request(user_of(first), "prod/deployer", ip=ip, user_agent=tool, time=at(50))
    rbac = "rbac.authorization.k8s.io"
    return [
        request("list", "pods", user=pod, namespace="web", ip=ip, user_agent=tool, time=at(0)),
        request("list", "secrets", user=pod, code=403, ip=ip, user_agent=tool, time=at(10)),
        first,
        use_of(first, "list", "secrets", user_agent=tool, time=at(30)),
        token_request(
            user_of(first), "kube-system/generic-garbage-collector", code=403, ip=ip, user_agent=tool, time=at(40)
        ),
        second,
        use_of(second, "create", "clusterrolebindings", namespace=None, api_group=rbac, user_agent=tool, time=at(60)),
        use_of(second, "list", "secrets", namespace=None, user_agent=tool, time=at(70)),
    ]


def log(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Return an audit log of these events, byte for byte as the API server's log backend writes one."""
    text = "".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events)
    for character in "<>&":  # Go writes JSON that may stand in HTML
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def is_call(record: Mapping[str, Any]) -> bool:
    """Tell a record of CloudTrail from an audit event."""
    return "eventSource" in record and "verb" not in record


def received(event: Mapping[str, Any]) -> datetime:
    """Return when the API server received a request, or AWS a call; the beginning of time where that is not there."""
    try:
        return parse_time(str(event.get("requestReceivedTimestamp") or event.get("eventTime")))
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
