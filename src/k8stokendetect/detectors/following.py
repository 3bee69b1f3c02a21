# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a minted token, and the finding about its use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Self

import attrs

from k8stokendetect.detectors.acts import privileged_act
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID
from k8stokendetect.words import brief

_SPARE: Final = timedelta(minutes=5)
"""A token is accepted a little longer than it lives: go-jose allows a minute (jwt.DefaultLeeway), clocks differ."""

_EXTENDED: Final = 3607
"""A pod-bound request of so many seconds gets a token valid for a year (pkg/serviceaccount/claims.go:39)."""


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
    bound = spec.bound_object_ref if spec else None
    try:
        if bound and bound.kind == "Pod" and spec and spec.expiration_seconds == _EXTENDED:
            return event.time + timedelta(days=366) if event.time else None
        if grant and grant.expiration_timestamp:
            return grant.expiration_timestamp + _SPARE
        if spec and spec.expiration_seconds is not None and event.time:
            return event.time + timedelta(seconds=spec.expiration_seconds) + _SPARE
    except OverflowError:  # 2^32 seconds and more are accepted
        pass
    return None


def family(event: EventRef, /) -> str:
    """Return the client's kind, as it calls itself: `kubectl` of `kubectl/v1.36.2 (linux/amd64)`."""
    return event.user_agent.partition("/")[0]


def origin(event: EventRef, /) -> tuple[str, str]:
    """Return the peer's address and the client's kind."""
    return (event.source_ips[-1] if event.source_ips else ""), family(event)


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
        yield Evidence(f"sourceIPs[{len(event.source_ips) - 1}]", event.source_ips[-1], why)
    if event.user_agent:
        yield Evidence("userAgent", event.user_agent, "the client, as it calls itself")
