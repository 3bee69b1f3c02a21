# SPDX-License-Identifier: Apache-2.0
"""What Sigma can say of each detector: data, which the tests hold to the detectors on recorded logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from k8stokendetect.detectors import (
    BUILTIN,
    OPTIONAL,
    Detector,
    LegacyTokenSecret,
    TokenInAuditLog,
    TokenRequest,
    TokenRequestCloudAudience,
    TokenRequestDenied,
    TokenRequestImpersonated,
    TokenRequestLongLived,
    TokenRequestLookalike,
    TokenRequestPrivilegedTarget,
    TokenRequestUnbound,
    TokenRequestURI,
    TokenRightGranted,
)
from k8stokendetect.detectors import token_right as right
from k8stokendetect.detectors.legacy_token_secret import CREATED, SECRET_TYPE
from k8stokendetect.detectors.powerful import POWERFUL
from k8stokendetect.detectors.token_in_audit_log import PLACES
from k8stokendetect.detectors.token_request_uri import STANDARD_NAMESPACES, STANDARD_SERVICE_ACCOUNTS
from k8stokendetect.detectors.wording import EXTENDED_EXPIRATION
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.identity import LEGACY_TOKEN, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.sigma.filters import ODD_URI, PLAIN_URI
from k8stokendetect.sigma.form import (
    CALL,
    CREATE,
    MINT,
    MINTED,
    RECEIVED,
    SUCCEEDED,
    Form,
)
from k8stokendetect.sigma.terms import (
    CODE,
    URI,
    USERNAME,
    Terms,
    fits,
    guarded,
    missing,
    there,
)


def _powerful() -> list[Terms]:
    by_namespace: dict[str, list[str]] = {}
    for account in POWERFUL:
        by_namespace.setdefault(account.namespace, []).append(account.name)
    return [
        {**where, **what}
        for namespace, names in by_namespace.items()
        for where in fits("objectRef.namespace", [namespace])
        for what in fits("objectRef.name", names)
    ]


_TOKENS: Final = [".".join(place) for place in PLACES]
_WRITE: Final = ["create", "patch", "update"]
_BODIES: Final = ("requestObject", "responseObject")


def _granting() -> list[Terms]:
    """Say what a role's rules name, in both forms of a list: a field of several values, or JSON in one text.

    A literal `*` is asked for by a regular expression, without backslash and anchors, as all backends read it alike.
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
    Form(detector=TokenRequest, selections=MINT, condition=MINTED),
    Form(
        detector=TokenRequestURI,
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
        condition="selection and not received and (odd_uri or not standard or not plain_uri)",
        wider=(
            "any query string is taken for odd, also one that the API server knows; so are a URI that was not logged "
            "and one of an account or namespace whose name begins with `token`, and calls to `ServiceAccounts` or "
            "`Token`: Sigma does not look at letter case"
        ),
    ),
    Form(
        detector=TokenRequestImpersonated,
        selections={**MINT, "selection_assumed": there("impersonatedUser.username")},
        condition=f"{MINTED} and selection_assumed",
    ),
    Form(
        detector=TokenRequestLookalike,
        selections=MINT,
        condition=MINTED,
        lookalikes=True,
        left_to={
            "token-request": (
                "callers with the name of an exclusion whose proofs Sigma cannot say, and service accounts "
                "that lack only their own namespace's group"
            ),
            "token-request-denied": "refused calls",
        },
    ),
    Form(
        detector=TokenRequestPrivilegedTarget,
        selections={**MINT, "selection_powerful": _powerful()},
        condition=f"{MINTED} and selection_powerful",
    ),
    Form(
        detector=TokenRequestCloudAudience,
        selections={**MINT, "selection_audience": there("requestObject.spec.audiences")},
        condition=f"{MINTED} and selection_audience",
        level="Request",
        wider=(
            "any audience that was asked for by name, also the API server's own: a list may hold others beside it, "
            "which Sigma cannot say"
        ),
    ),
    Form(
        detector=TokenRequestLongLived,
        selections={
            **MINT,
            "selection_lifetime": [
                {f"{body}.spec.expirationSeconds|gt": int(TokenRequestLongLived().threshold.total_seconds())}
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
        wider="what was asked for counts, also where the API server granted less; 3607 s counts for every audience",
    ),
    Form(
        detector=TokenRequestUnbound,
        selections={
            **MINT,
            "selection_workload": {
                f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX,
                **missing("impersonatedUser.username"),
            },
        },
        condition=f"{MINTED} and selection_workload",
        wider="a service account that mints for itself, bound or not known: Sigma cannot compare caller and target",
    ),
    Form(
        detector=TokenRequestDenied,
        selections={
            "selection": {**CREATE, f"{CODE}|gte": 400, f"{CODE}|lt": 500},
            **RECEIVED,
            "later": guarded({CODE: 429}),
            "minted": MINT["selection_mint_id"],
        },
        condition="selection and not received and not later and not minted",
        wider="calls to `ServiceAccounts` or `Token`, which reach nothing: Sigma does not look at letter case",
    ),
    Form(
        detector=TokenInAuditLog,
        selections={
            "selection_body": [{f"{field}|startswith": "eyJ"} for field in _TOKENS],
            "selection_client": [{f"{field}|contains": "eyJ"} for field in (URI, "userAgent")],
        },
        condition="1 of selection_*",
        level="RequestResponse",
        wider="every event, where the detector speaks once an hour; what only begins like a token",
        lost="tokens in other fields, such as a Secret's data",
    ),
    Form(
        detector=LegacyTokenSecret,
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
    Form(
        detector=TokenRightGranted,
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
        wider=(
            "any `*` in a role, whatever the verbs; the API server's own roles and bindings, dry runs, roles written "
            "again as they were"
        ),
        lost="bindings to roles that were written earlier; JSON patches, which are lists",
    ),
)

UNSAYABLE: Final[Mapping[type[Detector], str]] = {
    cls: cls.traits.not_in_sigma for cls in (*BUILTIN, *OPTIONAL) if cls.traits.not_in_sigma
}
"""Detectors that have no form in Sigma, and why."""
