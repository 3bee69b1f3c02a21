# SPDX-License-Identifier: Apache-2.0
"""Detectors that remember: a fold over the events that share a key, with bounded memory in event time."""

from __future__ import annotations

import abc
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar, final

import attrs

from k8stokendetect.convert.structure import CONVERTER, structure
from k8stokendetect.convert.times import parse_time
from k8stokendetect.detectors.base import Detector
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding

S = TypeVar("S")

STATE_VERSION: Final = 1
"""The form that `state()` writes; `restore()` refuses any other."""

LATENESS: Final = timedelta(seconds=60)
"""So much later than its successors may an event be read: each API server writes a file, and batches mix them."""

MAX_KEYS: Final = 200_000
"""So many keys are remembered by one detector; the one that expires first is forgotten first, and counted."""


@attrs.frozen
class Step(Generic[S]):
    """What one event changes.

    Arguments:
        state: what to remember for this key; None forgets it.
        findings: what to report.
        expires: until when the state is kept, in event time; None: `remember_for` after this event.
        hand_on: states for later keys of the same event, such as where a chain began; `merge` joins them with what is
            remembered there.

    """

    state: S | None = None
    findings: tuple[Finding, ...] = ()
    expires: datetime | None = None
    hand_on: Mapping[str, S] = attrs.field(factory=dict)


@attrs.define
class Memory(Generic[S]):
    """What a keyed detector remembers: a state a key, each until its time.

    Attributes:
        limit: so many keys at most.
        forgotten: how many states were dropped for want of room, not for age; each may have hidden a finding.

    """

    limit: int = MAX_KEYS
    forgotten: int = 0
    _states: dict[str, tuple[S, datetime]] = attrs.field(factory=dict, init=False)
    _swept: datetime = attrs.field(default=datetime.min.replace(tzinfo=UTC), init=False)

    def get(self, key: str, now: datetime, /) -> S | None:
        """Return the state of a key unless it has expired."""
        found = self._states.get(key)
        return found[0] if found and found[1] >= now else None

    def put(self, key: str, state: S | None, expires: datetime, /) -> None:
        """Remember a state until a time, or forget the key."""
        self._states.pop(key, None)
        if state is not None:
            self._states[key] = (state, expires)
        if len(self._states) > self.limit:
            self._make_room()

    def sweep(self, now: datetime, /) -> None:
        """Drop what has expired, now and then: the cost is spread over many events."""
        if now - self._swept > LATENESS:
            self._swept = now
            self._states = {key: held for key, held in self._states.items() if held[1] >= now}

    def _make_room(self) -> None:
        """Drop the tenth that expires first: one sort for many events."""
        order = sorted(self._states, key=lambda key: self._states[key][1])
        for key in order[: max(1, self.limit // 10)]:
            del self._states[key]
            self.forgotten += 1

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[tuple[str, S, datetime]]:
        return ((key, state, expires) for key, (state, expires) in self._states.items())


class KeyedDetector(Detector, Generic[S]):
    """Follows something over many events: a credential, an actor, a service account.

    `keys` names what an event has to do with, `step` folds it into what is remembered of each. Both are pure: the same
    code runs in a loop, in a test and in Spark's keyed state. The engine hands events on in the order of their time, as
    far as they come within `LATENESS` of each other. S is an attrs class of plain values, or one plain value.

    Attributes:
        remember_for: how long a state is kept after the last event of its key, unless a step says otherwise.
        follows_credentials: it also wants every event that was made with a service account's token.
        only_followed: of those, only what was made with a token whose mint was reported, or without an id.
        needs: rules whose findings it follows; where they were not asked for they run all the same, unseen.
        memory: what it remembers.

    """

    needs: ClassVar[frozenset[str]] = frozenset()
    remember_for: ClassVar[timedelta]
    follows_credentials: ClassVar[bool] = False
    only_followed: ClassVar[bool] = False
    _state_type: ClassVar[Any] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in getattr(cls, "__orig_bases__", ()):
            if typing.get_origin(base) is KeyedDetector:
                cls._state_type = typing.get_args(base)[0]
        if hasattr(cls, "rule") and not isinstance(getattr(cls, "remember_for", None), timedelta):
            raise ConfigError(f"detector {cls.__name__}: remember_for is not a timedelta")
        if hasattr(cls, "rule") and cls._state_type is None:
            raise ConfigError(f"detector {cls.__name__}: name the class of its state, as in KeyedDetector[MyState]")

    def __init__(self) -> None:
        self.memory: Memory[S] = Memory()

    @abc.abstractmethod
    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Name what this event has to do with; nothing for most events.

        Arguments:
            event: the event.
            reported: what the other detectors reported about it and no exclusion set aside.

        """

    @abc.abstractmethod
    def step(self, key: str, event: Event, reported: Sequence[Finding], state: S | None, /) -> Step[S]:
        """Fold an event into the state of one of its keys.

        Arguments:
            key: one of those that `keys` gave.
            event: the event.
            reported: as for `keys`.
            state: what is remembered; None when nothing is.

        """

    def merge(self, mine: S | None, handed: S, /) -> S:  # noqa: ARG002 - for subclasses
        """Join what is remembered of a key with what an earlier key of the same event handed on; that, by default."""
        return handed

    @final
    def inspect(self, _: Event, /) -> Iterable[Finding]:
        """Report nothing: the engine calls `observe` when it is known what others reported."""
        return ()

    @final
    def observe(
        self, event: Event, reported: Sequence[Finding], keys: Iterable[str] | None = None, /
    ) -> Iterator[Finding]:
        """Take the steps of an event and remember what they say.

        Arguments:
            event: the event.
            reported: as for `keys`.
            keys: what `keys` gave for it, where that is known already.

        """
        now = event.time or datetime.min.replace(tzinfo=UTC)
        self.memory.sweep(now)
        handed: dict[str, S] = {}
        for key in self.keys(event, reported) if keys is None else keys:
            state = self.memory.get(key, now)
            step = self.step(key, event, reported, self.merge(state, handed[key]) if key in handed else state)
            handed |= step.hand_on
            self.memory.put(key, step.state, step.expires or _later(event.time, self.remember_for))
            yield from step.findings

    @final
    def state(self) -> dict[str, Any]:
        """Return what is remembered, as a JSON document that `restore` takes: `version`, `rule`, `keys`."""
        keys = {
            key: {"state": CONVERTER.unstructure(state, self._state_type), "expires": expires.isoformat()}
            for key, state, expires in self.memory
        }
        return {"version": STATE_VERSION, "rule": self.rule.id, "forgotten": self.memory.forgotten, "keys": keys}

    @final
    def restore(self, document: Mapping[str, Any], /) -> None:
        """Go on with what another instance remembered.

        Raises:
            ConfigError: when the document is of another rule or version, or damaged.

        """
        if document.get("version") != STATE_VERSION or document.get("rule") != self.rule.id:
            raise ConfigError(
                f"a state of version {document.get('version')!r} for rule {document.get('rule')!r}, "
                f"not of version {STATE_VERSION} for {self.rule.id!r}"
            )
        memory: Memory[S] = Memory(limit=self.memory.limit)
        try:
            memory.forgotten = int(document.get("forgotten", 0))
            for key, held in document["keys"].items():
                memory.put(key, structure(held["state"], self._state_type), parse_time(held["expires"]))
        except Exception as error:  # noqa: BLE001 - whatever stands in it
            raise ConfigError(f"the state of rule {self.rule.id!r} is damaged: {error}") from None
        self.memory = memory


def _later(time: datetime | None, by: timedelta) -> datetime:
    """Return when a state expires; one of an event without a time only makes room for others."""
    try:
        if time is not None:
            return time + by
    except OverflowError:
        pass
    return datetime.max.replace(tzinfo=UTC)
