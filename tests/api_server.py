# SPDX-License-Identifier: Apache-2.0
"""Posts batches as a kube-apiserver's audit webhook backend does: the same request, the same retries.

Looked up in kubernetes/apiserver (plugin/pkg/audit/webhook, pkg/util/webhook) and in kubernetes/client-go
(rest/request.go, rest/with_retry.go): POST to the kubeconfig's URL with `?timeout=30s`; JSON; success is 200 to 206;
whatever else there is, five attempts with growing pauses; within an attempt up to ten more where 429 or 5xx comes with
`Retry-After`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import httpx

HEADERS: Final = {
    "Accept": "application/json, */*",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver/v1.36.2 (linux/amd64) kubernetes/98b3519",
}
STEPS: Final = 5
MAX_RETRIES: Final = 10


def event_list(items: Iterable[Mapping[str, Any]]) -> bytes:
    """Write a batch as Go does: its items have neither kind nor apiVersion."""
    bare = [{key: value for key, value in item.items() if key not in {"kind", "apiVersion"}} for item in items]
    document = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": bare}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode("utf-8", "replace")


class ApiServer:
    """The client of an API server.

    Arguments:
        url: the `server` of its kubeconfig.
        token: the `token` of its user.
        context: with the authority of its cluster and the certificate of its user.
        pause: called between two attempts instead of waiting.

    """

    def __init__(
        self,
        url: str,
        token: str = "",
        context: ssl.SSLContext | None = None,
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        self.url = url
        self.pause = pause
        self.statuses: list[int] = []
        headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        self.client = httpx.Client(headers=headers, verify=context or True, timeout=30, trust_env=False)

    def post(self, body: bytes) -> bool:
        """Post a batch until it is taken; False when it is dropped after all attempts."""
        for _ in range(STEPS):
            if self._attempt(body):
                return True
            self.pause()
        return False

    def _attempt(self, body: bytes) -> bool:
        for _ in range(1 + MAX_RETRIES):
            try:
                answer = self.client.post(self.url, params={"timeout": "30s"}, content=body)
            except httpx.TransportError:
                return False
            self.statuses.append(answer.status_code)
            if 200 <= answer.status_code <= 206:
                return True
            if not (answer.status_code == 429 or answer.status_code >= 500) or "retry-after" not in answer.headers:
                return False
            self.pause()
        return False
