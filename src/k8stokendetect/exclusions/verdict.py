# SPDX-License-Identifier: Apache-2.0
"""Judges one event by one exclusion: every fact that does not hold is named, and none may be missing."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, JsonValue
from k8stokendetect.exclusions.base import AUTHENTICATED, MASTERS, Actor, Exclusion, TokenShape, matches
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


@attrs.frozen
class Miss:
    """One fact of an exclusion that an event does not show: where, what is there, and what is wrong with it."""

    path: str
    value: JsonValue = attrs.field(hash=False)
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


_LAST: list[tuple[Event | None, dict[int, tuple[Exclusion, Verdict | None]]]] = [(None, {})]
"""The verdicts on the event that was judged last: several detectors ask about one event after the other."""


def verdict(exclusion: Exclusion, event: Event, /) -> Verdict | None:
    """Judge one event by one exclusion; None when it does not concern this actor or this platform."""
    last = _LAST[0]
    if last[0] is not event:
        last = _LAST[0] = (event, {})
    held = last[1].get(id(exclusion))
    if held is None:
        held = last[1][id(exclusion)] = (exclusion, _judged(exclusion, event))
    return held[1]


def _judged(exclusion: Exclusion, event: Event) -> Verdict | None:
    actor, user = exclusion.actor, event.user
    if exclusion.platforms and event.platform not in exclusion.platforms:
        return None
    if not any(matches(pattern, user.username) for pattern in actor.username):
        return None
    if actor.groups_not_logged and user.groups:
        return None  # the record has groups after all: the stronger form of this exclusion decides
    return Verdict(
        exclusion,
        (
            *_never(exclusion, event),
            *_of_actor(actor, event),
            *_of_credential(actor, event),
            *_of_target(exclusion, event),
            *_of_token(exclusion.token or TokenShape(), exclusion, event),
        ),
    )


def _never(exclusion: Exclusion, event: Event) -> Iterator[Miss]:
    """Yield what no exclusion may excuse."""
    if event.impersonated_user is not None:
        yield Miss("impersonatedUser.username", event.impersonated_user.username, "an impersonated request")
    if MASTERS in event.user.groups and MASTERS not in exclusion.actor.groups:
        yield Miss("user.groups", event.user.groups, "a member of system:masters")
    if event.denied:
        yield Miss("responseStatus.code", event.code, "refused, where a component may do what it does by design")
    ref = event.object_ref if event.resource == TOKEN_SUBRESOURCE and event.request_uri else None
    if ref and token_uri_is_disguised(event.request_uri, ref.namespace, ref.name):
        yield Miss("requestURI", event.request_uri, "a URI that the component does not write")
    if exclusion.expires and (event.time is None or event.time.date() > exclusion.expires):
        yield Miss("stageTimestamp", None, f"the exclusion ended on {exclusion.expires}")


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
    if actor.reason is not None and event.annotations.get(REASON, actor.reason) != actor.reason:
        yield Miss(f"annotations['{REASON}']", event.annotations[REASON], "another authorization than the component's")


def _of_credential(actor: Actor, event: Event) -> Iterator[Miss]:
    user = event.user
    is_account = user.username.startswith(SERVICE_ACCOUNT_PREFIX)
    wanted = actor.credential or ("JTI" if is_account else "X509SHA256" if actor.certificate else None)
    if wanted and credential_kind(event.used_credential) not in {None, wanted}:
        yield Miss(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, "another kind of credential")
    if is_account and LEGACY_TOKEN in event.annotations:
        yield Miss(f"annotations['{LEGACY_TOKEN}']", event.annotations[LEGACY_TOKEN], "with a token out of a Secret")
    if actor.in_pod and POD_NAME not in user.extra:
        yield Miss("user.extra", user.extra, "with a token that is not bound to a pod, as the component's own is")
    if actor.certificate and user.uid:
        yield Miss("user.uid", user.uid, "a user with a uid, where a client certificate gives none")
    if actor.certificate and "extra" in event.lost and not actor.groups_not_logged:
        yield Miss("", None, "whether a certificate was used cannot be told: this form of the log carries no extra")
    if actor.certificate and (others := user.extra.keys() - {CREDENTIAL_ID}):
        yield Miss(
            "user.extra", user.extra, f"with {', '.join(sorted(others))}, which a client certificate gives nobody"
        )


def _of_target(exclusion: Exclusion, event: Event) -> Iterator[Miss]:
    target, actor = event.service_account, ServiceAccount.of_username(event.user.username)
    if target is None:
        yield Miss("objectRef", None, "the target is not known")
        return
    if not any(matches(pattern, target.namespace) for pattern in exclusion.namespaces):
        yield Miss("objectRef.namespace", target.namespace, "a namespace in which the component does not mint")
    elif exclusion.own_namespace and actor and actor.namespace != target.namespace:
        yield Miss("objectRef.namespace", target.namespace, "not the component's own namespace")
    if not any(matches(pattern, target.name) for pattern in exclusion.names):
        yield Miss("objectRef.name", target.name, "a service account for which the component does not mint")


def _of_token(shape: TokenShape, exclusion: Exclusion, event: Event) -> Iterator[Miss]:
    """Compare what was asked for with the shape; a body that should be there and is not proves nothing.

    The caller chooses how large a request is, and so whether the API server or a log's wrapper cuts its body away.
    """
    if exclusion.token is None:
        return
    spec, path = event.token_request, "requestObject.spec"
    if spec is None:
        if event.mints_token and event.request_object is not None:
            yield Miss("requestObject", event.request_object, "not the body of a TokenRequest")
        elif event.mints_token and event.body_is_cut:
            yield Miss("level", event.level, "the body should have been logged, and was cut away")
        elif event.mints_token and exclusion.if_unseen != "exclude":
            yield Miss("level", event.level, "the body that would prove it was not logged")
        return
    bound = spec.bound_object_ref.kind if spec.bound_object_ref else ""
    if shape.bound_kind not in {None, bound}:
        wanted = f"not bound to a {shape.bound_kind}" if shape.bound_kind else "bound, where the component's are not"
        yield Miss(f"{path}.boundObjectRef.kind", bound or None, wanted)
    if shape.audiences is not None and set(spec.audiences) != set(shape.audiences):
        yield Miss(f"{path}.audiences", spec.audiences, "other audiences than the component asks for")
    if shape.longest is not None and (spec.expiration_seconds or 0) > shape.longest:
        yield Miss(f"{path}.expirationSeconds", spec.expiration_seconds, f"longer than {shape.longest} s")
