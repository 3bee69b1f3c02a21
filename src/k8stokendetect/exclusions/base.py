# SPDX-License-Identifier: Apache-2.0
"""Who mints by design and how they prove it (Component), and what excluding them costs (Exclusion)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Literal

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import PLATFORMS, Platform
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reprs import with_short_repr

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
WITHOUT_GROUPS: frozenset[Platform] = frozenset({"gke"})
"""Platforms whose records carry no groups."""


def _one_or_more(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _wrong(attribute: attrs.Attribute[Any], wanted: str) -> ConfigError:
    return ConfigError(f"{attribute.name} is not {wanted}")


def _texts(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Take a tuple of strings that are not empty: a lone string would be read character by character."""
    if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
        raise _wrong(attribute, "a tuple of strings")


def _instance(kind: type[Any], wanted: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _wrong(attribute, wanted)

    return check


_flag = _instance(bool, "true or false")
_text = _instance(str, "a string")


def _day(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _wrong(attribute, "a date")


def _one_of(*choices: object) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise _wrong(attribute, f"one of {', '.join(map(repr, choices))}")

    return check


@with_short_repr
@attrs.frozen(kw_only=True)
class Provenance:
    """Where a fact comes from.

    Arguments:
        source: a URL, or a repository path and line.
        checked: when somebody last looked.
        note: how sure it is, where that is not plain.

    """

    source: str = attrs.field(validator=_text)
    checked: date = attrs.field(validator=_day)
    note: str = attrs.field(default="", validator=_text)


@with_short_repr
@attrs.frozen(kw_only=True)
class Actor:
    """Who calls: a name and its proofs, all of which must hold.

    A name alone proves nothing: client certificates, OIDC and webhook authenticators can yield any. Service account
    names always also need the two groups that the API server gives their tokens, and such a token as their credential.

    Arguments:
        username: one or more user names; `*` stands for one or more characters.
        groups: groups the caller must have.
        only_groups: the caller has no groups but `groups` and `system:authenticated`.
        user_agents: prefixes of the client's name; a client chooses it freely, so it only ever narrows.
        credential: the kind of credential, `X509SHA256` or `JTI`, where the log names one (1.32, 1.30 and later).
        certificate: the caller has neither a uid nor any extra but the credential's id, as a client certificate gives
            it; OIDC and webhook authenticators, such as that of EKS, usually give more.
        in_pod: the caller's token is bound to a pod: `user.extra` names it. A copy minted by hand usually is not.
        reason: the authorization reason, where logged; `""` is the Node authorizer, RBAC always says which binding.
        inside: the address that the API server saw is not public; where little else is logged, as on GKE.
        groups_not_logged: why groups cannot be asked for: the weaker form for records that carry none at all.

    """

    username: tuple[str, ...] = attrs.field(converter=_one_or_more, validator=_texts)
    groups: tuple[str, ...] = attrs.field(default=(), validator=_texts)
    only_groups: bool = attrs.field(default=False, validator=_flag)
    user_agents: tuple[str, ...] = attrs.field(default=(), validator=_texts)
    credential: Literal["JTI", "X509SHA256"] | None = attrs.field(
        default=None, validator=_one_of(None, "JTI", "X509SHA256")
    )
    certificate: bool = attrs.field(default=False, validator=_flag)
    in_pod: bool = attrs.field(default=False, validator=_flag)
    reason: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    inside: bool = attrs.field(default=False, validator=_flag)
    groups_not_logged: str = attrs.field(default="", validator=_text)


@with_short_repr
@attrs.frozen(kw_only=True)
class TokenShape:
    """What the component asks for, checked where the request body was logged.

    Arguments:
        bound_kind: the kind of `boundObjectRef`: `Pod`, `Secret`, `Node`, `""` for unbound; None for any.
        audiences: just these audiences; empty for none, which means the API server's own; None for any.
        longest: longest lifetime in seconds; None for any.

    """

    bound_kind: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    audiences: tuple[str, ...] | None = attrs.field(default=None, validator=attrs.validators.optional(_texts))
    longest: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_instance(int, "a number of seconds"))
    )


@with_short_repr
@attrs.frozen(kw_only=True)
class Component:
    """Something that mints tokens by design: its name, its proofs, and for whom it mints what.

    Arguments:
        id: its name, such as `kubelet`.
        actor: the name and the proofs.
        namespaces: target namespaces; `*` stands for one or more characters.
        names: target service accounts.
        own_namespace: the target must be in the acting service account's own namespace.
        token: what it asks for, checked where the request body was logged.
        if_unseen: whether a mint whose body the level does not log is its own: `exclude` where the API server itself
            enforces the shape, or where the exclusion's `hides` says what that costs; `report` otherwise.
        platforms: where it runs; empty for every Kubernetes.
        provenance: the sources of all this.

    Raises:
        ConfigError: when a value has a wrong type, it has no proof besides the name, or it is what may never be
            excluded.

    """

    id: str = attrs.field(validator=_text)
    actor: Actor = attrs.field(validator=_instance(Actor, "an Actor"))
    namespaces: tuple[str, ...] = attrs.field(validator=_texts)
    names: tuple[str, ...] = attrs.field(default=("*",), validator=_texts)
    own_namespace: bool = attrs.field(default=False, validator=_flag)
    token: TokenShape | None = attrs.field(
        default=None, validator=attrs.validators.optional(_instance(TokenShape, "a TokenShape"))
    )
    if_unseen: Literal["report", "exclude"] = attrs.field(default="report", validator=_one_of("report", "exclude"))
    platforms: frozenset[Platform] = attrs.field(default=frozenset(), validator=_instance(frozenset, "a frozenset"))
    provenance: tuple[Provenance, ...] = attrs.field(validator=_instance(tuple, "a tuple of Provenance"))

    def __attrs_post_init__(self) -> None:
        for problem in _problems(self):
            raise ConfigError(f"component {self.id!r}: {problem}")


def _id_of_component(exclusion: Exclusion) -> str:
    return exclusion.component.id


@with_short_repr
@attrs.frozen(kw_only=True)
class Exclusion:
    """A component whose mints are not reported, and what that costs.

    Arguments:
        component: who it is.
        id: its name, in `excluded_by` and on the command line; by default the component's.
        rules: ids of the rules that it narrows itself to; None for every rule about minting by design
            (`Detector.excludable`).
        because: why this component mints.
        hides: what an attacker could now do unseen.
        expires: last day, in the event's own time.

    Raises:
        ConfigError: when a value has a wrong type or is empty.

    """

    component: Component = attrs.field(validator=_instance(Component, "a Component"))
    id: str = attrs.field(default=attrs.Factory(_id_of_component, takes_self=True), validator=_text)
    rules: tuple[str, ...] | None = attrs.field(default=None, validator=attrs.validators.optional(_texts))
    because: str = attrs.field(validator=_text)
    hides: str = attrs.field(validator=_text)
    expires: date | None = attrs.field(default=None, validator=attrs.validators.optional(_day))

    def __attrs_post_init__(self) -> None:
        for name in ("id", "because", "hides"):
            if not getattr(self, name).strip():
                raise ConfigError(f"exclusion {self.id!r}: {name} is empty")
        if self.rules is not None and not self.rules:
            raise ConfigError(f"exclusion {self.id!r}: rules is empty; leave it out for every rule about minting")
        if any("*" in rule for rule in self.rules or ()):
            raise ConfigError(f"exclusion {self.id!r}: rules takes rule ids, no wildcards")

    def covers(self, rule: str, /, *, excludable: bool) -> bool:
        """Tell whether it applies to a rule.

        Arguments:
            rule: the rule's id.
            excludable: the rule is about minting by design: `Detector.excludable`.

        """
        return excludable if self.rules is None else rule in self.rules


def _problems(component: Component) -> Iterator[str]:
    for name in ("id", "namespaces", "names", "provenance"):
        value = getattr(component, name)
        if not (value.strip() if isinstance(value, str) else value):
            yield f"{name} is empty"
    if not all(isinstance(item, Provenance) for item in component.provenance):
        yield "provenance is not a tuple of Provenance"
    if not component.platforms <= set(PLATFORMS):
        yield f"unknown platform; known: {', '.join(PLATFORMS)}"
    yield from _problems_of_actor(component.actor, component.platforms)


def _problems_of_actor(actor: Actor, platforms: frozenset[Platform]) -> Iterator[str]:
    if not actor.username or any(not pattern.replace("*", "") for pattern in actor.username):
        yield "username is empty or matches everybody"
    if any(matches(pattern, "system:anonymous") for pattern in actor.username):
        yield "system:anonymous is never excluded"
    if any("*" in _namespace_of(pattern) for pattern in actor.username):
        yield "service accounts of every namespace are never excluded together"
    if "system:unauthenticated" in actor.groups:
        yield "system:unauthenticated is never excluded"
    if MASTERS in actor.groups and (not platforms or any("*" in name for name in actor.username)):
        yield "members of system:masters are people with all rights; name one exactly, on its own platform"
    if actor.groups_not_logged and not (platforms and platforms <= WITHOUT_GROUPS):
        yield f"groups_not_logged is for platforms whose logs have no groups: {', '.join(WITHOUT_GROUPS)}"
    if not _has_proof(actor):
        yield (
            "a username alone proves nothing: require groups (other than system:authenticated), "
            "or only_groups with a credential or certificate"
        )


def _namespace_of(pattern: str) -> str:
    if not pattern.startswith(SERVICE_ACCOUNT_PREFIX):
        return ""
    return pattern.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0]


def _has_proof(actor: Actor) -> bool:
    if set(actor.groups) - {AUTHENTICATED} or actor.groups_not_logged:
        return True
    if all(name.startswith(SERVICE_ACCOUNT_PREFIX) for name in actor.username):
        return True
    return actor.only_groups and (actor.credential is not None or actor.certificate)


@functools.lru_cache(maxsize=1024)
def _parts(glob: str) -> tuple[str, tuple[str, ...], str]:
    first, *middle, last = glob.split("*")
    return first, tuple(middle), last


def matches(glob: str, text: str, /) -> bool:
    """Tell whether a text matches a pattern in which `*` stands for one or more characters; linear in the text."""
    if "*" not in glob:
        return glob == text
    if glob == "*":
        return text != ""
    first, middle, last = _parts(glob)
    if not text.startswith(first):
        return False
    place = len(first)
    for part in middle:
        found = text.find(part, place + 1)
        if found < 0:
            return False
        place = found + len(part)
    return text.endswith(last) and len(text) - len(last) > place
