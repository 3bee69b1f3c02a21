# SPDX-License-Identifier: Apache-2.0
"""What each rule needs of an event, besides the requests and levels that `audit_policy.needs` names: `WANTED`."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from k8stokendetect.audit_policy.needs import MINTS, USES
from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.frozen
class Wanted:
    """Facts that a rule rests on; tests/test_doctor_facts.py takes each out of a log and looks what the rule finds.

    Arguments:
        facts: names of `facts.FACTS`; one of them is enough.
        without: what becomes of the rule without them: it is `silent`, finds `less`, or makes more `noise`.
        why: as a clause: what the rule cannot tell without them.

    """

    facts: tuple[str, ...]
    without: Literal["silent", "less", "noise"]
    why: str


def _silent(why: str, *facts: str) -> Wanted:
    return Wanted(facts, "silent", why)


def _less(why: str, *facts: str) -> Wanted:
    return Wanted(facts, "less", why)


def _noise(why: str, *facts: str) -> Wanted:
    return Wanted(facts, "noise", why)


_ANSWERED: Final = _silent("it looks at answered requests", "answered stage")
_SERVED: Final = _silent("whether a request was served is in the answer", "answer's code")
_ISSUED: Final = _silent(
    "that a token was issued shows in the answer's code or in the id of the new token",
    "answer's code",
    "id of the issued token",
)
_NAME: Final = _silent("it uses the caller's name", "user name")
_TIME: Final = _silent("it follows requests over time", "time")
_PROOFS: Final = (
    _noise("components that are proved by their groups are reported", "user's groups"),
    _noise("without names no component is recognised, and all are reported", "user name"),
)
_MORE_PROOFS: Final = (
    _less("the Node authorizer's decision, one of the kubelet's proofs, is in annotations", "annotations"),
    _less("the client's name is one of a component's proofs", "user agent"),
)
_TOKEN_ID: Final = _silent("it follows a token by its id", "id of the token used")

WANTED: Final[dict[str, tuple[Wanted, ...]]] = {
    "token-request": (_ANSWERED, _ISSUED, *_PROOFS, *_MORE_PROOFS),
    "token-request-uri": (
        _ANSWERED,
        _less("whether a URI is odd can be seen only in the URI", "request URI"),
        _less("a refused request without a user name counts as unauthenticated", "user name"),
        _PROOFS[0],
        *_MORE_PROOFS,
    ),
    "token-request-impersonated": (
        _ANSWERED,
        _ISSUED,
        _silent("it looks at who was impersonated", "impersonated user"),
    ),
    "token-request-lookalike": (_ANSWERED, _ISSUED, _NAME, _PROOFS[0], *_MORE_PROOFS),
    "token-request-privileged-target": (_ANSWERED, _ISSUED, *_PROOFS, *_MORE_PROOFS),
    "token-request-cloud-audience": (_ANSWERED, _ISSUED, *_PROOFS, *_MORE_PROOFS),
    "token-request-long-lived": (_ANSWERED, _ISSUED),
    "token-request-unbound": (_ANSWERED, _ISSUED, _NAME, _PROOFS[0]),
    "token-request-denied": (
        _ANSWERED,
        _SERVED,
        _less("callers are distinguished by their names", "user name"),
    ),
    "second-control-plane-credential": (
        _ANSWERED,
        _ISSUED,
        _NAME,
        _TIME,
        _silent("it compares the certificates of a controller manager", "id of the certificate used"),
    ),
    "unusual-origin": (
        _ANSWERED,
        _ISSUED,
        _NAME,
        _TIME,
        _silent(
            "it compares addresses, clients and certificates",
            "peer's address",
            "user agent",
            "id of the certificate used",
        ),
        _less("it compares networks", "peer's address"),
        _less("it compares clients", "user agent"),
    ),
    "minted-token-used": (
        _ANSWERED,
        _ISSUED,
        _silent("without ids and names nothing joins a use with its mint", "id of the token used", "user name"),
        _silent("without ids and groups nothing joins a use with its mint", "id of the token used", "user's groups"),
        _less("without ids, uses are inferred from account, time and origin", "id of the token used"),
        _less("without reads, most of what a token is used for is not seen", "service accounts' reads"),
        *_PROOFS,
    ),
    "unknown-token-used": (
        _ANSWERED,
        _NAME,
        _TIME,
        _TOKEN_ID,
        _silent("it looks for the mint of each token by its id", "id of the issued token"),
        _silent("a service account is proved by its groups", "user's groups"),
        _less("without reads, most uses are not seen", "service accounts' reads"),
    ),
    "token-in-audit-log": (),
    "legacy-token-secret": (
        _ANSWERED,
        _less("whether a Secret was created is in the answer", "answer's code"),
        _less("an annotation marks the use of a Secret's token", "annotations"),
        _less("without reads, most uses are not seen", "service accounts' reads"),
    ),
    "token-read-by-exec": (
        _ANSWERED,
        _silent("the command is in the URI", "request URI"),
    ),
    "system-identity-issued": (
        _ANSWERED,
        _less("whether it was granted is in the answer", "answer's code"),
        _less("nodes and requesters are known by their names", "user name"),
        _less("a node is proved by its group", "user's groups"),
        _less("whether a node is new shows over time", "time"),
    ),
    "token-right-granted": (_ANSWERED, _SERVED),
    "unreadable-token-request": (),
    "overlong-audit-id": (),
    "audit-annotation-forged": (
        _ANSWERED,
        _less("whether a policy was created is in the answer", "answer's code"),
        _less("what is contradicted is in annotations", "annotations"),
    ),
    "web-identity-unusual-origin": (),
    "web-identity-without-mint": (
        _ANSWERED,
        _ISSUED,
        _TIME,
        _silent("kubelets are known by their names", "user name"),
        _silent("a kubelet is proved by its group", "user's groups"),
    ),
    "minted-token-exchanged": (_ANSWERED, _ISSUED, _TIME, *_PROOFS, *_MORE_PROOFS),
    "cloud-act-after-exchange": (_ANSWERED, _ISSUED, _TIME, *_PROOFS, *_MORE_PROOFS),
    "forged-token": (
        _ANSWERED,
        _NAME,
        _TIME,
        _TOKEN_ID,
        _silent("a service account is proved by its groups", "user's groups"),
        _less("without reads, most requests are not seen", "service accounts' reads"),
    ),
    "pod-token-moved": (
        _ANSWERED,
        _TIME,
        _TOKEN_ID,
        _silent("it compares addresses", "peer's address"),
        _silent("the pod that a token is bound to is in user.extra", "pod of a token"),
        _less("without reads, most uses are not seen", "service accounts' reads"),
    ),
    "read-token-used": (
        _ANSWERED,
        _SERVED,
        _NAME,
        _TIME,
        _silent("it compares addresses", "peer's address"),
        _silent("the pod that a token is bound to is in user.extra", "pod of a token"),
        _silent("the command is in the URI", "request URI"),
        _less("without reads, most uses are not seen", "service accounts' reads"),
    ),
}
"""By rule id, for every rule that ships."""

FROM_CLOUDS: Final = frozenset(
    {"minted-token-exchanged", "web-identity-without-mint", "web-identity-unusual-origin", "cloud-act-after-exchange"}
)
"""Rules that join the audit log with the log of a cloud: without one, they have nothing to say."""

BOTH_IDS: Final = ("id of the issued token", "id of the token used")
"""`minted-token-used` joins one with the other; where a log has one of them alone, it joins nothing."""

EXPECTED: Final = frozenset({MINTS.name, USES.name})
"""Kinds of requests that every cluster makes all the time: where there is none, none is logged."""

ALTERNATIVES: Final = frozenset({"legacy-token-secret", "system-identity-issued"})
"""Rules that look at several kinds of requests, each of which is enough for a finding."""

ANY_EVENT: Final = frozenset({"overlong-audit-id", "unreadable-token-request"})
"""Rules that look at every record: that no token request is in the log says nothing."""
