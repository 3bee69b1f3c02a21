# SPDX-License-Identifier: Apache-2.0
"""What a service account is worth: its rights summarised, each with its reason, its cloud identities, its pods."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from k8stokendetect.cluster.cloud_identity import CloudIdentity
from k8stokendetect.cluster.objects import Account, Pod
from k8stokendetect.cluster.powers import HeldByKind
from k8stokendetect.cluster.rbac import Grant
from k8stokendetect.identity import ServiceAccount


class RightKind(enum.StrEnum):
    """What somebody with the account's token could do."""

    ADMIN = "everything"
    MINT = "create-tokens"
    IMPERSONATE = "impersonate"
    ESCALATE = "escalate"
    BIND = "bind"
    READ_SECRETS = "read-secrets"
    EXEC = "exec-into-pods"
    CREATE_PODS = "create-pods"
    NODES = "nodes-proxy"
    CERTIFICATES = "approve-certificates"
    WEBHOOKS = "mutating-webhooks"


_OF_POWER: Final = {
    "admin": RightKind.ADMIN,
    "mint": RightKind.MINT,
    "impersonate-account": RightKind.IMPERSONATE,
    "impersonate-user": RightKind.IMPERSONATE,
    "impersonate-group": RightKind.IMPERSONATE,
    "constrained-account": RightKind.IMPERSONATE,
    "constrained-user": RightKind.IMPERSONATE,
    "escalate-role": RightKind.ESCALATE,
    "escalate-cluster-role": RightKind.ESCALATE,
    "bind-role": RightKind.BIND,
    "bind-cluster-role": RightKind.BIND,
    "read-secret": RightKind.READ_SECRETS,
    "exec": RightKind.EXEC,
    "pod": RightKind.CREATE_PODS,
    "workload": RightKind.CREATE_PODS,
    "kubelet": RightKind.NODES,
    "approve-signer": RightKind.CERTIFICATES,
    "webhook": RightKind.WEBHOOKS,
}

ESCALATION: Final = frozenset(
    {RightKind.IMPERSONATE, RightKind.ESCALATE, RightKind.BIND, RightKind.CERTIFICATES, RightKind.WEBHOOKS}
)
"""Rights with which others can be had."""


@attrs.frozen
class Right:
    """One right and its reason.

    Arguments:
        kind: which.
        namespace: where it holds; empty for the whole cluster.
        names: what it is narrowed to, such as Secrets; empty for every one.
        grant: binding, role and rule.

    """

    kind: RightKind
    namespace: str
    names: tuple[str, ...]
    grant: Grant


@attrs.frozen
class Worth:
    """A service account as a target.

    Arguments:
        account: the object itself.
        rights: what it may do that matters, each with its reason.
        cloud: the identities in clouds that its annotations and associations name.
        pods: those that run as it.

    """

    account: Account
    rights: tuple[Right, ...] = ()
    cloud: tuple[CloudIdentity, ...] = ()
    pods: tuple[Pod, ...] = ()

    @property
    def ref(self) -> ServiceAccount:
        """Its namespace and name."""
        return self.account.ref

    @property
    def is_cluster_admin(self) -> bool:
        """Whether it may do everything everywhere, under whatever name the role goes."""
        return any(not right.namespace for right in self.of(RightKind.ADMIN))

    @property
    def escalation_paths(self) -> tuple[Right, ...]:
        """The rights with which it can have others."""
        return self.of(*ESCALATION)

    def of(self, *kinds: RightKind) -> tuple[Right, ...]:
        """Return the rights of some kinds."""
        return tuple(right for right in self.rights if right.kind in kinds)


def rights_of(held: HeldByKind, /) -> Iterator[Right]:
    """Yield what somebody holds, summarised: each rule once for each kind of right."""
    seen: set[tuple[RightKind, int]] = set()
    for power, kind in _OF_POWER.items():
        for namespace, names, grant in held.get(power, ()):
            if (kind, id(grant)) not in seen:
                seen.add((kind, id(grant)))
                yield Right(kind, namespace, names, grant)
