# SPDX-License-Identifier: Apache-2.0
"""The interface of detectors that look at calls in a cloud, too: `CloudDetector`; and what findings say of a call."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final, Generic, TypeVar, final

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.clouds.call import CloudCall
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.states import later
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef, Evidence, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.words import named, user_of

S = TypeVar("S")

SKEW: Final = timedelta(minutes=5)
"""How far the clocks of a cluster and of a cloud may differ; where both are set by NTP, it is less than a second."""

ADDRESS_OF_GOOGLE: Final = "google"
"""At Google all pods of an account are one principal: only its address tells their credentials apart."""


class CloudDetector(KeyedDetector[S], Generic[S]):
    """Remembers, as every KeyedDetector, and is given calls in clouds as well: `cloud_keys` and `cloud_fold`.

    The two logs are written by two clocks, and a cloud's comes minutes late: what an audit event says about a call must
    not depend on which of the two is read first. `watches` is about audit events; every call in a cloud is given.
    """

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:  # noqa: ARG002 - for those who do
        """Name what an audit event has to do with; nothing unless a detector overrides it."""
        return ()

    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[S], /) -> Iterable[Finding]:  # noqa: ARG002
        """Take an audit event into what is remembered of one of its keys; nothing unless a detector overrides it."""
        return ()

    @abc.abstractmethod
    def cloud_keys(self, event: CloudEvent, reported: Sequence[Finding], /) -> Iterable[str]:
        """Name what a call has to do with; nothing for most calls.

        Arguments:
            event: the call.
            reported: what the other detectors reported about it.

        """

    @abc.abstractmethod
    def cloud_fold(
        self, key: str, event: CloudEvent, reported: Sequence[Finding], memory: View[S], /
    ) -> Iterable[Finding]:
        """Take a call into what is remembered of one of its keys; yield what there is to report.

        Arguments:
            key: one of those that `cloud_keys` named; it is called once for each, in their order.
            event: the call.
            reported: as for `cloud_keys`.
            memory: what is remembered of this call's keys.

        """

    @final
    def take_call(
        self,
        event: CloudEvent,
        reported: Sequence[Finding],
        settled: bool = False,  # noqa: FBT001, FBT002 - the engine calls it as it calls every method
        /,
    ) -> Iterator[Finding]:
        """Fold a call into what is remembered of its keys.

        Arguments:
            event: the call.
            reported: as for `cloud_keys`.
            settled: see `View`.

        """
        named = tuple(self.cloud_keys(event, reported))
        if not named:
            return
        self.states.sweep(event.time)
        memory = View(self.states, self.reach(named), event.time, later(event.time, self.remember_for), settled=settled)
        for key in named:
            yield from self.cloud_fold(key, event, reported, memory)


def ref_of(event: CloudEvent, /) -> EventRef:
    """Refer to a call in a cloud."""
    caller, exchange = event.caller, event.exchange
    account = exchange.service_account if exchange else None
    subject = f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}" if account else ""
    return EventRef(
        audit_id=event.id,
        time=event.time,
        verb=event.action,
        user=subject or caller.session or caller.principal,
        source_ips=(event.source_ip,) if event.source_ip else (),
        user_agent=event.user_agent,
        resource=event.service,
        name=event.resources[0] if event.resources else "",
        origin=event.origin,
        account=event.account or None,
        region=event.region or None,
        cloud=CloudCall(
            cloud=event.cloud,
            error=event.error,
            kind=exchange.kind if exchange else "",
            used=used_by(event),
            issued=issued_by(event),
            role=exchange.role if exchange else caller.role,
            session_name=exchange.session_name if exchange else "",
            issuer=exchange.issuer if exchange else "",
            audience=exchange.audience if exchange else "",
            pod_uid=exchange.pod_uid if exchange else "",
            expires=exchange.expires if exchange else None,
            read_only=event.read_only,
        ),
    )


def used_by(event: CloudEvent, /) -> str:
    """Name the credentials that a call was made with, as `issued_by` names them; empty where that is not known."""
    if event.cloud == ADDRESS_OF_GOOGLE:
        return _at(event.caller.principal, event.source_ip)
    return event.caller.access_key


def issued_by(event: CloudEvent, /) -> str:
    """Name the credentials that a call issued; empty where it issued none, or where the log does not tell.

    A sign-in to AWS's console names the session that goes on there, with other keys: `console_of`.
    """
    exchange = event.exchange
    if event.error:
        return ""
    if exchange is None:
        return console_of(event) or _made_key(event)
    if event.cloud == ADDRESS_OF_GOOGLE:
        return _at(exchange.session, event.source_ip)
    return exchange.issued_key


def console_of(event: CloudEvent, /) -> str:
    """Name the session that a call of `GetSigninToken` carries into AWS's console, by its ARN; empty for others.

    https://github.com/NetSPI/aws_consoler makes it; rule f8103686-e3e8-46f3-be72-65f7fcb4aa53 of SigmaHQ looks for it.
    """
    return event.caller.session if _is(event, "signin", "GetSigninToken") else ""


_KEY: Final = re.compile(r"A[KS]IA[A-Z0-9]{12,124}")


def _made_key(event: CloudEvent) -> str:
    """Name the key that IAM's `CreateAccessKey` made for a user."""
    if not _is(event, "iam", "CreateAccessKey"):
        return ""
    return next((name for name in reversed(event.resources) if _KEY.fullmatch(name)), "")


def _is(event: CloudEvent, service: str, action: str) -> bool:
    called = event.service.lower().removesuffix(".amazonaws.com"), event.action.lower()
    return event.cloud == "aws" and called == (service, action.lower())


def _at(principal: str, address: str) -> str:
    return f"{principal} {address}" if principal and address else ""


def exchanged(ref: EventRef, /) -> str:
    """Say whose token was exchanged, for which role, and from where."""
    role = f" for {named(ref.cloud.role)}" if ref.cloud and ref.cloud.role else ""
    return f"a token of {user_of(ref.user)} was exchanged{role} from {named(ref.peer_ip or 'an unknown address')}"


def refused(ref: EventRef, /) -> str:
    """Say how a call failed; nothing for one that succeeded."""
    return f" (refused: {named(ref.cloud.error)})" if ref.cloud and ref.cloud.error else ""


def about_call(ref: EventRef, /) -> Iterator[Evidence]:
    """Yield what a log says about a call; each path is that of a `CloudEvent`."""
    cloud = ref.cloud
    if cloud is None:
        return
    is_exchange = bool(cloud.kind)
    facts = (
        ("action", ref.verb, "what was called"),
        ("exchange.subject" if is_exchange else "caller.session", ref.user, "whom the credentials stand for"),
        ("exchange.role" if is_exchange else "caller.role", cloud.role, "the role"),
        ("exchange.session_name", cloud.session_name, "the session's name, which the caller chose"),
        ("exchange.issuer", cloud.issuer, "the issuer of the token"),
        ("exchange.pod_uid", cloud.pod_uid, "the pod whose token it was"),
        ("resources[0]", ref.name, "what it acted on"),
        ("source_ip", ref.peer_ip, "where it came from"),
        ("user_agent", ref.user_agent, "the client, as it calls itself"),
        ("error", cloud.error, "why it failed"),
    )
    for path, value, why in facts:
        if value:
            yield Evidence(path, value, why)
