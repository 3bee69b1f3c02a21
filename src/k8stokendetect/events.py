# SPDX-License-Identifier: Apache-2.0
"""The typed audit event: every field of `audit.k8s.io/v1` Event, and a small vocabulary for detectors."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID, LEADERS, TRUNCATED, ServiceAccount
from k8stokendetect.reprs import with_short_repr

JsonValue: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict of such."""

Platform: TypeAlias = Literal["kubernetes", "eks", "aks", "gke", "openshift"]
"""Where a record comes from; it decides which provider's exclusions apply."""

PLATFORMS: tuple[Platform, ...] = get_args(Platform)


def check_platform(platform: object, /) -> None:
    """Raise ConfigError for what is neither None nor a platform."""
    if platform is not None and platform not in PLATFORMS:
        raise ConfigError(f"unknown platform {platform!r}; known: {', '.join(PLATFORMS)}")


CERTIFICATE_IDS: Final = "certificate ids"
TOKEN_IDS: Final = "token ids"  # noqa: S105 - no secret
UIDS: Final = "uids"
ITS_MINT: Final = "its mint"
"""What `Event.usual` can hold."""

TOKEN_SUBRESOURCE = "serviceaccounts/token"  # noqa: S105 - RBAC notation, no secret


def is_success(code: int | None, /) -> bool:
    """Tell whether an answer's code says that a request was served: 2xx, or 101.

    exec, attach and port-forward are upgraded to a stream, which HTTP answers with 101 (RFC 9110, section 15.2.2:
    https://www.rfc-editor.org/rfc/rfc9110#section-15.2.2).
    """
    return code is not None and (200 <= code < 300 or code == 101)  # noqa: PLR2004 - HTTP


class Signal(enum.Enum):
    """What a detector watches besides resources."""

    USE_OF_REPORTED = "use of a reported token"
    """A request made with a token whose mint was reported; without credential ids, by that service account."""
    USE_OF_ANY = "use of any token"
    """A request of any service account."""
    UNBOUND_USE = "use of an unbound token"
    """A service account's request with a token that has an id and is bound to no pod; not each, once it is known."""
    LEGACY_TOKEN = "legacy token"  # noqa: S105 - no secret
    """A request made with a token from a Secret: annotation authentication.k8s.io/legacy-token."""
    LIVE_TOKEN = "live token"  # noqa: S105 - no secret
    """A record that held a usable token: `Event.carried_token`."""
    LEADER_LEASE = "leader's lease"
    """A controller manager renewed its lease in kube-system: an update of `leases` of its name."""
    OVERLONG_AUDIT_ID = "overlong audit id"
    """A request whose audit id has more than 64 characters."""
    CONTRADICTED = "contradicted annotation"
    """An annotation of a mint, or the mark of a Secret's token, that is not the API server's own: `contradicted`."""
    CLOUD = "call in a cloud"
    """A call that a cloud logged, rather than an audit event: for a `CloudDetector`, which is given them all."""
    UNREADABLE = "unreadable record"
    """A record that could not be read but reveals something about a call: `ReadError.revealed`."""


@with_short_repr
@attrs.frozen
class User:
    """Who called, as the authenticator said: `authentication.k8s.io/v1` UserInfo."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)


@with_short_repr
@attrs.frozen
class ObjectRef:
    """What the request was about, as the API server parsed its path; a client cannot forge it."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_group: str = ""
    api_version: str = ""
    resource_version: str = ""
    subresource: str = ""


@with_short_repr
@attrs.frozen
class ResponseStatus:
    """How the API server answered: `metav1.Status`, of which a success carries the code only."""

    code: int | None = None
    status: str = ""
    reason: str = ""
    message: str = ""
    details: Mapping[str, JsonValue] | None = attrs.field(default=None, hash=False)
    metadata: Mapping[str, JsonValue] | None = attrs.field(default=None, hash=False)


@with_short_repr
@attrs.frozen
class AuthenticationMetadata:
    """How the caller was authenticated, from Kubernetes 1.36."""

    impersonation_constraint: str = ""


@with_short_repr
@attrs.frozen
class BoundObjectRef:
    """The object whose deletion ends the token: a Pod, a Secret or a Node."""

    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


@with_short_repr
@attrs.frozen
class TokenRequestSpec:
    """What a TokenRequest asked for or was given: `authentication.k8s.io/v1` TokenRequestSpec.

    `expiration_seconds` is already defaulted (3600) when it is logged, so an explicit hour and the default look alike.
    """

    audiences: tuple[str, ...] = ()
    expiration_seconds: int | None = None
    bound_object_ref: BoundObjectRef | None = None


@with_short_repr
@attrs.frozen
class TokenGrant:
    """What the API server granted, where `responseObject` was logged: it may cap what was asked."""

    spec: TokenRequestSpec | None = None
    expiration_timestamp: datetime | None = None


@with_short_repr
@attrs.frozen(kw_only=True, slots=False)  # what is computed goes into the __dict__ at once
class Event:
    """One record of a Kubernetes audit log, as `parse_event` and `read` make it.

    Fields carry the names of the Go type in snake_case; what was not logged is None or empty, never invented.
    Frozen, though not the JSON values in it: treat the mappings and bodies as read-only. What several detectors ask for
    is computed once.
    Source: k8s.io/apiserver pkg/apis/audit/v1/types.go:72-150.
    """

    audit_id: str
    verb: str
    api_version: str = ""
    level: str = ""
    stage: str = ""
    request_uri: str = ""
    user: User = attrs.field(factory=User)
    impersonated_user: User | None = None
    authentication_metadata: AuthenticationMetadata | None = None
    source_ips: tuple[str, ...] = ()
    user_agent: str = ""
    object_ref: ObjectRef | None = None
    response_status: ResponseStatus | None = None
    request_object: JsonValue = attrs.field(default=None, hash=False)
    response_object: JsonValue = attrs.field(default=None, hash=False)
    request_received_timestamp: datetime | None = None
    stage_timestamp: datetime | None = None
    annotations: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    token_request: TokenRequestSpec | None = None
    """What was asked for, from `requestObject`; None where the level did not log it."""
    token_grant: TokenGrant | None = None
    """What was granted, from `responseObject`; None where the level did not log it."""
    carried_token: bool = False
    """A usable token stood in the record and was removed before this Event was made."""
    platform: Platform | None = None
    """Where the record comes from; None when nobody said."""
    origin: str | None = None
    """File and line, such as `audit.log:12`."""
    cluster: str | None = None
    """The cluster's name, where the wrapper tells it."""
    account: str | None = None
    """The AWS account, Azure subscription or Google project, where the wrapper tells it."""
    region: str | None = None
    """The cloud's region, where the wrapper tells it."""
    lost: frozenset[str] = frozenset()
    """What the wrapper around the event does not carry, such as `groups`, or what nobody in this log has."""
    contradicted: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    """Annotations that the rest of the log contradicts, left out of `annotations`: somebody else wrote them."""
    usual: frozenset[str] = frozenset()
    """What this event lacks and others of its cluster have: certificate ids, token ids, uids, its token's mint."""

    resource: str = attrs.field(init=False, repr=False, eq=False)
    """The resource in RBAC notation: `pods`, `pods/exec`, `serviceaccounts/token`; empty without objectRef."""
    code: int | None = attrs.field(init=False, repr=False, eq=False)
    """The HTTP status code of the answer; None before the answer, or where it was not logged."""
    answered: bool = attrs.field(init=False, repr=False, eq=False)
    """The API server answered: any stage but RequestReceived, which has neither status nor annotations."""
    succeeded: bool = attrs.field(init=False, repr=False, eq=False)
    """The request was served, see `is_success`. The authorization decision is not a sign: it is `allow` on 404."""
    denied: bool = attrs.field(init=False, repr=False, eq=False)
    """The answer was 401 (logged at stage ResponseStarted only) or 403."""
    minted_credential: str | None = attrs.field(init=False, repr=False, eq=False)
    """The id of the token that this request issued, `JTI=<uuid>`, from Kubernetes 1.30; None when unknown."""
    mints_token: bool = attrs.field(init=False, repr=False, eq=False)
    """A service account token was really issued: the annotation says so, or the answer to the request was 2xx."""
    used_credential: str | None = attrs.field(init=False, repr=False, eq=False)
    """The id of the credential this request was made with: `JTI=…` or `X509SHA256=…`; None when not logged.

    Only ever from `user.extra`: whatever stands in `impersonatedUser.extra` was chosen by the caller.
    """
    renews_leader_lease: bool = attrs.field(init=False, repr=False, eq=False)
    """A controller manager's identity renewed or took its own lease; a refused try does not."""
    service_account: ServiceAccount | None = attrs.field(init=False, repr=False, eq=False)
    """The service account the request is about; None for other resources or where the name was not logged."""
    peer_ip: str | None = attrs.field(init=False, repr=False, eq=False)
    """The peer that the API server saw: the last of sourceIPs, the only one a client cannot choose."""
    time: datetime | None = attrs.field(init=False, repr=False, eq=False)
    """When the request reached the API server; the stage's time where that was not logged."""

    def __attrs_post_init__(self) -> None:
        """Compute what follows from the fields: nearly every detector asks for most of it."""
        ref, verb, user, notes = self.object_ref, self.verb, self.user, self.annotations
        resource, account, leads = "", None, False
        code = self.response_status.code if self.response_status else None
        answered = self.stage != "RequestReceived"
        succeeded = answered and is_success(code)
        if ref is not None:
            resource = f"{ref.resource}/{ref.subresource}" if ref.subresource else ref.resource
            if ref.resource == "serviceaccounts" and ref.namespace and ref.name:
                account = ServiceAccount(ref.namespace, ref.name)
            elif ref.resource == "leases":
                own = ref.namespace == "kube-system" and ref.name == LEADERS.get(user.username)
                leads = own and verb == "update" and succeeded
        creates = verb == "create" and resource == TOKEN_SUBRESOURCE
        minted = notes.get(CREDENTIAL_ID) if creates else None  # 1.29 with the alpha gate wrote the mint's id there
        for key in reversed(ISSUED_CREDENTIAL_ID) if notes else ():
            minted = notes.get(key, minted)
        used = user.extra.get(CREDENTIAL_ID)
        vars(self).update(
            resource=resource,
            code=code,
            answered=answered,
            succeeded=succeeded,
            denied=answered and code in {401, 403},
            minted_credential=minted,
            mints_token=answered and (minted is not None or (creates and succeeded)),
            used_credential=used[0] if used else None,
            renews_leader_lease=leads,
            service_account=account,
            peer_ip=self.source_ips[-1] if self.source_ips else None,
            time=self.request_received_timestamp or self.stage_timestamp,
        )

    def does(self, verb: str, resource: str, /) -> bool:
        """Tell whether the request has this verb on this resource (RBAC notation), in whatever API group."""
        return self.verb == verb and self.resource == resource

    @property
    def body_is_cut(self) -> bool:
        """The level says that the request body was logged, or truncation says that it was; and it is not there."""
        logged = self.level in {"Request", "RequestResponse"} or self.annotations.get(TRUNCATED) == "true"
        return logged and self.request_object is None and "bodies" not in self.lost

    @property
    def actor(self) -> User:
        """Who really called, also when impersonating."""
        return self.user

    @property
    def assumed(self) -> User | None:
        """Whom the actor impersonated; None when nobody, or when the impersonation was refused."""
        return self.impersonated_user
