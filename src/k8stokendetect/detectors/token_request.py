# SPDX-License-Identifier: Apache-2.0
"""token-request: a service account token was issued through the TokenRequest API."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.wording import brief, caller_evidence, origin_of, unseen_body, who
from k8stokendetect.events import Event, TokenRequestSpec
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID

EXTENDED_EXPIRATION = 3607
"""A pod-bound request of this many seconds gets a token valid for up to a year (pkg/serviceaccount/claims.go:39)."""


class TokenRequest(Detector):
    """A token was really issued: the answer was 2xx or carries the credential id. One finding for each request."""

    rule = Rule(
        "token-request",
        "TokenRequest API token creation by a non-system account",
        Severity.MEDIUM,
        description=(
            "Somebody who is no system component minted a service account token. With it they act as that service "
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
        target = event.service_account
        spec = event.token_request
        return self.finding(
            event,
            f"{who(event)} minted a token for {target or 'an unnamed service account'}{origin_of(event)}"
            + (f": {_terms(spec)}" if spec else ""),
            *caller_evidence(event),
            *_token_evidence(event, spec),
            caveats=(*unseen_body(event), *_extended(spec)),
        )


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


def _token_evidence(event: Event, spec: TokenRequestSpec | None) -> Iterator[Evidence]:
    for key in ISSUED_CREDENTIAL_ID:
        if key in event.annotations:
            yield Evidence(
                f"annotations['{key}']",
                event.annotations[key],
                "the id of the token: its later uses carry it",
            )
    if event.code is not None:
        yield Evidence("responseStatus.code", event.code, "the API server answered with a token")
    if spec and spec.expiration_seconds is not None:
        yield Evidence(
            "requestObject.spec.expirationSeconds", spec.expiration_seconds, "lifetime asked for, in seconds"
        )
    if spec and spec.audiences:
        yield Evidence("requestObject.spec.audiences", spec.audiences, "audience: who accepts the token")
    if spec and spec.bound_object_ref:
        yield Evidence("requestObject.spec.boundObjectRef", spec.bound_object_ref, "the token ends with this object")
    if event.token_grant and event.token_grant.expiration_timestamp:
        yield Evidence(
            "responseObject.status.expirationTimestamp",
            event.token_grant.expiration_timestamp,
            "granted until",
        )


def _extended(spec: TokenRequestSpec | None) -> Iterator[str]:
    bound = spec.bound_object_ref if spec else None
    if spec and bound and bound.kind == "Pod" and spec.expiration_seconds == EXTENDED_EXPIRATION:
        yield "a pod-bound request of 3607 s for the API server's audience is valid for up to a year, not for an hour"
