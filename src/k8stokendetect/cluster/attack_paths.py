# SPDX-License-Identifier: Apache-2.0
"""A path to service account tokens, and the accounts that such paths reach, counted by value."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from k8stokendetect.cluster.account_profile import AccountProfile, RightKind
from k8stokendetect.cluster.rbac import Binding, Grant, PolicyRule, Role
from k8stokendetect.identity import ServiceAccount
from k8stokendetect.reprs import with_short_repr

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


class AttackPathKind(enum.StrEnum):
    """How a subject obtains a token; the first three are direct."""

    MASTERS = "system-masters"
    TOKEN_REQUEST = "token-request"  # noqa: S105 - the name of a way
    KUBELET = "kubelet"
    IMPERSONATE_ACCOUNT = "impersonate-service-account"
    IMPERSONATE_USER = "impersonate-user"
    IMPERSONATE_GROUP = "impersonate-group"
    IMPERSONATE_NODE = "impersonate-node"
    ESCALATE = "escalate"
    BIND = "bind"
    CREATE_POD = "create-pod"
    WRITE_WORKLOAD = "write-workload"
    RUN_IN_POD = "run-in-pod"
    CREATE_SECRET = "create-token-secret"  # noqa: S105 - the same
    READ_SECRET = "read-token-secret"  # noqa: S105 - the same
    CERTIFICATE = "certificate"
    NODE_CERTIFICATE = "node-certificate"
    NODES_PROXY = "nodes-proxy"
    MUTATING_WEBHOOK = "mutating-webhook"


DIRECT: Final = frozenset({AttackPathKind.MASTERS, AttackPathKind.TOKEN_REQUEST, AttackPathKind.KUBELET})
NEEDS_NODE: Final = frozenset(
    {AttackPathKind.KUBELET, AttackPathKind.IMPERSONATE_NODE, AttackPathKind.NODE_CERTIFICATE}
)
"""These need a pod on a node that runs as the account."""
NEEDS_POD: Final = frozenset({AttackPathKind.RUN_IN_POD, AttackPathKind.NODES_PROXY})
"""These need a pod that runs as the account and mounts a token."""

_POWERS: Final = {
    AttackPathKind.MASTERS: "may do everything: the API server does not ask an authorizer about system:masters",
    AttackPathKind.TOKEN_REQUEST: "may create tokens of {}",
    AttackPathKind.IMPERSONATE_ACCOUNT: "may act as {}",
    AttackPathKind.KUBELET: "may create tokens of {}, whose pods run on it: the Node authorizer allows it",
    AttackPathKind.IMPERSONATE_USER: "may act as a user who can obtain tokens of {}",
    AttackPathKind.IMPERSONATE_GROUP: "may act as a member of a group that can obtain tokens of {}",
    AttackPathKind.IMPERSONATE_NODE: "may act as a node, which may create tokens of {}",
    AttackPathKind.ESCALATE: "may add any right to a role, including that to create tokens of {}",
    AttackPathKind.BIND: "may bind itself to a role that leads to {}",
    AttackPathKind.CREATE_POD: "may create pods that run as {}",
    AttackPathKind.WRITE_WORKLOAD: "may have pods created that run as {}",
    AttackPathKind.RUN_IN_POD: "may run code in the pods of {}",
    AttackPathKind.CREATE_SECRET: "may have tokens of {} put into Secrets, and read them",
    AttackPathKind.READ_SECRET: "may read the Secrets with tokens of {}",
    AttackPathKind.CERTIFICATE: "may have certificates issued in the name of a user who may create tokens of {}",
    AttackPathKind.NODE_CERTIFICATE: "may obtain the certificate of a node, which may create tokens of {}",
    AttackPathKind.NODES_PROXY: "may run code in the pods of {} through the kubelet",
    AttackPathKind.MUTATING_WEBHOOK: "may change the pods of {} as they are created, by a webhook or a policy",
}


@with_short_repr
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


MOST_NAMED: Final = 3


class Level(enum.IntEnum):
    """The value of the best target."""

    NOTHING = 0
    ACCOUNT = 1
    CLOUD = 2
    ESCALATION = 3
    CLUSTER_ADMIN = 4

    @property
    def label(self) -> str:
        """In words."""
        return self.name.lower().replace("_", "-")


@with_short_repr
@attrs.frozen
class BlastRadius:
    """The service accounts that somebody can act as, counted; one account can count in several fields.

    Arguments:
        accounts: all of them.
        cluster_admins: those that may do everything everywhere.
        escalating: those with a cluster-wide right that leads to further rights, such as `escalate`.
        cloud: those with a cloud identity.
        attesting: those whose tokens authenticate the API server to admission webhooks (1.37), but for those that may
            do everything.
        worst: names of a few, the most valuable first.
        at_least: what the best is worth where the snapshot has no service accounts: every namespace has one, and
            kube-system has controllers that may escalate.

    """

    accounts: int = 0
    cluster_admins: int = 0
    escalating: int = 0
    cloud: int = 0
    worst: tuple[str, ...] = ()
    attesting: int = 0
    at_least: Level = Level.NOTHING

    @property
    def level(self) -> Level:
        """The value of the best of them."""
        counts = {
            Level.CLUSTER_ADMIN: self.cluster_admins,
            Level.ESCALATION: self.escalating,
            Level.CLOUD: self.cloud,
            Level.ACCOUNT: self.accounts,
        }
        return next((level for level, count in counts.items() if count), self.at_least)


class AccountIndex:
    """Every service account of a cluster by namespace, name and value, evaluated once.

    Arguments:
        cluster: the cluster.
        namespace: only its accounts; all by default.

    """

    def __init__(self, cluster: Cluster, namespace: str = "") -> None:
        accounts = (one.ref for one in cluster.accounts if not namespace or one.namespace == namespace)
        self._refs = sorted(accounts, key=str)
        self._namespace = namespace
        self._is_known = bool(cluster.accounts)
        self._in: dict[str, int] = defaultdict(int)
        self._named: dict[str, int] = defaultdict(int)
        self._of: dict[Level, int] = defaultdict(int)
        self._attesting = 0
        self._with_pod = self._on_node = 0
        for index, ref in enumerate(self._refs):
            bit = 1 << index
            self._in[ref.namespace] |= bit
            self._named[ref.name] |= bit
            pods = cluster.pods_of(ref)
            self._with_pod |= bit * any(pod.audiences for pod in pods)
            self._on_node |= bit * any(pod.node for pod in pods)
            profile = cluster.service_account(ref)
            for level in _levels(profile):
                self._of[level] |= bit
            if profile and profile.of(RightKind.ATTEST) and not profile.is_cluster_admin:
                self._attesting |= bit
        self._all = (1 << len(self._refs)) - 1
        if not cluster.pods:
            self._with_pod = self._on_node = self._all

    def reach(self, ways: Iterable[AttackPath], /) -> BlastRadius:
        """Count the accounts that these paths reach, each once."""
        found, some = 0, tuple(ways)
        for way in some:
            found |= self._reached(way)
        admins, escalating, cloud = (
            found & self._of[level] for level in (Level.CLUSTER_ADMIN, Level.ESCALATION, Level.CLOUD)
        )
        worst = dict.fromkeys(name for bits in (admins, escalating, cloud, found) for name in self._names(bits))
        return BlastRadius(
            accounts=found.bit_count(),
            cluster_admins=admins.bit_count(),
            escalating=escalating.bit_count(),
            cloud=cloud.bit_count(),
            worst=tuple(worst)[:MOST_NAMED],
            attesting=(found & self._attesting).bit_count(),
            at_least=Level.NOTHING if self._is_known else self._assumed(some),
        )

    def _assumed(self, ways: tuple[AttackPath, ...]) -> Level:
        """Return what is reached at least, where no service accounts are known."""
        is_wide = any(way.namespace in {"", "kube-system"} and not way.accounts for way in ways)
        return Level.ESCALATION if is_wide and not self._namespace else Level.ACCOUNT if ways else Level.NOTHING

    def concerns(self, way: AttackPath, namespace: str, /) -> bool:
        """Tell whether a path leads to accounts of a namespace, or to any that are made there later."""
        if way.namespace not in {"", namespace}:
            return False
        return way.kind not in NEEDS_NODE | NEEDS_POD or bool(self._reached(way)) or not self._refs

    def _reached(self, way: AttackPath) -> int:
        found = self._in.get(way.namespace, 0) if way.namespace else self._all
        if way.accounts:
            named = 0
            for name in way.accounts:
                named |= self._named.get(name, 0)
            found &= named
        if way.kind in NEEDS_POD:
            return found & self._with_pod
        return found & self._on_node if way.kind in NEEDS_NODE else found

    def _names(self, bits: int) -> Iterator[str]:
        for _ in range(MOST_NAMED):
            if not bits:
                return
            lowest = bits & -bits
            yield str(self._refs[lowest.bit_length() - 1])
            bits ^= lowest


def _levels(profile: AccountProfile | None) -> Iterator[Level]:
    if profile is None:
        return
    if profile.is_cluster_admin:
        yield Level.CLUSTER_ADMIN
    if any(not right.namespace for right in profile.escalation_paths):
        yield Level.ESCALATION
    if profile.cloud:
        yield Level.CLOUD
