# SPDX-License-Identifier: Apache-2.0
"""Who accepts a token: the audiences of clouds and secret stores, and the API server's own."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from k8stokendetect.errors import ConfigError

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
    """Return what the API server of this cluster calls itself; raises ConfigError for what is no list of strings."""
    items: object = more
    if not isinstance(items, Collection) or isinstance(items, str) or not all(isinstance(i, str) and i for i in items):
        raise ConfigError("api_audiences takes a list of audiences, none of them empty")
    return API_SERVER_AUDIENCES | frozenset(more)


def is_api_server(audience: str, known: frozenset[str], /) -> bool:
    """Tell whether the API server itself accepts tokens for this audience; it compares letter by letter."""
    return audience in known or any(issuer.fullmatch(audience) for issuer in _ISSUERS)


def cloud_of(audience: str, /) -> tuple[str, str] | None:
    """Say which cloud or secret store accepts an audience, and where that is documented; None when unknown."""
    plain = audience.strip().rstrip("/").lower()
    return next(((what, source) for pattern, what, source in CLOUDS if pattern.fullmatch(plain)), None)
