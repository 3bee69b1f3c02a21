# SPDX-License-Identifier: Apache-2.0
"""What each detector needs in the log: which requests, at which audit level, made by which callers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import attrs

from k8stokendetect.audit_policy.policy import AuditPolicy
from k8stokendetect.audit_policy.rules import GroupResources, Level, PolicyRule, Request
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.events import TOKEN_SUBRESOURCE, Signal
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS
from k8stokendetect.identity import ADMISSION, SERVICE_ACCOUNTS_GROUP, ServiceAccount
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch

RBAC: Final = "rbac.authorization.k8s.io"


@attrs.frozen
class RequestKind:
    """A kind of requests that a detector looks at.

    Arguments:
        name: in words.
        requests: verb, API group and resource of each.
        callers: who makes them: anybody, service accounts, the controller manager, or unauthenticated clients.
        fix: the rule that logs them, to be put before all others; its level is filled in. None: a copy of the hiding
            rule is put in front of it.
        most: the highest level for that rule: above it, credentials are logged.
        stage: the stage that the detector reads.

    """

    name: str
    requests: tuple[tuple[str, str, str], ...]
    callers: Literal["anybody", "service accounts", "controller manager", "nobody"]
    fix: PolicyRule | None
    most: Level = Level.METADATA
    stage: str = "ResponseComplete"


@attrs.frozen
class Need:
    """What a detector needs; without it the detector is blind or, if it is not essential, works in part."""

    kind: RequestKind
    level: Level
    why: str
    essential: bool = True


_ONCE: Final = ("RequestReceived",)
_TOKEN: Final = PolicyRule(
    Level.METADATA, resources=(GroupResources("", ("serviceaccounts/token",)),), omit_stages=_ONCE
)
_SECRETS: Final = PolicyRule(
    Level.METADATA,
    verbs=("create", "update", "patch"),
    resources=(GroupResources("", ("secrets",)),),
    omit_stages=_ONCE,
)
_ROLES: Final = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")

MINTS: Final = RequestKind(
    "token requests", (("create", "", "serviceaccounts/token"),), "anybody", _TOKEN, Level.REQUEST
)
UNAUTHENTICATED_MINTS: Final = RequestKind(
    "token requests that fail to authenticate", MINTS.requests, "nobody", _TOKEN, Level.REQUEST, "ResponseStarted"
)
USES: Final = RequestKind(
    "requests of service accounts",
    (
        ("get", "", "secrets"),
        ("list", "", "secrets"),
        ("get", "", "configmaps"),
        ("list", "", "pods"),
        ("create", "", "pods"),
        ("create", "", "pods/exec"),
        ("create", "", "serviceaccounts/token"),
        ("patch", "apps", "deployments"),
        ("create", "authorization.k8s.io", "selfsubjectrulesreviews"),
        ("create", RBAC, "clusterrolebindings"),
    ),
    "service accounts",
    None,
)
"""Typical ones; a policy may log these and hide others."""

SECRETS: Final = RequestKind("Secrets that are created", (("create", "", "secrets"),), "anybody", _SECRETS)
FILLED: Final = RequestKind(
    "Secrets that the token controller fills", (("update", "", "secrets"),), "controller manager", _SECRETS
)


def _written(name: str, group: str, resources: Iterable[str], most: Level = Level.METADATA) -> RequestKind:
    """Return the kind of requests that write some resources."""
    verbs, all_of_them = ("create", "update", "patch", "delete"), tuple(resources)
    asked = tuple((verb, group, resource) for verb in verbs[:3] for resource in all_of_them)
    rule = PolicyRule(Level.METADATA, verbs=verbs, resources=(GroupResources(group, all_of_them),), omit_stages=_ONCE)
    return RequestKind(name, asked, "anybody", rule, most)


ROLES: Final = _written("roles and bindings that are written", RBAC, _ROLES, Level.REQUEST_RESPONSE)
ADMISSIONS: Final = _written(
    "admission policies and webhooks that are written", "admissionregistration.k8s.io", sorted(ADMISSION)
)

_MINT: Final = Need(MINTS, Level.METADATA, "it looks at token requests and how they were answered")
_USE: Final = Need(USES, Level.METADATA, "it looks at what service accounts do")
_USE_OF_REPORTED: Final = Need(USES, Level.METADATA, "it looks at what minted tokens are used for")

_SPECIAL: Final[dict[str, tuple[Need, ...]]] = {
    "audit-annotation-forged": (Need(ADMISSIONS, Level.METADATA, "it looks at the names of what is created"),),
    "token-request-unbound": (
        _MINT,
        Need(
            MINTS,
            Level.REQUEST,
            "whether a workload's token for its own account is bound is in the request's body",
            essential=False,
        ),
    ),
    "unknown-token-used": (_MINT, _USE),
    "token-request-denied": (
        _MINT,
        Need(
            UNAUTHENTICATED_MINTS,
            Level.METADATA,
            "a 401 is logged at stage ResponseStarted, without a user",
            essential=False,
        ),
    ),
    "legacy-token-secret": (
        Need(SECRETS, Level.METADATA, "it looks at Secrets that are created"),
        Need(
            FILLED,
            Level.METADATA,
            "where a Secret's type is not logged, the token controller's update reveals it",
            essential=False,
        ),
        Need(USES, Level.METADATA, "a Secret's token shows when it is used", essential=False),
    ),
}
"""Rules that work in part without some of what they look at."""


def needs_of(detector: type[Detector], /) -> tuple[Need, ...]:
    """Return what a detector needs, from what it watches and finds in bodies; nothing: it works with any level."""
    if detector.rule.id in _SPECIAL:
        return _SPECIAL[detector.rule.id]
    found = {Signal.UNREADABLE: _MINT, Signal.USE_OF_ANY: _USE, Signal.USE_OF_REPORTED: _USE_OF_REPORTED}
    needs = [found[watch] for watch in detector.watches if isinstance(watch, Signal) and watch in found]
    watches = (watch for watch in detector.watches if isinstance(watch, str) and watch != EVERYTHING)
    asked = sorted(map(parse_watch, watches), key=str)
    body = detector.traits.body
    level = Level.REQUEST if body else Level.METADATA
    resources = {resource for resource, _ in asked}
    if TOKEN_SUBRESOURCE in resources:
        needs.insert(0, Need(MINTS, level, body) if body else _MINT)
    if resources & {*_ROLES}:
        needs.append(Need(ROLES, level, body or "it looks at roles and bindings that are written"))
    if others := [
        (verb or "create", *_split(name)) for name, verb in asked if name not in {TOKEN_SUBRESOURCE, *_ROLES}
    ]:
        names = ", ".join(sorted({name for _, _, name in others}))
        kind = RequestKind(f"requests for {names}", tuple(others), "anybody", _rule(others))
        needs.append(Need(kind, level, body or f"it looks at {kind.name}"))
    return tuple(needs)


def _rule(requests: list[tuple[str, str, str]]) -> PolicyRule:
    """Return the rule that logs these requests at level Metadata."""
    pairs = sorted({(group, name) for _, group, name in requests})
    return PolicyRule(Level.METADATA, resources=tuple(GroupResources(group, (name,)) for group, name in pairs))


def _split(resource: str) -> tuple[str, str]:
    """Return API group and resource of `widgets.example.com/status`; a built-in resource is of any group."""
    name, slash, subresource = resource.partition("/")
    plain, _, group = name.partition(".")
    return group, f"{plain}{slash}{subresource}"


NEEDS: Final[dict[str, tuple[Need, ...]]] = {cls.rule.id: needs_of(cls) for cls in (*BUILTIN, *OPTIONAL)}
"""By rule id."""


UNAUTHENTICATED: Final = "system:unauthenticated"
NODES: Final = "system:nodes"
CONTROLLER_MANAGER: Final = "system:kube-controller-manager"
_CLUSTER_WIDE: Final = frozenset({"clusterroles", "clusterrolebindings", "selfsubjectrulesreviews", "tokenreviews"})


@attrs.frozen
class Caller:
    """A caller to try a policy on.

    For a caller of several groups the first rule that matches one of them decides. So each group alone, each user
    alone, and the pairs within one rule produce every possible outcome.
    """

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


def requests_of(policy: AuditPolicy, caller: Caller, wanted: Iterable[tuple[str, str, str]], /) -> Iterator[Request]:
    """Yield a caller's requests, in every namespace and for every name that a policy distinguishes.

    Arguments:
        policy: the policy.
        caller: who makes them.
        wanted: verb, API group and resource of each.

    """
    for verb, group, resource in wanted:
        for namespace in ("",) if resource in _CLUSTER_WIDE else namespaces_of(policy):
            for name in names_of(policy):
                yield Request(
                    user=caller.user,
                    groups=caller.groups,
                    verb=verb,
                    resource=resource,
                    group=group,
                    namespace=namespace,
                    name=name,
                )


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
    yield Caller("members of system:masters", nobody, (MASTERS, AUTHENTICATED))
    yield Caller("system:anonymous", "system:anonymous", (UNAUTHENTICATED,))
    for user in sorted(users - {"system:anonymous", CONTROLLER_MANAGER}):
        yield Caller(f"anyone called {user}", user)
        if user.startswith("system:node:") and "*" not in user:
            yield Caller(f"the kubelet called {user}", user, (NODES, AUTHENTICATED))
    for group in sorted(groups - {AUTHENTICATED, UNAUTHENTICATED, NODES, MASTERS}):
        if not group.startswith(SERVICE_ACCOUNTS_GROUP):
            yield Caller(f"members of {group}", nobody, (group, AUTHENTICATED))
    for rule in policy.rules:
        for user in rule.users:
            for group in rule.user_groups:
                yield Caller(f"anyone called {user} in group {group}", user, (group, AUTHENTICATED))
