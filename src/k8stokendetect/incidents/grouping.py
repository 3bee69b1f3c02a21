# SPDX-License-Identifier: Apache-2.0
"""Findings that belong to one attack, folded into one story."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.incidents.advice import NO_CLUSTER, advice
from k8stokendetect.incidents.story import BEGINNING, depths, requests_of, title

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster
    from k8stokendetect.incidents.access import Access, AccessFinder


@attrs.frozen(kw_only=True)
class Incident:
    """One attack: everything that hangs together, and what to do about it.

    Arguments:
        id: the same as long as its earliest finding is the same.
        severity: that of its worst finding.
        title: one sentence: who did what to whom, and how it ended.
        actors: the user names of the real callers, the first one first; also service accounts reached on the way.
        service_accounts: whose tokens were issued or asked for, as `namespace/name`.
        credentials: ids of the credentials issued or used.
        first_seen: when the first request was received; None where no time was logged.
        last_seen: when the last one was.
        depth: so many tokens were minted, each with the one before; 0 when none was issued.
        findings: ordered by time, then rule.
        advice: what to do, in sentences with commands to review.
        access: the bindings through which the callers could mint, and what takes them away, where a snapshot of the
            cluster was given.

    """

    id: str
    severity: Severity
    title: str
    actors: tuple[str, ...]
    service_accounts: tuple[str, ...]
    credentials: tuple[str, ...]
    first_seen: datetime | None
    last_seen: datetime | None
    depth: int
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]
    access: tuple[Access, ...] = ()


class Incidents:
    """Folds findings into incidents, one at a time; the order within a batch of findings may be any.

    Two findings belong together when

    - they are about the same request, or one is `related` to the other's;
    - one used a token that the other minted, by credential id: whenever that was;
    - the same user called within the window. Those without a name are told apart by the peer's address.

    A service account that holds a token whose mint is known does not count as a user: its chain decides, so two
    attackers who reach the same account stay two incidents. Nor does a target that they share join anybody: a popular
    service account would melt a whole log into one incident, and one busy client the rest.
    Findings that an exclusion set aside are ignored.

    Arguments:
        window: calls of one user belong together when no gap between them is longer.
        cluster: a snapshot of the cluster, for `access` and the advice.

    Raises:
        ConfigError: when the window is no timedelta, or negative, or the cluster is none.

    """

    def __init__(self, *, window: timedelta = timedelta(hours=1), cluster: Cluster | None = None) -> None:
        given: object = window
        if not isinstance(given, timedelta) or given < timedelta():
            raise ConfigError(f"window {window!r} is not a timedelta of zero or more")
        self._window = window
        self._snapshot = _snapshot(cluster)
        self._expected: frozenset[str] = frozenset()
        self._taken = 0
        self._findings: dict[int, Finding] = {}
        self._parents: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        self._requests: dict[str, int] = {}
        self._mints: dict[str, int] = {}
        self._uses: dict[str, list[int]] = {}
        self._active: dict[tuple[str, str], list[tuple[datetime, int]]] = {}

    def add(self, finding: Finding, /) -> None:
        """Take a finding."""
        if finding.excluded_by is None:
            self._take(finding)

    def expect(self, credentials: Iterable[str | None], /) -> None:
        """Tell that findings about the mints of these credentials will come, so that any order gives the same."""
        self._expected |= {id_ for id_ in credentials if id_}

    def fold(self, finding: Finding, /) -> Incident | None:
        """Take a finding and return the incident it now belongs to; None for one that was set aside."""
        self.add(finding)
        return None if finding.excluded_by else self._incident(self._members[self._root(self._taken)])

    def all(self) -> list[Incident]:
        """Return the incidents so far, the worst first, then the earliest."""
        return _in_order(self._incident(members) for members in self._members.values())

    def close(self, now: datetime, /) -> list[Incident]:
        """Forget and return the incidents to which the window before this time added nothing.

        Later uses of their tokens begin a new incident, which still names the mints.
        """
        now = now if now.tzinfo else now.replace(tzinfo=UTC)
        closed = {
            root: members
            for root, members in self._members.items()
            if now - max(self._findings[number].event.time or BEGINNING for number in members) > self._window
        }
        done = _in_order(self._incident(members) for members in closed.values())
        for root, members in closed.items():
            del self._members[root]
            for number in members:
                del self._findings[number], self._parents[number]
        left = self._findings
        self._requests = {key: number for key, number in self._requests.items() if number in left}
        self._mints = {key: number for key, number in self._mints.items() if number in left}
        uses = {key: [number for number in numbers if number in left] for key, numbers in self._uses.items()}
        self._uses = {key: numbers for key, numbers in uses.items() if numbers}
        active = {key: [call for call in calls if call[1] in left] for key, calls in self._active.items()}
        self._active = {key: calls for key, calls in active.items() if calls}
        return done

    def _take(self, finding: Finding) -> None:
        self._taken += 1
        number = self._taken
        self._findings[number], self._parents[number], self._members[number] = finding, number, [number]
        for ref in (finding.event, *finding.related):
            self._join(number, self._requests.setdefault(ref.request_id, number))
            if ref.minted_credential:
                self._join(number, self._mints.setdefault(ref.minted_credential, number))
                for use in self._uses.pop(ref.minted_credential, ()):
                    self._join(number, use)
            if ref.used_credential in self._mints:
                self._join(number, self._mints[ref.used_credential])
            elif ref.used_credential:
                self._uses.setdefault(ref.used_credential, []).append(number)
        event = finding.event
        by_chain = event.used_credential in self._mints or event.used_credential in self._expected
        if not by_chain and not any(_decides(mint, event) for mint in finding.related):
            self._join_calls(number, event)

    def _join_calls(self, number: int, event: EventRef) -> None:
        """Join the neighbours in time among the calls of the same user."""
        named = event.user not in {"", "system:anonymous"}
        actor = ("user", event.user) if named else ("peer", event.source_ips[-1] if event.source_ips else "")
        calls = self._active.setdefault(actor, [])
        call = (event.time or BEGINNING, number)
        place = bisect.bisect(calls, call)
        for time, other in calls[max(0, place - 1) : place + 1]:
            if abs(time - call[0]) <= self._window:
                self._join(number, other)
        calls.insert(place, call)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def _join(self, one: int, other: int) -> None:
        small, large = sorted((self._root(one), self._root(other)), key=lambda root: len(self._members[root]))
        if small == large:
            return
        self._members[large] += self._members.pop(small)
        self._parents[small] = large

    def _incident(self, members: Iterable[int]) -> Incident:
        findings = sorted(
            (self._findings[number] for number in members),
            key=lambda finding: (
                finding.event.time or BEGINNING,
                finding.rule.id,
                finding.fingerprint,
                finding.event.stage,
                finding.summary,
            ),
        )
        requests = requests_of(findings)
        refs = [request.ref for request in requests.values()]
        times = [ref.time for ref in refs if ref.time]
        accounts = (ref.token_account for ref in refs if ref.token_account)
        credentials = (id_ for ref in refs for id_ in (ref.used_credential, ref.minted_credential) if id_)
        access, cluster = self._snapshot.about(findings) if self._snapshot else ((), NO_CLUSTER)
        return Incident(
            id=hashlib.sha256(findings[0].fingerprint.encode()).hexdigest()[:16],
            severity=max(finding.severity for finding in findings),
            title=title(requests, findings),
            actors=tuple(dict.fromkeys(ref.user for ref in refs if ref.user)),
            service_accounts=tuple(dict.fromkeys(map(str, accounts))),
            credentials=tuple(dict.fromkeys(credentials)),
            first_seen=min(times, default=None),
            last_seen=max(times, default=None),
            depth=max(depths(requests).values()),
            findings=tuple(findings),
            advice=advice(requests, cluster),
            access=access,
        )


def incidents(
    findings: Iterable[Finding], /, *, window: timedelta = timedelta(hours=1), cluster: Cluster | None = None
) -> list[Incident]:
    """Fold findings into incidents, the worst first, then the earliest; their order does not matter.

    Arguments:
        findings: of one log or several; those that an exclusion set aside are ignored.
        window: calls of one user belong together when no gap between them is longer.
        cluster: a snapshot of the cluster: each incident then says through which bindings its callers could mint, what
            takes those away, and in which cloud's log to look.

    Raises:
        ConfigError: when the window is no timedelta, or negative, or the cluster is none.

    """
    kept = [finding for finding in findings if not finding.excluded_by]
    story = Incidents(window=window, cluster=cluster)
    story.expect(ref.minted_credential for finding in kept for ref in (finding.event, *finding.related))
    for finding in kept:
        story.add(finding)
    return story.all()


def _decides(mint: EventRef, use: EventRef) -> bool:
    """Tell whether a related mint says more about who called than the name; a refused token (401) has no name."""
    return use.uses_token_of(mint) or (mint.mints_token and not use.user)


def _in_order(found: Iterable[Incident]) -> list[Incident]:
    return sorted(found, key=lambda incident: (-incident.severity, incident.first_seen or BEGINNING, incident.id))


def _snapshot(cluster: Cluster | None) -> AccessFinder | None:
    known = checked_cluster(cluster)
    if known is None:
        return None
    from k8stokendetect.incidents.access import AccessFinder  # noqa: PLC0415 - only where a cluster is known

    return AccessFinder(known)
