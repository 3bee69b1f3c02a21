# SPDX-License-Identifier: Apache-2.0
"""cloud-act-after-exchange: what was done in a cloud with credentials that a reported exchange issued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.cloud import (
    CloudDetector,
    about_call,
    console_of,
    issued_by,
    ref_of,
    refused,
    session_of,
    used_by,
)
from k8stokendetect.detectors.cloud_acts import SOURCES, only_asks, why_bad
from k8stokendetect.detectors.exchanges import newest
from k8stokendetect.detectors.keyed import View
from k8stokendetect.detectors.states import later
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Finding, Rule, Severity
from k8stokendetect.words import call_of, user_of

MAX_EARLY: Final = 20
"""How many calls are remembered of credentials of which no exchange was reported, yet: the bad ones, and exchanges."""

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

MAX_SESSIONS: Final = 20_000
"""How many credentials are remembered at once."""

UNUSED: Final = timedelta(hours=24)
"""How long credentials are remembered that are not followed, or not used yet: no flood of those forgets the others."""

LONGEST_SESSION: Final = timedelta(hours=12)
"""Of a role: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, DurationSeconds."""

BY_NAME: Final = (
    "joined by the name of the session, which the one who assumed the role chose: the log has no key for the call, or "
    "none for the exchange, and another session may have that name"
)

MAX_KINDS: Final = 200
"""How many kinds of calls are counted separately in one session; of further kinds only bad calls are reported."""


@attrs.frozen
class Session:
    """What is remembered of credentials that were issued.

    Arguments:
        chain: the mint, where it is known, the exchange, and the first and last roles assumed with it, in their order.
        severity: of the exchange.
        said: the kinds of calls that were reported.
        early: calls that were read before their exchange was reported.

    """

    chain: tuple[EventRef, ...] = ()
    severity: int = 0
    said: tuple[str, ...] = ()
    early: tuple[EventRef, ...] = ()


class CloudActAfterExchange(CloudDetector[Session]):
    """Follows the credentials of each reported exchange, also through the roles that are assumed with them."""

    rule = Rule(
        "cloud-act-after-exchange",
        "Call in a cloud with credentials of a reported exchange",
        Severity.HIGH,
        description=(
            "A call was made with the access key that a reported exchange issued, with one of a role that was assumed "
            "with it, with one that it made for a user, or in a console that it signed in to. Critical after an "
            "exchange that is critical, else high: secrets were read, rights given, users and keys made, snapshots "
            "taken or shared, logs switched off. Medium, once for each kind of call: everything else. Low: refused, or "
            "a client that asks who it is. The id of the key joins the two exactly; at Google the principal and its "
            "address do; in the AWS console, and where the log has no key, the name of the session does."
        ),
        techniques=("T1078.004", "T1552", "T1098"),
        tactics=("credential-access", "privilege-escalation", "persistence", "defense-evasion", "exfiltration"),
        references=SOURCES,
        false_positives=(
            "whatever a pod does after an exchange that was reported by mistake",
            "a pod whose session has the same name as one that was taken into the AWS console",
            "budget: none on a day without a reported exchange; then each bad call, and one for each other kind",
        ),
        blind_spots=(
            "data events (S3 objects, DynamoDB items, Lambda calls), unless the trail logs them",
            "the same call again, unless it is one of the bad ones",
            "a role that is switched to in AWS's console (`SwitchRole`)",
            "a call in AWS's console that is read before the sign-in to it (`GetSigninToken`)",
            "a call in a second AWS account that logs no key (`AWSAccount`): that account's own log of it",
            "Azure, and at Google what is done as a service account that the pool's principal impersonates",
        ),
        response=(
            "Revoke the sessions of the role, and of each role of the chain. Rotate the secrets that were read, undo "
            "changes of rights, delete users and keys that were made, and look for snapshots shared with strangers."
        ),
    )
    watches = MINTS | {Signal.CLOUD}
    traits = Traits(excludable=False, not_in_sigma="it joins calls with an exchange")
    needs = frozenset({"minted-token-exchanged", "web-identity-without-mint", "web-identity-unusual-origin"})
    remember_for = timedelta(hours=36)  # a session of a role lives for 12 hours at most

    def __init__(self) -> None:
        super().__init__()
        self.states.limit = MAX_SESSIONS

    def reach(self, named: tuple[str, ...], /) -> frozenset[str]:
        """Add the credentials that were issued by calls with those named, and were read before: a chain of roles."""
        found, more = set(named), list(named)
        states = self.states
        for key in more:
            session = states.get(key, BEGINNING)
            for ref in session.early if session is not None and len(more) < MAX_EARLY else ():
                issued = ref.cloud.issued if ref.cloud is not None else ""
                for name in filter(None, (issued, _begins(ref))):
                    if name not in found:
                        found.add(name)
                        more.append(name)
        return frozenset(found)

    def keys(self, _: Event, reported: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the credentials of an exchange that a mint explains only now."""
        return tuple(_exchanges(reported)) if reported else ()

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the credentials that a call was made with, those that it issued, and AWS's sessions."""
        session = event.caller.session if event.cloud == "aws" else ""
        return tuple(dict.fromkeys(filter(None, (used_by(event), issued_by(event), session, _begun_by(event)))))

    def fold(self, key: str, _: Event, reported: Sequence[Finding], memory: View[Session], /) -> Iterator[Finding]:
        """Begin to follow credentials, and report what was read before."""
        yield from self._begun(key, _exchanges(reported)[key], memory)

    def cloud_fold(
        self, key: str, event: CloudEvent, reported: Sequence[Finding], memory: View[Session], /
    ) -> Iterator[Finding]:
        """Report a call with credentials that are followed, and follow those that it issues."""
        used, issued = used_by(event), issued_by(event)
        named = console_of(event) or _begun_by(event)
        if key in (issued, named) and key != used:
            if (finding := _exchanges(reported).get(key)) is not None:
                yield from self._begun(key, finding, memory)
            elif issued == named and memory.get(key) is None:
                memory.put(key, Session(), expires=later(memory.now, UNUSED))
            return
        session, why = memory.get(key), why_bad(event.cloud, event.service, event.action)
        if key != used and ((used and session is None) or not self._is_named(used, key, session or Session(), memory)):
            return
        if session is None or not session.chain:
            if not event.error and (why or issued):
                early = newest((*(session or Session()).early, ref_of(event)), MAX_EARLY)
                memory.put(key, attrs.evolve(session or Session(), early=early), expires=later(memory.now, UNUSED))
            return
        memory.put(key, session)  # also where nothing is said: credentials in use are forgotten last
        yield from self._acted(key, ref_of(event), memory)

    @staticmethod
    def _is_named(used: str, name: str, session: Session, memory: View[Session]) -> bool:
        """Tell whether a call is followed by the name of its session: it has no key, or the exchange has none.

        Not where it is followed by its key, or will be with the session that this key took into a console.
        """
        cloud = session.chain[-1].cloud if session.chain else None
        if _is_over(session, memory.now) or (used and cloud is not None and cloud.issued != name):
            return False  # a later session of that name, or one whose calls have another key
        by_key = (memory.get(used) if used else None) or Session()
        return not by_key.chain and not any(ref.cloud and ref.cloud.issued == name for ref in by_key.early)

    def _begun(self, key: str, finding: Finding, memory: View[Session]) -> Iterator[Finding]:
        session = memory.get(key) or Session()
        if session.severity >= finding.severity and not _is_over(session, memory.now):
            return
        memory.put(key, Session((*finding.related, finding.event), finding.severity, session.said))
        yield from self._caught_up(key, session.early, memory)

    def _caught_up(self, key: str, early: tuple[EventRef, ...], memory: View[Session]) -> Iterator[Finding]:
        """Report what was read before."""
        for ref in early:
            yield from self._acted(key, ref, memory)

    def _acted(self, key: str, ref: EventRef, memory: View[Session]) -> Iterator[Finding]:
        """Follow what a call issued, and report the call, each kind once unless it is bad."""
        session, issued = memory.get(key) or Session(), ref.cloud.issued if ref.cloud else ""
        yield from self._said(key, ref, session, memory)
        for name in filter(None, dict.fromkeys((issued, _begins(ref)))):
            more = memory.get(name) or Session()
            last = more.chain[-1].cloud if more.chain else None
            if last is None or last.issued != issued or _is_over(more, memory.now):
                chain = (*session.chain[:3], *session.chain[3:][-2:], ref)
                memory.put(name, Session(chain, session.severity, more.said), expires=later(memory.now, UNUSED))
                yield from self._caught_up(name, more.early, memory)

    def _said(self, key: str, ref: EventRef, session: Session, memory: View[Session]) -> Iterator[Finding]:
        why = why_bad(ref.cloud.cloud if ref.cloud else "", ref.resource, ref.verb)
        severity, kind = self._severity(ref, why, session), f"{ref.resource} {ref.verb} {ref.succeeded}"
        is_bad = why != "" and ref.succeeded
        if severity is None or (not is_bad and (kind in session.said or len(session.said) >= MAX_KINDS)):
            return
        memory.put(key, attrs.evolve(session, said=(*session.said, kind)[:MAX_KINDS]))
        exchange = next((one for one in session.chain if one.cloud and one.cloud.kind), session.chain[-1])
        roles = sum(bool(one.cloud and one.cloud.kind) for one in session.chain)
        through = f", through {roles - 1} more role{'s' if roles > 2 else ''}" if roles > 1 else ""  # noqa: PLR2004
        yield Finding(
            rule=self.rule,
            severity=severity,
            summary=(
                f"with credentials exchanged for a token of {user_of(exchange.user)}{through}: "
                f"{call_of(ref)}{f', which {why}' if why else ''}{refused(ref)}"
            ),
            event=ref,
            evidence=tuple(about_call(ref)),
            related=session.chain,
            caveats=() if ref.cloud is not None and key == ref.cloud.used else (BY_NAME,),
        )

    @staticmethod
    def _severity(ref: EventRef, why: str, session: Session) -> Severity | None:
        """Rate a call; None where it is not worth a word: after an exchange that is only unusual, if it is not bad."""
        is_certain = session.severity >= Severity.HIGH
        if not ref.succeeded or only_asks(ref.verb):
            return Severity.LOW if is_certain else None
        if why:
            return max(Severity.HIGH, Severity(session.severity))
        return Severity.MEDIUM if is_certain else None


def _exchanges(reported: Sequence[Finding]) -> dict[str, Finding]:
    """Return the worst that was said about each exchange, by what it issued; not what looks like the pods' own."""
    found: dict[str, Finding] = {}
    for one in sorted(reported, key=lambda one: (one.severity, len(one.related))):
        if one.event.cloud is not None and one.event.cloud.issued and one.severity >= Severity.MEDIUM:
            found |= dict.fromkeys((one.event.cloud.issued, _begins(one.event) or one.event.cloud.issued), one)
    return found


def _is_over(session: Session, now: datetime) -> bool:
    """Tell whether what began a session is so long ago that another one goes by its name."""
    began = session.chain[-1].time if session.chain else None
    return began is not None and now - began > LONGEST_SESSION


def _begun_by(event: CloudEvent) -> str:
    """Name the session of AWS that an exchange begins; empty for other calls."""
    exchange = event.exchange if event.cloud == "aws" and not event.error else None
    return session_of(exchange.role, exchange.session_name) if exchange is not None else ""


def _begins(ref: EventRef) -> str:
    """Name the same, of a call that was kept."""
    cloud = ref.cloud if ref.succeeded else None
    is_exchange = cloud is not None and cloud.cloud == "aws" and cloud.kind != ""
    return session_of(cloud.role, cloud.session_name) if cloud is not None and is_exchange else ""
