# SPDX-License-Identifier: Apache-2.0
"""token-request-lookalike: somebody named like a system component minted a token without that component's proofs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect.detectors.base import Detector
from k8stokendetect.detectors.by_design import checked
from k8stokendetect.detectors.wording import caller_evidence, origin_of, unseen_body, who
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, Miss, Verdict, verdict
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.exclusions.index import Named
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, ServiceAccount, credential_kind

RESERVED: Final = ("system:", "eks:")
"""Prefixes that no user may have: Kubernetes' RBAC page, and EKS' page on creating access entries (both)."""

ASKS_WHO: Final = ("user", "annotations", "objectRef.namespace")
"""How the paths begin at which an exclusion looks at the caller, its client, and the namespace it mints in."""


class TokenRequestLookalike(Detector):
    """The name fits a known minter and a proof does not, or the name is a reserved one that no known minter has.

    Arguments:
        exclusions: the known minters with their proofs; on whatever platform, since their names are odd anywhere else.

    Raises:
        ConfigError: when one of them is something else.

    """

    rule = Rule(
        "token-request-lookalike",
        "TokenRequest by a look-alike of a system component",
        Severity.HIGH,
        description=(
            "The caller is named like a component that mints by design, and lacks what the real one has: a group, the "
            "kind of credential, the client, the namespace it mints in. Certificates, OIDC and webhook authenticators "
            "can yield any name; lists of names let such a caller pass."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/access-authn-authz/node/",
        ),
        false_positives=(
            "break-glass administrators called `system:admin`, as on k3s and OpenShift: medium",
            "a component in an unusual installation, or RKE2's Windows agents: pass their exclusion, too",
        ),
        blind_spots=(
            "a stolen credential of the real component, used from the same client in the same namespace",
            "groups, extra and client where the log does not carry them",
        ),
        response=(
            "Find out where the identity comes from: a signed certificate request, aws-auth, an OIDC claim. Revoke it "
            "there; a certificate cannot be revoked, so take its name's rights away. End the token, and look at "
            "everything else done under this name from this address."
        ),
    )
    watches = frozenset({TOKEN_SUBRESOURCE})

    def __init__(self, *, exclusions: Iterable[Exclusion] = DEFAULT_EXCLUSIONS) -> None:
        self.exclusions = checked(self.rule, exclusions)
        self._named = Named(self.exclusions)

    def inspect(self, event: Event, /) -> Iterator[Finding]:
        """Say what the nearest known minter has and this caller lacks; of a refused call only where groups tell."""
        user, refused = event.actor, event.does("create", TOKEN_SUBRESOURCE) and event.denied
        if not (event.mints_token or refused):
            return
        judged = [(found.exclusion.id, _about_the_caller(found.misses, event)) for found in self._judge(event)]
        like, misses = min(judged, key=lambda pair: len(pair[1])) if judged else ("", _reserved(event))
        groups = [miss for miss in misses if miss.path == "user.groups"]
        if not misses or (refused and not (groups and user.groups)):
            return
        unsure = refused or (MASTERS in user.groups and not like) or (len(groups) == len(misses) and not user.groups)
        facts = {item.path: item for item in caller_evidence(event)}
        for miss in misses:
            whys = (other.why for other in misses if other.path == miss.path)
            facts |= {miss.path: Evidence(miss.path, miss.value, "; ".join(whys))} if miss.value else {}
        if event.code is not None:
            facts["responseStatus.code"] = Evidence("responseStatus.code", event.code, "how the API server answered")
        yield self.finding(
            event,
            f"{who(event)} {'was refused' if refused else 'minted'} a token for "
            f"{event.service_account or 'an unnamed service account'}{origin_of(event)}: "
            f"named like {like or 'a part of the system'}, but {'; '.join(miss.why for miss in misses)}",
            *facts.values(),
            severity=Severity.MEDIUM if unsure else None,
            caveats=tuple(unseen_body(event)),
        )

    def _judge(self, event: Event) -> Iterator[Verdict]:
        """Judge by every exclusion of that name as if on its platform; those for logs without groups only there."""
        for exclusion in self._named.of(event.actor.username):
            abroad = bool(exclusion.platforms) and event.platform not in exclusion.platforms
            if not (abroad and exclusion.actor.groups_not_logged):
                there = attrs.evolve(event, platform=min(exclusion.platforms)) if abroad else event
                if found := verdict(exclusion, there):
                    yield found


def _about_the_caller(misses: Iterable[Miss], event: Event) -> tuple[Miss, ...]:
    """Leave out what the request looks like, and what this form of the log carries of nobody."""
    lost = {f"user.{word.split(',')[0]}" for word in event.lost}
    return tuple(miss for miss in misses if miss.path.startswith(ASKS_WHO) and (miss.value or miss.path not in lost))


def _reserved(event: Event) -> tuple[Miss, ...]:
    """Look at a name that no exclusion has: a service account's without its proofs, or one under a reserved prefix."""
    user = event.actor
    if account := ServiceAccount.of_username(user.username):
        found = []
        if lacking := ", ".join(group for group in account.groups if group not in user.groups):
            found.append(Miss("user.groups", user.groups, f"without group {lacking}"))
        if credential_kind(event.used_credential) == "X509SHA256":
            found.append(Miss(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, "with a certificate"))
        return _about_the_caller(found, event)
    if user.username.startswith(RESERVED) and user.username != "system:anonymous":
        return (Miss("user.username", user.username, "no component known to mint is called so"),)
    return ()
