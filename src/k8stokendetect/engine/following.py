# SPDX-License-Identifier: Apache-2.0
"""Following a token: how it is named, who is told, and which mint it comes from."""

from __future__ import annotations

from typing import Protocol

from k8stokendetect.detectors.unknown_token_used import is_controllers, uses_unbound_token
from k8stokendetect.engine.mints import MintsSeen
from k8stokendetect.events import ITS_MINT, Event
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


def with_mint(event: Event, mints: MintsSeen, reader: Follows | None, /) -> Event:
    """Compare the token that a request was made with with those minted; the reader may skip one that is known."""
    if not event.user.username.startswith(SERVICE_ACCOUNT_PREFIX) or not uses_unbound_token(event):
        return event
    event = mints.compare(event)
    if reader is not None and (ITS_MINT not in event.usual or is_controllers(event)):
        reader.know(event.used_credential or "")
    return event
