# SPDX-License-Identifier: Apache-2.0
"""legacy-token-secret: a Secret for a token that never ends was made, or such a token was used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.legacy_secrets import (
    CREATED,
    SECRET_NAMES,
    by_the_token_controller,
    soon,
    type_evidence,
    use_evidence,
)
from k8stokendetect.detectors.wording import origin_of, who
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import LEGACY_TOKEN

MOST_PEERS: Final = 50


@attrs.frozen
class Seen:
    """What is remembered: of a token from where it was used, of a Secret whether it may be one for a token."""

    peers: tuple[str, ...] = ()
    made: EventRef | None = None


class LegacyTokenSecret(KeyedDetector[Seen]):
    """The way round TokenRequest: each such Secret that is made, and each token's first use from each address.

    At level Metadata no type is logged, but the token controller gives it away: within a minute of its creation
    kube-controller-manager, proven as its exclusion demands, updates the Secret to write the token into it.
    """

    rule = Rule(
        "legacy-token-secret",
        "Service account token Secret made or used",
        Severity.MEDIUM,
        description=(
            "A Secret of type kubernetes.io/service-account-token receives a token that never expires, without any "
            "TokenRequest; or a request was made with such a token. Such tokens are the older way to the same end and "
            "the usual way to stay."
        ),
        techniques=("T1552.007", "T1098"),
        tactics=("credential-access", "persistence"),
        references=(
            "https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets",
            "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
        ),
        false_positives=(
            "pipelines, dashboards and clusters from before 1.24 that still use such tokens",
            "products that make such Secrets: Rancher, Argo CD, OpenShift before 4.16",
        ),
        blind_spots=(
            "level Metadata on providers whose controller manager the log does not show: the type is not logged",
            "a Secret that is read: who reads it is no matter of this rule",
            "uses from one address by another person; more than 50 addresses are forgotten and reported again",
        ),
        response=(
            "Delete the Secret: its token ends at once. Ask who made it and what for, and see in the log what the "
            "token did. Move what needs it to TokenRequest; search for the others of that type in the cluster."
        ),
    )
    watches = frozenset({Signal.LEGACY_TOKEN, "create secrets", "update secrets", "patch secrets"})
    traits = Traits(separate_keys=True)
    remember_for = timedelta(days=30)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the token that was used and the Secret that was written."""
        if LEGACY_TOKEN in event.annotations:
            secret = next((event.annotations[key] for key in SECRET_NAMES if key in event.annotations), "")
            yield json.dumps((event.cluster, "use", event.actor.username, secret))
        ref = event.object_ref
        if ref and event.resource == "secrets" and event.verb in {"create", "update", "patch"} and event.succeeded:
            yield json.dumps((event.cluster, "secret", ref.namespace, ref.name))

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Seen], /) -> Iterator[Finding]:
        """Report a use from a new address, a Secret whose type is seen, and one that the controller fills."""
        seen = memory.get(key) or Seen()
        if json.loads(key)[1] == "use":
            peer = event.peer_ip or ""
            if peer not in seen.peers:
                yield self._used(event, seen.peers)
                seen = Seen((*seen.peers, peer)[-MOST_PEERS:])
            memory.put(key, seen)
            return
        memory.put(key, None)
        if by_the_token_controller(event):
            if seen.made and event.verb == "update":
                yield self._filled(event, seen.made)
        elif evidence := tuple(type_evidence(event)):
            verb = "made" if event.code == CREATED else "wrote"
            yield self._report(event, f"{verb} a Secret for a token that never ends", evidence)
        elif event.verb == "create" and event.request_object is None:
            memory.put(key, Seen(made=EventRef.of(event)), expires=soon(event))

    def _used(self, event: Event, peers: tuple[str, ...]) -> Finding:
        how = f"used a token out of a Secret, which never ends{', from another address than before' if peers else ''},"
        what = f"{how} to {event.verb or 'call'} {event.resource or 'no resource'}"
        return self._report(event, what, use_evidence(event))

    def _report(self, event: Event, what: str, evidence: Iterable[Evidence]) -> Finding:
        name = (
            f" {event.object_ref.namespace}/{event.object_ref.name}"
            if event.resource == "secrets" and event.object_ref
            else ""
        )
        return self.finding(event, f"{who(event)} {what}{name}{origin_of(event)}", *evidence)

    def _filled(self, event: Event, made: EventRef) -> Finding:
        return Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=f"{made.user or 'somebody'} made a Secret for a token that never ends: {made.target}",
            event=made,
            evidence=(Evidence("user.username", made.user, "who made it"),) if made.user else (),
            related=(EventRef.of(event),),
            caveats=("the type was not logged; the token controller's update, the related event, gives it away",),
        )
