# SPDX-License-Identifier: Apache-2.0
"""cloud-act-after-exchange: what was done in a cloud with credentials that a reported exchange issued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.cloud import CloudDetector, about_call, console_of, issued_by, ref_of, refused, used_by
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
            "a client that asks who it is. The id of the key joins the two exactly; at Google, the principal and its "
            "address do, and in the AWS console, the name of the session."
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
                if ref.cloud is not None and ref.cloud.issued and ref.cloud.issued not in found:
                    found.add(ref.cloud.issued)
                    more.append(ref.cloud.issued)
        return frozenset(found)

    def keys(self, _: Event, reported: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the credentials of an exchange that a mint explains only now."""
        return tuple(_exchanges(reported)) if reported else ()

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the credentials that a call was made with, those that it issued, and AWS's session."""
        session = event.caller.session if event.cloud == "aws" else ""
        return tuple(dict.fromkeys(filter(None, (used_by(event), issued_by(event), session))))

    def fold(self, key: str, _: Event, reported: Sequence[Finding], memory: View[Session], /) -> Iterator[Finding]:
        """Begin to follow credentials, and report what was read before."""
        yield from self._begun(key, _exchanges(reported)[key], memory)

    def cloud_fold(
        self, key: str, event: CloudEvent, reported: Sequence[Finding], memory: View[Session], /
    ) -> Iterator[Finding]:
        """Report a call with credentials that are followed, and follow those that it issues."""
        used, issued = used_by(event), issued_by(event)
        if key == issued and key != used:
            if (finding := _exchanges(reported).get(key)) is not None:
                yield from self._begun(key, finding, memory)
            elif console_of(event) and memory.get(key) is None:
                memory.put(key, Session(), expires=later(memory.now, UNUSED))
            return
        session, why = memory.get(key), why_bad(event.cloud, event.service, event.action)
        if key != used and (session is None or self._is_told(used, key, memory)):
            return  # by its name a session is followed in the console only
        if session is None or not session.chain:
            if not event.error and (why or issued):
                early = newest((*(session or Session()).early, ref_of(event)), MAX_EARLY)
                memory.put(key, attrs.evolve(session or Session(), early=early), expires=later(memory.now, UNUSED))
            return
        memory.put(key, session)  # also where nothing is said: credentials in use are forgotten last
        yield from self._acted(key, ref_of(event), memory)

    @staticmethod
    def _is_told(used: str, console: str, memory: View[Session]) -> bool:
        """Tell whether a call is followed by its key, or will be with the session that this key took into a console."""
        by_key = (memory.get(used) if used else None) or Session()
        return bool(by_key.chain) or any(ref.cloud and ref.cloud.issued == console for ref in by_key.early)

    def _begun(self, key: str, finding: Finding, memory: View[Session]) -> Iterator[Finding]:
        session = memory.get(key) or Session()
        if session.severity >= finding.severity:
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
        more = (memory.get(issued) if issued else None) or Session()
        if issued and not more.chain:
            chain = (*session.chain[:3], *session.chain[3:][-2:], ref)
            memory.put(issued, Session(chain, session.severity, more.said), expires=later(memory.now, UNUSED))
            yield from self._caught_up(issued, more.early, memory)

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
            found[one.event.cloud.issued] = one
    return found
