# SPDX-License-Identifier: Apache-2.0
"""EventRef: the facts of one request that findings keep, each typed and of bounded size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter, methodcaller
from typing import Final, Protocol

import attrs

from k8stokendetect.bounds import LONGEST_ADDRESS, LONGEST_LIST, LONGEST_NAME, cut, cut_address, cut_text, cut_user
from k8stokendetect.clouds.call import CloudCall
from k8stokendetect.convert.structure import plain
from k8stokendetect.events import TOKEN_SUBRESOURCE, BoundObjectRef, Event, JsonValue, Platform, is_success
from k8stokendetect.identity import REASON, ServiceAccount
from k8stokendetect.reprs import short_repr

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LARGEST: Final = 2**63 - 1  # an index or a table would refuse a larger number, which Kubernetes does not have
_NAMESPACE: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")
_NAME: Final = re.compile(r"[a-z0-9][-a-z0-9.]{0,252}")

_CUTTERS: Final[Mapping[str, Callable[[str], str]]] = {
    **dict.fromkeys(("verb", "resource", "namespace", "name", "minted_credential", "used_credential"), cut),
    **dict.fromkeys(("user", "impersonating"), cut_user),
    **dict.fromkeys(("audit_id", "user_agent", "request_uri", "reason"), cut_text),
}
"""How each text that a client controls is cut."""

_LIST_CUTTERS: Final[Mapping[str, Callable[[str], str]]] = {"groups": cut, "audiences": cut, "source_ips": cut_address}
"""The same of lists."""

_texts: Final = attrgetter(*_CUTTERS)
_is_system: Final = methodcaller("startswith", "system:")


class Referable(Protocol):
    """What findings can be about other than an Event, such as an ExecEvent."""

    def ref(self) -> EventRef:
        """Refer to this event."""
        ...


@attrs.frozen(kw_only=True)
class EventRef:
    """One request: enough to find it again, to join on it, and to say what to do about it.

    Texts that a client controls are cut, see `cut`; `of` keeps `LONGEST_LIST` items of a longer list. A time without a
    zone is taken as UTC, which is what the API server writes.

    Arguments:
        audit_id: finds the request in the log; a client may choose it.
        stage: of the event that was read.
        time: when the API server received the request, in UTC; None where it was not logged.
        verb: the API verb, or the HTTP method in lower case where no resource was requested.
        code: the HTTP status of the answer; None where it was not logged.
        user: the authenticated caller; empty when nobody was authenticated or it was not logged.
        groups: the caller's; those named `system:…` are kept first.
        more_groups: how many others were left out.
        impersonating: the user whom the caller impersonated; None when nobody.
        source_ips: the last is the peer that the API server saw; a client writes all others.
        more_source_ips: how many before them were left out.
        user_agent: what the client calls itself.
        resource: in RBAC notation, such as `pods/exec`; empty for a path without a resource.
        namespace: of the object.
        name: of the object.
        request_uri: as logged, with its query.
        reason: why it was allowed or refused, see `identity.REASON`; None where it was not logged.
        audiences: whom the requested token is for, where the request body was logged.
        more_audiences: how many others were left out.
        bound_to: the object whose deletion ends the requested token, where the request body was logged.
        expiration_seconds: the requested lifetime, where the request body was logged.
        expires: when the granted token ends, where the response body was logged.
        minted_credential: the id of the token that was issued; None when unknown.
        used_credential: the id of the credential that the request was made with; None when unknown.
        origin: file and line.
        platform: where the record comes from.
        cluster: its name, where the log's wrapper has it.
        account: the AWS account, Azure subscription or Google project.
        region: the cloud's region.
        cloud: of a call in a cloud, what else is known: its resource is the service, its verb the action.

    """

    audit_id: str
    stage: str = ""
    time: datetime | None = None
    verb: str = ""
    code: int | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    more_groups: int = 0
    impersonating: str | None = None
    source_ips: tuple[str, ...] = ()
    more_source_ips: int = 0
    user_agent: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    request_uri: str = ""
    reason: str | None = None
    audiences: tuple[str, ...] = ()
    more_audiences: int = 0
    bound_to: BoundObjectRef | None = None
    expiration_seconds: int | None = None
    expires: datetime | None = None
    minted_credential: str | None = None
    used_credential: str | None = None
    origin: str | None = None
    platform: Platform | None = None
    cluster: str | None = None
    account: str | None = None
    region: str | None = None
    cloud: CloudCall | None = None

    @classmethod
    def of(cls, event: Event | Referable, /) -> EventRef:
        """Refer to this event."""
        if not isinstance(event, Event):
            return event.ref()
        ref, user, grant = event.object_ref, event.user, event.token_grant
        asked = event.token_request or (grant.spec if grant else None)
        audiences = asked.audiences if asked else ()
        return cls(
            audit_id=event.audit_id,
            stage=event.stage,
            time=event.time,
            verb=event.verb,
            code=event.code,
            user=user.username,
            groups=tuple(sorted(user.groups, key=_is_system, reverse=True)[:LONGEST_LIST]),
            more_groups=max(0, len(user.groups) - LONGEST_LIST),
            impersonating=event.impersonated_user.username if event.impersonated_user else None,
            source_ips=event.source_ips[-LONGEST_LIST:],
            more_source_ips=max(0, len(event.source_ips) - LONGEST_LIST),
            user_agent=event.user_agent,
            resource=event.resource,
            namespace=ref.namespace if ref else "",
            name=ref.name if ref else "",
            request_uri=event.request_uri,
            reason=event.annotations.get(REASON),
            audiences=audiences[:LONGEST_LIST],
            more_audiences=max(0, len(audiences) - LONGEST_LIST),
            bound_to=_bound(asked.bound_object_ref) if asked and asked.bound_object_ref else None,
            expiration_seconds=asked.expiration_seconds if asked else None,
            expires=grant.expiration_timestamp if grant else None,
            minted_credential=event.minted_credential,
            used_credential=event.used_credential,
            origin=event.origin,
            platform=event.platform,
            cluster=event.cluster,
            account=event.account,
            region=event.region,
        )

    def __attrs_post_init__(self) -> None:
        for name in ("time", "expires"):
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                object.__setattr__(self, name, time.replace(tzinfo=UTC))
        for name in ("code", "expiration_seconds"):
            if (number := getattr(self, name)) is not None and abs(number) > _LARGEST:
                object.__setattr__(self, name, _LARGEST if number > 0 else -_LARGEST)
        names = max(map(len, filter(None, (*_texts(self), *self.groups, *self.audiences))), default=0)
        if names > LONGEST_NAME or max(map(len, self.source_ips), default=0) > LONGEST_ADDRESS:
            self._cut()

    def _cut(self) -> None:
        for name, cutter in _CUTTERS.items():
            if text := getattr(self, name):
                object.__setattr__(self, name, cutter(text))
        for name, cutter in _LIST_CUTTERS.items():
            object.__setattr__(self, name, tuple(map(cutter, getattr(self, name))))

    def __repr__(self) -> str:
        time = self.time.isoformat() if self.time else None
        return short_repr(self, user=self.user, verb=self.verb, target=self.target, code=self.code, time=time)

    @cached_property
    def request_id(self) -> str:
        """The same for the same request, see `request_id`."""
        facts = (self.user, self.impersonating, self.peer_ip, self.resource, self.namespace, self.name)
        return _request_id(self.origin, self.time, (self.audit_id, *facts, self.minted_credential))

    @property
    def target(self) -> str | None:
        """What the request was about: `prod/payments-sa` for a token of it, otherwise `pods prod/web-1`."""
        if self.resource == TOKEN_SUBRESOURCE and self.namespace and self.name:
            return f"{self.namespace}/{self.name}"
        path = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.resource} {path}".strip() or None

    @property
    def token_account(self) -> ServiceAccount | None:
        """Whose token was requested; None for any other request, and where no possible name was logged."""
        asked = self.resource == TOKEN_SUBRESOURCE and (self.verb == "create" or self.minted_credential is not None)
        if asked and _NAMESPACE.fullmatch(self.namespace) and _NAME.fullmatch(self.name):
            return ServiceAccount(self.namespace, self.name)
        return None

    @property
    def succeeded(self) -> bool:
        """The request was served, see `is_success`."""
        return is_success(self.code) if self.cloud is None else not self.cloud.error

    @property
    def mints_token(self) -> bool:
        """A service account token was really issued."""
        asked = self.verb == "create" and self.resource == TOKEN_SUBRESOURCE
        return self.minted_credential is not None or (asked and self.succeeded)

    @property
    def peer_ip(self) -> str | None:
        """The peer that the API server saw, the only address that a client cannot choose."""
        return self.source_ips[-1] if self.source_ips else None

    @property
    def peer_path(self) -> str:
        """Where `peer_ip` stands in the audit event: `sourceIPs[0]`."""
        return f"sourceIPs[{self.more_source_ips + len(self.source_ips) - 1}]"

    @property
    def client(self) -> str:
        """The kind of client that it says it is: `kubectl` of `kubectl/v1.36.2 (linux/amd64)`."""
        return self.user_agent.partition("/")[0]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        facts = {name: plain(getattr(self, name)) for name in _FIELDS}
        cloud = {} if self.cloud is None else {"cloud": self.cloud.to_dict()}
        return {"request_id": self.request_id, **facts, **cloud, "target": self.target}

    def uses_token_of(self, mint: EventRef, /) -> bool:
        """Tell whether this request can have been made with the token that another one issued.

        Credential ids decide where both were logged, otherwise the service account's name does.
        """
        if mint.cloud is not None:
            return self.cloud is not None and mint.cloud.issued != "" and mint.cloud.issued == self.cloud.used
        if mint.minted_credential and self.used_credential:
            return mint.minted_credential == self.used_credential
        account = mint.token_account if mint.mints_token else None
        return account is not None and account == ServiceAccount.of_username(self.user)


_FIELDS: Final = tuple(field.name for field in attrs.fields(EventRef) if field.name != "cloud")


def request_id(event: Event, /) -> str:
    """Return 32 hexadecimal digits that name a request, the same wherever and at whatever stage it was read.

    They rest on what a client cannot choose (the time the API server received the request, the authenticated user, the
    peer's address, the target, the issued credential) and on the auditID, which a client can. Where neither time nor
    auditID was logged, file and line stand for them. `EventRef.of(event).request_id` is the same.
    """
    ref, assumed = event.object_ref, event.impersonated_user
    texts: tuple[str | None, ...] = (
        event.audit_id,
        event.user.username,
        assumed.username if assumed else None,
        event.peer_ip,
        event.resource,
        ref.namespace if ref else "",
        ref.name if ref else "",
        event.minted_credential,
    )
    if max(map(len, filter(None, texts)), default=0) > LONGEST_ADDRESS:  # the shortest limit
        cutters = (cut_text, cut_user, cut_user, cut_address, cut, cut, cut, cut)
        texts = tuple(text and cutter(text) for text, cutter in zip(texts, cutters, strict=True))
    return _request_id(event.origin, event.time, texts)


def _request_id(origin: str | None, time: datetime | None, texts: tuple[str | None, ...]) -> str:
    """Hash what names a request.

    Arguments:
        origin: file and line.
        time: when it was received.
        texts: cut: auditID, user, impersonated user, peer, resource, namespace, name, issued credential.

    """
    place = origin if time is None and not texts[0] else None
    when = None
    if time is not None:
        when = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    return hashlib.sha256(ascii((texts[0], place, when, *texts[1:])).encode()).hexdigest()[:32]


def _bound(to: BoundObjectRef) -> BoundObjectRef:
    return BoundObjectRef(cut(to.kind), cut(to.api_version), cut(to.name), cut(to.uid))
