# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a minted token, with ids and without, and the finding about its use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

import attrs

from k8stokendetect.bounds import cut_address, cut_text
from k8stokendetect.detectors.deploying import deploys
from k8stokendetect.detectors.keyed import View
from k8stokendetect.detectors.powerful import privileged_act
from k8stokendetect.detectors.wording import enabling, is_extended
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, LEGACY_TOKEN, POD_NAME, ServiceAccount
from k8stokendetect.words import brief, user_of

_SPARE: Final = timedelta(minutes=5)
"""A token is accepted a little longer than it lives: go-jose allows a minute (jwt.DefaultLeeway), clocks differ."""


_DISCOVERY: Final = re.compile(r"/(?:api(?:/v1)?|apis(?:/[^/?]+){0,2}|version|openapi/v[23][^?]*)/?(?:\?.*)?")
"""Paths that clients ask for to learn what an API server serves, as kubectl does before it acts:
https://kubernetes.io/docs/concepts/overview/kubernetes-api/."""


@attrs.frozen
class Use:
    """A request made with a token: what a finding about it says.

    Arguments:
        event: the request.
        act: why it is privileged; empty for any other.
        succeeded: the request was served, or its answer is not known.

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
        mints: the reported mint, and those of the tokens it was minted with, the first one first; of a long chain the
            first and the last three.
        until: when the token ends; None where its lifetime was not logged.
        early: uses that were read before their mint.
        origins: where the service account acted from without ids before; only on clusters without credential ids.
        depth: how many mints the chain has.
        enable: the optional exclusion of which the one who minted it has every proof; empty for none.

    """

    mints: tuple[EventRef, ...] = ()
    until: datetime | None = None
    early: tuple[Use, ...] = ()
    origins: tuple[str, ...] = ()
    depth: int = 0
    enable: str = ""

    def with_mint(self, mint: EventRef, until: datetime | None, /) -> Followed:
        """Return the chain with one mint more: what is kept of it, and said of each use, does not grow with it."""
        mints = (*self.mints[:1], *self.mints[1:][-2:], mint)
        return Followed(mints=mints, until=until, depth=self.depth + 1)


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
    rule: Rule,
    mints: tuple[EventRef, ...],
    use: Use,
    /,
    *,
    depth: int = 1,
    caveats: tuple[str, ...] = (),
    certain: bool = True,
    enable: str = "",
) -> Finding:
    """Say what a token was used for, by which mint it exists, and what makes that urgent.

    Arguments:
        rule: whose finding it is.
        mints: what is kept of the chain, the first mint first.
        use: the request.
        depth: how many mints the chain has.
        caveats: what is not certain.
        certain: the credential id joins the two; otherwise what is above medium is one severity lower.
        enable: the optional exclusion of which the minter has every proof: what it does at home is not critical.

    """
    mint, event = mints[-1], use.event
    moved = _moved(mint, event)
    severity = _severity(mints, use)
    severity = Severity(severity - (severity > Severity.MEDIUM and not certain))
    if enable and not moved:
        severity = min(severity, Severity.HIGH)
    first = f"; the chain of {depth} mints began with {user_of(mints[0].user)}" if depth > 1 else ""
    outcome = "" if use.succeeded else f" (refused: {event.code})"
    act = f", which {use.act}" if use.act else ""
    return Finding(
        rule=rule,
        severity=severity,
        summary=(
            f"the token that {user_of(mint.user) or 'somebody'} minted for "
            f"{brief(mint.target or 'a service account')}{_ago(mint, event)} was used: {event.verb} "
            f"{brief(event.target or 'a path without a resource')}{act}{outcome}"
            f"{moved and f', {moved}'}{first}"
        ),
        event=event,
        evidence=tuple(_evidence(event, moved=bool(moved), certain=certain)),
        related=mints,
        caveats=(*caveats, *((enabling(enable, "The minter"),) if enable else ())),
        enable="" if moved else enable,
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


def _severity(mints: tuple[EventRef, ...], use: Use) -> Severity:
    """Rate a use by its effect: what the API server did for it, or refused, then where it came from."""
    if _DISCOVERY.fullmatch(use.event.request_uri) and not use.event.resource:
        return Severity.LOW
    if use.act and use.succeeded and not deploys(mints, use.event):
        return Severity.CRITICAL
    if not use.succeeded:
        return Severity.LOW
    return Severity.HIGH if _moved(mints[-1], use.event) else Severity.MEDIUM


def _moved(mint: EventRef, use: EventRef) -> str:
    """Say from where a token was used, if not from where it was minted; the client's name says nothing of the place."""
    moved = mint.peer_ip and use.peer_ip and mint.peer_ip != use.peer_ip
    return f"from {use.peer_ip}, not {mint.peer_ip}" if moved else ""


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
    "this cluster does not write credential ids (before Kubernetes 1.30): that this request used that token is "
    "inferred from the service account, the time and the origin"
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

    Discovery, a path without a resource, tells nothing: every client does it.
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
