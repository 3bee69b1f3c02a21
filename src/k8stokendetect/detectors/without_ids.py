# SPDX-License-Identifier: Apache-2.0
"""minted-token-used on clusters that write no credential ids: service account, time and origin are what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.following import NO_MINT, Followed, Use, lifetime, origin, used_finding
from k8stokendetect.detectors.keyed import View
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import EventRef, Finding, Rule
from k8stokendetect.identity import LEGACY_TOKEN, POD_NAME, ServiceAccount

UNKNOWN_LIFETIME: Final = timedelta(hours=24)
"""How long a token is taken to live where its lifetime was not logged; an hour is the default, more is easily had."""

MAX_ORIGINS: Final = 20
CAVEAT: Final = (
    "this cluster writes no credential ids (before Kubernetes 1.30): that this request used that token is inferred "
    "from the service account, the time and the origin"
)


def keys(event: Event, reported: Sequence[Finding], /) -> Iterator[str]:
    """Name the service account that acts with a token of no id and no pod, and the one a token was minted for."""
    acting = _acting(event)
    if acting:
        yield str(acting)
    if reported and event.mints_token and event.minted_credential is None:
        target = event.service_account
        if target and target != acting:
            yield str(target)


def _acting(event: Event) -> ServiceAccount | None:
    """Return whose token was used, where it may be one minted by hand: no id, no pod, not out of a Secret.

    Discovery, a path of no resource, tells nothing: every client does it.
    """
    user = event.user
    if (
        event.object_ref is None
        or event.used_credential
        or POD_NAME in user.extra
        or LEGACY_TOKEN in event.annotations
        or "extra" in event.lost
    ):
        return None
    account = ServiceAccount.of_username(user.username)
    return account if account and set(account.groups) <= set(user.groups) else None


def fold(
    rule: Rule, key: str, event: Event, reported: Sequence[Finding], memory: View[Followed], /
) -> Iterator[Finding]:
    """Remember mints and where the account acts from; report acts from the minter's origin or a new one."""
    followed = memory.get(key) or NO_MINT
    if str(_acting(event)) == key:
        use = Use.of(event)
        here = " ".join(origin(use.event))
        mint = next((m for m in reversed(followed.mints) if _alive(m, use.event, followed)), None)
        if mint and (here not in followed.origins or _share(origin(mint), origin(use.event))):
            yield used_finding(rule, (mint,), use, caveats=(CAVEAT,), certain=False)
        elif here not in followed.origins:
            followed = attrs.evolve(followed, origins=(*followed.origins, here)[-MAX_ORIGINS:])
    if reported and event.mints_token and event.resource == TOKEN_SUBRESOURCE and str(event.service_account) == key:
        followed = _with_mint(followed, event)
    memory.put(key, followed)


def _with_mint(followed: Followed, event: Event) -> Followed:
    mint = EventRef.of(event)
    if mint in followed.mints:
        return followed
    until = lifetime(event) or (event.time and event.time + UNKNOWN_LIFETIME)
    return attrs.evolve(followed, mints=(*followed.mints, mint)[-MAX_ORIGINS:], until=until)


def _share(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Tell whether address or client is the same."""
    return any(mine and mine == yours for mine, yours in zip(one, other, strict=True))


def _alive(mint: EventRef, use: EventRef, followed: Followed) -> bool:
    return mint.time is None or use.time is None or followed.until is None or mint.time <= use.time <= followed.until
