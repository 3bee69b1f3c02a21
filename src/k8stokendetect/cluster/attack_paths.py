# SPDX-License-Identifier: Apache-2.0
"""A path to service account tokens: its kind, the accounts it reaches, and the grants it takes."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from k8stokendetect.cluster.rbac import Binding, Grant, PolicyRule, Role
from k8stokendetect.identity import ServiceAccount


class AttackPathKind(enum.StrEnum):
    """How a subject obtains a token; the first two are direct."""

    MASTERS = "system-masters"
    TOKEN_REQUEST = "token-request"  # noqa: S105 - the name of a way
    IMPERSONATE_ACCOUNT = "impersonate-service-account"
    IMPERSONATE_USER = "impersonate-user"
    IMPERSONATE_GROUP = "impersonate-group"
    ESCALATE = "escalate"
    BIND = "bind"
    CREATE_POD = "create-pod"
    WRITE_WORKLOAD = "write-workload"
    RUN_IN_POD = "run-in-pod"
    CREATE_SECRET = "create-token-secret"  # noqa: S105 - the same
    READ_SECRET = "read-token-secret"  # noqa: S105 - the same
    CERTIFICATE = "certificate"
    NODES_PROXY = "nodes-proxy"
    MUTATING_WEBHOOK = "mutating-webhook"


DIRECT: Final = frozenset({AttackPathKind.MASTERS, AttackPathKind.TOKEN_REQUEST})
NEEDS_POD: Final = frozenset({AttackPathKind.RUN_IN_POD, AttackPathKind.NODES_PROXY})
"""These need a pod that runs as the account."""

_POWERS: Final = {
    AttackPathKind.MASTERS: "may do everything: the API server asks no authorizer about system:masters",
    AttackPathKind.TOKEN_REQUEST: "may create tokens of {}",
    AttackPathKind.IMPERSONATE_ACCOUNT: "may act as {}",
    AttackPathKind.IMPERSONATE_USER: "may act as a user who may create tokens of {}",
    AttackPathKind.IMPERSONATE_GROUP: "may act as a member of a group that may create tokens of {}",
    AttackPathKind.ESCALATE: "may write any right into a role, also that to create tokens of {}",
    AttackPathKind.BIND: "may bind itself to a role that leads to {}",
    AttackPathKind.CREATE_POD: "may create pods that run as {}",
    AttackPathKind.WRITE_WORKLOAD: "may have pods created that run as {}",
    AttackPathKind.RUN_IN_POD: "may run code in the pods of {}",
    AttackPathKind.CREATE_SECRET: "may have tokens of {} put into Secrets, and read them",
    AttackPathKind.READ_SECRET: "may read the Secrets with tokens of {}",
    AttackPathKind.CERTIFICATE: "may have certificates issued in the name of a user who may create tokens of {}",
    AttackPathKind.NODES_PROXY: "may run code in the pods of {}, by way of the kubelet",
    AttackPathKind.MUTATING_WEBHOOK: "may change the pods of {} as they are created, by a webhook",
}


@attrs.frozen
class AttackPath:
    """A path to service account tokens.

    Arguments:
        kind: how it works.
        namespace: of the accounts it reaches; empty for every namespace.
        accounts: their names; empty for all.
        grants: everything it takes; empty for members of system:masters.

    """

    kind: AttackPathKind
    namespace: str = ""
    accounts: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()

    @property
    def direct(self) -> bool:
        """Whether the subject creates the token itself, in its own name."""
        return self.kind in DIRECT

    @property
    def binding(self) -> Binding | None:
        """The binding that opens it; without that binding the path is closed."""
        return self.grants[0].binding if self.grants else None

    @property
    def role(self) -> Role | None:
        """The role that the binding gives."""
        return self.grants[0].role if self.grants else None

    @property
    def rule(self) -> PolicyRule | None:
        """The rule of the role."""
        return self.grants[0].rule if self.grants else None

    @property
    def why(self) -> str:
        """What it allows, as the end of a sentence about the subject."""
        return self.power("the account")

    def power(self, accounts: object, /) -> str:
        """Say what it allows, as the end of a sentence about the subject.

        Arguments:
            accounts: whose tokens it reaches, in words.

        """
        return _POWERS[self.kind].format(accounts)

    def reaches(self, account: ServiceAccount, /) -> bool:
        """Tell whether it reaches an account."""
        return self.namespace in {"", account.namespace} and (not self.accounts or account.name in self.accounts)
