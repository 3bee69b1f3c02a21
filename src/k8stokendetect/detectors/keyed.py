# SPDX-License-Identifier: Apache-2.0
"""Detectors that remember: a fold over the events that share a key, with bounded memory in event time."""

from __future__ import annotations

import abc
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar, final

import attrs

from k8stokendetect.convert.structure import CONVERTER, structure
from k8stokendetect.convert.times import parse_time
from k8stokendetect.detectors.base import Detector
from k8stokendetect.detectors.event_clock import EventClock
from k8stokendetect.detectors.packing import Packing
from k8stokendetect.detectors.states import NEVER, States, later
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding
from k8stokendetect.reprs import with_short_repr

S = TypeVar("S")

STATE_VERSION: Final = 1
"""The form that `state()` writes; `restore()` refuses any other."""


@with_short_repr
@attrs.define
class View(Generic[S]):
    """What is remembered of the keys of one event.

    Arguments:
        states: of the detector.
        keys: those of the event; no other can be read or written.
        now: the event's time.
        expires: until when a state is kept unless `put` says otherwise.
        excluded: an exclusion excludes the event from this detector's rule: what it reports about it is only counted.
        settled: of a call in a cloud: the audit log has been read beyond its time.

    """

    _states: States[S]
    _keys: frozenset[str]
    now: datetime
    expires: datetime
    excluded: bool = False
    settled: bool = False

    def get(self, key: str, /) -> S | None:
        """Return what is remembered of a key of this event; None when nothing is."""
        if key not in self._keys:
            raise _not_own(key)
        return self._states.get(key, self.now)

    def put(self, key: str, state: S | None, /, *, expires: datetime | None = None) -> None:
        """Remember a state of a key of this event, until `remember_for` after it or another time; None forgets it."""
        if key not in self._keys:
            raise _not_own(key)
        self._states.put(key, state, self.expires if expires is None else expires)


def _not_own(key: str) -> KeyError:
    return KeyError(f"{key!r} is not one of this event's keys: name it in `keys`")


class KeyedDetector(Detector, Generic[S]):
    """Follows something over many events: a credential, an actor, a service account.

    `keys` names what an event has to do with, `fold` takes the event into what is remembered of each. Both depend on
    their arguments alone: the same code runs in a loop, in a test and in Spark's keyed state. Events come in the order
    of their time, if they are read within `ALLOWED_LATENESS` of each other. S is an attrs class of plain values, or
    one plain value.

    Attributes:
        remember_for: how long a state is kept after the last event of its key, unless `put` says otherwise.
        needs: rules whose findings it follows; where they were not asked for they run all the same, unseen.
        states: what it remembers.
        undecided: how many events it could say nothing about, for want of what the log has to show first; `Tally` adds
            them up, which sets it back.

    """

    needs: ClassVar[frozenset[str]] = frozenset()
    remember_for: ClassVar[timedelta]
    _state_type: ClassVar[Any] = None

    def __init_subclass__(cls, **options: Any) -> None:
        for base in getattr(cls, "__orig_bases__", ()):
            origin, given = typing.get_origin(base), typing.get_args(base)
            if isinstance(origin, type) and issubclass(origin, KeyedDetector) and not isinstance(given[0], TypeVar):
                cls._state_type = given[0]
        super().__init_subclass__(**options)

    @classmethod
    def _check(cls) -> None:
        super()._check()
        if not isinstance(getattr(cls, "remember_for", None), timedelta):
            raise ConfigError("remember_for is not a timedelta")
        if cls._state_type is None:
            raise ConfigError("name the class of its state, as in KeyedDetector[MyState]")

    def __init__(self) -> None:
        self.states: States[S] = States(Packing(self._state_type))
        self.undecided = 0

    @abc.abstractmethod
    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterable[str]:
        """Name what this event has to do with; nothing for most events.

        Arguments:
            event: the event.
            reported: what the other detectors reported about it and no exclusion excludes.

        """

    @abc.abstractmethod
    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[S], /) -> Iterable[Finding]:
        """Take an event into what is remembered of one of its keys; yield what there is to report.

        Arguments:
            key: one of those that `keys` named; it is called once for each, in their order.
            event: the event.
            reported: as for `keys`.
            memory: what is remembered of this event's keys.

        """

    def settle(self, now: datetime | None, /) -> Iterable[Finding]:  # noqa: ARG002 - most count nothing
        """Yield what was counted rather than reported one by one; nothing unless a detector overrides it.

        Arguments:
            now: the time by the log, about once a minute of it: what belongs to a window that is over is due. None at
                the end of a `detect` call and while a followed file does not grow: what was never reported is, too.

        """
        return ()

    def reach(self, named: tuple[str, ...], /) -> frozenset[str]:
        """Return the keys that `fold` may read and write: those that `keys` named, unless a detector overrides it.

        One whose states name further keys adds those, and nothing else.
        """
        return frozenset(named)

    @final
    def inspect(self, event: Event | ReadError, /) -> Iterable[Finding]:  # noqa: ARG002 - it needs to know more
        """Report nothing: the engine calls `take` when it is known what others reported."""
        return ()

    @final
    def take(
        self,
        event: Event,
        reported: Sequence[Finding],
        keys: Iterable[str] | None = None,
        excluded: bool = False,  # noqa: FBT001, FBT002 - the engine calls it as it calls every method
        /,
    ) -> Iterable[Finding]:
        """Fold an event into what is remembered of its keys.

        Arguments:
            event: the event.
            reported: as for `keys`.
            keys: what `keys` named, where that is known already.
            excluded: see `View`.

        """
        named = tuple(self.keys(event, reported) if keys is None else keys)
        if not named:
            return ()
        time, states = event.time, self.states
        if time is not None:
            states.sweep(time)
        memory = View(states, self.reach(named), time or NEVER, later(time, self.remember_for), excluded)
        if len(named) == 1:
            return self.fold(named[0], event, reported, memory)
        return [finding for key in named for finding in self.fold(key, event, reported, memory)]

    @final
    def state(self) -> dict[str, Any]:
        """Return what is remembered, as a JSON document that `restore` takes: `version`, `rule`, `clock`, `keys`."""
        keys = {
            key: {"state": CONVERTER.unstructure(state, self._state_type), "expires": expires.isoformat()}
            for key, state, expires in self.states
        }
        clock, forgotten = self.states.clock, self.states.forgotten
        time = {"now": clock.now.isoformat() if clock.now else None, "supported": clock.supported}
        return {"version": STATE_VERSION, "rule": self.rule.id, "forgotten": forgotten, "clock": time, "keys": keys}

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
        states: States[S] = States(Packing(self._state_type), limit=self.states.limit)
        try:
            states.forgotten = int(document.get("forgotten", 0))
            time = document.get("clock") or {}
            if time.get("now"):
                states.clock = EventClock(parse_time(time["now"]), int(time["supported"]))
            for key, held in document["keys"].items():
                states.put(key, structure(held["state"], self._state_type), parse_time(held["expires"]))
        except Exception as error:  # noqa: BLE001 - whatever stands in it
            raise ConfigError(f"the state of rule {self.rule.id!r} is damaged: {error}") from None
        self.states = states
