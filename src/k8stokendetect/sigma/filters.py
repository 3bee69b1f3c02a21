# SPDX-License-Identifier: Apache-2.0
"""An exclusion as Sigma filters: its name and every proof that Sigma can express, and look-alikes, which lack these.

Each filter is as narrow as the exclusion or narrower: what it does not fit is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from k8stokendetect.detectors.token_request_lookalike import RESERVED
from k8stokendetect.exclusions.base import MASTERS, Actor, Component, Exclusion, matches
from k8stokendetect.identity import (
    CREDENTIAL_ID,
    LEGACY_TOKEN,
    POD_NAME,
    REASON,
    SERVICE_ACCOUNT_PREFIX,
    SERVICE_ACCOUNTS_GROUP,
    TRUNCATED,
    ServiceAccount,
)
from k8stokendetect.sigma.terms import (
    CODE,
    EXTRA,
    GROUPS,
    URI,
    USERNAME,
    Selection,
    Terms,
    bare,
    first_begins,
    fits,
    guarded,
    has_element,
    literal,
    missing,
    one_or_list,
    one_or_terms,
    slug,
    there,
)

_CREDENTIAL: Final = f"{EXTRA}.{CREDENTIAL_ID}"
_SPEC: Final = "requestObject.spec"

PLAIN_URI: Final[dict[str, Selection]] = {
    "plain_uri": guarded({f"{URI}|startswith": "/api/v1/namespaces/", f"{URI}|endswith": "/token"})
}
ODD_URI: Final[dict[str, Selection]] = {
    "odd_uri": [guarded({f"{URI}|contains": ["%", "//"]}), guarded({URI: "*/token*/token"})]
}
"""A plain URI matches none of these: without `%` its path has a literal `/token`, and no query follows the only one.

So nothing has to ask for a question mark, which each backend writes in its own way.
"""


@attrs.frozen
class Filter:
    """What excludes the callers of one exclusion that share a namespace.

    Arguments:
        name: of its selections, by which they begin.
        caller: selections about who calls; all must match.
        request: selections about what is asked for; all must match.
        never: selections of which none may match.
        logged: fields about who calls that may be missing, by name, and what must match where they are there.

    """

    name: str
    caller: Mapping[str, Selection]
    request: Mapping[str, Selection]
    never: Mapping[str, Selection]
    logged: Mapping[str, tuple[str, Selection]] = attrs.field(factory=dict)

    @property
    def condition(self) -> str:
        """Over all of its selections.

        What may be missing is asked for as `not (there and not good)`: Lucene's parser takes the `NOT` in
        `(NOT _exists_:a OR a:good)` as a demand on the whole, so that it never matches.
        """
        never = [f"not {name}" for name in self.never]
        never += [f"not ({name}_logged and not {name})" for name in self.logged]
        return f"({' and '.join([*self.caller, *self.request, *never])})"

    @property
    def selections(self) -> Mapping[str, Selection]:
        """All of them."""
        fields = {f"{name}_logged": there(field) for name, (field, _) in self.logged.items()}
        return {
            **self.caller,
            **self.request,
            **self.never,
            **fields,
            **{name: good for name, (_, good) in self.logged.items()},
        }

    @property
    def about_the_caller(self) -> Filter:
        """The part about who calls."""
        of_request = ("odd_uri", "refused", "_not_target")
        never = {name: what for name, what in self.never.items() if not name.endswith(of_request)}
        return attrs.evolve(self, request={}, never=never)


def inexpressible(exclusion: Exclusion, /) -> tuple[str, ...]:
    """Return what an exclusion requires and Sigma cannot express, as ends of a sentence."""
    component = exclusion.component
    actor, found = component.actor, []
    if actor.only_groups:
        found.append("that the caller has no other group")
    if actor.certificate:
        found.append("that user.extra holds nothing but the credential's id")
    if actor.inside:
        found.append("that it comes from inside the cluster's network")
    if exclusion.expires:
        found.append(f"that it ends on {exclusion.expires}")
    if component.token and not list(_token(component)):
        found.append("that the token is for just these audiences")
    return tuple(found)


def filters(exclusion: Exclusion, kind: str = "main", /) -> Iterator[Filter]:
    """Yield the filters of an exclusion: one for the callers of each namespace, whose groups differ.

    Arguments:
        exclusion: whose callers they take out.
        kind: `main` or `optional`, as SigmaHQ tells them apart.

    """
    component = exclusion.component
    by_namespace: dict[str, list[str]] = {}
    for pattern in component.actor.username:
        by_namespace.setdefault(_namespace(pattern), []).append(pattern)
    for number, (namespace, names) in enumerate(by_namespace.items(), start=1):
        targets = [namespace] if component.own_namespace and namespace else list(component.namespaces)
        if component.own_namespace and namespace and not any(matches(one, namespace) for one in component.namespaces):
            continue
        name = f"filter_{kind}_{slug(exclusion.id)}{f'_{number}' if len(by_namespace) > 1 else ''}"
        yield Filter(
            name,
            {f"{name}{end}": what for end, what in _caller(component.actor, namespace, names)}
            | {f"{name}_namespace": one_or_terms(fits("objectRef.namespace", targets))},
            {f"{name}{end}": what for end, what in _request(component)} | PLAIN_URI,
            _never(component) | {f"{name}{end}": what for end, what in _beyond(component, names, targets)},
            {f"{name}{end}": what for end, what in _where_logged(component.actor, namespace)},
        )


def _namespace(username: str) -> str:
    return username.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0] if _is_account(username) else ""


def _is_account(username: str) -> bool:
    return username.startswith(SERVICE_ACCOUNT_PREFIX)


def _caller(actor: Actor, namespace: str, names: list[str]) -> Iterator[tuple[str, Selection]]:
    base: dict[str, Any] = {}
    if actor.user_agents:
        base |= guarded({"userAgent|startswith": one_or_list([literal(one) for one in actor.user_agents])})
    if actor.in_pod:
        base |= there(f"{EXTRA}.{POD_NAME}")
    user = fits(USERNAME, names)
    if len(user) == 1:
        yield "", {**user[0], **base}
    else:
        if base:
            yield "", base
        yield "_user", user
    own = ServiceAccount(namespace, "any").groups if namespace else ()
    required = () if actor.groups_not_logged else dict.fromkeys((*actor.groups, *own))
    for number, group in enumerate(required, start=1):
        yield f"_group{number}", has_element(GROUPS, group)


def _where_logged(actor: Actor, namespace: str) -> Iterator[tuple[str, tuple[str, Selection]]]:
    if wanted := actor.credential or ("JTI" if namespace else "X509SHA256" if actor.certificate else None):
        yield "_credential", (_CREDENTIAL, first_begins(_CREDENTIAL, f"{wanted}="))
    if actor.reason is not None:
        field = f"annotations.{REASON}"
        yield "_reason", (field, guarded({field: literal(actor.reason)}))


def _request(component: Component) -> Iterator[tuple[str, Selection]]:
    yield "_target", one_or_terms(fits("objectRef.name", component.names))
    if component.token:
        yield "_token", one_or_terms(list(_token(component)))


def _token(component: Component) -> Iterator[Terms]:
    """Yield a body that was not logged, where that is enough, and one that was logged and has the shape."""
    shape = component.token
    if shape is None:
        return
    if component.if_unseen == "exclude":
        yield guarded({"level": "Metadata"}) | missing(f"annotations.{TRUNCATED}")
    if shape.audiences:
        return
    seen: dict[str, Any] = {**there(f"{_SPEC}.expirationSeconds")}
    if shape.longest is not None:
        seen[f"{_SPEC}.expirationSeconds|lte"] = shape.longest
    if shape.audiences is not None:
        seen |= missing(f"{_SPEC}.audiences")
    if shape.bound_kind:
        seen |= guarded({f"{_SPEC}.boundObjectRef.kind": literal(shape.bound_kind)})
    elif shape.bound_kind is not None:
        seen |= missing(f"{_SPEC}.boundObjectRef.kind")
    yield seen


def _never(component: Component) -> dict[str, Selection]:
    """Return what no exclusion covers."""
    actor = component.actor
    found: dict[str, Selection] = {"impersonated": there("impersonatedUser.username")}
    if MASTERS not in actor.groups:
        found["masters"] = has_element(GROUPS, MASTERS)
    if _is_account(actor.username[0]):
        found["legacy_token"] = there(f"annotations.{LEGACY_TOKEN}")
    if actor.certificate:
        found["uid"] = there("user.uid")
    if actor.groups_not_logged:
        found["groups"] = there(GROUPS)
    return {**found, "refused": [guarded({CODE: code}) for code in (401, 403)], **ODD_URI}


def _beyond(component: Component, names: list[str], targets: list[str]) -> Iterator[tuple[str, Selection]]:
    """Yield what Sigma's star matches and ours does not."""
    odd = [*bare(names), *(f"{literal(name[:-1])}*:*" for name in names if _is_account(name) and name.endswith("*"))]
    for end, field, found in (
        ("user", USERNAME, odd),
        ("namespace", "objectRef.namespace", bare(targets)),
        ("target", "objectRef.name", bare(component.names)),
    ):
        if found:
            yield f"_not_{end}", guarded({field: one_or_list(found)})


def lookalike(
    exclusions: Iterable[Exclusion], filtered: Collection[Exclusion], /
) -> tuple[Mapping[str, Selection], str]:
    """Return selections and a condition for callers that are not who their name says.

    Arguments:
        exclusions: whose names are known.
        filtered: those of them that are filters: mints of the others `token-request` reports. Exclusions for logs
            without groups are left out: other logs have groups.

    """
    known = tuple(exclusions)
    usable = [one for one in known if not one.component.actor.groups_not_logged and one in filtered]
    callers = [one.about_the_caller for exclusion in usable for one in filters(exclusion)]
    names = dict.fromkeys(name for one in known for name in one.component.actor.username)
    like = dict.fromkeys(name for one in usable for name in one.component.actor.username)
    selections: dict[str, Selection] = {
        "reserved": guarded({f"{USERNAME}|startswith": one_or_list([literal(one) for one in RESERVED])}),
        "anonymous": guarded({USERNAME: "system:anonymous"}),
        "account": guarded({f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX}),
        "account_group": has_element(GROUPS, SERVICE_ACCOUNTS_GROUP),
        "account_certificate": first_begins(_CREDENTIAL, "X509SHA256="),
    }
    unknown = (
        "(reserved and not account and not anonymous) or (account and not (account_group and not account_certificate))"
    )
    if names:
        selections["known"] = one_or_terms(fits(USERNAME, names))
        unknown = f"not known and ({unknown})"
    if not callers:
        return selections, unknown
    selections["like"] = one_or_terms(fits(USERNAME, like))
    for one in callers:
        selections |= one.selections
    return selections, f"({unknown}) or (like and not ({' or '.join(one.condition for one in callers)}))"
