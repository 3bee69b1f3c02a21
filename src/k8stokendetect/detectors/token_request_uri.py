# SPDX-License-Identifier: Apache-2.0
"""token-request-uri: the URI of a TokenRequest aims at a service account outside Kubernetes' own, or is odd."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, target_of, who
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS
from k8stokendetect.exclusions.controllers import IN_KUBE_SYSTEM
from k8stokendetect.exclusions.failing import FailingComponents
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import STRANGERS, ServiceAccount, token_uri_oddities

STANDARD_NAMESPACES: Final = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})
"""The initial namespaces (https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/)."""

STANDARD_SERVICE_ACCOUNTS: Final = IN_KUBE_SYSTEM | {"default"}
"""Those that Kubernetes creates: `default`, and the controllers' (bootstrappolicy/controller_policy.go, measured)."""


class TokenRequestURI(Detector):
    """Any answered call to the subresource, low for its target, medium for an odd URI that was not refused.

    Arguments:
        standard_namespaces: namespaces that are nothing special as a target.
        standard_service_accounts: names that are nothing special there; a target is standard when both are.

    """

    rule = Rule(
        "token-request-uri",
        "TokenRequest API request URI analysis",
        Severity.LOW,
        description=(
            "A call to serviceaccounts/token aims outside Kubernetes' own namespaces and service accounts, or its raw "
            "URI is not what any benign client writes: percent-encoded letters, trailing slashes, another API prefix, "
            "dryRun (which mints a working token), unknown or padded query parameters. Such a URI blinds rules that "
            "match on its text."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/",
        ),
        false_positives=(
            "every legitimate mint outside kube-system, which is why it is low",
            "clients written with kube-rs (Rust), which end every path with `?`: an empty query",
        ),
        blind_spots=(
            "absolute-form requests and `kubectl --raw` paths, which are normalised before they are logged",
            "sources that do not log the URI, such as GKE: there only the target is looked at",
        ),
        response=(
            "Low: use it to see who touches which service account. Medium: somebody tries to slip past rules; look at "
            "everything this caller did, and at token-request for what it got."
        ),
    )
    watches = MINTS

    def __init__(
        self,
        *,
        standard_namespaces: Collection[str] | None = None,
        standard_service_accounts: Collection[str] | None = None,
    ) -> None:
        namespaces, accounts = standard_namespaces, standard_service_accounts
        self.standard_namespaces = STANDARD_NAMESPACES if namespaces is None else frozenset(namespaces)
        self.standard_service_accounts = STANDARD_SERVICE_ACCOUNTS if accounts is None else frozenset(accounts)
        self._components = FailingComponents(exclusion.component for exclusion in DEFAULT_EXCLUSIONS)

    def matches(self, event: Event, /) -> bool:
        """Tell whether the URI is odd or the target none of Kubernetes' own."""
        if event.object_ref is None or event.resource != TOKEN_SUBRESOURCE or not event.answered:
            return False
        if not event.mints_token and (_is_refused_stranger(event) or self._fails_by_design(event)):
            return False  # token-request-denied counts those
        target = event.service_account
        return target is None or not self._is_standard(target) or bool(_oddities(event))

    def describe(self, event: Event, /) -> Finding:
        """Decode the URI as the API server does and compare it with what the API server took it to mean."""
        oddities, target = _oddities(event), event.service_account
        aim = f"the token subresource of {target_of(event)}"
        how = f" through an odd URI: {', '.join(oddities)}" if oddities else ""
        facts = {"requestURI": (event.request_uri, "the raw URI")}
        if target and not self._is_standard(target):
            facts["objectRef.namespace"] = target.namespace, "with the name, none of Kubernetes' own service accounts"
            facts["objectRef.name"] = target.name, "the service account"
        return self.finding(
            event,
            f"{who(event)} called {aim}{how}",
            *(Evidence(path, value, why) for path, (value, why) in facts.items() if value),
            *code_evidence(event, HOW_ANSWERED),
            severity=Severity.MEDIUM if oddities and not _is_refused(event) else None,
            caveats=() if event.request_uri else ("the URI was not logged",),
        )

    def _fails_by_design(self, event: Event) -> bool:
        return _is_refused(event) and self._components.failed(event)

    def _is_standard(self, target: ServiceAccount) -> bool:
        return target.namespace in self.standard_namespaces and target.name in self.standard_service_accounts


def _is_refused(event: Event) -> bool:
    """Tell whether the answer was 4xx and nothing was given: an attempt, low however odd."""
    return event.code is not None and 400 <= event.code < 500 and not event.mints_token  # noqa: PLR2004 - HTTP


def _is_refused_stranger(event: Event) -> bool:
    """Tell whether nobody was authenticated and nothing was given: an attempt, however odd."""
    return event.denied and event.user.username in STRANGERS


def _oddities(event: Event) -> tuple[str, ...]:
    ref = event.object_ref
    return token_uri_oddities(event.request_uri, ref.namespace, ref.name) if ref and event.request_uri else ()
