# SPDX-License-Identifier: Apache-2.0
"""legacy-token-secret: a Secret for a token that never ends was made, or such a token was used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.keyed import KeyedDetector, Step
from k8stokendetect.detectors.legacy_secrets import (
    CREATED,
    SECRET_NAMES,
    by_the_token_controller,
    soon,
    type_evidence,
    use_evidence,
)
from k8stokendetect.detectors.wording import caller_evidence, origin_of, who
from k8stokendetect.events import Event
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
    watches = None
    mentions = (b"legacy-token", (b"secrets", b"create"), (b"secrets", b"update"), (b"secrets", b"patch"))
    remember_for = timedelta(days=30)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the token that was used and the Secret that was written."""
        if LEGACY_TOKEN in event.annotations:
            secret = next((event.annotations[key] for key in SECRET_NAMES if key in event.annotations), "")
            yield json.dumps((event.cluster, "use", event.actor.username, secret))
        ref = event.object_ref
        if ref and event.resource == "secrets" and event.verb in {"create", "update", "patch"} and event.succeeded:
            yield json.dumps((event.cluster, "secret", ref.namespace, ref.name))

    def step(self, key: str, event: Event, _: Sequence[Finding], state: Seen | None, /) -> Step[Seen]:
        """Report a use from a new address, a Secret whose type is seen, and one that the controller fills."""
        if json.loads(key)[1] == "use":
            return self._used(event, state.peers if state else ())
        if by_the_token_controller(event):
            made = state.made if state and event.verb == "update" else None
            return Step(findings=(self._filled(event, made),) if made else ())
        if evidence := tuple(type_evidence(event)):
            verb = "made" if event.code == CREATED else "wrote"
            return Step(findings=(self._report(event, f"{verb} a Secret for a token that never ends", evidence),))
        made = EventRef.of(event) if event.verb == "create" and event.request_object is None else None
        return Step(Seen(made=made) if made else None, expires=soon(event))

    def _used(self, event: Event, peers: tuple[str, ...]) -> Step[Seen]:
        peer = event.peer_ip or ""
        if peer in peers:
            return Step(Seen(peers))
        how = f"used a token out of a Secret, which never ends{', from another address than before' if peers else ''},"
        finding = self._report(
            event, f"{how} to {event.verb or 'call'} {event.resource or 'no resource'}", use_evidence(event)
        )
        return Step(Seen((*peers, peer)[-MOST_PEERS:]), (finding,))

    def _report(self, event: Event, what: str, evidence: Iterable[Evidence]) -> Finding:
        others = (item for item in caller_evidence(event) if not item.path.startswith("objectRef"))
        name = (
            f" {event.object_ref.namespace}/{event.object_ref.name}"
            if event.resource == "secrets" and event.object_ref
            else ""
        )
        return self.finding(event, f"{who(event)} {what}{name}{origin_of(event)}", *others, *evidence)

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
