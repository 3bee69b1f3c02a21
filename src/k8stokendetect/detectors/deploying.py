# SPDX-License-Identifier: Apache-2.0
"""Tells what a deployment job does with the token that it minted from what an attacker does."""

from __future__ import annotations

import re
from typing import Final

from k8stokendetect.findings import EventRef

_DEPLOYED: Final = frozenset({"deployments", "statefulsets", "daemonsets", "jobs", "cronjobs"})
"""What a deployment job rolls out; a bare pod is not rolled out."""

_HELM_RELEASE: Final = "sh.helm.release.v1."
_HELM_LIST: Final = re.compile(
    r"[^?]*\?labelSelector=(?:name%3D[\w.-]+%2C)?owner%3Dhelm(?:%2Cstatus%3D[\w-]+)?", flags=re.ASCII
)
"""How Helm names the Secrets in which it keeps its releases, and lists them, and no other query with them:
https://github.com/helm/helm/blob/69996fe309d06464a82ab317462974758de8b6a1/pkg/storage/storage.go."""


def deploys(mints: tuple[EventRef, ...], use: EventRef, /) -> bool:
    """Tell whether a use is what a deployment job mints for: who minted deploys in the target's namespace, himself.

    Only with a token minted first-hand, and from the mint's own address. Whole secrets of others are out, so are roles.
    """
    mint = mints[-1]
    first = len(mints) == 1 and not (mint.used_credential or "").startswith("JTI=")
    own = first and mint.peer_ip and mint.peer_ip == use.peer_ip
    if not own or use.impersonating or use.namespace != mint.namespace:
        return False
    if use.resource == "secrets":
        return use.name.startswith(_HELM_RELEASE) or (
            use.verb == "list" and _HELM_LIST.fullmatch(use.request_uri) is not None
        )
    return use.resource in _DEPLOYED
