# SPDX-License-Identifier: Apache-2.0
"""What an exclusion is: whom it excuses, on which proofs, what that hides; and the verdict on one event."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import date
from typing import Literal

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import PLATFORMS, TOKEN_SUBRESOURCE, Event, JsonValue, Platform
from k8stokendetect.identity import (
    CREDENTIAL_ID,
    POD_NAME,
    SERVICE_ACCOUNT_PREFIX,
    ServiceAccount,
    credential_kind,
    token_uri_oddities,
)

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
REASON = "authorization.k8s.io/reason"


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class Provenance:
    """Where a fact comes from.

    Arguments:
        source: a URL, or a repository path and line.
        checked: when somebody last looked.
        note: how sure it is, where that is not plain.

    """

    source: str
    checked: date
    note: str = ""


@attrs.frozen(kw_only=True)
class Actor:
    """Who is excused: a name and its proofs, all of which must hold.

    A name alone proves nothing: client certificates, OIDC and webhook authenticators can yield any. Service account
    names always also need the two groups that the API server gives their tokens, and a token as their credential.

    Arguments:
        username: one or more user names; `*` stands for anything.
        groups: groups the caller must have.
        only_groups: the caller has no groups but `groups` and `system:authenticated`.
        user_agents: prefixes of the client's name; a client chooses it freely, so it only ever narrows.
        credential: the kind of credential, `X509SHA256` or `JTI`, where the log names one (1.32, 1.30 and later).
        in_pod: the caller's token is bound to a pod: `user.extra` names it. A copy minted by hand usually is not.
        reason: the authorization reason, where logged; `""` is the Node authorizer, RBAC always says which binding.
        without_extra: keys that `user.extra` must not have.
        groups_not_logged: why groups cannot be asked for: the honest, weaker form for records that carry none at all.

    """

    username: tuple[str, ...] = attrs.field(converter=_names)
    groups: tuple[str, ...] = ()
    only_groups: bool = False
    user_agents: tuple[str, ...] = ()
    credential: Literal["JTI", "X509SHA256"] | None = None
    in_pod: bool = False
    reason: str | None = None
    without_extra: tuple[str, ...] = ()
    groups_not_logged: str = ""


@attrs.frozen(kw_only=True)
class TokenShape:
    """What the excused identity asks for, looked at where the request body was logged.

    Arguments:
        bound_kind: the kind of `boundObjectRef`: `Pod`, `Secret`, `Node`, `""` for unbound; None for any.
        audiences: the only audiences it asks for; empty for none; None for any.
        longest: longest lifetime in seconds; None for any.

    """

    bound_kind: str | None = None
    audiences: tuple[str, ...] | None = None
    longest: int | None = None


@attrs.frozen(kw_only=True)
class Exclusion:
    """One identity that mints tokens by design, with the price of not reporting it.

    Arguments:
        id: its name, in `excluded_by` and on the command line.
        rules: ids of the rules it may silence; no wildcard.
        actor: whom it excuses, on which proofs.
        namespaces: target namespaces; `*` stands for anything.
        names: target service accounts.
        own_namespace: the target must be in the acting service account's own namespace.
        token: what it asks for, checked where the request body was logged.
        if_unseen: what to do with a mint whose body was not logged: `report`, or `exclude` where the API server
            itself enforces the shape, or where `hides` says what it costs.
        platforms: where it applies; empty for every Kubernetes.
        because: why this identity mints.
        hides: what an attacker could now do unseen.
        provenance: where that is known from.
        expires: last day, in the event's own time.

    Raises:
        ConfigError: when it has no proof beside the name, or excuses what must never be excused.

    """

    id: str
    rules: tuple[str, ...]
    actor: Actor
    namespaces: tuple[str, ...]
    names: tuple[str, ...] = ("*",)
    own_namespace: bool = False
    token: TokenShape | None = None
    if_unseen: Literal["report", "exclude"] = "report"
    platforms: frozenset[Platform] = frozenset()
    because: str
    hides: str
    provenance: tuple[Provenance, ...]
    expires: date | None = None

    def __attrs_post_init__(self) -> None:
        for problem in _problems(self):
            raise ConfigError(f"exclusion {self.id!r}: {problem}")


def _problems(exclusion: Exclusion) -> Iterator[str]:
    for name in ("id", "rules", "namespaces", "names", "because", "hides", "provenance"):
        if not getattr(exclusion, name):
            yield f"{name} is empty"
    if any("*" in rule for rule in exclusion.rules):
        yield "rules takes rule ids, no wildcards"
    if not exclusion.platforms <= set(PLATFORMS):
        yield f"unknown platform; known: {', '.join(PLATFORMS)}"
    yield from _problems_of_actor(exclusion.actor, exclusion.platforms)


def _problems_of_actor(actor: Actor, platforms: frozenset[Platform]) -> Iterator[str]:
    if not actor.username or any(not pattern.replace("*", "") for pattern in actor.username):
        yield "username is empty or matches everybody"
    if any(_matches(pattern, "system:anonymous") for pattern in actor.username):
        yield "system:anonymous is never excused"
    if "system:unauthenticated" in actor.groups:
        yield "system:unauthenticated is never excused"
    if MASTERS in actor.groups and (not platforms or any("*" in name for name in actor.username)):
        yield "members of system:masters are people with all rights; name one exactly, on its own platform"
    if actor.groups_not_logged and not platforms:
        yield "groups_not_logged needs the platforms whose logs have no groups"
    if not _has_proof(actor):
        yield (
            "a username alone proves nothing: require groups (other than system:authenticated), "
            "or only_groups with a credential or without_extra"
        )


def _has_proof(actor: Actor) -> bool:
    if set(actor.groups) - {AUTHENTICATED} or actor.groups_not_logged:
        return True
    if all(name.startswith(SERVICE_ACCOUNT_PREFIX) for name in actor.username):
        return True
    return actor.only_groups and bool(actor.credential or actor.without_extra)


@attrs.frozen
class Miss:
    """One fact of an exclusion that an event does not show: where, what is there, and what was expected."""

    path: str
    value: JsonValue
    why: str


@attrs.frozen
class Verdict:
    """What an exclusion says of an event whose actor has the exclusion's name.

    No misses: it excuses it. Otherwise the name fits and a proof does not, which is what a look-alike is.
    """

    exclusion: Exclusion
    misses: tuple[Miss, ...]

    @property
    def excuses(self) -> bool:
        """Every fact holds."""
        return not self.misses


def verdict(exclusion: Exclusion, event: Event, /) -> Verdict | None:
    """Judge one event by one exclusion; None when it does not concern this actor or this platform."""
    actor, user = exclusion.actor, event.user
    if exclusion.platforms and event.platform not in exclusion.platforms:
        return None
    if not any(_matches(pattern, user.username) for pattern in actor.username):
        return None
    if actor.groups_not_logged and user.groups:
        return None  # the record has groups after all: the stronger form of this exclusion decides
    return Verdict(exclusion, (*_never(exclusion, event), *_of_actor(actor, event), *_of_request(exclusion, event)))


def _never(exclusion: Exclusion, event: Event) -> Iterator[Miss]:
    """Yield what no exclusion may excuse."""
    if event.impersonated_user is not None:
        yield Miss("impersonatedUser.username", event.impersonated_user.username, "an impersonated request")
    groups = event.user.groups
    if MASTERS in groups and MASTERS not in exclusion.actor.groups:
        yield Miss("user.groups", groups, "a member of system:masters")
    if event.resource == TOKEN_SUBRESOURCE and event.object_ref and event.request_uri:
        ref = event.object_ref
        if oddities := token_uri_oddities(event.request_uri, ref.namespace, ref.name):
            yield Miss("requestURI", event.request_uri, f"no honest client writes this URI: {', '.join(oddities)}")


def _of_actor(actor: Actor, event: Event) -> Iterator[Miss]:
    user = event.user
    account = ServiceAccount.of_username(user.username)
    required = set(actor.groups) | set(account.groups if account else ())
    if lacking := sorted(required.difference(user.groups)) if not actor.groups_not_logged else []:
        yield Miss("user.groups", user.groups, f"without group {', '.join(lacking)}")
    if user.username.startswith(SERVICE_ACCOUNT_PREFIX) and account is None:
        yield Miss("user.username", user.username, "not the name of a service account")
    if actor.only_groups and (others := sorted(set(user.groups) - required - {AUTHENTICATED})):
        yield Miss("user.groups", user.groups, f"with group {', '.join(others)}, which the component does not have")
    if actor.user_agents and not event.user_agent.startswith(actor.user_agents):
        yield Miss("userAgent", event.user_agent, "another client than the component's own")
    wanted = actor.credential or ("JTI" if account else None)
    kind = credential_kind(event.used_credential)
    if wanted and kind not in {None, wanted}:
        yield Miss(f"user.extra['{CREDENTIAL_ID}']", (event.used_credential,), "another kind of credential")
    if actor.in_pod and POD_NAME not in user.extra:
        yield Miss("user.extra", user.extra, "with a token that is not bound to a pod, as the component's own is")
    if actor.reason is not None and event.annotations.get(REASON, actor.reason) != actor.reason:
        yield Miss(f"annotations['{REASON}']", event.annotations[REASON], "not allowed by the Node authorizer")
    for key in actor.without_extra:
        if key in user.extra:
            yield Miss(
                f"user.extra['{key}']",
                user.extra[key],
                "an identity of your own account, mapped to this name",
            )


def _of_request(exclusion: Exclusion, event: Event) -> Iterator[Miss]:
    target = event.service_account
    actor = ServiceAccount.of_username(event.user.username)
    if target is None:
        yield Miss("objectRef", None, "the target is not known")
    else:
        if not any(_matches(pattern, target.namespace) for pattern in exclusion.namespaces):
            yield Miss("objectRef.namespace", target.namespace, "a namespace in which the component does not mint")
        elif exclusion.own_namespace and actor and actor.namespace != target.namespace:
            yield Miss("objectRef.namespace", target.namespace, "not the component's own namespace")
        if not any(_matches(pattern, target.name) for pattern in exclusion.names):
            yield Miss("objectRef.name", target.name, "a service account for which the component does not mint")
    if exclusion.expires and (event.time is None or event.time.date() > exclusion.expires):
        yield Miss("stageTimestamp", None, f"the exclusion ended on {exclusion.expires}")
    if exclusion.token and event.mints_token:
        yield from _of_token(exclusion.token, exclusion.if_unseen, event)


def _of_token(shape: TokenShape, if_unseen: str, event: Event) -> Iterator[Miss]:
    spec = event.token_request
    if spec is None:
        if if_unseen == "report":
            yield Miss("level", event.level, "the body that would prove it was not logged")
        return
    path = "requestObject.spec"
    bound = spec.bound_object_ref.kind if spec.bound_object_ref else ""
    if shape.bound_kind not in {None, bound}:
        wanted = f"not bound to a {shape.bound_kind}" if shape.bound_kind else "bound, where the component's are not"
        yield Miss(f"{path}.boundObjectRef.kind", bound or None, wanted)
    if shape.audiences is not None and set(spec.audiences) - set(shape.audiences):
        yield Miss(f"{path}.audiences", spec.audiences, "an audience that the component does not ask for")
    if shape.longest is not None and (spec.expiration_seconds or 0) > shape.longest:
        yield Miss(f"{path}.expirationSeconds", spec.expiration_seconds, f"longer than {shape.longest} s")


@functools.lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in glob.split("*")), re.DOTALL)


def _matches(glob: str, text: str) -> bool:
    return _pattern(glob).fullmatch(text) is not None
