# SPDX-License-Identifier: Apache-2.0
"""Builds whole logs: the events of an attack, and the bytes that an API server writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from k8stokendetect.testing.builders import START, request, service_account_user, token_request, use_of, user_of


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
