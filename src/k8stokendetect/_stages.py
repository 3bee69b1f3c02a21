# SPDX-License-Identifier: Apache-2.0
"""The way of an event: detectors, exclusions, then, in the order of time, keyed detectors, exclusions again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs

from k8stokendetect._interest import Interest
from k8stokendetect._order import InOrder
from k8stokendetect._tally import Tally
from k8stokendetect.detectors import BUILTIN, Detector
from k8stokendetect.detectors.keyed import LATENESS, KeyedDetector
from k8stokendetect.errors import DetectorError, OnError, ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event
from k8stokendetect.exclusions import Exclusion, Miss, verdict
from k8stokendetect.findings import Evidence, Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX

D = TypeVar("D", bound=Detector)

WINDOW: Final = 100_000
"""How many fingerprints are remembered to drop duplicates; flooding it makes findings repeat, never vanish."""


class Stages:
    """The way of an event: detectors, exclusions, then, in the order of time, keyed detectors, exclusions again.

    Arguments:
        detectors: those that were asked for.
        silencing: which exclusions may silence which rule.
        on_error: told of a detector that raises.
        tally: counted up.

    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        silencing: dict[str, list[Exclusion]],
        on_error: OnError,
        tally: Tally,
    ) -> None:
        self._keyed = [detector for detector in detectors if isinstance(detector, KeyedDetector)]
        stateless = [detector for detector in detectors if not isinstance(detector, KeyedDetector)]
        rules = {detector.rule.id for detector in stateless}
        needed = {rule for detector in self._keyed for rule in detector.needs} - rules
        unasked = [cls() for cls in BUILTIN if cls.rule.id in needed]
        self._unasked = frozenset(needed)
        self._stateless = stateless
        self._watching = _by_resource([*stateless, *unasked])
        self._watching_keyed = _by_resource(self._keyed)
        self._silencing = silencing
        self._on_error = on_error
        self._tally = tally
        self._seen = _Window(WINDOW)
        self.interest = interest_of((*stateless, *unasked, *self._keyed))
        self._order: InOrder[tuple[int, tuple[Finding, ...]]] = InOrder(LATENESS)

    def take(self, event: Event, number: int) -> Iterator[Finding]:
        """Yield what is found in an event, and in earlier ones whose time has come."""
        reported = []
        for finding in self._judged(event, self._found(event)):
            if finding.excluded_by is None:
                reported.append(finding)
            if finding.rule.id not in self._unasked:
                yield from self._new(finding, number)
        if self.interest and reported and event.mints_token:
            self.interest.follow(event.minted_credential or _username(event))
        if self._keyed and self._concerns(event, reported):
            for earlier, (earlier_number, said) in self._order.put(event, (number, tuple(reported))):
                yield from self._follow(earlier, earlier_number, said)

    def rest(self) -> Iterator[Finding]:
        """Yield what is found in the events that still waited for earlier ones."""
        for event, (number, said) in self._order.rest():
            yield from self._follow(event, number, said)

    def unreadable(self, error: ReadError) -> Iterator[Finding]:
        """Yield what the detectors find in a record that could not be read."""
        for detector in self._stateless if error.revealed else ():
            for finding in self._guarded(detector, detector.inspect_unreadable, error, origin=error.origin):
                self._tally.findings[finding.rule.id] += 1
                yield finding

    def _found(self, event: Event) -> Iterator[Finding]:
        for detector in self._watching(event):
            yield from self._guarded(detector, detector.inspect, event, origin=event.origin)

    def _followers(self, event: Event) -> Iterator[KeyedDetector[Any]]:
        credential = event.used_credential is not None or event.user.username.startswith(SERVICE_ACCOUNT_PREFIX)
        watching = self._watching_keyed(event)
        for detector in self._keyed:
            if detector in watching or (credential and detector.follows_credentials):
                yield detector

    def _concerns(self, event: Event, reported: Sequence[Finding]) -> bool:
        return any(
            True
            for detector in self._followers(event)
            for _ in self._guarded(detector, detector.keys, event, reported, origin=event.origin, check=str)
        )

    def _follow(self, event: Event, number: int, reported: Sequence[Finding]) -> Iterator[Finding]:
        for detector in self._followers(event):
            found = self._guarded(detector, detector.observe, event, reported, origin=event.origin)
            for finding in self._judged(event, found):
                yield from self._new(finding, number)

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
            return [_checked(item, check) for item in call(*arguments)]
        except Exception as error:  # noqa: BLE001 - as said
            reason = _explain(error)
        self._tally.failures += 1
        self._on_error(DetectorError(detector.rule.id, reason, origin))
        return []

    def _judged(self, event: Event, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Mark each finding that an exclusion excuses."""
        return (_set_aside(finding, event, self._silencing.get(finding.rule.id, ())) for finding in findings)

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


def _by_resource(detectors: Sequence[D]) -> Callable[[Event], Sequence[D]]:
    """Return which detectors want to see an event; a request that issued a credential is a TokenRequest in any case."""
    everything = tuple(detector for detector in detectors if detector.watches is None)
    resources = {resource for detector in detectors for resource in detector.watches or ()}
    watching = {
        resource: tuple(d for d in detectors if d.watches is None or resource in d.watches) for resource in resources
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


def _checked(item: object, kind: type) -> object:
    if isinstance(item, kind):
        return item
    raise TypeError(f"gave {type(item).__name__}, not {kind.__name__}")


def _explain(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even its __str__ may raise
        return type(error).__name__


def _set_aside(finding: Finding, event: Event, exclusions: Iterable[Exclusion]) -> Finding:
    """Mark a finding that an exclusion excuses; a near miss becomes evidence, for it is what a look-alike is."""
    verdicts = [judged for judged in (verdict(exclusion, event) for exclusion in exclusions) if judged]
    nearest = min(verdicts, key=lambda judged: len(judged.misses), default=None)
    if nearest is None:
        return finding
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


class _Window:
    """Remembers the last fingerprints, to drop what was delivered twice or logged at two stages."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: dict[str, int] = {}

    def before(self, key: str, number: int) -> bool:
        """Tell whether an event before this one (by its number) had the key, and remember it."""
        first = self._seen.setdefault(key, number)
        if len(self._seen) > self._size:
            del self._seen[next(iter(self._seen))]
        return first != number
