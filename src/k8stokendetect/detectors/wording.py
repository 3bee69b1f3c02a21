# SPDX-License-Identifier: Apache-2.0
"""The phrases and the evidence that detectors share: who minted for whom, what was issued, what was not logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8stokendetect.events import Event, TokenRequestSpec
from k8stokendetect.findings import Evidence
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID
from k8stokendetect.words import ANSWERED_WITH_TOKEN, NAMELESS_ACCOUNT, NOBODY, SOMEBODY, named, user_of

EXTENDED_EXPIRATION: Final = 3607
"""A pod-bound request of this many seconds gets a token valid for a year (pkg/serviceaccount/claims.go:39)."""

HOW_ANSWERED: Final = "how the API server answered"
"""Why the status code of a request that mints nothing is evidence."""


def who(event: Event, /) -> str:
    """Name the caller, and whom it impersonated."""
    caller = user_of(event.actor.username) or (NOBODY if event.code == 401 else SOMEBODY)  # noqa: PLR2004 - HTTP
    return f"{caller}, impersonating {user_of(event.assumed.username)}," if event.assumed else caller


def origin_of(event: Event, /) -> str:
    """Say from where and with what client, as far as it is known; the client's name is its own claim."""
    peer = f" from {event.peer_ip}" if event.peer_ip else ""
    return f"{peer} with {named(event.user_agent.split(' ', 1)[0])}" if event.user_agent else peer


def target_of(event: Event, /) -> str:
    """Name the service account that a request is about."""
    return str(event.service_account or NAMELESS_ACCOUNT)


def minted(event: Event, done: str = "minted", /) -> str:
    """Say who minted a token for whom, and from where."""
    return f"{who(event)} {done} a token for {target_of(event)}{origin_of(event)}"


def code_evidence(event: Event, why: str = ANSWERED_WITH_TOKEN, /) -> Iterator[Evidence]:
    """Yield the status code of the answer, where it was logged."""
    if event.code is not None:
        yield Evidence("responseStatus.code", event.code, why)


def mint_evidence(event: Event, /) -> Iterator[Evidence]:
    """Yield what shows that a token was issued: its id, and the answer."""
    for key in ISSUED_CREDENTIAL_ID:
        if key in event.annotations:
            yield Evidence(
                f"annotations['{key}']", event.annotations[key], "the id of the token: its later uses carry it"
            )
    yield from code_evidence(event)


def lifetime_evidence(event: Event, /) -> Iterator[Evidence]:
    """Yield how long the token lives, as asked for and as granted."""
    spec, grant = event.token_request, event.token_grant
    if spec and spec.expiration_seconds is not None:
        path = "requestObject.spec.expirationSeconds"
        yield Evidence(path, spec.expiration_seconds, "lifetime asked for, in seconds")
    if grant and grant.spec and grant.spec.expiration_seconds is not None:
        path = "responseObject.spec.expirationSeconds"
        yield Evidence(path, grant.spec.expiration_seconds, "lifetime granted, in seconds")
    if grant and grant.expiration_timestamp:
        yield Evidence("responseObject.status.expirationTimestamp", grant.expiration_timestamp, "granted until")


def enabling(exclusion: str, /, who: str = "This") -> str:
    """Name the optional exclusion of which a caller has every proof."""
    return f"{who} fits `{exclusion}`; if you run it: `--enable {exclusion}`."


def is_extended(spec: TokenRequestSpec | None, /) -> bool:
    """Tell whether the API server extends the lifetime that was asked for, if the token is for itself."""
    bound = spec.bound_object_ref if spec else None
    return bool(bound and bound.kind == "Pod" and spec and spec.expiration_seconds == EXTENDED_EXPIRATION)


def binding_evidence(event: Event, /) -> Iterator[Evidence]:
    """Yield the object whose deletion ends the token."""
    if event.token_request and event.token_request.bound_object_ref:
        path = "requestObject.spec.boundObjectRef"
        yield Evidence(path, event.token_request.bound_object_ref, "the token ends with this object")


def unseen_body(event: Event, /) -> Iterator[str]:
    """Say what is not known because it was not logged."""
    if event.token_request is None:
        how = "was cut away" if event.body_is_cut else "was not logged"
        level = f" (level {event.level})" if event.level else ""
        yield f"lifetime, audience and binding are not known: the request body {how}{level}"
    if event.lost:
        yield f"not known: {', '.join(sorted(event.lost))}; the form in which this record came does not carry them"
    if event.time is None:
        yield "when it happened is not known: no timestamp was logged"
    if not event.actor.groups and event.actor.username:
        yield "the caller's groups are not known: they were not logged"
