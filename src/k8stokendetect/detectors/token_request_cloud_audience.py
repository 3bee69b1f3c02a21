# SPDX-License-Identifier: Apache-2.0
"""token-request-cloud-audience: a token was issued that a cloud, a secret store or another stranger accepts."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from k8stokendetect.detectors.base import MINTS, Detector, Traits
from k8stokendetect.detectors.wording import minted
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event, TokenRequestSpec
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief

API_SERVER_AUDIENCES: Final = frozenset(
    "https://kubernetes.default.svc https://kubernetes.default.svc.cluster.local kubernetes api k3s rke2".split()
)
"""What API servers call themselves: --api-audiences, by default their --service-account-issuer.

kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver; k3s and RKE2 add the program's name
(k3s-io/k3s pkg/daemons/control/server.go, argsMap["api-audiences"]).
"""

_ISSUERS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/id/[0-9A-F]+",  # docs.aws.amazon.com/eks, IRSA
        r"https://container\.googleapis\.com/v1/projects/[^/]+/locations/[^/]+/clusters/[^/]+",  # GKE's issuer
        r"https://[a-z0-9-]+\.oic\.prod-aks\.azure\.com/[0-9a-f-]+/[0-9a-f-]+/",  # learn.microsoft.com AKS OIDC issuer
    )
)
"""The issuers of managed clusters, which are their API servers' audience where nobody set another.

A token for another cluster's issuer is of no use there: that cluster does not know this one's keys.
"""

CLOUDS: Final = tuple(
    (re.compile(pattern), what, source)
    for pattern, what, source in (
        (
            r"(https://)?sts(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?",
            "AWS (roles for service accounts)",
            "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
        ),
        (
            r"(https://)?pods\.eks\.amazonaws\.com",
            "AWS (EKS Pod Identity)",
            "https://docs.aws.amazon.com/eks/latest/userguide/service-accounts.html",
        ),
        (
            r"api://azureadtokenexchange(usgov|china)?",
            "Azure (workload identity)",
            "https://azure.github.io/azure-workload-identity/docs/",
        ),
        (
            r"[^/]+\.(svc|hub)\.id\.goog|(https:)?//iam\.googleapis\.com/.*|https://sts\.googleapis\.com.*",
            "Google Cloud (workload identity)",
            "https://cloud.google.com/iam/docs/workload-identity-federation-with-kubernetes",
        ),
        (
            r"(https://)?sts\.aliyuncs\.com",
            "Alibaba Cloud (RRSA)",
            "https://github.com/AliyunContainerService/ack-pod-identity-webhook",
        ),
        (
            r"(open)?bao|vault|vault://.*|https?://(vault|openbao)[.:/-].*|https?://(vault|openbao)",
            "Vault or OpenBao",
            "https://developer.hashicorp.com/vault/docs/auth/kubernetes",
        ),
    )
)
"""Audiences, what accepts them, and where that is documented; matched in lower case and without a last slash."""


def own_audiences(more: Collection[str], /) -> frozenset[str]:
    """Return what the API server of this cluster calls itself; raises ConfigError for what is not a list of strings."""
    items: object = more
    if not isinstance(items, Collection) or isinstance(items, str) or not all(isinstance(i, str) and i for i in items):
        raise ConfigError("api_audiences takes a list of audiences that are not empty")
    return API_SERVER_AUDIENCES | frozenset(more)


def is_api_server(audience: str, known: frozenset[str], /) -> bool:
    """Tell whether the API server itself accepts tokens for this audience; it compares literally."""
    return audience in known or any(issuer.fullmatch(audience) for issuer in _ISSUERS)


def cloud_of(audience: str, /) -> tuple[str, str] | None:
    """Say which cloud or secret store accepts an audience, and where that is documented; None when unknown."""
    plain = audience.strip().rstrip("/").lower()
    return next(((what, source) for pattern, what, source in CLOUDS if pattern.fullmatch(plain)), None)


class TokenRequestCloudAudience(Detector):
    """Somebody asked for an audience outside: high for a known one, medium for an unknown one.

    Arguments:
        api_audiences: further audiences of this cluster's API server: its --api-audiences.

    """

    rule = Rule(
        "token-request-cloud-audience",
        "Service account token requested for a cloud or secret store",
        Severity.HIGH,
        description=(
            "Somebody minted a token whose audience is a cloud's token exchange or a secret store: with it they "
            "become the cloud role of that service account, from anywhere, and the cluster's log shows nothing more. "
            "Pods get such tokens from their kubelet; a direct request is a way out of the cluster. An audience that "
            "is neither known nor the API server's own is medium."
        ),
        techniques=("T1552.007", "T1550.001", "T1078.004"),
        tactics=("credential-access", "lateral-movement"),
        references=(
            "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
            "https://azure.github.io/azure-workload-identity/docs/",
            "https://cloud.google.com/iam/docs/workload-identity-federation-with-kubernetes",
            "https://developer.hashicorp.com/vault/docs/auth/kubernetes",
        ),
        false_positives=(
            "operators that log in to a cloud or a store as others: External Secrets, Vault Secrets Operator, Flux",
            "an API server with audiences of its own: give them to the constructor",
            "istioctl, RKE2 and HyperShift, with audiences of their own: medium",
        ),
        blind_spots=(
            "level Metadata: audiences are not logged",
            "clouds whose trust policy accepts the API server's own audience",
            "a pod made to have its kubelet ask for the audience, through a projected volume",
        ),
        response=(
            "Search the cloud's own log (CloudTrail AssumeRoleWithWebIdentity, Entra sign-ins, Google STS, Vault "
            "audit) for this service account from the moment of the mint. Revoke the sessions of its role, detach "
            "the role, then delete and recreate the service account. Ask the caller whether this was meant."
        ),
    )
    watches = MINTS
    traits = Traits(body="the audience is in the request's body")

    def __init__(self, *, api_audiences: Collection[str] = ()) -> None:
        self.api_audiences = own_audiences(api_audiences)

    def matches(self, event: Event, /) -> bool:
        """Look at what was asked for: in the answer the API server's own audience stands where none was."""
        spec = event.token_request
        return spec is not None and bool(spec.audiences) and event.mints_token and bool(self._foreign(spec))

    def describe(self, event: Event, /) -> Finding:
        """Say which of the audiences are those of clouds and secret stores."""
        spec = event.token_request or TokenRequestSpec()
        foreign = self._foreign(spec)
        clouds = {audience: cloud for audience in foreign if (cloud := cloud_of(audience))}
        named = ", ".join(f"{brief(a)} ({clouds[a][0]})" if a in clouds else brief(a) for a in foreign[:5])
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""  # noqa: PLR2004 - as above
        sources = sorted({source for _, source in clouds.values()})
        return self.finding(
            event,
            f"{minted(event)} that {named}{more} accepts",
            Evidence(
                "requestObject.spec.audiences",
                spec.audiences,
                f"who accepts the token; see {' and '.join(sources)}"
                if sources
                else "not an audience of the API server",
            ),
            severity=None if clouds else Severity.MEDIUM,
            caveats=() if clouds else ("whose audience it is, is not known; it may be this API server's own",),
        )

    def _foreign(self, spec: TokenRequestSpec) -> list[str]:
        return [audience for audience in spec.audiences if not is_api_server(audience, self.api_audiences)]
