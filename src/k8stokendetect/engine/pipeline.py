# SPDX-License-Identifier: Apache-2.0
"""The way of an event: it waits for its turn, is judged once, every detector is asked, and all is reported together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import attrs

from k8stokendetect.detectors import BUILTIN, Detector, KeyedDetector, TokenRequest
from k8stokendetect.detectors.unknown_token_used import is_controllers, uses_unbound_token
from k8stokendetect.engine.guard import Guard
from k8stokendetect.engine.marking import Judge, Judgement, mark
from k8stokendetect.engine.memory import Memory, finding_key
from k8stokendetect.engine.mints import MintsSeen
from k8stokendetect.engine.profile import ENOUGH, REQUESTS, ClusterProfile
from k8stokendetect.engine.reorder import ReorderBuffer
from k8stokendetect.engine.settling import Settling
from k8stokendetect.engine.tally import Tally
from k8stokendetect.engine.watchers import Watchers, Watching
from k8stokendetect.errors import OnError, ReadError
from k8stokendetect.event_ref import request_id
from k8stokendetect.events import ITS_MINT, Event, Signal
from k8stokendetect.exclusions import Exclusion
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX

STARTS_FOLLOWING: Final = Severity.MEDIUM
"""Least severity of what keyed detectors say about a mint for its token to be followed."""

MOST_CLUSTERS: Final = 10_000
"""Maximum number of clusters whose profiles are kept; then all are learned again."""

MINTED: Final = TokenRequest.rule.id
"""The rule that reports each mint."""

Follower: TypeAlias = tuple[KeyedDetector[Any], Sequence[str]]
"""A keyed detector that an event concerns, and the event's keys for it."""

Parted: TypeAlias = tuple[Sequence[Detector], Sequence[Detector]]
"""Detectors that are asked, and those whose findings are only counted."""


class Follows(Protocol):
    """The reader's prefilter: from now on it also wants what is made with a token."""

    def follow(self, name: str, /) -> None:
        """Want the uses of a token by its id, or the requests of a service account by its user name."""
        ...

    def know(self, id_: str, /) -> None:
        """Skip an unbound token from now on."""
        ...


@attrs.define
class Arrival:
    """An event on its way.

    Attributes:
        event: the event.
        number: its position; an event that is delivered again has another one.
        judgement: of the exclusions; None until it is judged.
        reported: what was found about it and no exclusion excludes.
        name: its request's id; empty without a time, since repetitions cannot be recognised then.
        watching: the detectors that it concerns; None until they are looked up.

    """

    event: Event
    number: int
    judgement: Judgement | None = None
    reported: tuple[Finding, ...] = ()
    name: str = ""
    watching: Watching | None = None


class Pipeline:
    """The way of an event.

    Arguments:
        detectors: those that were asked for.
        exclusions: whose components are not reported.
        on_error: called with a DetectorError when a detector raises.
        tally: counted up.
        keep_excluded: findings that are excluded are wanted, too.
        memory: of earlier calls; what detectors remember of it is theirs already.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        exclusions: Sequence[Exclusion],
        on_error: OnError,
        tally: Tally,
        *,
        keep_excluded: bool = False,
        memory: Memory | None = None,
    ) -> None:
        memory = Memory() if memory is None else memory
        keyed = [one for one in detectors if isinstance(one, KeyedDetector)]
        self._unseen = {rule for one in keyed for rule in one.needs} - {one.rule.id for one in detectors}
        running = [*detectors, *(cls() for cls in BUILTIN if cls.rule.id in self._unseen)]
        self.watchers = Watchers(running)
        self.prefilter: Follows | None = None
        self._judge = Judge(exclusions, running)
        self._guard = Guard(on_error, tally)
        self._settling = Settling(detectors, self._guard, tally)
        self._tally = tally
        self._keep_excluded = keep_excluded
        self._numbers = memory.numbers
        self._buffer: ReorderBuffer[Arrival] = ReorderBuffer()
        self._parts: dict[tuple[tuple[Detector, ...], frozenset[str]], Parted] = {}
        self._profiles = memory.profiles
        self._habits = memory.habits
        self._mints = memory.mints if Signal.UNBOUND_USE in self.watchers.watches else None
        self.reported_before = memory.reported
        self.followed_before = memory.followed

    def take(self, event: Event, /) -> Iterator[Finding]:
        """Take an event; yield what there is to report about those whose turn has come."""
        for due in self._buffer.put(event, self.arrive(event)):
            yield from self._examine(due)
        now = self._buffer.event_clock.now
        if now is not None and not self._settling.asked_at <= now < self._settling.asks_at:
            yield from self._settling.ask(now)

    def idle(self) -> Iterator[Finding]:
        """Yield what there is to report about events that have waited long enough by the clock."""
        for due in self._buffer.idle():
            yield from self._examine(due)
        yield from self.settle()

    def rest(self) -> Iterator[Finding]:
        """Yield what there is to report about the events that still wait."""
        for due in self._buffer.rest():
            yield from self._examine(due)
        yield from self.settle()
        for profile in self._profiles.values():
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
        arrival = Arrival(event, next(self._numbers))
        if self._mints is not None and event.minted_credential and not event.user.username.startswith("system:node:"):
            self._mints.add(event)
        if self.watchers.follows and event.mints_token:
            arrival.judgement = self._judge.judge(event)
            if not arrival.judgement.is_excluded:
                self._follow(event)
        return arrival

    def _follow(self, event: Event) -> None:
        target = event.service_account
        username = f"{SERVICE_ACCOUNT_PREFIX}{target.namespace}:{target.name}" if target else ""
        name = event.minted_credential or username
        self.watchers.followed.add(name)
        if self.prefilter is not None:
            self.prefilter.follow(name)

    def _examine(self, arrival: Arrival) -> Iterator[Finding]:
        """Yield everything that there is to report about an event."""
        self._put_in_context(arrival)
        for finding in self.ask(arrival):
            is_habit = finding.rule.id == MINTED and finding.excluded_by is None
            yield self._habits.tell(finding) if is_habit else finding
        yield from self.fold(arrival, self.followers(arrival))
        if arrival.reported and self.watchers.follows:
            if arrival.event.mints_token:
                self._follow(arrival.event)
            for finding in arrival.reported:  # some are about mints that are only judged now
                late = finding.event.minted_credential
                if late is not None and late not in self.watchers.followed:
                    self.watchers.followed.add(late)
                    if self.prefilter is not None:
                        self.prefilter.follow(late)

    def _put_in_context(self, arrival: Arrival) -> None:
        """Learn from an event, and judge it by what the log has shown until now."""
        name = arrival.event.cluster or ""
        profile = self._profiles.get(name)
        if profile is None:
            if len(self._profiles) >= MOST_CLUSTERS:
                self._profiles.clear()
            profile = self._profiles[name] = ClusterProfile()
        event = profile.learn(arrival.event)
        if self._mints is not None and event.user.username.startswith(SERVICE_ACCOUNT_PREFIX):
            event = self._with_mint(event, self._mints)
        if event is not arrival.event:
            arrival.event, arrival.judgement = event, None

    def _with_mint(self, event: Event, mints: MintsSeen) -> Event:
        """Compare the token that a request was made with with those minted; the reader may skip one that is known."""
        if not uses_unbound_token(event):
            return event
        event = mints.compare(event)
        if self.prefilter is not None and (ITS_MINT not in event.usual or is_controllers(event)):
            self.prefilter.know(event.used_credential or "")
        return event

    def ask(self, arrival: Arrival, /) -> Iterator[Finding]:
        """Yield what detectors that remember nothing report; an excluded request is only counted."""
        event = arrival.event
        arrival.watching = watching, keyed = self.watchers.of(event)
        if not watching and not keyed:
            return
        judgement = self._judged(arrival)
        asked, counted = self._parted(watching, judgement.excluded)
        for detector in asked:
            rule = detector.rule.id
            for finding in self._guard.all_of(Finding, detector, event.origin, detector.inspect, event):
                marked = mark(finding, judgement.by_rule.get(rule))
                if marked.excluded_by is None:
                    arrival.reported = (*arrival.reported, marked)
                if rule not in self._unseen:
                    yield from self._new(arrival, marked)
        for detector in self._guard.matching(counted, event):
            self._is_new(arrival, detector.rule.id, judgement.by_rule[detector.rule.id].exclusion.id)

    def _parted(self, watching: tuple[Detector, ...], excluded: frozenset[str]) -> Parted:
        """Part the detectors that are asked for findings from those whose rules a request is excluded from."""
        found = self._parts.get((watching, excluded))
        if found is None:
            none = frozenset[str]() if self._keep_excluded else excluded
            asked = tuple([one for one in watching if one.rule.id not in none])
            counted = tuple([one for one in watching if one.rule.id in none - self._unseen])
            found = self._parts[watching, excluded] = asked, counted
        return found

    def _judged(self, arrival: Arrival) -> Judgement:
        """Judge an event and name its request, once."""
        if not arrival.name and arrival.event.time is not None:
            arrival.name = request_id(arrival.event)
        if arrival.judgement is None:
            arrival.judgement = self._judge.judge(arrival.event)
        return arrival.judgement

    def followers(self, arrival: Arrival, /) -> Iterator[Follower]:
        """Yield the keyed detectors that an event concerns, with its keys for each, which may rest on those before."""
        event = arrival.event
        for detector in (arrival.watching or self.watchers.of(event))[1]:
            if keys := self._guard.all_of(str, detector, event.origin, detector.keys, event, arrival.reported):
                yield detector, keys

    def fold(self, arrival: Arrival, followers: Iterable[Follower], /) -> Iterator[Finding]:
        """Yield what keyed detectors report; an event that is delivered twice counts once in what they remember."""
        event, verdicts = arrival.event, None
        for detector, keys in followers:
            if verdicts is None:
                verdicts = self._judged(arrival).by_rule
                if self._was_folded(arrival):
                    return
            verdict = verdicts.get(detector.rule.id)
            given = (event, arrival.reported, keys, verdict is not None and not verdict.failed)
            for finding in self._guard.all_of(Finding, detector, event.origin, detector.follow, *given):
                marked = mark(finding, verdict)
                if marked.excluded_by is None and marked.severity >= STARTS_FOLLOWING:
                    arrival.reported = (*arrival.reported, marked)
                yield from self._new(arrival, marked)

    def _was_folded(self, arrival: Arrival) -> bool:
        event = arrival.event
        again = f"{arrival.name} {event.stage} {event.verb} {event.code} {event.used_credential}"
        return bool(arrival.name) and self.followed_before.is_repeat(again, arrival.number)

    def _new(self, arrival: Arrival, finding: Finding) -> Iterator[Finding]:
        """Yield a finding that repeats none; one that is excluded only where those are wanted."""
        is_new = self._is_new(arrival, finding.rule.id, finding.excluded_by, finding)
        if is_new and (finding.excluded_by is None or self._keep_excluded):
            yield finding

    def _is_new(self, arrival: Arrival, rule: str, excluded_by: str | None, finding: Finding | None = None) -> bool:
        """Count what a rule says about an event; tell whether it repeats nothing."""
        key = finding_key(arrival.name, rule, excluded_by, finding)
        if arrival.name and self.reported_before.is_repeat(key, arrival.number):
            self._tally.duplicates += 1
            return False
        if excluded_by is None:
            self._tally.findings[rule] += 1
        else:
            self._tally.excluded[excluded_by] += 1
        return True
