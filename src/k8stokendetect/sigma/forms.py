# SPDX-License-Identifier: Apache-2.0
"""What Sigma can express of each detector: data, which the tests compare with the detectors on recorded logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from k8stokendetect import detectors
from k8stokendetect.detectors import token_right as right
from k8stokendetect.detectors.legacy_token_secret import CREATED, FILLED_WITHIN, SECRET_TYPE
from k8stokendetect.detectors.minted_token_used import TOKEN_ID
from k8stokendetect.detectors.powerful import POWERFUL
from k8stokendetect.detectors.token_in_audit_log import PLACES
from k8stokendetect.detectors.token_request_uri import STANDARD_NAMESPACES, STANDARD_SERVICE_ACCOUNTS
from k8stokendetect.detectors.wording import EXTENDED_EXPIRATION
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.identity import ISSUED_CREDENTIAL_ID, LEGACY_TOKEN, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.sigma.filters import ODD_URI, PLAIN_URI
from k8stokendetect.sigma.terms import (
    CALL,
    CODE,
    CREATE,
    FORGER_MADE,
    MINT,
    MINTED,
    READS_TOKEN,
    RECEIVED,
    SUCCEEDED,
    URI,
    USED,
    USERNAME,
    Form,
    Join,
    Part,
    Terms,
    first_begins,
    fits,
    guarded,
    missing,
    there,
)


def _powerful() -> list[Terms]:
    return [
        {**where, **what}
        for namespace in dict.fromkeys(account.namespace for account in POWERFUL)
        for where in fits("objectRef.namespace", [namespace])
        for what in fits("objectRef.name", [account.name for account in POWERFUL if account.namespace == namespace])
    ]


_TOKENS: Final = [".".join(place) for place in PLACES]
_BODIES: Final = ("requestObject", "responseObject")


def _granting() -> list[Terms]:
    """Ask what a role's rules name, in both forms of a list: a field of several values, or JSON in one text.

    A regular expression without backslash and anchors, which all backends read alike, asks for a literal `*`.
    """
    star, name = ".*[*].*", TOKEN_SUBRESOURCE
    return [
        terms
        for body in _BODIES
        for terms in (
            {f"{body}.rules.resources": name},
            {f"{body}.rules.resources|re": star},
            {f"{body}.rules|contains": f'"{name}"'},
            {f"{body}.rules|re": star},
        )
    ]


FORMS: Final[tuple[Form, ...]] = (
    Form(detector=detectors.TokenRequest, selections=MINT, condition=MINTED),
    Form(
        detector=detectors.TokenRequestURI,
        selections={
            "selection": CALL,
            **RECEIVED,
            "standard": guarded(
                {
                    "objectRef.namespace": sorted(STANDARD_NAMESPACES),
                    "objectRef.name": sorted(STANDARD_SERVICE_ACCOUNTS),
                }
            ),
            **PLAIN_URI,
            **ODD_URI,
        },
        condition="selection and not received and not (standard and plain_uri and not odd_uri)",
        wider=(
            "every query string counts as odd, even one that the API server knows; so do a URI that was not logged, "
            "one of an account or namespace whose name begins with `token`, and calls to `ServiceAccounts` or "
            "`Token`: Sigma ignores case"
        ),
    ),
    Form(
        detector=detectors.TokenRequestImpersonated,
        selections={**MINT, "selection_assumed": there("impersonatedUser.username")},
        condition=f"{MINTED} and selection_assumed",
    ),
    Form(
        detector=detectors.TokenRequestLookalike,
        selections=MINT,
        condition=MINTED,
        lookalikes=True,
        left_to={
            "token-request": (
                "callers with the name of an exclusion whose proofs Sigma cannot express, and service accounts "
                "that lack only their own namespace's group"
            ),
            "token-request-denied": "refused calls",
        },
    ),
    Form(
        detector=detectors.TokenRequestPrivilegedTarget,
        selections={**MINT, "selection_powerful": _powerful()},
        condition=f"{MINTED} and selection_powerful",
    ),
    Form(
        detector=detectors.TokenRequestCloudAudience,
        selections={**MINT, "selection_audience": there("requestObject.spec.audiences")},
        condition=f"{MINTED} and selection_audience",
        level="Request",
        wider=(
            "any audience that was requested by name, even the API server's own: Sigma cannot tell whether a list "
            "holds others as well"
        ),
    ),
    Form(
        detector=detectors.TokenRequestLongLived,
        selections={
            **MINT,
            "selection_lifetime": [
                {f"{body}.spec.expirationSeconds|gt": int(detectors.TokenRequestLongLived().threshold.total_seconds())}
                for body in _BODIES
            ]
            + [
                {
                    "requestObject.spec.expirationSeconds": EXTENDED_EXPIRATION,
                    "requestObject.spec.boundObjectRef.kind": "Pod",
                }
            ],
        },
        condition=f"{MINTED} and selection_lifetime",
        level="Request",
        wider="the requested lifetime counts, even where the API server granted less; so do 3607 s for any audience",
    ),
    Form(
        detector=detectors.TokenRequestUnbound,
        selections={
            **MINT,
            "selection_workload": {
                f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX,
                **missing("impersonatedUser.username"),
            },
        },
        condition=f"{MINTED} and selection_workload",
        wider="service accounts that mint for themselves, bound or not logged: Sigma cannot compare caller and target",
    ),
    Form(
        detector=detectors.TokenRequestDenied,
        selections={
            "selection": {**CREATE, f"{CODE}|gte": 400, f"{CODE}|lt": 500},
            **RECEIVED,
            "later": guarded({CODE: 429}),
            "minted": MINT["selection_mint_id"],
        },
        condition="selection and not received and not later and not minted",
        wider="calls to `ServiceAccounts` or `Token`, which reach nothing: Sigma ignores case",
    ),
    Form(
        detector=detectors.TokenInAuditLog,
        selections={
            "selection_body": [{f"{field}|startswith": "eyJ"} for field in _TOKENS],
            "selection_client": [{f"{field}|contains": "eyJ"} for field in (URI, "userAgent")],
        },
        condition="1 of selection_*",
        level="RequestResponse",
        wider="every event, where the detector reports once an hour; whatever begins like a token",
        lost="tokens in other fields, such as a Secret's data",
    ),
    Form(
        detector=detectors.LegacyTokenSecret,
        selections={
            "selection_use": there(f"annotations.{LEGACY_TOKEN}"),
            "selection_made": [
                {
                    "objectRef.resource": "secrets",
                    "verb": ["create", "patch", "update"],
                    f"{body}.type": SECRET_TYPE,
                    **code,
                }
                for body, code in zip(_BODIES, (SUCCEEDED, {CODE: CREATED}), strict=True)
            ],
        },
        condition="1 of selection_*",
        wider="every use, where the detector reports the first from each address",
    ),
    Form(detector=detectors.AuditAnnotationForged, selections=FORGER_MADE, condition="selection"),
    Form(
        detector=detectors.TokenReadByExec,
        selections={"selection": READS_TOKEN, **RECEIVED},
        condition="selection and not received",
        wider="commands that only list such a directory, or read other files in it",
        lost="percent-encoded letters, quotes within the path, and paths of the host",
    ),
    Form(
        detector=detectors.TokenRightGranted,
        selections={
            "selection": {
                "objectRef.resource": sorted(right.RBAC),
                "verb": sorted(set(right.DONE) - {"delete"}),
                **SUCCEEDED,
            },
            "role": _granting(),
            "binding": [{f"{body}.roleRef.name": sorted(right.BUILT_IN)} for body in _BODIES],
            "built_in": {
                "objectRef.resource": "clusterrolebindings",
                "objectRef.name": sorted(right.BUILT_IN_BINDINGS),
            },
        },
        condition="selection and (role or binding or built_in)",
        level="Request",
        wider="any `*` in a role, whatever the verbs; the API server's own; dry runs; roles that are written unchanged",
        lost="bindings to roles that were written earlier; JSON patches, which are lists",
    ),
)

NOT_IN_SIGMA: Final[Mapping[type[detectors.Detector], str]] = {
    cls: cls.traits.not_in_sigma for cls in (*detectors.BUILTIN, *detectors.OPTIONAL) if cls.traits.not_in_sigma
}
"""Detectors without a form in Sigma, and why."""

_SECRET: Final = ("objectRef.namespace", "objectRef.name")

JOINS: Final[tuple[Join, ...]] = (
    Join(
        detector=detectors.MintedTokenUsed,
        parts=(
            Part(
                name="mint",
                title="Token minted, to be joined with its uses",
                selections=MINT,
                condition=MINTED,
                excluded_as=detectors.TokenRequest,
                key=(f"annotations.{ISSUED_CREDENTIAL_ID[0]}",),
            ),
            Part(
                name="use",
                title="Request made with a token that has an id",
                selections={"selection": first_begins(USED, TOKEN_ID), **RECEIVED},
                condition="selection and not received",
                key=(USED,),
            ),
        ),
        aliases=("credential",),
        within=detectors.MintedTokenUsed.remember_for,
        lost="clusters that write no credential ids (before 1.30)",
    ),
    Join(
        detector=detectors.LegacyTokenSecret,
        part=(".filled", ", seen by the token controller's update"),
        parts=(
            Part(
                name="made",
                title="Secret made whose type was not logged",
                selections={
                    "selection": {
                        "objectRef.resource": "secrets",
                        "verb": "create",
                        **SUCCEEDED,
                        **missing("requestObject.type"),
                    }
                },
                condition="selection",
                key=_SECRET,
            ),
            Part(
                name="written",
                title="Secret written by the controller manager",
                selections={
                    "selection": {
                        "objectRef.resource": "secrets",
                        "verb": "update",
                        **SUCCEEDED,
                        USERNAME: find_exclusion("kube-controller-manager").component.actor.username[0],
                    }
                },
                condition="selection",
                key=_SECRET,
            ),
        ),
        within=FILLED_WITHIN,
        wider="the controller manager is recognised by its name alone",
    ),
)
