# SPDX-License-Identifier: Apache-2.0
"""The callers to try an audit policy on: all that it distinguishes, and the system's own.

For a caller of several groups the first rule that matches one of them decides. So each group alone, each user alone,
and the pairs within one rule produce every possible outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs

from k8stokendetect.audit_policy.policy_yaml import AuditPolicy
from k8stokendetect.identity import SERVICE_ACCOUNTS_GROUP, ServiceAccount

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
NODES = "system:nodes"
CONTROLLER_MANAGER = "system:kube-controller-manager"


@attrs.frozen
class Caller:
    """A caller to try a policy on."""

    label: str
    user: str | None
    groups: tuple[str, ...] = (AUTHENTICATED,)


def callers_of(
    policy: AuditPolicy, kind: Literal["anybody", "service accounts", "controller manager", "nobody"], /
) -> tuple[Caller, ...]:
    """Return the callers of a kind that a policy distinguishes, the ordinary one first."""
    if kind == "nobody":
        return (Caller("unauthenticated clients", None, ()),)
    if kind == "controller manager":
        return (Caller("kube-controller-manager", CONTROLLER_MANAGER),)
    found = [*_service_accounts(policy), *(() if kind == "service accounts" else _others(policy))]
    if kind == "anybody":
        found.sort(key=lambda caller: caller.label != "any other user")
    return tuple({(one.user, one.groups): one for one in reversed(found)}.values())[::-1]


def namespaces_of(policy: AuditPolicy, /) -> tuple[str, ...]:
    """Return a namespace that the policy does not name, kube-system, and those that it names."""
    named = {name for rule in policy.rules for name in rule.namespaces if name}
    return tuple(dict.fromkeys((_fresh("other", named), "kube-system", *sorted(named))))


def names_of(policy: AuditPolicy, /) -> tuple[str, ...]:
    """Return a name that the policy does not contain, and those that it does."""
    named = {name for rule in policy.rules for item in rule.resources for name in item.resource_names}
    return (_fresh("other", named), *sorted(named))


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "-"
    return name


def _service_accounts(policy: AuditPolicy) -> Iterator[Caller]:
    users = {user for rule in policy.rules for user in rule.users}
    groups = {group for rule in policy.rules for group in rule.user_groups}
    named = {group.removeprefix(f"{SERVICE_ACCOUNTS_GROUP}:") for group in groups if group.startswith("system:serv")}
    named.discard(SERVICE_ACCOUNTS_GROUP)
    for namespace in (_fresh("other", named), "kube-system", *sorted(named - {"kube-system"})):
        name = _fresh(f"system:serviceaccount:{namespace}:other", users)
        which = "other" if namespace not in {"kube-system", *named} else namespace
        label = "service accounts of other namespaces" if which == "other" else f"service accounts of {which}"
        yield Caller(label, name, (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}", AUTHENTICATED))
    for user in sorted(users):
        if account := ServiceAccount.of_username(user):
            yield Caller(f"service account {account}", user, (*account.groups, AUTHENTICATED))


def _others(policy: AuditPolicy) -> Iterator[Caller]:
    users = {user for rule in policy.rules for user in rule.users}
    groups = {group for rule in policy.rules for group in rule.user_groups}
    nobody = _fresh("somebody", users)
    yield Caller("any other user", nobody)
    yield Caller("kubelets (group system:nodes)", _fresh("system:node:other", users), (NODES, AUTHENTICATED))
    yield Caller("kube-controller-manager", CONTROLLER_MANAGER)
    yield Caller("members of system:masters", nobody, ("system:masters", AUTHENTICATED))
    yield Caller("system:anonymous", "system:anonymous", (UNAUTHENTICATED,))
    for user in sorted(users - {"system:anonymous", CONTROLLER_MANAGER}):
        yield Caller(f"anyone called {user}", user)
        if user.startswith("system:node:") and "*" not in user:
            yield Caller(f"the kubelet called {user}", user, (NODES, AUTHENTICATED))
    for group in sorted(groups - {AUTHENTICATED, UNAUTHENTICATED, NODES, "system:masters"}):
        if not group.startswith(SERVICE_ACCOUNTS_GROUP):
            yield Caller(f"members of {group}", nobody, (group, AUTHENTICATED))
    for rule in policy.rules:
        for user in rule.users:
            for group in rule.user_groups:
                yield Caller(f"anyone called {user} in group {group}", user, (group, AUTHENTICATED))
