# SPDX-License-Identifier: Apache-2.0
"""token-request: a service account token was issued through the TokenRequest API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.wording import (
    binding_evidence,
    enabling,
    is_extended,
    lifetime_evidence,
    mint_evidence,
    minted,
    unseen_body,
)
from k8stokendetect.events import Event, TokenRequestSpec
from k8stokendetect.exclusions import OPTIONAL_EXCLUSIONS
from k8stokendetect.exclusions.index import ExclusionIndex
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief


class TokenRequest(Detector):
    """A token was really issued: the answer was 2xx or carries the credential id. One finding for each request."""

    rule = Rule(
        "token-request",
        "TokenRequest API token creation by a non-system account",
        Severity.MEDIUM,
        description=(
            "Someone other than a system component minted a service account token. With it they act as that service "
            "account, in the cluster or, through IRSA or workload identity, in the cloud; no file is read."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/",
            "https://kubernetes.io/docs/concepts/security/rbac-good-practices/#token-request",
        ),
        false_positives=(
            "operators that log in elsewhere as a service account: switch on their exclusion by name",
            "people and pipelines that run `kubectl create token`",
        ),
        blind_spots=(
            "a stolen node credential, used with a kubelet's user agent for a service account of that node's own pods",
            "a request so large that the API server's truncation drops its event",
            "tokens read from a pod's file system or a Secret",
        ),
        response=(
            "Ask the caller whether this was meant. If not: delete the pod or Secret the token is bound to, or "
            "delete and recreate the service account: either ends its tokens within seconds. Take away the right to "
            "create serviceaccounts/token and search the log for the credential id to see what the token did."
        ),
    )
    watches = MINTS

    def matches(self, event: Event, /) -> bool:
        """Tell whether a token was issued."""
        return event.mints_token

    def describe(self, event: Event, /) -> Finding:
        """Describe an issued token; who minted by design is the exclusions' business."""
        spec, user = event.token_request, event.user
        by_anybody = user.username == "system:anonymous" or "system:unauthenticated" in user.groups
        known = _OPTIONAL.excluding(event) if user.username in _NAMES else None
        finding = self.finding(
            event,
            minted(event) + (f": {_terms(spec)}" if spec else ""),
            *mint_evidence(event),
            *lifetime_evidence(event),
            *_audience_evidence(spec),
            *binding_evidence(event),
            severity=Severity.CRITICAL if by_anybody else None,
            caveats=(*unseen_body(event), *(_extended(spec) if spec else ())),
        )
        if known is None:
            return finding
        return attrs.evolve(finding, enable=known.id, caveats=(*finding.caveats, enabling(known.id)))


_OPTIONAL: Final = ExclusionIndex(OPTIONAL_EXCLUSIONS)
_NAMES: Final = frozenset(name for one in OPTIONAL_EXCLUSIONS for name in one.component.actor.username)
"""Asked first, since few callers are called so; no pattern is among them."""


def _terms(spec: TokenRequestSpec) -> str:
    """Say lifetime, audience and binding in words."""
    seconds = spec.expiration_seconds
    bound = spec.bound_object_ref
    return ", ".join(
        (
            f"asked for {seconds} s" if seconds is not None else "lifetime not given",
            f"audience {brief(', '.join(spec.audiences))}" if spec.audiences else "the API server's audience",
            f"bound to {bound.kind} {bound.name}" if bound else "not bound",
        )
    )


def _audience_evidence(spec: TokenRequestSpec | None) -> Iterator[Evidence]:
    if spec and spec.audiences:
        yield Evidence("requestObject.spec.audiences", spec.audiences, "audience: who accepts the token")


def _extended(spec: TokenRequestSpec | None) -> Iterator[str]:
    if is_extended(spec):
        yield "a pod-bound request of 3607 s for the API server's audience is valid for up to a year, not for an hour"
