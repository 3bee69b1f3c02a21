# SPDX-License-Identifier: Apache-2.0
"""A snapshot of a cluster: who may do what under RBAC, attack paths to tokens, and what a stolen token is worth.

    kubectl get serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,pods -A -o json > cluster.json

The evaluator was compared with the answers of a running API server: tests/data/rbac/README.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Self

import attrs

from k8stokendetect.cluster.account_profile import (
    AccountProfile,
    CloudIdentity,
    CloudKind,
    Right,
    RightKind,
    identities_of,
    rights_of,
)
from k8stokendetect.cluster.attack_paths import NEEDS_NODE, NEEDS_POD, AttackPath, AttackPathKind, BlastRadius, Level
from k8stokendetect.cluster.changes import Changes, patch_for
from k8stokendetect.cluster.documents import Source
from k8stokendetect.cluster.load import load_objects
from k8stokendetect.cluster.minters import Minter, Status, Survey, survey, who_can_mint
from k8stokendetect.cluster.objects import Account, Pod, PodIdentity
from k8stokendetect.cluster.path_finder import PathFinder
from k8stokendetect.cluster.rbac import Binding, Bindings, Grant, PolicyRule, Request, Role, RoleRef, Subject
from k8stokendetect.cluster.steps import Change, ChangeKind, Step
from k8stokendetect.errors import ConfigError, OnReadError, check, checked_list, raise_error
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, ServiceAccount
from k8stokendetect.reprs import with_short_repr

__all__ = [
    "Account",
    "AccountProfile",
    "AttackPath",
    "AttackPathKind",
    "Binding",
    "BlastRadius",
    "Change",
    "ChangeKind",
    "Changes",
    "CloudIdentity",
    "CloudKind",
    "Cluster",
    "Grant",
    "Level",
    "Minter",
    "Pod",
    "PodIdentity",
    "PolicyRule",
    "Reach",
    "Right",
    "RightKind",
    "Role",
    "RoleRef",
    "Status",
    "Step",
    "Subject",
    "Survey",
    "Way",
    "WayKind",
    "Worth",
    "patch_for",
    "survey",
    "who_can_mint",
]


Way = AttackPath
WayKind = AttackPathKind
Reach = BlastRadius
Worth = AccountProfile
"""The four above: earlier names of the same classes."""


@with_short_repr
@attrs.frozen(slots=False)
class Cluster:
    """A snapshot of a cluster's service accounts, roles, bindings and pods.

    Arguments:
        accounts: every ServiceAccount.
        roles: every Role and ClusterRole, aggregated ones with their rules.
        bindings: every RoleBinding and ClusterRoleBinding.
        pods: every Pod; empty when none were given.
        pod_identities: EKS Pod Identity associations, where given.

    """

    accounts: tuple[Account, ...] = ()
    roles: tuple[Role, ...] = ()
    bindings: tuple[Binding, ...] = ()
    pods: tuple[Pod, ...] = ()
    pod_identities: tuple[PodIdentity, ...] = ()

    @classmethod
    def load(cls, *sources: Source, on_error: OnReadError = raise_error) -> Self:
        """Read what `kubectl get … -A -o json` (or `-o yaml`) printed, and what `aws eks` says about Pod Identity.

        Kinds: ServiceAccount, Pod (v1), Role, RoleBinding, ClusterRole, ClusterRoleBinding
        (rbac.authorization.k8s.io/v1 and v1beta1), `List`s of them; the JSON of
        `aws eks list-pod-identity-associations` and `describe-pod-identity-association`.

        The rules of an aggregated ClusterRole are read as recorded. Where the file leaves them to the controller
        (null; in a manifest without uid also `[]`) they are computed from the label selectors.

        Arguments:
            sources: paths, content as bytes, mappings, files open in binary mode (`sys.stdin.buffer`); gzip, JSON and
                YAML are recognised by content.
            on_error: called with a ReadError (origin and JSON path) for everything that cannot be read, has an
                unknown kind or version, or appears twice with different content (then the rights of both count), for a
                list that is only its first page, and for what the API server ignores
                silently: a binding to a role that does not exist, a subject that cannot exist, circular aggregation.
                The rest is loaded.

        Raises:
            ReadError: with the default `on_error`.
            ConfigError: when an argument is not a source, or a source is YAML and PyYAML is not installed.

        """
        return cls(**load_objects(sources, on_error))

    def allows(
        self,
        user: str,
        groups: Iterable[str],
        verb: str,
        resource: str,
        *,
        namespace: str | None = None,
        name: str | None = None,
        api_group: str = "",
    ) -> bool:
        """Answer as the API server's RBAC authorizer would; members of system:masters may do everything.

        No groups are added. The API server gives a service account `system:serviceaccounts`,
        `system:serviceaccounts:NAMESPACE` and `system:authenticated`. What the Node authorizer
        allows in addition is not in RBAC; its answers have an empty reason.

        Arguments:
            user: the user name, such as `system:serviceaccount:prod:api`.
            groups: all groups of the user.
            verb: such as `create`.
            resource: in RBAC notation, such as `serviceaccounts/token`.
            namespace: None or empty for all namespaces, or for what is in none.
            name: of the object; None or empty for a request that names none.
            api_group: of the resource; empty for the core group.

        Raises:
            ConfigError: when groups is not a list of strings.

        """
        groups = _groups(groups)
        request = Request(verb, resource, namespace or "", name or "", api_group)
        # k8s.io/apiserver pkg/authorization/authorizerfactory, NewPrivilegedGroups: asked first
        return MASTERS in groups or any(True for _ in self._bindings.granting(user, groups, request))

    def allows_url(self, user: str, groups: Iterable[str], verb: str, url: str) -> bool:
        """Answer for a non-resource URL such as `/metrics`; everything else is as in `allows`."""
        groups = _groups(groups)
        return MASTERS in groups or self._bindings.allows_url(user, groups, verb, url)

    def grants(
        self,
        user: str,
        groups: Iterable[str],
        verb: str,
        resource: str,
        *,
        namespace: str | None = None,
        name: str | None = None,
        api_group: str = "",
    ) -> tuple[Grant, ...]:
        """Return every binding, role and rule that allows a request, cluster-wide first; arguments as in `allows`."""
        request = Request(verb, resource, namespace or "", name or "", api_group)
        return tuple(self._bindings.granting(user, _groups(groups), request))

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Every subject of any binding, once."""
        return tuple(dict.fromkeys(subject for binding in self.bindings for subject in binding.subjects))

    def ways(
        self, user: str, groups: Iterable[str], account: ServiceAccount | str | None = None
    ) -> tuple[AttackPath, ...]:
        """Return the attack paths by which somebody can obtain service account tokens, direct ones first.

        Each path says which accounts it reaches, so one call per subject covers all accounts.

        Arguments:
            user: the user name; empty to ask about groups alone.
            groups: all groups of the user.
            account: only the paths to this account, as `namespace/name`. Where pods were loaded, a path through a pod
                then needs a pod that runs as the account and mounts a token.

        Raises:
            ConfigError: when groups is not a list of strings, or the account is not written as `namespace/name`.

        """
        found = tuple(self._paths.of(user, _groups(groups)))
        if account is None:
            return found
        target = _ref(account)
        pods = self.pods_of(target)
        needed = set[AttackPathKind]()
        if self.pods and not any(pod.audiences for pod in pods):
            needed |= NEEDS_POD
        if self.pods and not any(pod.node for pod in pods):
            needed |= NEEDS_NODE
        return tuple(way for way in found if way.reaches(target) and way.kind not in needed)

    def ways_of(self, subject: Subject) -> tuple[AttackPath, ...]:
        """Return the attack paths that a subject's own bindings open, or open with those of groups that it is in.

        What only such a group needs belongs to the group: everybody is in system:authenticated, for example.
        """
        return tuple(self._paths.of_subject(subject))

    def service_account(self, account: ServiceAccount | str) -> AccountProfile | None:
        """Return what an account may do, its cloud identities and the pods that run as it.

        Arguments:
            account: as `namespace/name`.

        Returns:
            None when it does not exist.

        Raises:
            ConfigError: when it is not written as `namespace/name`.

        """
        ref = _ref(account)
        found = self._accounts.get(ref)
        if found is None:
            return None
        user = f"{SERVICE_ACCOUNT_PREFIX}{ref.namespace}:{ref.name}"
        held = self._paths.capabilities.held(self._bindings.of(user, (*ref.groups, AUTHENTICATED)))
        associations = [one for one in self.pod_identities if one.ref == ref]
        return AccountProfile(
            found, tuple(rights_of(held)), tuple(identities_of(found, associations)), self.pods_of(ref)
        )

    def pods_of(self, account: ServiceAccount | str) -> tuple[Pod, ...]:
        """Return the pods that run as an account; raises ConfigError when it is not written as `namespace/name`."""
        return tuple(self._pods.get(_ref(account), ()))

    @cached_property
    def _bindings(self) -> Bindings:
        return Bindings(self.roles, self.bindings)

    @cached_property
    def _paths(self) -> PathFinder:
        return PathFinder(self._bindings, self.accounts, self.pods)

    @cached_property
    def _accounts(self) -> dict[ServiceAccount, Account]:
        return {account.ref: account for account in self.accounts}

    @cached_property
    def _pods(self) -> dict[ServiceAccount, list[Pod]]:
        found: dict[ServiceAccount, list[Pod]] = defaultdict(list)
        for pod in self.pods:
            found[pod.ref].append(pod)
        return found


def _groups(groups: Iterable[str]) -> tuple[str, ...]:
    return checked_list(groups, str, "groups takes a list of group names")


def _ref(account: ServiceAccount | str) -> ServiceAccount:
    if isinstance(account, ServiceAccount):
        return account
    problem = "a service account is named as namespace/name"
    check(account, str, problem)
    namespace, _, name = account.partition("/")
    if not namespace or not name or "/" in name:
        raise ConfigError(problem)
    return ServiceAccount(namespace, name)
