# SPDX-License-Identifier: Apache-2.0
"""The way of a call in a cloud: it waits until the audit log has come as far, then each cloud detector is asked."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors import CloudDetector, Detector
from k8stokendetect.detectors.cloud import SKEW
from k8stokendetect.detectors.states import ALLOWED_LATENESS
from k8stokendetect.engine.guard import Guard
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.register import Register
from k8stokendetect.engine.reorder import MAX_HELD, MAX_WAITING
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding
from k8stokendetect.identity import ServiceAccount

BEHIND: Final = ALLOWED_LATENESS + SKEW
"""How far the audit log has to be ahead of a call for all mints before the call to be known."""


@attrs.define
class CloudArrival:
    """A call on its way.

    Attributes:
        event: the call.
        number: its position among all events.
        name: names it; a call that is delivered twice, or by two trails, has one name.
        reported: what was found about it.

    """

    event: CloudEvent
    number: int
    name: str
    reported: tuple[Finding, ...] = ()


class CloudLane:
    """Takes calls in clouds, and gives them to cloud detectors in the order of time, behind the audit log.

    Where no audit event has come yet, or the log ends, a call waits until there is nothing more to wait for.

    Arguments:
        detectors: those that run.
        helpers: rules that nobody asked for.
        guard: calls them.
        register: counts what they say.
        memory: numbers events.
        subjects: of federated credentials in Azure, by their ids: a token's subject, which Azure does not log.

    Attributes:
        queue: the calls that wait, as a heap: time, id, number, size.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        helpers: frozenset[str],
        guard: Guard,
        register: Register,
        memory: Memory,
        subjects: Mapping[str, str] | None = None,
    ) -> None:
        self._detectors: list[CloudDetector[Any]] = [one for one in detectors if isinstance(one, CloudDetector)]
        self._helpers = helpers
        self._guard = guard
        self._register = register
        self._memory = memory
        self._subjects = dict(subjects or {})
        self._held = 0
        self._put_at: float | None = None
        self.queue: list[tuple[datetime, str, int, int, CloudArrival]] = []

    def take(self, event: CloudEvent, audit: datetime | None, /) -> Iterator[Finding]:
        """Take a call; yield what there is to report about those whose turn has come.

        Arguments:
            event: the call.
            audit: the time by the audit log; None before its first event.

        """
        if self._detectors:
            number, size = next(self._memory.numbers), _size(event)
            arrival = CloudArrival(self._with_subject(event), number, f"{event.cloud} {event.id}")
            heapq.heappush(self.queue, (event.time, event.id, number, size, arrival))
            self._held += size
            self._put_at = None
            yield from self.due(audit)

    def due(self, audit: datetime | None, /) -> Iterator[Finding]:
        """Yield what there is to report about calls that the audit log has passed, and where too many wait."""
        while self.queue and (self._is_passed(audit) or self._is_full()):
            yield from self._next(audit)

    def idle(self, audit: datetime | None, /) -> Iterator[Finding]:
        """Yield what there is to report once no call has come for the allowed lateness by the clock."""
        now = time.monotonic()
        if self._put_at is None:
            self._put_at = now
        elif now - self._put_at > ALLOWED_LATENESS.total_seconds():
            yield from self.rest(audit)

    def rest(self, audit: datetime | None, /) -> Iterator[Finding]:
        """Yield what there is to report about the calls that still wait."""
        while self.queue:
            yield from self._next(audit)

    def waiting(self) -> Iterator[CloudEvent]:
        """Yield the calls that wait, in no order."""
        return (arrival.event for *_, arrival in self.queue)

    def _is_passed(self, audit: datetime | None) -> bool:
        return audit is not None and audit - self.queue[0][0] >= BEHIND

    def _is_full(self) -> bool:
        return len(self.queue) > MAX_WAITING or (self._held > MAX_HELD and len(self.queue) > 1)

    def _next(self, audit: datetime | None) -> Iterator[Finding]:
        *_, size, arrival = heapq.heappop(self.queue)
        self._held -= size
        return self._examine(arrival, settled=audit is not None and audit >= arrival.event.time)

    def _with_subject(self, event: CloudEvent) -> CloudEvent:
        exchange = event.exchange
        if not self._subjects or exchange is None or exchange.subject or not exchange.credential:
            return event
        subject = self._subjects.get(exchange.credential.lower(), "")
        return attrs.evolve(event, exchange=attrs.evolve(exchange, subject=subject)) if subject else event

    def _examine(self, arrival: CloudArrival, *, settled: bool) -> Iterator[Finding]:
        event = arrival.event
        for detector in self._detectors:
            given = event, arrival.reported, settled
            for finding in self._guard.all_of(Finding, detector, event.origin, detector.take_call, *given):
                arrival.reported = (*arrival.reported, finding)
                rule = finding.rule.id
                if rule not in self._helpers and self._register.enter(arrival, rule, None, finding):
                    yield finding


def checked_subjects(subjects: object, /) -> dict[str, str]:
    """Return the subjects of federated credentials in Azure, by the credentials' ids.

    Raises:
        ConfigError: when they are not a mapping of texts, or one is not a service account.

    """
    if subjects is None:
        return {}
    if not isinstance(subjects, Mapping):
        raise ConfigError("azure_subjects takes a mapping: the id of a federated credential to its subject")
    for id_, subject in subjects.items():
        if not (isinstance(id_, str) and isinstance(subject, str) and ServiceAccount.of_username(subject)):
            raise ConfigError(
                f"azure_subjects: not an id and `system:serviceaccount:NAMESPACE:NAME`: {id_!r}, {subject!r}"
            )
    return {str(id_).strip().lower(): str(subject) for id_, subject in subjects.items()}


def _size(event: CloudEvent) -> int:
    """Return about how long the texts are that a caller can choose."""
    exchange = event.exchange
    own = 0 if exchange is None else len(exchange.session_name) + len(exchange.role) + len(exchange.session)
    return len(event.user_agent) + sum(map(len, event.resources)) + own
