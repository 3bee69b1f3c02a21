# SPDX-License-Identifier: Apache-2.0
"""`Memory`: what detectors remember from one call to the next, in a process or in a file."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.engine.habits import Habits
from k8stokendetect.engine.mints import MintsSeen
from k8stokendetect.engine.profile import ClusterProfile
from k8stokendetect.engine.state_file import read_document, refused, write_atomically
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding
from k8stokendetect.reprs import short_repr

WINDOW: Final = 100_000
"""How many names are remembered; flooding it makes findings repeat, never vanish."""


def told_apart(finding: Finding, /) -> str:
    """Return what tells a finding from others of its rule and request: it may be about an earlier one, too."""
    if not finding.key and not finding.related:
        return ""
    text = repr((finding.event.audit_id, [ref.audit_id for ref in finding.related], finding.key))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


BEFORE: Final = -1
"""The number of all events from before."""


class Deduplicator:
    """Remembers the last names.

    Arguments:
        limit: maximum number of names, by default WINDOW; the oldest is forgotten first.

    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = WINDOW if limit is None else limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def is_repeat(self, name: str, number: int, /) -> bool:
        """Tell whether an event with another number had this name, and remember it."""
        first = self._seen.setdefault(name, number)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return first != number

    def last(self, most: int, /) -> list[str]:
        """Return the last names, the oldest first."""
        return list(self._seen)[-most:]

    def restore(self, names: Iterable[str], /) -> None:
        """Remember names from before."""
        for name in names:
            self.is_repeat(str(name), BEFORE)


VERSION: Final = 1

SAVED: Final = 2000
"""How many names of findings, and of events, are saved; beyond, what is delivered again is reported again."""


class Memory:
    """What detectors remember from one call of `detect` to the next: `detect(…, memory=memory)`.

    It holds what keyed detectors remember, and what was reported, so that a batch that is delivered again repeats
    nothing. At the end of a call no event waits any more, so this is all there is; it holds no text of the log.

    Attributes:
        reported: names of the last findings.
        folded: names of the last events that keyed detectors took.
        numbers: of the events, over all calls.
        profiles: what the log of each cluster has shown, by the cluster's name.
        mints: which tokens it has seen minted.
        habits: on how many days somebody minted for the same account.

    """

    def __init__(self) -> None:
        self.reported = Deduplicator()
        self.folded = Deduplicator()
        self.numbers = itertools.count(1)
        self.profiles: dict[str, ClusterProfile] = {}
        self.mints = MintsSeen()
        self.habits = Habits()
        self._saved: dict[str, Mapping[str, Any]] = {}
        self._detectors: dict[str, KeyedDetector[Any]] = {}

    def __repr__(self) -> str:
        rules = sorted({*self._detectors, *self._saved})
        return short_repr(self, rules=rules, clusters=sorted(self.profiles))

    def attach(self, detectors: Iterable[Detector], /) -> None:
        """Let detectors go on with what is remembered, and remember what they learn.

        Raises:
            ConfigError: when what was saved of a detector's rule is damaged; then all detectors are as they were.

        """
        keyed = [detector for detector in detectors if isinstance(detector, KeyedDetector)]
        before = [detector.states for detector in keyed]
        try:
            for detector in keyed:
                self._attach(detector)
        except ConfigError:
            for detector, states in zip(keyed, before, strict=True):
                detector.states = states
            raise

    def _attach(self, detector: KeyedDetector[Any]) -> None:
        rule = detector.rule.id
        if (earlier := self._detectors.get(rule)) is not None:
            detector.states = earlier.states
        elif rule in self._saved:
            detector.restore(self._saved.pop(rule))
        self._detectors[rule] = detector

    def to_dict(self, most: int = SAVED) -> dict[str, Any]:
        """Return all of it as a JSON document.

        Arguments:
            most: how many names of findings, and of events, it is to hold: the last.

        """
        now = {rule: detector.state() for rule, detector in self._detectors.items()}
        return {
            "version": VERSION,
            "detectors": [*(self._saved | now).values()],
            "reported": self.reported.last(most),
            "folded": self.folded.last(most),
            "mints": list(self.mints.names),
            "habits": {key: list(days) for key, days in self.habits.days.items()},
            "profiles": {cluster: profile.to_dict() for cluster, profile in self.profiles.items()},
        }

    @classmethod
    def from_dict(cls, document: object, /) -> Self:
        """Make a memory of what `to_dict` returned.

        Raises:
            ConfigError: when it is not such a document.

        """
        memory = cls()
        if not isinstance(document, Mapping):
            raise ConfigError("not the memory of a detect call")
        if (version := document.get("version")) != VERSION:
            what = f"version {version}" if type(version) is int else "no version"
            raise ConfigError(f"not the memory of a detect call of this version: it has {what}, not {VERSION}")
        try:
            saved = msgspec.convert(document, _Document)
            memory._saved = {str(state["rule"]): state for state in saved.detectors}
            memory.reported.restore(saved.reported)
            memory.folded.restore(saved.folded)
            memory.mints = MintsSeen(saved.mints)
            memory.habits = Habits.from_dict(saved.habits)
            memory.profiles = {name: ClusterProfile.from_dict(seen) for name, seen in saved.profiles.items()}
        except (TypeError, KeyError, AttributeError, RecursionError, msgspec.ValidationError):
            raise ConfigError("not the memory of a detect call") from None
        return memory

    @classmethod
    def load(cls, path: Path, /) -> Self:
        """Read a file that `save` wrote; without a file a memory begins empty.

        Raises:
            ConfigError: when the file cannot be read or is not such a memory; says why.

        """
        found = read_document(path)
        if found is None:
            return cls()
        try:
            return cls.from_dict(found[0])
        except ConfigError as error:
            raise refused(path, str(error)) from None

    def save(self, path: Path, /) -> None:
        """Write a file, at once or not at all.

        Raises:
            OSError: when it cannot be written.

        """
        write_atomically(path, msgspec.json.encode(self.to_dict()) + b"\n")


class _Document(msgspec.Struct):
    """What is saved, with its types."""

    detectors: list[dict[str, Any]]
    reported: list[str]
    folded: list[str]
    profiles: dict[str, dict[str, Any]]
    mints: list[str] = []
    habits: dict[str, Any] = {}
