# SPDX-License-Identifier: Apache-2.0
"""Groups findings into incidents: which of them belong to one attack."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.errors import check
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, STRANGERS
from k8stokendetect.incidents.access import AccessFinder
from k8stokendetect.incidents.incident import Incident, IncidentList, first_of, incident_of
from k8stokendetect.incidents.story import BEGINNING
from k8stokendetect.reprs import short_repr

Actor: TypeAlias = tuple[str, str, str]
"""Who called: the cluster, the name, and what else distinguishes callers of that name."""


class Incidents:
    """Groups findings as they come; the order within a batch does not matter.

    Two findings belong together when

    - they are about the same request, or one is `related` to the other's;
    - one used a token that the other minted, by credential id, however much later;
    - the same user of the same cluster called within the window. System identities such as
      `system:kube-controller-manager` are distinguished by the credential, callers without a name by the peer's
      address where they were served; all who were refused are one.

    A service account that holds a token whose mint is known does not count as a user: its chain decides, so two
    attackers who reach the same account stay two incidents. A shared target joins nothing: a popular service account
    would turn a whole log into one incident. Excluded findings are ignored.

    Arguments:
        window: calls of one user belong together when no gap between them is longer.
        cluster: a snapshot of the cluster, for `access` and the advice.

    Raises:
        ConfigError: when the window is not a timedelta or is negative, or the cluster is not a Cluster.

    """

    def __init__(self, *, window: timedelta = timedelta(hours=1), cluster: Cluster | None = None) -> None:
        problem = f"window {window!r} is not a timedelta of zero or more"
        check(window, timedelta, problem, lambda given: given >= timedelta())
        self._window = window
        self._finder = AccessFinder(known) if (known := checked_cluster(cluster)) else None
        self._expected: frozenset[str] = frozenset()
        self._taken = 0
        self._findings: dict[int, Finding] = {}
        self._parents: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        self._first: dict[int, EventRef] = {}
        self._requests: dict[str, int] = {}
        self._mints: dict[str, int] = {}
        self._uses: dict[str, list[int]] = {}
        self._active: dict[Actor, list[tuple[datetime, int]]] = {}

    def __repr__(self) -> str:
        return short_repr(self, incidents=len(self._members), findings=len(self._findings), window=str(self._window))

    def add(self, finding: Finding, /) -> None:
        """Take a finding; an excluded one is ignored."""
        if finding.excluded_by is None:
            self._take(finding)

    def expect(self, credentials: Iterable[str | None], /) -> None:
        """Announce the credentials whose mints will be added, so that the order of findings does not matter."""
        self._expected |= {id_ for id_ in credentials if id_}

    def fold(self, finding: Finding, /) -> Incident | None:
        """Take a finding and return the incident it now belongs to; None for an excluded one."""
        self.add(finding)
        return None if finding.excluded_by else self._incident(self._members[self._root(self._taken)])

    def id_of(self, finding: Finding, /) -> str | None:
        """Return the id of the incident that a finding belongs to now; None for one that was not added."""
        number = self._requests.get(finding.event.request_id)
        return None if number is None else self._first[self._root(number)].request_id

    def all(self) -> IncidentList:
        """Return the incidents so far, the worst first, then the earliest."""
        return _in_order(self._incident(members) for members in self._members.values())

    def close(self, now: datetime, /) -> IncidentList:
        """Forget and return the incidents that are over: nothing was added in the window before this time.

        Later uses of their tokens begin a new incident, which still names the mints.
        """
        before = (now if now.tzinfo else now.replace(tzinfo=UTC)) - self._window
        over = [root for root, members in self._members.items() if self._last(members) < before]
        closed = _in_order(self._incident(self._members[root]) for root in over)
        for root in over:
            del self._first[root]
            for number in self._members.pop(root):
                del self._findings[number], self._parents[number]
        self._forget()
        return closed

    def _last(self, members: Iterable[int]) -> datetime:
        return max(self._findings[number].event.time or BEGINNING for number in members)

    def _forget(self) -> None:
        """Drop what leads to findings that are gone."""
        left = self._findings
        self._requests = {id_: number for id_, number in self._requests.items() if number in left}
        self._mints = {id_: number for id_, number in self._mints.items() if number in left}
        uses = {id_: [number for number in numbers if number in left] for id_, numbers in self._uses.items()}
        self._uses = {id_: numbers for id_, numbers in uses.items() if numbers}
        active = {actor: [call for call in calls if call[1] in left] for actor, calls in self._active.items()}
        self._active = {actor: calls for actor, calls in active.items() if calls}

    def _take(self, finding: Finding) -> None:
        self._taken += 1
        number = self._taken
        self._findings[number], self._parents[number], self._members[number] = finding, number, [number]
        self._first[number] = first_of((finding.event, *finding.related))
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
        calls = self._active.setdefault(_actor(event), [])
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
        self._first[large] = first_of((self._first[large], self._first.pop(small)))
        self._parents[small] = large

    def _incident(self, members: Iterable[int]) -> Incident:
        return incident_of((self._findings[number] for number in members), self._finder)


def incidents(
    findings: Iterable[Finding], /, *, window: timedelta = timedelta(hours=1), cluster: Cluster | None = None
) -> IncidentList:
    """Group findings into incidents, the worst first, then the earliest; the order of findings does not matter.

    Arguments:
        findings: of one log or several; excluded ones are ignored.
        window: calls of one user belong together when no gap between them is longer.
        cluster: a snapshot of the cluster: each incident then names the bindings through which its callers could mint,
            how to take them away, and the cloud's log to look into.

    Raises:
        ConfigError: when the window is not a timedelta or is negative, or the cluster is not a Cluster.

    """
    kept = [finding for finding in findings if not finding.excluded_by]
    groups = Incidents(window=window, cluster=cluster)
    groups.expect(ref.minted_credential for finding in kept for ref in (finding.event, *finding.related))
    for finding in kept:
        groups.add(finding)
    return groups.all()


def _actor(event: EventRef) -> Actor:
    """Name who called: a name may be had in every cluster, and a system identity's by who stole or forged it."""
    cluster, user = event.cluster or "", event.user
    if user in STRANGERS:
        served = event.mints_token or event.succeeded
        return cluster, "stranger", (event.peer_ip or "") if served else ""
    if user.startswith("system:") and not user.startswith(SERVICE_ACCOUNT_PREFIX):
        return cluster, user, event.used_credential or ""
    return cluster, user, ""


def _decides(mint: EventRef, use: EventRef) -> bool:
    """Tell whether a related mint says more about the caller than the name does; a refused token (401) has no name."""
    return use.uses_token_of(mint) or (mint.mints_token and not use.user)


def _in_order(found: Iterable[Incident]) -> IncidentList:
    found = sorted(found, key=lambda incident: (-incident.severity, incident.first_seen or BEGINNING, incident.id))
    return IncidentList(found)
