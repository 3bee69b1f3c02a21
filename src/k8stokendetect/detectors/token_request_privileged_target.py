# SPDX-License-Identifier: Apache-2.0
"""token-request-privileged-target: a token was minted for a service account that is worth a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.powerful import POWERFUL, PowerfulAccount
from k8stokendetect.detectors.wording import mint_evidence, minted, unseen_body
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import ServiceAccount

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster
    from k8stokendetect.detectors.escalation import EscalationPath, EscalationPaths

_BY_NAME = "what the account may do is known from its default installation"
_NOT_THERE = "the snapshot of the cluster does not have this account, or no bindings"
_SNAPSHOT = "what the account may do is as in the snapshot of the cluster; its rights may have been others at the time"


class TokenRequestPrivilegedTarget(Detector):
    """A mint for an account that is worth a cluster. Of the accounts that `cluster` has, it knows what they may do.

    Arguments:
        accounts: the powerful service accounts by name: controllers of kube-system and known addons.

    Raises:
        ConfigError: when one of them is something else.

    """

    rule = Rule(
        "token-request-privileged-target",
        "TokenRequest for a powerful service account",
        Severity.HIGH,
        description=(
            "Somebody minted a token for a service account that may do almost anything: a controller of "
            "kube-controller-manager, a GitOps engine, a backup tool. Such a token leads to cluster-admin, and "
            "only the controller manager and the kubelet have a reason to ask for it."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://stratus-red-team.cloud/attack-techniques/kubernetes/k8s.persistence.create-token/",
            "https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles",
        ),
        false_positives=(
            "a provider's controller manager whose platform was not given: pass platform=",
            "Flux and cert-manager, which may mint for their own service accounts: medium, no new right is gained",
            "an account of that name that was given lesser rights: pass cluster=",
        ),
        blind_spots=(
            "accounts that are powerful on this site only: pass cluster=, or name them as accounts=",
            "with cluster=: what was granted after the snapshot, rights that matter in one namespace only",
            "an attacker with the credential of a component that mints for them by design",
        ),
        response=(
            "Treat it as a takeover of the cluster until you know better. Delete and recreate the service account: "
            "that ends its tokens within seconds, and the controller manager mints its own again. Then look at what "
            "the token did, at new cluster roles and bindings first, and at how the caller got the right to mint."
        ),
    )
    watches = MINTS

    def __init__(
        self,
        *,
        accounts: Iterable[PowerfulAccount] = POWERFUL,
    ) -> None:
        self.accounts = tuple(accounts)
        if not all(isinstance(account, PowerfulAccount) for account in self.accounts):
            raise ConfigError(f"{self.rule.id}: accounts takes PowerfulAccounts")
        self._by_name: dict[str, list[PowerfulAccount]] = {}
        self._patterns = [one for one in self.accounts if "*" in one.name]
        for one in sorted(self.accounts, key=lambda one: "*" in one.namespace):  # an exact account before a pattern
            self._by_name.setdefault(one.name, []).append(one)
        self._paths: EscalationPaths | None = None

    def matches(self, event: Event, /) -> bool:
        """Tell whether a token was minted for a powerful account."""
        target = event.service_account if event.mints_token else None
        return target is not None and bool(self._power(target)[0])

    def describe(self, event: Event, /) -> Finding:
        """Say what the account may do, and how that is known."""
        target = event.service_account or ServiceAccount("", "")
        power, found = self._power(target)
        source = _SNAPSHOT if found else _BY_NAME if self.cluster is None else f"{_NOT_THERE}: {_BY_NAME}"
        return self.finding(
            event,
            f"{minted(event)}; it {power}",
            Evidence("objectRef.name", target.name, f"the service account; it {power}"),
            *mint_evidence(event),
            *(found.evidence if found else ()),
            severity=Severity.MEDIUM if _is_itself(event, target) else None,
            caveats=(*unseen_body(event), source),
        )

    def _power(self, target: ServiceAccount) -> tuple[str, EscalationPath | None]:
        """Return what an account may do, and how the snapshot of the cluster knows it; by name where there is none."""
        found = None if self.cluster is None else self._path_from(target, self.cluster)
        if found is not None:
            return found.power, found
        account = self._powerful(target)
        return (account.power if account else ""), None

    def _path_from(self, target: ServiceAccount, cluster: Cluster) -> EscalationPath | None:
        """Return what the snapshot knows; None where it does not."""
        if self._paths is None or self._paths.cluster is not cluster:
            from k8stokendetect.detectors.escalation import EscalationPaths  # noqa: PLC0415 - only where a cluster is known

            self._paths = EscalationPaths(cluster)
        return self._paths.of(target)

    def _powerful(self, target: ServiceAccount) -> PowerfulAccount | None:
        candidates = (*self._by_name.get(target.name, ()), *self._patterns)
        return next((one for one in candidates if one.fits(target)), None) if candidates else None


def _is_itself(event: Event, target: ServiceAccount) -> bool:
    """Tell whether the account minted for itself, with the groups that only its own tokens have."""
    own_name = ServiceAccount.of_username(event.actor.username) == target
    return own_name and event.assumed is None and set(target.groups) <= set(event.actor.groups)
