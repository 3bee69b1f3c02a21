# SPDX-License-Identifier: Apache-2.0
"""The facts that rules rest on, and how many of the events that should carry each of them do: `FACTS`, `Count`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from k8stokendetect.audit_policy.needs import NEEDS, UNAUTHENTICATED_MINTS, USES, Need, RequestKind
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.identity import LEADERS, LEGACY_TOKEN, POD_NAME, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reprs import with_short_repr

ALMOST_ALL: Final = 0.9
"""A fact that fewer of its events carry is there in part: a pipeline drops it for some, or one of two forms has it."""

READS: Final = frozenset({"get", "list", "watch"})
UNAUTHENTICATED: Final = 401


@with_short_repr
@attrs.define
class Count:
    """How many events should carry something, and how many do.

    Arguments:
        of: those that should.
        has: those that do.

    """

    of: int = 0
    has: int = 0

    def take(self, *, has: bool) -> None:
        """Count one more that should."""
        self.of += 1
        self.has += has

    @property
    def is_missing(self) -> bool:
        """Tell whether something should be there and never is."""
        return self.of > 0 and self.has == 0

    def is_partial(self, usual: float = ALMOST_ALL, /) -> bool:
        """Tell whether it is there, but for less than the usual part of the events."""
        return 0 < self.has < usual * self.of

    def __str__(self) -> str:
        return f"{self.has:,} of {self.of:,}"


@with_short_repr
@attrs.define
class Requests:
    """How many requests of a kind were logged.

    Arguments:
        seen: answered ones.
        bodies: of those that were served, which had their body; a refused request's is never logged.

    """

    seen: int = 0
    bodies: Count = attrs.field(factory=Count)

    def take(self, event: Event) -> None:
        """Count one more."""
        self.seen += 1
        if event.code is None or event.succeeded:
            body = event.token_request if event.resource == TOKEN_SUBRESOURCE else event.request_object
            self.bodies.take(has=body is not None)


@with_short_repr
@attrs.frozen
class Fact:
    """Something that an event carries.

    Arguments:
        name: as reports have it.
        of: tells whether an event should carry it.
        has: tells whether it does.
        advice: what to change where none does.
        usual: the part of those events that carries it where nothing is wrong.
        lost: how a wrapper that does not carry it says so in `Event.lost`: the beginning of a word.

    """

    name: str
    of: Callable[[Event], bool]
    has: Callable[[Event], bool]
    advice: str
    usual: float = ALMOST_ALL
    lost: str = ""


def _always(_: Event) -> bool:
    return True


def _by_service_account(event: Event) -> bool:
    return event.user.username.startswith(SERVICE_ACCOUNT_PREFIX)


def _may_have_issued(event: Event) -> bool:
    """Tell a token request that was served, as far as the log says how it was answered."""
    return event.does("create", TOKEN_SUBRESOURCE) and event.answered and (event.code is None or event.succeeded)


def _with_minted_token(event: Event) -> bool:
    """Tell a request made with a token of TokenRequest: a Secret's token has no id."""
    return (_by_service_account(event) or _has_id(event, "JTI=")) and LEGACY_TOKEN not in event.annotations


def _has_id(event: Event, kind: str) -> bool:
    return (event.used_credential or "").startswith(kind)


_WHOLE: Final = (
    "ship the whole event: a processor drops part of it, such as drop_fields of Filebeat, or Remove_key and "
    "Allowlist_key of Fluent Bit's record_modifier"
)
"""Sources: https://www.elastic.co/guide/en/beats/filebeat/8.8/drop-fields.html and
https://docs.fluentbit.io/manual/4.2/data-pipeline/filters/record-modifier."""

FACTS: Final[tuple[Fact, ...]] = (
    Fact(
        "answered stage",
        _always,
        lambda event: event.answered,
        "log stage ResponseComplete: take it out of omitStages, and out of what the pipeline drops",
        usual=0.3,  # a request may be logged at three stages, one of them before it is answered
    ),
    Fact(
        "answer's code",
        lambda event: event.answered,
        lambda event: event.code is not None,
        f"responseStatus: {_WHOLE}",
        lost="code",
    ),
    Fact(
        "id of the issued token",
        _may_have_issued,
        lambda event: event.minted_credential is not None,
        "Kubernetes writes the id of an issued token from 1.30 on, as an annotation; if yours does, "
        f"annotations: {_WHOLE}",
        lost="annotations",
    ),
    Fact(
        "id of the token used",
        _with_minted_token,
        lambda event: _has_id(event, "JTI="),
        f"Kubernetes writes tokens' ids from 1.30 on, in user.extra; if yours does, user.extra: {_WHOLE}",
        usual=0.5,  # what was issued before an upgrade, and tokens of other issuers, have none
        lost="extra",
    ),
    Fact(
        "id of the certificate used",
        lambda event: event.user.username in LEADERS and not _has_id(event, "JTI="),
        lambda event: _has_id(event, "X509SHA256="),
        f"Kubernetes writes certificates' ids from 1.32 on, in user.extra; if yours does, user.extra: {_WHOLE}",
        lost="extra",
    ),
    Fact(
        "user name",
        lambda event: event.answered and event.code != UNAUTHENTICATED,
        lambda event: bool(event.user.username),
        f"user: {_WHOLE}",
    ),
    Fact(
        "user's groups",
        lambda event: bool(event.user.username),
        lambda event: bool(event.user.groups),
        f"user.groups: {_WHOLE}",
        lost="groups",
    ),
    Fact("user's uid", _by_service_account, lambda event: bool(event.user.uid), f"user.uid: {_WHOLE}"),
    Fact(
        "pod of a token",
        _with_minted_token,
        lambda event: POD_NAME in event.user.extra,
        f"user.extra: {_WHOLE}",
        usual=0,  # tokens that are bound to no pod have none
        lost="extra",
    ),
    Fact("user agent", _always, lambda event: bool(event.user_agent), f"userAgent: {_WHOLE}", usual=0.5),
    Fact(
        "peer's address",
        _always,
        lambda event: event.peer_ip is not None and "source IPs" not in event.lost,
        f"sourceIPs, all of them: {_WHOLE}",
        lost="source IPs",
    ),
    Fact("request URI", _always, lambda event: bool(event.request_uri), f"requestURI: {_WHOLE}"),
    Fact(
        "time",
        _always,
        lambda event: event.time is not None,
        f"requestReceivedTimestamp: {_WHOLE}",
        lost="times",
    ),
    Fact(
        "impersonated user",
        _always,
        lambda event: "impersonation" not in event.lost,
        "read the log in a form that has impersonatedUser",
        lost="impersonation",
    ),
    Fact(
        "annotations",
        lambda event: event.answered,
        lambda event: bool(event.annotations),
        f"annotations: {_WHOLE}",
        lost="annotations",
    ),
    Fact(
        "service accounts' reads",
        _by_service_account,
        lambda event: event.verb in READS,
        "log get, list and watch at level Metadata; on AKS they are in category kube-audit, not in kube-audit-admin",
        usual=0,
    ),
)
"""In the order of a report."""

BY_NAME: Final = {fact.name: fact for fact in FACTS}


def _kinds() -> dict[str, RequestKind]:
    return {need.kind.name: need.kind for needs in NEEDS.values() for need in needs}


KINDS: Final = _kinds()
"""The kinds of requests that rules look at, by name."""

_BY_RESOURCE: Final[dict[str, tuple[tuple[str, frozenset[str], str], ...]]] = {
    resource: tuple(
        (kind.name, frozenset(verb for verb, _, other in kind.requests if other == resource), group)
        for kind in KINDS.values()
        if kind is not USES
        for group in {group for _, group, other in kind.requests if other == resource}
    )
    for one in KINDS.values()
    for _, _, resource in one.requests
}
"""For a resource: the kinds that name it, each with its verbs and API group."""


def kinds_of(event: Event, /) -> list[str]:
    """Return the names of the kinds of requests that an event belongs to; of a subresource every verb counts."""
    found = [USES.name] if _by_service_account(event) or _has_id(event, "JTI=") else []
    for name, verbs, group in _BY_RESOURCE.get(event.resource, ()):
        ref = event.object_ref
        fits = ref is None or ref.api_group in ("", group)
        if name == UNAUTHENTICATED_MINTS.name and event.code != UNAUTHENTICATED:
            continue
        if fits and (event.verb in verbs or "/" in event.resource):
            found.append(name)
    return found


def needs_of(rule: str, /) -> tuple[Need, ...]:
    """Return what a rule needs of the audit policy."""
    return NEEDS[rule]
