# SPDX-License-Identifier: Apache-2.0
"""The way of an event: detectors, exclusions, then, in the order of time, keyed detectors, exclusions again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs

from k8stokendetect.detectors import BUILTIN, Detector
from k8stokendetect.detectors.keyed import LATENESS, KeyedDetector
from k8stokendetect.engine.duplicates import Window, identity
from k8stokendetect.engine.reorder import InOrder
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import DetectorError, OnError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import Exclusion, ExclusionIndex, FailedCheck, Verdict
from k8stokendetect.findings import Evidence, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reading.interest import Interest

D = TypeVar("D", bound=Detector)

Follower: TypeAlias = tuple[KeyedDetector[Any], list[str]]
"""A keyed detector, and the keys that an event has for it."""

Share: TypeAlias = tuple[int, tuple[Finding, ...], list[Follower]]
"""What keyed detectors are to see of an event beside it: its number, what was reported, and who follows it."""


class Stages:
    """The way of an event: detectors, exclusions, then, in the order of time, keyed detectors, exclusions again.

    Arguments:
        detectors: those that were asked for.
        exclusions: whose components are not reported.
        on_error: told of a detector that raises.
        tally: counted up.
        keep_excluded: findings that are set aside are wanted, too.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        exclusions: Sequence[Exclusion],
        on_error: OnError,
        tally: Tally,
        *,
        keep_excluded: bool = False,
    ) -> None:
        keyed = [detector for detector in detectors if isinstance(detector, KeyedDetector)]
        stateless = [detector for detector in detectors if not isinstance(detector, KeyedDetector)]
        rules = {detector.rule.id for detector in stateless}
        needed = {rule for detector in keyed for rule in detector.needs} - rules
        unasked = [cls() for cls in BUILTIN if cls.rule.id in needed]
        self._unasked = frozenset(needed)
        self._stateless = stateless
        self._watching = _by_resource([*stateless, *unasked])
        self._watching_keyed = _by_resource(keyed)
        self._with_credential = _by_resource(keyed, frozenset(d for d in keyed if d.follows_credentials))
        self._exclusions = ExclusionIndex(exclusions)
        self._covered = {
            exclusion.id: frozenset(
                detector.rule.id
                for detector in (*detectors, *unasked)
                if exclusion.covers(detector.rule.id, excludable=detector.excludable)
            )
            for exclusion in exclusions
        }
        self._keep_excluded = keep_excluded
        self._on_error = on_error
        self._tally = tally
        self._seen = Window()
        self._observed = Window()
        self._named: tuple[Event | None, str] = (None, "")
        self.interest = interest_of((*stateless, *unasked, *keyed))
        self._order: InOrder[Share] = InOrder(LATENESS)

    def take(self, event: Event, number: int) -> Iterator[Finding]:
        """Yield what is found in an event, and in earlier ones whose time has come."""
        reported = []
        watching = self._watching(event)
        verdicts = self._exclusions.judge(event) if watching else ()
        for detector in watching:
            nearest = self._nearest(detector.rule.id, verdicts)
            if nearest and nearest.excludes and not self._keep_excluded:
                self._count_excluded(detector, event, nearest.exclusion.id, number)
                continue
            for finding in self._guarded(detector, detector.inspect, event, origin=event.origin):
                judged = _judged(finding, nearest)
                if judged.excluded_by is None:
                    reported.append(judged)
                if judged.rule.id not in self._unasked:
                    yield from self._new(judged, number)
        if self.interest and reported and event.mints_token:
            self.interest.follow(event.minted_credential or _username(event))
        followers = self._followers(event, reported)
        if followers and not self._is_repeated(event, number):
            for earlier, (earlier_number, said, due) in self._in_order(event, (number, tuple(reported), followers)):
                yield from self._follow(earlier, earlier_number, said, due)

    def _in_order(self, event: Event, share: Share, /) -> Iterable[tuple[Event, Share]]:
        """Put off what keyed detectors are to see of an event; return that of which the time has come."""
        return self._order.put(event, share)

    def rest(self) -> Iterator[Finding]:
        """Yield what is found in the events that still waited for earlier ones."""
        for event, (number, said, followers) in self._order.rest():
            yield from self._follow(event, number, said, followers)

    def unreadable(self, error: ReadError) -> Iterator[Finding]:
        """Yield what the detectors find in a record that could not be read."""
        for detector in self._stateless if error.revealed else ():
            for finding in self._guarded(detector, detector.inspect_unreadable, error, origin=error.origin):
                self._tally.findings[finding.rule.id] += 1
                yield finding

    def _nearest(self, rule: str, verdicts: Sequence[Verdict]) -> Verdict | None:
        """Return the nearest of the verdicts that a rule asks."""
        return next((judged for judged in verdicts if rule in self._covered[judged.exclusion.id]), None)

    def _count_excluded(self, detector: Detector, event: Event, exclusion: str, number: int) -> None:
        """Count what is excluded, without describing it."""
        rule = detector.rule.id
        (matches,) = self._guarded(detector, lambda: (detector.matches(event),), origin=event.origin, check=int) or [0]
        if not matches or rule in self._unasked:
            return
        if event.time is not None and self._seen.before(f"{self._name(event)} {rule} {exclusion}", number):
            self._tally.duplicates += 1
        else:
            self._tally.excluded[exclusion] += 1

    def _is_repeated(self, event: Event, number: int) -> bool:
        """Tell whether an event was delivered twice, as queues and webhooks do: what is remembered counts it once."""
        name = f"{self._name(event)} {event.stage} {event.verb} {event.code} {event.used_credential}"
        return event.time is not None and self._observed.before(name, number)

    def _name(self, event: Event) -> str:
        """Name a request as fingerprints do; asked several times of one event after the other."""
        if self._named[0] is not event:
            self._named = (event, identity(event))
        return self._named[1]

    def _followers(self, event: Event, reported: Sequence[Finding]) -> list[Follower]:
        """Return the keyed detectors that an event concerns, and the keys that it has for each."""
        credential = event.used_credential is not None or event.user.username.startswith(SERVICE_ACCOUNT_PREFIX)
        found = []
        for detector in (self._with_credential if credential else self._watching_keyed)(event):
            keys = self._guarded(detector, detector.keys, event, reported, origin=event.origin, check=str)
            if keys:
                found.append((detector, keys))
        return found

    def _follow(
        self, event: Event, number: int, reported: Sequence[Finding], followers: Iterable[Follower]
    ) -> Iterator[Finding]:
        verdicts = self._exclusions.judge(event)
        for detector, keys in followers:
            nearest = self._nearest(detector.rule.id, verdicts)
            for finding in self._guarded(detector, detector.observe, event, reported, keys, origin=event.origin):
                yield from self._new(_judged(finding, nearest), number)

    def _guarded(
        self,
        detector: Detector,
        call: Callable[..., Iterable[Any]],
        *arguments: object,
        origin: str | None,
        check: type = Finding,
    ) -> list[Any]:
        """Call somebody's code: where it raises, the other detectors must still see the event."""
        try:
            found = list(call(*arguments))
            for item in found:
                _check(item, check)
        except Exception as error:  # noqa: BLE001 - as said
            reason = _explain(error)
        else:
            return found
        self._tally.failures += 1
        self._on_error(DetectorError(detector.rule.id, reason, origin))
        return []

    def _new(self, finding: Finding, number: int) -> Iterator[Finding]:
        """Yield and count a finding unless it repeats one about the same request.

        The verdict is in the key: what was set aside must not make a repetition that is reported vanish.
        """
        key = f"{finding.fingerprint} {finding.excluded_by}"
        if finding.event.time is not None and self._seen.before(key, number):
            self._tally.duplicates += 1
        elif finding.excluded_by is None:
            self._tally.findings[finding.rule.id] += 1
            yield finding
        else:
            self._tally.excluded[finding.excluded_by] += 1
            yield finding


def _by_resource(detectors: Sequence[D], anyway: Collection[D] = ()) -> Callable[[Event], Sequence[D]]:
    """Return which detectors want to see an event; a request that issued a credential is a TokenRequest in any case.

    Arguments:
        detectors: all of them.
        anyway: those that want to see it whatever its resource is.

    """
    everything = tuple(d for d in detectors if d.watches is None or d in anyway)
    resources = {resource for detector in detectors for resource in detector.watches or ()}
    watching = {
        resource: tuple(d for d in detectors if d.watches is None or resource in d.watches or d in anyway)
        for resource in resources
    }

    def of(event: Event) -> Sequence[D]:
        resource = event.resource
        if resource != TOKEN_SUBRESOURCE and event.minted_credential is not None:
            resource = TOKEN_SUBRESOURCE
        return watching.get(resource, everything)

    return of


def _username(event: Event) -> str:
    """Name the service account that a token was minted for, as its own requests do."""
    target = event.service_account
    return f"{SERVICE_ACCOUNT_PREFIX}{target.namespace}:{target.name}" if target else ""


def interest_of(detectors: Sequence[Detector], /) -> Interest | None:
    """Return what these detectors want to see; None where one of them wants to see everything."""
    following = [d for d in detectors if isinstance(d, KeyedDetector) and d.follows_credentials]
    if any(d.watches is None and not d.mentions for d in detectors) or not all(d.only_followed for d in following):
        return None
    resources = {resource.rpartition("/")[2].encode() for d in detectors for resource in d.watches or ()}
    words = dict.fromkeys(word for d in detectors for word in d.mentions if d.watches is None)
    interest = Interest(tuple(sorted(resources)), tuple(words), follows=bool(following))
    for detector in following:
        for key, _, _ in detector.memory:
            namespace, _, name = key.partition("/")
            interest.follow(key if key.startswith("JTI=") else f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
    return interest


def _check(item: object, kind: type) -> None:
    if not isinstance(item, kind):
        raise TypeError(f"gave {type(item).__name__}, not {kind.__name__}")


def _explain(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even its __str__ may raise
        return type(error).__name__


def _judged(finding: Finding, nearest: Verdict | None) -> Finding:
    """Mark a finding as excluded; otherwise the failed checks become evidence, for they are what a look-alike is."""
    if nearest is None:
        return finding
    if nearest.excludes:
        return attrs.evolve(finding, excluded_by=nearest.exclusion.id)
    for failed in nearest.failed:
        finding = _with_failed_check(finding, nearest.exclusion, failed)
    return finding


def _with_failed_check(finding: Finding, exclusion: Exclusion, failed: FailedCheck) -> Finding:
    """Add the fact that is not as it should be, as evidence where it stands in the event, else as a caveat."""
    if failed.why in finding.summary:  # as a look-alike's
        return finding
    why = f"named like exclusion {exclusion.id}, yet reported: {failed.why}"
    if failed.value:
        return attrs.evolve(finding, evidence=(*finding.evidence, Evidence(failed.path, failed.value, why)))
    return attrs.evolve(finding, caveats=(*finding.caveats, why))
