# SPDX-License-Identifier: Apache-2.0
"""Tells what was delivered twice: names of requests, and a window of those that were seen."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from k8stokendetect.events import Event

WINDOW: Final = 100_000
"""How many fingerprints are remembered to drop duplicates; flooding it makes findings repeat, never vanish."""


def identity(event: Event, /) -> str:
    """Name a request by what a client cannot choose, beside its auditID."""
    assumed, ref, time = event.impersonated_user, event.object_ref, event.time
    target = (ref.resource, ref.namespace, ref.name) if ref else None
    parts = (time and time.isoformat(), event.user.username, assumed and assumed.username, target, event.peer_ip)
    text = repr((*parts, event.minted_credential, event.audit_id))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Window:
    """Remembers the last names, to drop what was delivered twice or logged at two stages."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()

    def before(self, name: str, number: int, /) -> bool:
        """Tell whether an event before this one (by its number) had the name, and remember it."""
        first = self._seen.setdefault(name, number)
        if len(self._seen) > WINDOW:
            self._seen.popitem(last=False)
        return first != number
