# SPDX-License-Identifier: Apache-2.0
"""Checks one event against one component: every check that fails is named, and none may fail."""

from __future__ import annotations

import functools
from ipaddress import ip_address, ip_network
from typing import Final

import attrs

from k8stokendetect.events import CERTIFICATE_IDS, TOKEN_IDS, TOKEN_SUBRESOURCE, UIDS, Event, JsonValue
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Actor, Component, Exclusion, TokenShape, matches
from k8stokendetect.identity import (
    CREDENTIAL_ID,
    LEGACY_TOKEN,
    POD_NAME,
    REASON,
    SERVICE_ACCOUNT_PREFIX,
    ServiceAccount,
    credential_kind,
    token_uri_is_disguised,
)
from k8stokendetect.reprs import with_short_repr

_EVERYBODY: Final = (AUTHENTICATED,)

account_of: Final = functools.lru_cache(maxsize=4096)(ServiceAccount.of_username)
"""`ServiceAccount.of_username`, remembered: every check of a component asks it."""


_INSIDE: Final = tuple(
    ip_network(network)
    for network in "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16".split()
    + "::1/128 fc00::/7 fe80::/10".split()
)
"""Addresses that nobody has on the internet: RFC 1918, 6598, 3927, 4193, 4291."""


@functools.lru_cache(maxsize=4096)
def is_public(address: str, /) -> bool:
    """Tell whether an address can be reached from everywhere; Google writes `private` for its own."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return not any(found in network for network in _INSIDE)


REFUSALS: Final = "token-request-denied"
"""An exclusion that names this rule is meant for refused requests; all its other proofs have to hold."""

REFUSED: Final = "refused, although a component may do what it does by design"


@with_short_repr
@attrs.frozen
class FailedCheck:
    """One fact about a component that an event does not show: where, what is there, and what is wrong with it."""

    path: str
    value: JsonValue = attrs.field(hash=False)
    why: str


@with_short_repr
@attrs.frozen
class Verdict:
    """What an exclusion says about an event whose actor has its component's name.

    Attributes:
        exclusion: which one.
        failed: the checks that fail. None: the request is excluded. Otherwise the name fits and a proof does not, as
            with a look-alike.

    """

    exclusion: Exclusion
    failed: tuple[FailedCheck, ...]

    @property
    def excludes(self) -> bool:
        """Every check passes."""
        return not self.failed


def verdict(exclusion: Exclusion, event: Event, /) -> Verdict | None:
    """Judge one event by one exclusion; None when it does not concern this actor or this platform."""
    named = any(matches(pattern, event.user.username) for pattern in exclusion.component.actor.username)
    return judged_by(exclusion, event) if named else None


def judged_by(exclusion: Exclusion, event: Event, /) -> Verdict | None:
    """Judge an event whose actor has the name of the exclusion's component; None on another platform."""
    component = exclusion.component
    if not concerns(component, event):
        return None
    failed = failed_checks(component, event)
    if event.denied and REFUSALS in (exclusion.rules or ()):
        failed = tuple(one for one in failed if one.why != REFUSED)
    if exclusion.expires and (event.time is None or event.time.date() > exclusion.expires):
        failed = (*failed, FailedCheck("stageTimestamp", None, f"the exclusion ended on {exclusion.expires}"))
    return Verdict(exclusion, failed)


def concerns(component: Component, event: Event, /) -> bool:
    """Tell whether a component of this name runs on the event's platform.

    A component without groups gives way where the record has groups after all: its stronger form decides there.
    """
    if component.platforms and event.platform not in component.platforms:
        return False
    return not (component.actor.groups_not_logged and event.user.groups)


def failed_checks(component: Component, event: Event, /) -> tuple[FailedCheck, ...]:
    """Return what an event lacks to be the work of a component; its name and platform are taken for granted.

    Exclusions and the rule about look-alikes ask the same: the answer is kept with the event.
    """
    known: dict[int, tuple[Component, tuple[FailedCheck, ...]]] = vars(event).setdefault("_failed_checks", {})
    found = known.get(id(component))
    if found is None or found[0] is not component:  # of another that had this id, here or where it was pickled
        found = known[id(component)] = component, _failed_checks(component, event)
    return found[1]


def _failed_checks(component: Component, event: Event) -> tuple[FailedCheck, ...]:
    failed: list[FailedCheck] = []
    account = account_of(event.user.username)
    _never(component, event, failed)
    _check_actor(component.actor, event, account, failed)
    _check_credential(component.actor, event, failed)
    _check_target(component, event, account, failed)
    if component.token is not None:
        _check_token(component.token, component, event, failed)
    return tuple(failed)


def _never(component: Component, event: Event, failed: list[FailedCheck]) -> None:
    """Add what is never excluded."""
    user, ref = event.user, event.object_ref
    if event.impersonated_user is not None:
        failed.append(
            FailedCheck("impersonatedUser.username", event.impersonated_user.username, "an impersonated request")
        )
    if MASTERS in user.groups and MASTERS not in component.actor.groups:
        failed.append(FailedCheck("user.groups", user.groups, "a member of system:masters"))
    if event.denied:
        failed.append(FailedCheck("responseStatus.code", event.code, REFUSED))
    if (
        ref
        and event.request_uri
        and event.resource == TOKEN_SUBRESOURCE
        and token_uri_is_disguised(event.request_uri, ref.namespace, ref.name)
    ):
        failed.append(FailedCheck("requestURI", event.request_uri, "a URI that the component does not write"))


def _check_actor(actor: Actor, event: Event, account: ServiceAccount | None, failed: list[FailedCheck]) -> None:
    user, groups = event.user, {*event.user.groups}
    required = (*actor.groups, *account.groups) if account else actor.groups
    if not actor.groups_not_logged and not groups.issuperset(required):
        lacking = ", ".join(sorted({*required} - groups))
        failed.append(FailedCheck("user.groups", user.groups, f"without group {lacking}"))
    if account is None and user.username.startswith(SERVICE_ACCOUNT_PREFIX):
        failed.append(FailedCheck("user.username", user.username, "not the name of a service account"))
    if actor.only_groups and (others := groups.difference(required, _EVERYBODY)):
        why = f"with group {', '.join(sorted(others))}, which the component does not have"
        failed.append(FailedCheck("user.groups", user.groups, why))
    if (
        actor.user_agents
        and not event.user_agent.startswith(actor.user_agents)
        and (event.user_agent or "user agents" not in event.lost)
    ):
        failed.append(FailedCheck("userAgent", event.user_agent, "another client than the component's own"))
    if actor.inside and is_public(event.peer_ip or ""):
        path = f"sourceIPs[{len(event.source_ips) - 1}]"
        failed.append(FailedCheck(path, event.peer_ip, "from a public address, although the component runs inside"))
    if actor.reason is not None and event.annotations.get(REASON, actor.reason) != actor.reason:
        why = "another authorization than the component's"
        failed.append(FailedCheck(f"annotations['{REASON}']", event.annotations[REASON], why))


def _check_credential(actor: Actor, event: Event, failed: list[FailedCheck]) -> None:
    user = event.user
    is_account = user.username.startswith(SERVICE_ACCOUNT_PREFIX)
    wanted = actor.credential or ("JTI" if is_account else "X509SHA256" if actor.certificate else None)
    if wanted and credential_kind(event.used_credential) not in {None, wanted}:
        path = f"user.extra['{CREDENTIAL_ID}'][0]"
        failed.append(FailedCheck(path, event.used_credential, "another kind of credential"))
    if event.usual and "extra" not in event.lost:
        _check_usual(wanted, event, failed, is_account=is_account)
    if is_account and LEGACY_TOKEN in event.annotations:
        path = f"annotations['{LEGACY_TOKEN}']"
        failed.append(FailedCheck(path, event.annotations[LEGACY_TOKEN], "with a token from a Secret"))
    if actor.in_pod and POD_NAME not in user.extra:
        why = "with a token that is not bound to a pod, as the component's own is"
        failed.append(FailedCheck("user.extra", user.extra, why))
    if actor.certificate:
        _check_certificate(actor, event, failed)


def _check_usual(wanted: str | None, event: Event, failed: list[FailedCheck], *, is_account: bool) -> None:
    """Add what others in this log carry and the caller lacks."""
    if wanted and {"JTI": TOKEN_IDS, "X509SHA256": CERTIFICATE_IDS}[wanted] in event.usual:
        kind = "token" if wanted == "JTI" else "client certificate"
        why = f"without the credential id that a {kind} has in this log: another way to log in yields the same name"
        failed.append(FailedCheck("user.username", event.user.username, why))
    if is_account and UIDS in event.usual:
        failed.append(FailedCheck("user.username", event.user.username, "without the uid that others have in this log"))


def _check_certificate(actor: Actor, event: Event, failed: list[FailedCheck]) -> None:
    user = event.user
    if user.uid:
        failed.append(FailedCheck("user.uid", user.uid, "a user with a uid, which a client certificate does not give"))
    if "extra" in event.lost and not actor.groups_not_logged:
        why = "whether a certificate was used cannot be told: this form of the log carries no extra"
        failed.append(FailedCheck("", None, why))
    if user.extra and (others := user.extra.keys() - {CREDENTIAL_ID}):
        why = f"with {', '.join(sorted(others))}, which a client certificate gives nobody"
        failed.append(FailedCheck("user.extra", user.extra, why))


def _check_target(
    component: Component, event: Event, account: ServiceAccount | None, failed: list[FailedCheck]
) -> None:
    target = event.service_account
    if target is None:
        failed.append(FailedCheck("objectRef", None, "the target is not known"))
        return
    if "*" not in component.namespaces and not _fits(component.namespaces, target.namespace):
        why = "a namespace in which the component does not mint"
        failed.append(FailedCheck("objectRef.namespace", target.namespace, why))
    elif component.own_namespace and account and account.namespace != target.namespace:
        failed.append(FailedCheck("objectRef.namespace", target.namespace, "not the component's own namespace"))
    if "*" not in component.names and not _fits(component.names, target.name):
        why = "a service account for which the component does not mint"
        failed.append(FailedCheck("objectRef.name", target.name, why))


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    return text in patterns or any(matches(pattern, text) for pattern in patterns)


def _check_token(shape: TokenShape, component: Component, event: Event, failed: list[FailedCheck]) -> None:
    """Compare what was asked for with the shape; a body that should be there and is not proves nothing.

    The caller chooses how large a request is, and so whether the API server or a log's wrapper cuts its body away.
    """
    spec, path = event.token_request, "requestObject.spec"
    if spec is None:
        if event.mints_token and event.request_object is not None:
            failed.append(FailedCheck("requestObject", event.request_object, "not the body of a TokenRequest"))
        elif event.mints_token and event.body_is_cut:
            failed.append(FailedCheck("level", event.level, "the body should have been logged but was cut away"))
        elif event.mints_token and component.if_unseen != "exclude":
            failed.append(FailedCheck("level", event.level, "the body that would prove it was not logged"))
        return
    bound = spec.bound_object_ref.kind if spec.bound_object_ref else ""
    if shape.bound_kind not in {None, bound}:
        wanted = f"not bound to a {shape.bound_kind}" if shape.bound_kind else "bound, although the component's are not"
        failed.append(FailedCheck(f"{path}.boundObjectRef.kind", bound or None, wanted))
    if shape.audiences is not None and {*spec.audiences} != {*shape.audiences}:
        why = "other audiences than the component asks for"
        failed.append(FailedCheck(f"{path}.audiences", spec.audiences, why))
    if shape.longest is not None and (spec.expiration_seconds or 0) > shape.longest:
        failed.append(
            FailedCheck(f"{path}.expirationSeconds", spec.expiration_seconds, f"longer than {shape.longest} s")
        )
