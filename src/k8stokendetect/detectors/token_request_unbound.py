# SPDX-License-Identifier: Apache-2.0
"""token-request-unbound: a workload minted for another service account, or for its own without a binding."""

from __future__ import annotations

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.wording import binding_evidence, mint_evidence, origin_of, unseen_body, who
from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import ServiceAccount


class TokenRequestUnbound(Detector):
    """A service account, acting as itself, gets a token that is not its own pod's."""

    rule = Rule(
        "token-request-unbound",
        "TokenRequest by a workload for another account, or unbound",
        Severity.LOW,
        description=(
            "A workload asked for a token of another service account, or for one of its own that is bound to nothing. "
            "Pods get their tokens from the kubelet, bound to the pod. A workload that mints acquires somebody "
            "else's rights, or makes itself a token that outlives its pod."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens",
            "https://kubernetes.io/docs/concepts/security/rbac-good-practices/#token-request",
        ),
        false_positives=(
            "operators that log in elsewhere as a service account: external-secrets, cert-manager, Vault, KEDA, Flux",
            "pipelines that run in a pod and create tokens",
        ),
        blind_spots=(
            "a workload's mint for its own account where the level does not log the body: the binding is not known",
            "workloads that act under a user's name or a certificate",
        ),
        response=(
            "Find out what software the workload runs and whether it mints by design; if so, exclude just that pair of "
            "accounts. If not, treat the pod as compromised: delete it, recreate the target service account, and take "
            "away the right to create serviceaccounts/token."
        ),
    )
    watches = MINTS

    def matches(self, event: Event, /) -> bool:
        """Compare the workload with the target, and where they are one, look for a binding."""
        if event.assumed is not None or not event.mints_token:
            return False
        workload, target = ServiceAccount.of_username(event.actor.username), event.service_account
        if workload is None or target is None:
            return False
        return workload != target or _unbound(event) is not None

    def describe(self, event: Event, /) -> Finding:
        """Say whose token the workload got, or that nothing ends it."""
        workload, target = ServiceAccount.of_username(event.actor.username), event.service_account
        what = f"{target}, another service account than its own" if workload != target else _unbound(event)
        return self.finding(
            event,
            f"{who(event)} minted a token{origin_of(event)} for {what}",
            Evidence("user.username", event.actor.username, "a workload"),
            *binding_evidence(event),
            *mint_evidence(event),
            caveats=tuple(unseen_body(event)),
        )


def _unbound(event: Event) -> str | None:
    """Say what is wrong with a token for oneself; None for a bound one, or where the level hides the binding.

    A body that should be there and is not counts: the caller chooses how large a request is, and so whether it is cut.
    """
    spec = event.token_request
    if spec is not None:
        bound = spec.bound_object_ref
        return None if bound and bound.kind else "itself that is bound to nothing"
    if event.body_is_cut or event.request_object is not None:
        return "itself, and whether it is bound cannot be told: the request body is not there"
    return None
