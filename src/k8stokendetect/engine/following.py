# SPDX-License-Identifier: Apache-2.0
"""Following a token: how it is named, and who is told."""

from __future__ import annotations

from typing import Protocol

from k8stokendetect.events import Event
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX


class Follows(Protocol):
    """The reader's prefilter: from now on it also wants what is made with a token."""

    def follow(self, name: str, /) -> None:
        """Want the uses of a token by its id, or the requests of a service account by its user name."""
        ...

    def know(self, id_: str, /) -> None:
        """Skip an unbound token from now on."""
        ...


def name_of_token(event: Event, /) -> str:
    """Name the token that an event minted: by its id, or by its service account's user name where there are no ids."""
    target = event.service_account
    return event.minted_credential or (f"{SERVICE_ACCOUNT_PREFIX}{target.namespace}:{target.name}" if target else "")
