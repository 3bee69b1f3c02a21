# SPDX-License-Identifier: Apache-2.0
"""The phrases and the evidence that detectors share: who called, as whom, from where, and what was not logged."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from k8stokendetect.words import NOBODY, brief

__all__ = ["brief", "caller_evidence", "origin_of", "unseen_body", "who"]


def who(event: Event, /) -> str:
    """Name the caller, and whom it impersonated."""
    caller = brief(event.actor.username) or NOBODY
    return f"{caller}, impersonating {brief(event.assumed.username)}," if event.assumed else caller


def origin_of(event: Event, /) -> str:
    """Say from where and with what client, as far as it is known; the client's name is its own claim."""
    peer = f" from {event.peer_ip}" if event.peer_ip else ""
    return f"{peer} with {brief(event.user_agent.split(' ', 1)[0])}" if event.user_agent else peer


def caller_evidence(event: Event, /) -> Iterator[Evidence]:
    """Yield who called and for what, each only where it was logged."""
    user, ref = event.actor, event.object_ref
    if user.username:
        yield Evidence("user.username", user.username, "who called")
    if user.groups:
        yield Evidence("user.groups", user.groups, "the caller's groups")
    if event.used_credential:
        yield Evidence(
            f"user.extra['{CREDENTIAL_ID}'][0]",
            event.used_credential,
            "the credential the call was made with",
        )
    if event.assumed and event.assumed.username:
        yield Evidence("impersonatedUser.username", event.assumed.username, "whom the caller impersonated")
    if event.peer_ip:
        yield Evidence(f"sourceIPs[{len(event.source_ips) - 1}]", event.peer_ip, "the peer that the API server saw")
    if ref and ref.namespace:
        yield Evidence("objectRef.namespace", ref.namespace, "namespace of the service account")
    if ref and ref.name:
        yield Evidence("objectRef.name", ref.name, "the service account")
    if reason := event.annotations.get(REASON):
        yield Evidence(f"annotations['{REASON}']", reason, "what gave the right, or refused it")


def unseen_body(event: Event, /) -> Iterator[str]:
    """Say what is not known because the body was not logged."""
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
