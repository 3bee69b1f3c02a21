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
from k8stokendetect.engine.watches import prefilter_of
from k8stokendetect.errors import DetectorError, OnError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import Exclusion, Miss, Verdict, verdict
from k8stokendetect.exclusions.index import Named
from k8stokendetect.findings import Evidence, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX

D = TypeVar("D", bound=Detector)

Follower: TypeAlias = tuple[KeyedDetector[Any], list[str]]
"""A keyed detector, and the keys that an event has for it."""

Share: TypeAlias = tuple[int, tuple[Finding, ...], list[Follower]]
"""What keyed detectors are to see of an event beside it: its number, what was reported, and who follows it."""


class Stages:
    """The way of an event: detectors, exclusions, then, in the order of time, keyed detectors, exclusions again.

    Arguments:
        detectors: those that were asked for.
        silencing: which exclusions may silence which rule.
        on_error: told of a detector that raises.
        tally: counted up.
        keep_excluded: findings that are set aside are wanted, too.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        silencing: dict[str, list[Exclusion]],
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
        self._silencing = {rule: Named(exclusions) for rule, exclusions in silencing.items()}
        self._telling = frozenset(
            detector.rule.id for detector in (*stateless, *unasked) if not keep_excluded and _tells(detector)
        )
        self._on_error = on_error
        self._tally = tally
        self._seen = Window()
        self._observed = Window()
        self._named: tuple[Event | None, str] = (None, "")
        self.prefilter = prefilter_of((*stateless, *unasked, *keyed))
        self._order: InOrder[Share] = InOrder(LATENESS)

    def take(self, event: Event, number: int) -> Iterator[Finding]:
        """Yield what is found in an event, and in earlier ones whose time has come."""
        reported = []
        for detector in self._watching(event):
            if self._is_settled(detector, event, number):
                continue
            for finding in self._guarded(detector, detector.inspect, event, origin=event.origin):
                judged = self._judged(finding, event)
                if judged.excluded_by is None:
                    reported.append(judged)
                if judged.rule.id not in self._unasked:
                    yield from self._new(judged, number)
        if reported and event.mints_token:
            self.prefilter.follow(event.minted_credential or _username(event))
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

    def _nearest(self, rule: str, event: Event) -> Verdict | None:
        """Return what the exclusion says whose proofs this event comes nearest to, of those that name its actor."""
        exclusions = self._silencing.get(rule)
        if exclusions is None:
            return None
        named = exclusions.of(event.user.username)
        verdicts = [judged for judged in (verdict(exclusion, event) for exclusion in named) if judged]
        return min(verdicts, key=lambda judged: len(judged.misses), default=None)

    def _judged(self, finding: Finding, event: Event) -> Finding:
        """Mark a finding that an exclusion excuses."""
        nearest = self._nearest(finding.rule.id, event)
        return finding if nearest is None else _set_aside(finding, nearest)

    def _is_settled(self, detector: Detector, event: Event, number: int) -> bool:
        """Count what would only be set aside without making the finding, where the detector can tell."""
        rule = detector.rule.id
        if rule not in self._telling:
            return False
        nearest = self._nearest(rule, event)
        if nearest is None or not nearest.excuses:
            return False
        try:
            reports = detector.reports(event)
        except Exception:  # noqa: BLE001 - then `inspect` is asked, and may raise and be told
            reports = None
        if reports and rule not in self._unasked:
            aside = nearest.exclusion.id
            if event.time is not None and self._seen.before(f"{self._name(event)} {rule} {aside}", number):
                self._tally.duplicates += 1
            else:
                self._tally.excluded[aside] += 1
        return reports is not None

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
        for detector, keys in followers:
            for finding in self._guarded(detector, detector.observe, event, reported, keys, origin=event.origin):
                yield from self._new(self._judged(finding, event), number)

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


def _tells(detector: Detector) -> bool:
    """Tell whether `reports` goes with `inspect`: a subclass may have overridden the latter only."""
    defined = next(cls for cls in type(detector).__mro__ if "inspect" in vars(cls) or "reports" in vars(cls))
    return "reports" in vars(defined) and defined is not Detector


def _check(item: object, kind: type) -> None:
    if not isinstance(item, kind):
        raise TypeError(f"gave {type(item).__name__}, not {kind.__name__}")


def _explain(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even its __str__ may raise
        return type(error).__name__


def _set_aside(finding: Finding, nearest: Verdict) -> Finding:
    """Mark a finding that an exclusion excuses; a near miss becomes evidence, for it is what a look-alike is."""
    if nearest.excuses:
        return attrs.evolve(finding, excluded_by=nearest.exclusion.id)
    for miss in nearest.misses:
        finding = _with_near_miss(finding, nearest.exclusion, miss)
    return finding


def _with_near_miss(finding: Finding, exclusion: Exclusion, miss: Miss) -> Finding:
    """Add the fact that is not as it should be, as evidence where it stands in the event, else as a caveat."""
    why = f"named like exclusion {exclusion.id}, yet reported: {miss.why}"
    if miss.value:
        return attrs.evolve(finding, evidence=(*finding.evidence, Evidence(miss.path, miss.value, why)))
    return attrs.evolve(finding, caveats=(*finding.caveats, why))
