# SPDX-License-Identifier: Apache-2.0
"""Groups findings into incidents: which of them belong to one attack."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import attrs

from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.errors import check
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, STRANGERS
from k8stokendetect.incidents.access import AccessFinder
from k8stokendetect.incidents.earlier import Actor, Earlier
from k8stokendetect.incidents.incident import Incident, IncidentList, first_of, incident_of
from k8stokendetect.incidents.story import BEGINNING
from k8stokendetect.reprs import short_repr


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
        self._earlier = Earlier()
        self._continued: dict[int, str] = {}

    def findings(self) -> list[Finding]:
        """Return the findings that are held, in the order in which they came."""
        return list(self._findings.values())

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
        root = None if number is None else self._root(number)
        return None if root is None else self._continued.get(root) or self._first[root].request_id

    def all(self) -> IncidentList:
        """Return the incidents so far, the worst first, then the earliest."""
        return _in_order(self._incident(members) for members in self._members.values())

    def close(self, now: datetime, /) -> list[Incident]:
        """Forget and return the incidents that are over: nothing was added in the window before this time.

        A later use of their tokens begins a continuation: an incident with the same id, and `continues` set.
        """
        before = (now if now.tzinfo else now.replace(tzinfo=UTC)) - self._window
        return self._close([root for root, members in self._members.items() if self._last(members) < before])

    def make_room(self, most: int, /) -> list[Incident]:
        """Forget and return incidents, those first in which nothing happened for longest, until few findings are held.

        What belongs to them and comes later begins a continuation, as for `close`.

        Arguments:
            most: how many findings may be held; only where there are more, incidents are closed, until half are left.

        """
        if len(self._findings) <= most:
            return []
        over, left = [], len(self._findings)
        for root in sorted(self._members, key=lambda root: self._last(self._members[root])):
            if left <= most // 2:
                break
            over.append(root)
            left -= len(self._members[root])
        return self._close(over)

    def _close(self, over: Sequence[int]) -> list[Incident]:
        if not over:
            return []
        closed = _in_order(self._incident(self._members[root]) for root in over)
        for root in over:
            id_ = self._continued.pop(root, None) or self._first[root].request_id
            del self._first[root]
            for number in self._members.pop(root):
                finding = self._findings.pop(number)
                del self._parents[number]
                self._earlier.note(id_, finding, _actor(finding.event))
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
        by_chain = any(event.used_credential in known for known in (self._mints, self._expected, self._earlier.tokens))
        by_chain = by_chain or any(_decides(mint, event) for mint in finding.related)
        if not by_chain:
            self._join_calls(number, event)
        if (id_ := self._earlier.id_of(finding, None if by_chain else _actor(event), self._window)) is not None:
            self._continued.setdefault(self._root(number), id_)

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
        if (id_ := self._continued.pop(small, None)) is not None:
            self._continued.setdefault(large, id_)

    def _incident(self, members: Sequence[int]) -> Incident:
        found = incident_of((self._findings[number] for number in members), self._finder)
        id_ = self._continued.get(self._root(members[0]))
        return found if id_ is None else attrs.evolve(found, id=id_, continues=True)


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
