# SPDX-License-Identifier: Apache-2.0
"""token-request-impersonated: a token was minted by a caller who impersonated somebody else."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.detectors.base import MINTS, Detector, Traits
from k8stokendetect.detectors.wording import mint_evidence, minted, unseen_body
from k8stokendetect.events import Event, User
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief


class TokenRequestImpersonated(Detector):
    """A token was issued under an assumed identity; medium where an administrator only took on a lesser person's."""

    rule = Rule(
        "token-request-impersonated",
        "TokenRequest under an impersonated identity",
        Severity.HIGH,
        description=(
            "Somebody minted a service account token while impersonating (kubectl --as). The API server gives the "
            "assumed identity's rights, and a rule that reads that name takes a person for a component. The "
            "token outlives the impersonation and bears no trace of the caller."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation",
            "https://kubernetes.io/docs/concepts/security/rbac-good-practices/#impersonate-verb",
        ),
        false_positives=(
            "administrators who try with `kubectl --as` what somebody may do: medium",
            "gateways that impersonate the people behind them, such as Rancher, Teleport or Pinniped's proxy",
        ),
        blind_spots=(
            "impersonation in front of the API server, by a proxy that logs in as the assumed user",
            "refused attempts: they mint nothing",
            "logs without impersonation, such as GKE's",
        ),
        response=(
            "Ask the caller, not the assumed identity. If it was not meant: end the token (delete what it is bound to, "
            "or the service account), revoke the caller's credential, and take away the right to impersonate. Search "
            "the log for everything else this caller did under other names."
        ),
    )
    watches = MINTS
    traits = Traits(excludable=False)  # an impersonated request is never excluded

    def matches(self, event: Event, /) -> bool:
        """Tell whether a token was minted with an assumed identity: a refused impersonation has none."""
        return event.assumed is not None and event.mints_token

    def describe(self, event: Event, /) -> Finding:
        """Name the caller, whom it impersonated, and the groups that it took on."""
        assumed = event.assumed or User()
        lesser = MASTERS in event.actor.groups and not _is_system(assumed)
        return self.finding(
            event,
            minted(event) + (f"; assumed group {brief(', '.join(assumed.groups))}" if assumed.groups else ""),
            *_evidence(event, assumed),
            severity=Severity.MEDIUM if lesser else None,
            caveats=(*unseen_body(event), *_forgeable(assumed)),
        )


def _is_system(user: User) -> bool:
    """Tell whether somebody has a name or a group that Kubernetes reserves, but for what everybody has."""
    return user.username.startswith("system:") or any(
        group.startswith("system:") and group != "system:authenticated" for group in user.groups
    )


def _evidence(event: Event, assumed: User) -> Iterator[Evidence]:
    if assumed.username:
        yield Evidence("impersonatedUser.username", assumed.username, "whom the caller impersonated")
    if assumed.groups:
        yield Evidence("impersonatedUser.groups", assumed.groups, "the groups whose rights the caller took on")
    metadata = event.authentication_metadata
    if metadata and metadata.impersonation_constraint:
        yield Evidence(
            "authenticationMetadata.impersonationConstraint",
            metadata.impersonation_constraint,
            "the verb of constrained impersonation that allowed it",
        )
    yield from mint_evidence(event)


def _forgeable(assumed: User) -> Iterator[str]:
    if assumed.extra:
        yield f"impersonatedUser.extra proves nothing; the caller chose it: {brief(', '.join(sorted(assumed.extra)))}"
