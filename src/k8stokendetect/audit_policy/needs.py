# SPDX-License-Identifier: Apache-2.0
"""What each detector needs in the log, as data: which requests, at which audit level."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from k8stokendetect.audit_policy.policy import GroupResources, Level, PolicyRule

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

NEEDS: Final[dict[str, tuple[Need, ...]]] = {
    "token-request": (_MINT,),
    "token-request-uri": (_MINT,),
    "token-request-impersonated": (_MINT,),
    "token-request-lookalike": (_MINT,),
    "token-request-privileged-target": (_MINT,),
    "token-request-cloud-audience": (Need(MINTS, Level.REQUEST, "the audience stands in the request's body"),),
    "token-request-long-lived": (Need(MINTS, Level.REQUEST, "the lifetime stands in the request's body"),),
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
    "minted-token-used": (_MINT, Need(USES, Level.METADATA, "it looks at what minted tokens are used for")),
    "unusual-origin": (_MINT,),
    "token-in-audit-log": (),
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
    "token-right-granted": (
        Need(ROLES, Level.REQUEST, "rules, subjects and role references stand in the request's body"),
    ),
    "unreadable-token-request": (_MINT,),
    "forged-token": (_USE,),
    "pod-token-moved": (_USE,),
}
"""By rule id; an empty tuple works with any log."""
