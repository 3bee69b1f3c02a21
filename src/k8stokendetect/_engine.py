# SPDX-License-Identifier: Apache-2.0
"""`detect()`: the loop over events, each detector's interests, and the exclusion stage behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from k8stokendetect.detectors import BUILTIN, Detector
from k8stokendetect.errors import ConfigError, DetectorError, OnError, ReadError, raise_error
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, Miss, find_exclusion, verdict
from k8stokendetect.exclusions.catalogue import did_you_mean
from k8stokendetect.findings import Evidence, Finding
from k8stokendetect.reading import AuditLog, Source, read

WINDOW: Final = 100_000
"""How many fingerprints are remembered to drop duplicates; flooding it makes findings repeat, never vanish."""


@attrs.define
class Tally:
    """What happened to everything that was read; `detect` adds to it as it goes.

    Attributes:
        events: how many events were read.
        findings: how many findings were reported, by rule id.
        excluded: how many findings were set aside, by exclusion id.
        duplicates: how many findings repeated one about the same request.
        unreadable: how many records could not be read.
        skipped: how many records of other logs a wrapper held; they are rightly no audit events.
        failures: how many times a detector raised.

    """

    events: int = 0
    findings: Counter[str] = attrs.field(factory=Counter)
    excluded: Counter[str] = attrs.field(factory=Counter)
    duplicates: int = 0
    unreadable: int = 0
    skipped: int = 0
    failures: int = 0


def detect(
    source: Source,
    *,
    detectors: Iterable[Detector | str] | None = None,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    keep_excluded: bool = False,
    platform: Platform | None = None,
    on_error: OnError = raise_error,
    tally: Tally | None = None,
) -> Iterator[Finding]:
    """Find minted service account tokens in a Kubernetes audit log.

    Arguments are checked at the call; the result is lazy, and reads only as far as it is iterated.

    Arguments:
        source: what `read` takes (a path, an open binary file, bytes, a mapping, an iterable of mappings or Events),
            or an AuditLog.
        detectors: instances, or ids of built-in rules; default: all of `detectors.BUILTIN`, made anew. The same
            instances given again go on with what they remember.
        exclusions: whom to set aside: Exclusions, or their names; `()` reports everybody.
        keep_excluded: also yield what was set aside, with `excluded_by`.
        platform: where the records come from, where they do not say so: it decides which provider's exclusions apply.
        on_error: called with a ReadError for each unreadable record and a DetectorError for each detector that
            raised; the default raises.
        tally: counted up while iterating.

    Raises:
        ConfigError: when an argument is wrong: an unknown rule, exclusion or platform, a source of no known type.

    """
    checked: tuple[object, object] = (on_error, tally)
    if not callable(checked[0]) or not isinstance(checked[1], Tally | None):
        raise ConfigError("on_error must be callable, tally a Tally")
    chosen = _choose_detectors(detectors)
    silencing = _choose_exclusions(exclusions, chosen)
    if isinstance(source, AuditLog):
        if platform is not None and source.platform != platform:
            raise ConfigError("an AuditLog was given: give the platform to read()")
        log, on_error = source, source.on_error if on_error is raise_error else on_error
    else:
        log = read(source, platform=platform, on_error=on_error)
    return _run(log, chosen, silencing, keep_excluded, on_error, Tally() if tally is None else tally)


def _choose_detectors(detectors: Iterable[Detector | str] | None) -> tuple[Detector, ...]:
    if detectors is not None and (isinstance(detectors, str) or not isinstance(detectors, Iterable)):
        raise ConfigError("detectors takes a list of them")
    known = {cls.rule.id: cls for cls in BUILTIN}
    chosen: list[Detector] = []
    for item in known if detectors is None else detectors:
        if isinstance(item, str):
            if item not in known:
                raise ConfigError(f"unknown rule {item!r}{did_you_mean(item, known)}")
            chosen.append(known[item]())
        elif isinstance(item, Detector):
            chosen.append(item)
        else:
            raise ConfigError(f"not a Detector instance: {item!r}")
    for rule, count in Counter(detector.rule.id for detector in chosen).items():
        if count > 1:
            raise ConfigError(f"rule {rule!r} is given twice")
    return tuple(chosen)


def _choose_exclusions(
    exclusions: Iterable[Exclusion | str], detectors: Sequence[Detector]
) -> dict[str, list[Exclusion]]:
    """Return which exclusions may silence which rule."""
    if isinstance(exclusions, str) or not isinstance(exclusions, Iterable):
        raise ConfigError("exclusions takes a list of them")
    rules = {cls.rule.id for cls in BUILTIN} | {detector.rule.id for detector in detectors}
    silencing: dict[str, list[Exclusion]] = {}
    named: dict[str, Exclusion] = {}
    for item in exclusions:
        exclusion = find_exclusion(item) if isinstance(item, str) else item
        if not isinstance(exclusion, Exclusion):
            raise ConfigError(f"not an Exclusion: {exclusion!r}")
        if named.setdefault(exclusion.id, exclusion) != exclusion:
            raise ConfigError(f"two different exclusions are called {exclusion.id!r}")
        for rule in exclusion.rules:
            if rule not in rules:
                raise ConfigError(f"exclusion {exclusion.id!r}: unknown rule {rule!r}{did_you_mean(rule, rules)}")
            silencing.setdefault(rule, []).append(exclusion)
    return silencing


def _run(
    log: AuditLog,
    detectors: Sequence[Detector],
    silencing: dict[str, list[Exclusion]],
    keep_excluded: bool,  # noqa: FBT001 - private
    on_error: OnError,
    tally: Tally,
) -> Iterator[Finding]:
    seen = _Window(WINDOW)
    skipped = tally.skipped - log.skipped
    watching = _by_resource(detectors)

    def failed(error: DetectorError) -> None:
        tally.failures += 1
        on_error(error)

    for number, event in enumerate(_counting_skipped(log, tally, skipped)):
        if isinstance(event, ReadError):
            tally.unreadable += 1
            for finding in _revealed_by(event, detectors, failed):
                tally.findings[finding.rule.id] += 1
                yield finding
            on_error(event)
            continue
        tally.events += 1
        for finding in _judged(event, watching(event), silencing, failed):
            # The verdict is in the key: what was set aside must not make a repetition that is reported vanish.
            key = f"{finding.fingerprint} {finding.excluded_by}"
            if finding.event.time is not None and seen.before(key, number):
                tally.duplicates += 1
            elif finding.excluded_by is None:
                tally.findings[finding.rule.id] += 1
                yield finding
            else:
                tally.excluded[finding.excluded_by] += 1
                if keep_excluded:
                    yield finding


def _counting_skipped(log: AuditLog, tally: Tally, earlier: int) -> Iterator[Event | ReadError]:
    """Pass on what the log holds, and keep count of what it rightly skips, to its end."""
    for item in log.stream():
        tally.skipped = earlier + log.skipped
        yield item
    tally.skipped = earlier + log.skipped


def _by_resource(detectors: Sequence[Detector]) -> Callable[[Event], Sequence[Detector]]:
    """Return which detectors want to see an event; a request that issued a credential is a TokenRequest in any case."""
    everything = tuple(detector for detector in detectors if detector.watches is None)
    resources = {resource for detector in detectors for resource in detector.watches or ()}
    watching = {
        resource: tuple(d for d in detectors if d.watches is None or resource in d.watches) for resource in resources
    }

    def of(event: Event) -> Sequence[Detector]:
        resource = event.resource
        if resource != TOKEN_SUBRESOURCE and event.minted_credential is not None:
            resource = TOKEN_SUBRESOURCE
        return watching.get(resource, everything)

    return of


def _revealed_by(
    error: ReadError, detectors: Sequence[Detector], on_error: Callable[[DetectorError], object]
) -> Iterator[Finding]:
    """Yield what the detectors find in a record that could not be read."""
    for detector in detectors if error.revealed else ():
        try:
            findings = [_checked(finding) for finding in detector.inspect_unreadable(error)]
        except Exception as trouble:  # noqa: BLE001 - somebody else's code, as below
            reason = _explain(trouble)
        else:
            yield from findings
            continue
        on_error(DetectorError(detector.rule.id, reason, error.origin))


def _judged(
    event: Event,
    detectors: Sequence[Detector],
    silencing: dict[str, list[Exclusion]],
    on_error: Callable[[DetectorError], object],
) -> Iterator[Finding]:
    """Yield what the detectors find in one event, each finding marked where an exclusion excuses it."""
    for detector in detectors:
        try:
            findings = [_checked(finding) for finding in detector.inspect(event)]
        except Exception as error:  # noqa: BLE001 - somebody else's code: the other detectors must still see the event
            reason = _explain(error)
        else:
            yield from (_set_aside(finding, event, silencing.get(finding.rule.id, ())) for finding in findings)
            continue
        on_error(DetectorError(detector.rule.id, reason, event.origin))


def _checked(finding: object) -> Finding:
    if isinstance(finding, Finding):
        return finding
    raise TypeError(f"inspect gave {type(finding).__name__}, not Finding")


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
