# SPDX-License-Identifier: Apache-2.0
"""The second half, one part of one bucket at a time: drops duplicates and runs keyed detectors in order of time."""

from __future__ import annotations

import heapq
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from k8stokendetect.convert.structure import parse_event
from k8stokendetect.detectors import KeyedDetector
from k8stokendetect.detectors.keyed import LATENESS
from k8stokendetect.engine.duplicates import Window
from k8stokendetect.engine.pipeline import Follower, Stages
from k8stokendetect.engine.watches import prefilter_of
from k8stokendetect.errors import K8sTokenDetectError, ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.outputs.native import to_line
from k8stokendetect.spark.front import NO_TIME, Due, error_line
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.raw import Use

REMEMBERED: Final = 2000
"""Maximum number of findings, and of events, that a part of a bucket remembers from one batch to the next, to drop
repeated deliveries. Beyond that a finding is repeated, with the same fingerprint."""

_LATENESS: Final = LATENESS // timedelta(microseconds=1)

Said = tuple[str, str]
"""A row of the schema `SAID`."""

Waiting = tuple[int, str, str, bytes]
"""The time, the sort key among rows of the same time, the kind, the payload."""


class _Names(Window):
    """A window of names that can be saved."""

    def last(self) -> list[str]:
        """Return the last names."""
        return list(self._seen)[-REMEMBERED:]


class BackStages(Stages):
    """A pipeline that takes what the first half routed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seen: _Names = _Names()
        self._observed: _Names = _Names()
        self.keyed: dict[str, KeyedDetector[Any]] = {
            detector.rule.id: detector for detector in arguments[0] if isinstance(detector, KeyedDetector)
        }

    def reported_once(self, finding: Finding, number: int) -> Iterator[Finding]:
        """Yield a finding of the first half unless it is a repetition."""
        return self._new(finding, number)

    def follow(
        self, event: Event, number: int, reported: Sequence[Finding], followers: list[Follower]
    ) -> Iterator[Finding]:
        """Run the keyed detectors on an event unless it was delivered before."""
        if followers and not self._is_repeated(event, number):
            yield from self._follow(event, number, reported, followers)

    def followers(self, event: Event) -> list[Follower]:
        """Return the keyed detectors that want an event about which nothing was reported."""
        return self._followers(event, ())

    def names(self) -> tuple[list[str], list[str]]:
        """Return what was last seen and observed."""
        return self._seen.last(), self._observed.last()

    def restore(self, seen: Iterable[str], observed: Iterable[str]) -> None:
        """Restore what was seen and observed in an earlier batch."""
        for names, window in ((seen, self._seen), (observed, self._observed)):
            for name in names:
                window.before(name, -1)


class Part:
    """One part's share of a bucket; parts have nothing in common.

    Arguments:
        plan: what to look for.
        bucket: the bucket's number.
        saved: what `save` returned in an earlier batch.

    """

    def __init__(self, plan: Plan, bucket: int, saved: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._bucket = bucket
        self._errors: list[K8sTokenDetectError] = []
        stages = plan.stages(self._errors.append, BackStages)
        assert isinstance(stages, BackStages)  # noqa: S101 - made above
        self._stages = stages
        saved = saved or {}
        for rule, state in saved.get("states", {}).items():
            if rule in stages.keyed:
                stages.keyed[rule].restore(state)
        stages.restore(saved.get("seen", ()), saved.get("observed", ()))
        self._latest: int = saved.get("latest", NO_TIME)
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, str, int, str, bytes]] = []
        self._followed = prefilter_of([d for d in stages.keyed.values() if d.follows_credentials]).followed
        for waiting in saved.get("waiting", ()):
            self.put(waiting)

    def put(self, row: Waiting, /) -> None:
        """Add a row; it waits for earlier ones."""
        time, tie, kind, payload = row
        heapq.heappush(self._waiting, (time, tie, next(self._numbers), kind, payload))
        if kind == "due":
            self._latest = max(self._latest, time)
            self._follow_mint(pickle.loads(payload))  # noqa: S301 - from the first half
        elif kind == "use":
            self._latest = max(self._latest, time)

    def ready(self, *, everything: bool = False) -> Iterator[Said]:
        """Yield what is found in the rows that are due, or in all rows."""
        while self._waiting and (everything or self._latest - self._waiting[0][0] > _LATENESS):
            _, _, _, kind, payload = heapq.heappop(self._waiting)
            yield from self.said(kind, payload)

    def said(self, kind: str, payload: bytes, /) -> Iterator[Said]:
        """Yield what is found in a row."""
        if kind == "error":
            yield "error", payload.decode()
            return
        for finding in self._found(payload):
            if finding.excluded_by is None or self._plan.keep_excluded:
                yield "finding", to_line(finding)
        for error in self._errors:
            yield "error", error_line(error).decode()
        self._errors.clear()

    def _found(self, payload: bytes) -> Iterator[Finding]:
        given = pickle.loads(payload)  # noqa: S301 - from the first half
        if isinstance(given, Due):
            keyed = self._stages.keyed
            followers = [(keyed[rule], list(keys)) for rule, keys in given.followers]
            yield from self._stages.follow(given.event, given.number, given.reported, followers)
        elif isinstance(given, Use):
            yield from self._used(given)
        else:
            yield from self._stages.reported_once(*given)

    def _used(self, use: Use) -> Iterator[Finding]:
        """Read a use if its token is followed; drop it otherwise."""
        if self._followed.isdisjoint(use.ids):
            return
        try:
            event = parse_event(msgspec.json.decode(use.text), platform=self._plan.platform, origin=use.source.origin)
        except (ReadError, msgspec.MsgspecError) as error:
            trouble = error if isinstance(error, ReadError) else ReadError("not JSON", use.source.origin)
            self._errors.append(trouble.with_traceback(None))
            return
        followers = self._stages.followers(event)
        mine = [(detector, self._own(detector, use, keys)) for detector, keys in followers]
        yield from self._stages.follow(event, id(use), (), [(detector, keys) for detector, keys in mine if keys])

    def _own(self, detector: KeyedDetector[Any], use: Use, keys: list[str]) -> list[str]:
        """Leave out the keys that belong to another bucket."""
        rule, part = detector.rule.id, use.source.part
        return [key for key in keys if self._plan.bucket_of_key(part, rule, key) == self._bucket]

    def _follow_mint(self, due: Due) -> None:
        """Follow a token whose mint was reported, as the engine does, before the mint is due."""
        event, target = due.event, due.event.service_account
        if due.reported and event.mints_token:
            name = f"{SERVICE_ACCOUNT_PREFIX}{target.namespace}:{target.name}" if target else ""
            self._followed.add(event.minted_credential or name)

    @property
    def waits(self) -> bool:
        """Whether any row waits for earlier ones."""
        return bool(self._waiting)

    def save(self) -> dict[str, Any]:
        """Return everything that the next batch needs."""
        seen, observed = self._stages.names()
        states = {rule: detector.state() for rule, detector in self._stages.keyed.items() if len(detector.memory)}
        waiting = [(time, tie, kind, payload) for time, tie, _, kind, payload in sorted(self._waiting)]
        return {"states": states, "seen": seen, "observed": observed, "latest": self._latest, "waiting": waiting}


def in_order(plan: Plan, rows: Iterable[dict[str, Any]], /) -> Iterator[Said]:
    """Run the second half of a batch on rows sorted by bucket, part and time."""
    for (bucket, _), group in itertools.groupby(rows, key=_place):
        part = Part(plan, bucket)
        for row in group:
            yield from part.said(row["kind"], row["payload"])


_place: Callable[[dict[str, Any]], tuple[int, str | None]] = lambda row: (row["bucket"], row["part"])  # noqa: E731
