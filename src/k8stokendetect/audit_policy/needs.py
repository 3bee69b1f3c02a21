# SPDX-License-Identifier: Apache-2.0
"""What each detector needs in the log, as data: which requests, at which audit level."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from k8stokendetect.audit_policy.policy import GroupResources, Level, PolicyRule
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.events import TOKEN_SUBRESOURCE, Signal
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch

RBAC: Final = "rbac.authorization.k8s.io"


@attrs.frozen
class Act:
    """Requests that a detector looks at.

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

    act: Act
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

MINTS: Final = Act("token requests", (("create", "", "serviceaccounts/token"),), "anybody", _TOKEN, Level.REQUEST)
UNAUTHENTICATED: Final = Act(
    "token requests that fail to authenticate", MINTS.requests, "nobody", _TOKEN, Level.REQUEST, "ResponseStarted"
)
USES: Final = Act(
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

SECRETS: Final = Act("Secrets that are made", (("create", "", "secrets"),), "anybody", _SECRETS)
FILLED: Final = Act(
    "Secrets that the token controller fills", (("update", "", "secrets"),), "controller manager", _SECRETS
)
ROLES: Final = Act(
    "roles and bindings that are written",
    tuple((verb, RBAC, resource) for verb in ("create", "update", "patch") for resource in _ROLES),
    "anybody",
    PolicyRule(
        Level.METADATA,
        verbs=("create", "update", "patch", "delete"),
        resources=(GroupResources(RBAC, _ROLES),),
        omit_stages=_ONCE,
    ),
    Level.REQUEST_RESPONSE,
)

_MINT: Final = Need(MINTS, Level.METADATA, "it looks at token requests and how they were answered")
_USE: Final = Need(USES, Level.METADATA, "it looks at what service accounts do")
_USE_OF_REPORTED: Final = Need(USES, Level.METADATA, "it looks at what minted tokens are used for")

_SPECIAL: Final[dict[str, tuple[Need, ...]]] = {
    "token-request-unbound": (
        _MINT,
        Need(
            MINTS,
            Level.REQUEST,
            "whether a workload's token for its own account is bound stands in the request's body",
            essential=False,
        ),
    ),
    "token-request-denied": (
        _MINT,
        Need(
            UNAUTHENTICATED,
            Level.METADATA,
            "a 401 is logged at stage ResponseStarted, without a user",
            essential=False,
        ),
    ),
    "legacy-token-secret": (
        Need(SECRETS, Level.METADATA, "it looks at Secrets that are made"),
        Need(
            FILLED,
            Level.METADATA,
            "where a Secret's type is not logged, the token controller's update gives it away",
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
        act = Act(f"requests for {', '.join(sorted({name for _, _, name in others}))}", tuple(others), "anybody", None)
        needs.append(Need(act, level, body or f"it looks at {act.name}"))
    return tuple(needs)


def _split(resource: str) -> tuple[str, str]:
    """Return API group and resource of `widgets.example.com/status`; a built-in resource is of any group."""
    name, slash, subresource = resource.partition("/")
    plain, _, group = name.partition(".")
    return group, f"{plain}{slash}{subresource}"


NEEDS: Final[dict[str, tuple[Need, ...]]] = {cls.rule.id: needs_of(cls) for cls in (*BUILTIN, *OPTIONAL)}
"""By rule id."""
