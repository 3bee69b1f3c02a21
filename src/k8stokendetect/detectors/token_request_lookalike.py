# SPDX-License-Identifier: Apache-2.0
"""token-request-lookalike: somebody named like a system component minted a token without that component's proofs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from k8stokendetect.detectors.base import MINTS, Detector
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, minted, unseen_body
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import COMPONENTS, Component, FailedCheck
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.exclusions.folding import fold, odd_characters
from k8stokendetect.exclusions.index import NameIndex
from k8stokendetect.exclusions.verdict import concerns, failed_checks
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, ServiceAccount, credential_kind

RESERVED: Final = ("system:", "eks:")
"""Prefixes that no user may have: Kubernetes' RBAC page, and EKS' page on creating access entries (both)."""

ABOUT_THE_CALLER: Final = ("user", "annotations", "objectRef.na", "sourceIPs")
"""Where a check looks at the caller, its client, its address, or the account it mints for: how the paths begin."""


@attrs.frozen
class Likeness:
    """Whom a caller is named like, and what it lacks.

    Arguments:
        component: the component's id; empty where only the prefix of the name is reserved.
        lacks: the checks that fail.

    """

    component: str
    lacks: tuple[FailedCheck, ...]

    @property
    def groups(self) -> list[FailedCheck]:
        """The checks of the caller's groups that fail."""
        return [check for check in self.lacks if check.path == "user.groups"]


class TokenRequestLookalike(Detector):
    """The name fits a known component and a proof does not, or the name is a reserved one that no component has.

    Arguments:
        components: the known components, on whatever platform, since their names are odd anywhere else.

    Raises:
        ConfigError: when one of them is something else.

    """

    rule = Rule(
        "token-request-lookalike",
        "TokenRequest by a look-alike of a system component",
        Severity.HIGH,
        description=(
            "The caller is named like a component that mints by design, but lacks what the real one has: a group, the "
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
            "a component in an unusual installation, or RKE2's Windows agents: switch on their exclusion",
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
    watches = MINTS

    def __init__(self, *, components: Iterable[Component] = COMPONENTS) -> None:
        self.components = tuple(components)
        if not all(isinstance(component, Component) for component in self.components):
            raise ConfigError(f"{self.rule.id}: components takes Components")
        self._named = NameIndex((component, component) for component in self.components)
        self._looking = NameIndex((_folded(component), component) for component in self.components)

    def matches(self, event: Event, /) -> bool:
        """Tell whether the caller lacks what the known component nearest to it has."""
        return self._likeness(event) is not None

    def describe(self, event: Event, /) -> Finding:
        """Say what the caller lacks."""
        like = self._likeness(event) or Likeness("", ())
        done = "was refused" if _is_refused(event) else "minted"
        return self.finding(
            event,
            f"{minted(event, done)}: named like {like.component or 'a part of the system'}, but "
            f"{'; '.join(check.why for check in like.lacks)}",
            *_evidence(event, like),
            severity=Severity.MEDIUM if _is_unsure(event, like) else None,
            caveats=tuple(unseen_body(event)),
        )

    def _likeness(self, event: Event) -> Likeness | None:
        """Compare a mint's caller with the nearest component; a refused call's only where groups were logged."""
        refused = _is_refused(event)
        if not (event.mints_token or refused):
            return None
        compared = self._compared(event)
        for _, failed in compared:
            if not failed:
                return None
        likes = [Likeness(name, _about_the_caller(failed, event)) for name, failed in compared]
        like = min(likes, key=_number_lacking) if likes else self._disguised(event)
        if not like.lacks or (refused and not (like.groups and event.user.groups)):
            return None
        return like

    def _compared(self, event: Event) -> list[tuple[str, tuple[FailedCheck, ...]]]:
        """Compare with each component of that name, on whatever platform it runs; return which checks fail.

        A component known from logs without groups is compared on its own platform only; instead of all others where a
        certificate proves it, since those would then lack nothing.
        """
        found = []
        named = self._named.of(event.user.username)
        bare = [one for one in named if one.actor.groups_not_logged and one.actor.certificate and concerns(one, event)]
        for component in bare or named:
            actor, away = component.actor, bool(component.platforms) and event.platform not in component.platforms
            if concerns(component, event) or (away and not actor.groups_not_logged):
                found.append((component.id, failed_checks(component, event)))
        return found

    def _disguised(self, event: Event) -> Likeness:
        """Compare with what the name looks like, where it is not a component's own."""
        name = event.actor.username
        folded = fold(name)
        if not self._named.of(name) and (components := self._looking.of(folded)):
            why = f"written with other characters ({odd_characters(name) or 'small letters for capitals'})"
            return Likeness(components[0].id, (FailedCheck("user.username", name, why),))
        return Likeness("", _reserved(event))


def _folded(component: Component) -> Component:
    names = tuple(fold(name) for name in component.actor.username)
    return attrs.evolve(component, actor=attrs.evolve(component.actor, username=names))


def _number_lacking(like: Likeness) -> int:
    return len(like.lacks)


def _is_refused(event: Event) -> bool:
    return event.denied and event.does("create", TOKEN_SUBRESOURCE)


def _is_unsure(event: Event, like: Likeness) -> bool:
    """Tell whether it may be a person, a first try, or a log without groups."""
    groups_only = len(like.groups) == len(like.lacks)
    administrator = MASTERS in event.user.groups and not like.component
    return _is_refused(event) or administrator or (groups_only and not event.user.groups)


def _evidence(event: Event, like: Likeness) -> Iterable[Evidence]:
    """Return the name, and each fact about the caller with what is wrong with it."""
    facts = {"user.username": Evidence("user.username", event.actor.username, "the name that it has")}
    for check in like.lacks:
        if check.value:
            whys = (other.why for other in like.lacks if other.path == check.path)
            facts[check.path] = Evidence(check.path, check.value, "; ".join(whys))
    return *facts.values(), *code_evidence(event, HOW_ANSWERED)


def _about_the_caller(failed: Sequence[FailedCheck], event: Event) -> tuple[FailedCheck, ...]:
    """Leave out what the request looks like, and what this form of the log carries of nobody."""
    if not failed:
        return ()
    lost = {f"user.{word.split(',')[0]}" for word in event.lost}
    return tuple(
        check for check in failed if check.path.startswith(ABOUT_THE_CALLER) and (check.value or check.path not in lost)
    )


def _reserved(event: Event) -> tuple[FailedCheck, ...]:
    """Look at a name that no component has: a service account's without its proofs, or one with a reserved prefix."""
    user = event.actor
    if account := ServiceAccount.of_username(user.username):
        found = []
        if lacking := ", ".join(group for group in account.groups if group not in user.groups):
            found.append(FailedCheck("user.groups", user.groups, f"without group {lacking}"))
        if credential_kind(event.used_credential) == "X509SHA256":
            found.append(FailedCheck(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, "with a certificate"))
        return _about_the_caller(found, event)
    if fold(user.username).startswith(RESERVED) and user.username != "system:anonymous":
        return (FailedCheck("user.username", user.username, "no component known to mint is called so"),)
    return ()
