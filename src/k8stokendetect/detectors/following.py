# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a minted token, with ids and without, and the finding about its use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

import attrs

from k8stokendetect.bounds import cut_address, cut_text
from k8stokendetect.detectors.keyed import View
from k8stokendetect.detectors.powerful import privileged_act
from k8stokendetect.detectors.wording import is_extended
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, LEGACY_TOKEN, POD_NAME, ServiceAccount
from k8stokendetect.words import brief

_SPARE: Final = timedelta(minutes=5)
"""A token is accepted a little longer than it lives: go-jose allows a minute (jwt.DefaultLeeway), clocks differ."""


@attrs.frozen
class Use:
    """A request made with a token: what a finding about it says.

    Arguments:
        event: the request.
        act: why it is privileged; empty for any other.
        succeeded: the answer was 2xx, or is not known.

    """

    event: EventRef
    act: str = ""
    succeeded: bool = True

    @classmethod
    def of(cls, event: Event, /) -> Self:
        """Take from an event what is needed of it."""
        return cls(EventRef.of(event), privileged_act(event) or "", event.succeeded or event.code is None)

    @property
    def key(self) -> tuple[str, datetime | None, str]:
        """What identifies the request at one stage."""
        return self.event.audit_id, self.event.time, self.event.stage

    def until(self, later: timedelta, /) -> datetime | None:
        """Return the time so much later; None without a time."""
        return self.event.time + later if self.event.time else None


@attrs.frozen
class Followed:
    """What is remembered of a token.

    Arguments:
        mints: the reported mint, and those of the tokens it was minted with, the first one first.
        until: when the token ends; None where its lifetime was not logged.
        early: uses that were read before their mint.
        origins: where the service account acted from without ids before; only on clusters without credential ids.

    """

    mints: tuple[EventRef, ...] = ()
    until: datetime | None = None
    early: tuple[Use, ...] = ()
    origins: tuple[str, ...] = ()


NO_MINT: Final = Followed()


def lifetime(event: Event, /) -> datetime | None:
    """Return when a minted token ends, with a little to spare; None where the log does not say."""
    grant, asked = event.token_grant, event.token_request
    spec = grant.spec if grant and grant.spec else asked
    try:
        if is_extended(spec):
            return event.time + timedelta(days=366) if event.time else None
        if grant and grant.expiration_timestamp:
            return grant.expiration_timestamp + _SPARE
        if spec and spec.expiration_seconds is not None and event.time:
            return event.time + timedelta(seconds=spec.expiration_seconds) + _SPARE
    except OverflowError:  # 2^32 seconds and more are accepted
        pass
    return None


def origin(event: EventRef, /) -> tuple[str, str]:
    """Return the peer's address and the client's kind."""
    return event.peer_ip or "", event.client


def used_finding(
    rule: Rule, mints: tuple[EventRef, ...], use: Use, /, *, caveats: tuple[str, ...] = (), certain: bool = True
) -> Finding:
    """Say what a token was used for, by which mint it exists, and what makes that urgent.

    Arguments:
        rule: whose finding it is.
        mints: the chain, the first mint first.
        use: the request.
        caveats: what is not certain.
        certain: the credential id joins the two; otherwise the finding is one severity lower.

    """
    mint, event = mints[-1], use.event
    moved = _moved(mint, event)
    urgent = bool((use.act and use.succeeded) or moved)
    severity = Severity(rule.severity + urgent - (not certain))
    first = f"; the chain of {len(mints)} mints began with {brief(mints[0].user)}" if len(mints) > 1 else ""
    outcome = "" if use.succeeded else f" (refused: {event.code})"
    act = f", which {use.act}" if use.act else ""
    return Finding(
        rule=rule,
        severity=severity,
        summary=(
            f"the token that {brief(mint.user) or 'somebody'} minted for {brief(mint.target or 'a service account')}"
            f"{_ago(mint, event)} was used: {event.verb} {brief(event.target or 'a path of no resource')}{act}{outcome}"
            f"{''.join(f', {change}' for change in moved)}{first}"
        ),
        event=event,
        evidence=tuple(_evidence(event, moved=bool(moved), certain=certain)),
        related=mints,
        caveats=caveats,
    )


def _ago(mint: EventRef, use: EventRef) -> str:
    if not (mint.time and use.time):
        return ""
    seconds = (use.time - mint.time).total_seconds()
    if seconds < 0:
        return " at the same time"
    if seconds < 10:  # noqa: PLR2004
        return f" {seconds:.1f} s earlier"
    return f" {seconds:.0f} s earlier" if seconds < 7200 else f" {seconds / 3600:.1f} h earlier"  # noqa: PLR2004


def _moved(mint: EventRef, use: EventRef) -> tuple[str, ...]:
    """Say what differs between where a token was minted and where it was used."""
    (old_peer, old_client), (peer, client) = origin(mint), origin(use)
    changes = []
    if peer and old_peer and peer != old_peer:
        changes.append(f"from {peer}, not {old_peer}")
    if client != old_client:
        changes.append(f"with {brief(client) or 'a nameless client'}, not {brief(old_client) or 'a nameless one'}")
    return tuple(changes)


def _evidence(event: EventRef, *, moved: bool, certain: bool) -> Iterator[Evidence]:
    if certain:
        path = f"user.extra['{CREDENTIAL_ID}'][0]"
        yield Evidence(path, event.used_credential, "the id that the reported mint issued")
    if event.user:
        yield Evidence("user.username", event.user, "whom the token stands for")
    if event.verb:
        yield Evidence("verb", event.verb, "what was done")
    if event.code is not None:
        yield Evidence("responseStatus.code", event.code, "how it was answered")
    if event.source_ips:
        why = "another origin than the mint's" if moved else "the peer that the API server saw"
        yield Evidence(event.peer_path, event.peer_ip, why)
    if event.user_agent:
        yield Evidence("userAgent", event.user_agent, "the client, as it calls itself")


UNKNOWN_LIFETIME: Final = timedelta(hours=24)
"""How long a token is taken to live where its lifetime was not logged; an hour is the default, more is easily had."""

MAX_ORIGINS: Final = 20
CAVEAT: Final = (
    "this cluster writes no credential ids (before Kubernetes 1.30): that this request used that token is inferred "
    "from the service account, the time and the origin"
)


def keys_without_id(event: Event, reported: Sequence[Finding], /) -> Iterator[str]:
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


def fold_without_id(
    rule: Rule, key: str, event: Event, reported: Sequence[Finding], memory: View[Followed], /
) -> Iterator[Finding]:
    """Remember mints and where the account acts from; report acts from the minter's origin or a new one."""
    followed = memory.get(key) or NO_MINT
    if str(_acting(event)) == key:
        place = cut_address(event.peer_ip or ""), cut_text(event.user_agent).partition("/")[0]
        here = " ".join(place)  # as `origin` says of an EventRef, which is only made where there is a mint
        use = Use.of(event) if followed.mints else None
        mint = next((m for m in reversed(followed.mints) if _alive(m, use.event, followed)), None) if use else None
        if use and mint and (here not in followed.origins or _share(origin(mint), place)):
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
