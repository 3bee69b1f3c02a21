# SPDX-License-Identifier: Apache-2.0
"""The way of an event: it waits for its turn, is judged once, every detector is asked, and all is reported together.

Words, each with one meaning here: a *token* is followed (its uses are read), an *event* is folded (into what keyed
detectors remember), and a *helper* is a rule that nobody asked for and a keyed detector needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors import BUILTIN, Detector, KeyedDetector, TokenRequest
from k8stokendetect.engine.arrival import Arrival
from k8stokendetect.engine.cloud_lane import CloudLane
from k8stokendetect.engine.following import Follows, name_of_token, with_mint
from k8stokendetect.engine.guard import Guard
from k8stokendetect.engine.marking import Judge, Judgement, mark
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.profile import ENOUGH, REQUESTS, profile_of
from k8stokendetect.engine.register import Register
from k8stokendetect.engine.reorder import ReorderBuffer
from k8stokendetect.engine.settling import Settling
from k8stokendetect.engine.tally import Tally
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.errors import OnDetectError, ReadError
from k8stokendetect.event_ref import request_id
from k8stokendetect.events import Event, Signal
from k8stokendetect.exclusions import Exclusion
from k8stokendetect.findings import Finding, Severity

STARTS_FOLLOWING: Final = Severity.MEDIUM
"""Least severity of what keyed detectors say about a mint for its token to be followed."""

MINTED: Final = TokenRequest.rule.id
"""The rule that reports each mint."""

Parted: TypeAlias = tuple[Sequence[Detector], Sequence[Detector]]
"""Detectors that are asked, and those whose findings are only counted."""


class Pipeline:
    """The way of an event.

    Arguments:
        detectors: those that were asked for.
        exclusions: whose components are not reported.
        on_error: called with a DetectorError when a detector raises.
        tally: counted up.
        keep_excluded: findings that are excluded are wanted, too.
        memory: of earlier calls; what detectors remember of it is theirs already.
        azure_subjects: of federated credentials in Azure, by their ids.

    Attributes:
        watchers: the detectors that run, helpers among them.
        memory: what was reported and folded.
        prefilter: is told whose uses are wanted.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        exclusions: Sequence[Exclusion],
        on_error: OnDetectError,
        tally: Tally,
        *,
        keep_excluded: bool = False,
        memory: Memory | None = None,
        azure_subjects: Mapping[str, str] | None = None,
    ) -> None:
        needed = _needed(detectors)
        self._helpers = needed - {one.rule.id for one in detectors}
        helpers = [cls() for cls in BUILTIN if cls.rule.id in self._helpers]
        running = sorted([*detectors, *helpers], key=lambda one: one.rule.id not in needed)  # those needed come first
        self.watchers = Watchers(running)
        self.memory = Memory() if memory is None else memory
        self.prefilter: Follows | None = None
        self._judge = Judge(exclusions, running)
        self._guard = Guard(on_error, tally)
        self._settling = Settling(detectors, self._guard, tally)
        self._tally = tally
        self._register = Register(tally, self.memory)
        self._mints = self.memory.mints if Signal.UNBOUND_USE in self.watchers.watches else None
        self._keep_excluded = keep_excluded
        self._buffer: ReorderBuffer[Arrival] = ReorderBuffer()
        self._parts: dict[tuple[tuple[Detector, ...], frozenset[str]], Parted] = {}
        self._clouds = CloudLane(running, self._helpers, self._guard, self._register, self.memory, azure_subjects)

    def take(self, event: Event | CloudEvent, /) -> Iterator[Finding]:
        """Take an event, or a call in a cloud; yield what there is to report about those whose turn has come."""
        if isinstance(event, CloudEvent):
            yield from self._clouds.take(event, self.now)
            return
        for due in self._buffer.put(event, self.arrive(event)):
            yield from self._examine(due)
        now = self._buffer.event_clock.now
        if now is not None and not self._settling.asked_at <= now < self._settling.asks_at:
            yield from self._settling.ask(now)
        if self._clouds.queue:
            yield from self._clouds.due(now)

    def idle(self) -> Iterator[Finding]:
        """Yield what there is to report about events that have waited long enough by the clock."""
        for due in self._buffer.idle():
            yield from self._examine(due)
        yield from self._clouds.idle(self.now)
        yield from self.settle()

    @property
    def now(self) -> datetime | None:
        """The time by the log up to which all was examined; None before the first event that has one."""
        return self._buffer.now

    def waiting(self) -> Iterator[Event | CloudEvent]:
        """Yield the events whose turn has not come, in no order."""
        yield from (arrival.event for arrival in self._buffer)
        yield from self._clouds.waiting()

    def rest(self) -> Iterator[Finding]:
        """Yield what there is to report about the events that still wait."""
        for due in self._buffer.rest():
            yield from self._examine(due)
        yield from self._clouds.rest(self.now)
        yield from self.settle()
        for profile in self.memory.profiles.values():
            if profile.seen[REQUESTS] >= ENOUGH:
                self._tally.dropped |= profile.dropped()

    def settle(self, now: datetime | None = None, /) -> Iterator[Finding]:
        """Yield what was counted: what is due at a time, or what was never reported."""
        return self._settling.ask(now)

    def unreadable(self, error: ReadError, /) -> Iterator[Finding]:
        """Yield what the detectors find in a record that could not be read."""
        for detector in self.watchers.unreadable if error.revealed else ():
            for finding in self._guard.all_of(Finding, detector, error.origin, detector.inspect, error):
                self._tally.findings[finding.rule.id] += 1
                yield finding

    def arrive(self, event: Event, /) -> Arrival:
        """Give an event its number, and follow the token that it minted: its uses may be read before its turn.

        That more are followed than are reported does no harm; what a component mints is judged first, and left out.
        """
        arrival = Arrival(event, next(self.memory.numbers))
        if self._mints is not None and event.minted_credential and not event.user.username.startswith("system:node:"):
            self._mints.add(event)
        if self.watchers.follows and event.mints_token:
            arrival.judgement, arrival.is_judged = self._judge.judge(event), True
            if not arrival.judgement.is_excluded:
                self._follow(name_of_token(event))
        return arrival

    def _follow(self, name: str) -> None:
        """Follow a token."""
        if self.prefilter is None:
            self.watchers.followed.add(name)
        else:
            self.prefilter.follow(name)

    def _examine(self, arrival: Arrival) -> Iterator[Finding]:
        """Yield everything that there is to report about an event whose turn has come."""
        event = profile_of(self.memory.profiles, arrival.event.cluster).learn(arrival.event)
        if self._mints is not None:
            event = with_mint(event, self._mints, self.prefilter)
        if event is not arrival.event:  # it is judged by what the log has shown until now
            arrival.event, arrival.is_judged = event, False
        for finding in self.ask(arrival):
            is_habit = finding.rule.id == MINTED and finding.excluded_by is None
            yield self.memory.habits.tell(finding) if is_habit else finding
        yield from self.fold(arrival)
        if arrival.reported and self.watchers.follows:
            if event.mints_token:
                self._follow(name_of_token(event))
            for finding in arrival.reported:  # some are about mints that are only judged now
                if finding.event.minted_credential is not None:
                    self._follow(finding.event.minted_credential)

    def ask(self, arrival: Arrival, /) -> Iterator[Finding]:
        """Yield what detectors that remember nothing report; of an excluded request they only say that they match."""
        event = arrival.event
        arrival.watching = self.watchers.of(event)
        watching = arrival.watching.stateless
        if not watching:
            return
        judgement = self._judged(arrival)
        asked, counted = self._parted(watching, judgement.excluded)
        for detector in asked:
            for finding in self._guard.all_of(Finding, detector, event.origin, detector.inspect, event):
                yield from self._said(arrival, finding)
        for detector in self._guard.matching(counted, event):
            rule = detector.rule.id
            self._register.enter(arrival, rule, judgement.by_rule[rule].exclusion.id)

    def _parted(self, watching: tuple[Detector, ...], excluded: frozenset[str]) -> Parted:
        """Part the detectors that are asked for findings from those whose rules a request is excluded from."""
        found = self._parts.get((watching, excluded))
        if found is None:
            none = frozenset[str]() if self._keep_excluded else excluded
            asked = tuple([one for one in watching if one.rule.id not in none])
            counted = tuple([one for one in watching if one.rule.id in none - self._helpers])
            found = self._parts[watching, excluded] = asked, counted
        return found

    def _judged(self, arrival: Arrival) -> Judgement:
        """Judge an event and name its request, once."""
        if not arrival.name and arrival.event.time is not None:
            arrival.name = request_id(arrival.event)
        if not arrival.is_judged:
            arrival.judgement, arrival.is_judged = self._judge.judge(arrival.event), True
        return arrival.judgement

    def fold(self, arrival: Arrival, /) -> Iterator[Finding]:
        """Yield what the keyed detectors report, each told what those before it reported.

        An event that is delivered twice counts once in what is remembered.
        """
        event, guard = arrival.event, self._guard
        for detector in (arrival.watching or self.watchers.of(event)).keyed:
            keys = guard.keys_of(detector, event, arrival.reported)
            if not keys:
                continue
            if arrival.was_folded is None:
                self._judged(arrival)
                arrival.was_folded = self._register.was_folded(arrival)
            if arrival.was_folded:
                return
            verdict = arrival.judgement.by_rule.get(detector.rule.id)
            given = (event, arrival.reported, keys, verdict is not None and not verdict.failed)
            for finding in guard.all_of(Finding, detector, event.origin, detector.take, *given):
                yield from self._said(arrival, finding, STARTS_FOLLOWING)

    def _said(self, arrival: Arrival, finding: Finding, least: Severity = Severity.INFORMATIONAL) -> Iterator[Finding]:
        """Mark and count a finding; from a severity on, other detectors are told. Yield it unless it is a repetition.

        One that is excluded is yielded only where those are wanted, that of a helper never.
        """
        rule = finding.rule.id
        marked = mark(finding, arrival.judgement.by_rule.get(rule))
        is_excluded = marked.excluded_by is not None
        if not is_excluded and marked.severity >= least:
            arrival.reported = (*arrival.reported, marked)
        if rule in self._helpers or not self._register.enter(arrival, rule, marked.excluded_by, marked):
            return
        if not is_excluded or self._keep_excluded:
            yield marked


def _needed(detectors: Iterable[Detector]) -> frozenset[str]:
    """Return the rules whose findings detectors follow, and those that these follow in turn."""
    known = {cls.rule.id: cls for cls in BUILTIN}
    needed = frozenset[str]()
    more = {rule for one in detectors if isinstance(one, KeyedDetector) for rule in one.needs}
    while more - needed:
        needed |= more
        more = {
            rule for id_ in more if issubclass(cls := known.get(id_, Detector), KeyedDetector) for rule in cls.needs
        }
    return needed
