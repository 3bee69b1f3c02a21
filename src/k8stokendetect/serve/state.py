# SPDX-License-Identifier: Apache-2.0
"""What a service remembers across a crash, besides its journals: one file, replaced at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

import attrs

from k8stokendetect.engine import Memory
from k8stokendetect.engine.state_file import write_atomically
from k8stokendetect.errors import ConfigError

VERSION: Final = 1

MOST_FINGERPRINTS: Final = 100_000
"""How many findings are known to have been reported; of one that was forgotten, a repetition is an alert again."""


class Reported:
    """The fingerprints of the findings that became part of an alert, the last of them.

    Arguments:
        names: from before.

    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = dict.fromkeys(names)

    def add(self, name: str, /) -> bool:
        """Remember a fingerprint; tell whether it is new."""
        if name in self.names:
            return False
        self.names[name] = None
        if len(self.names) > MOST_FINGERPRINTS:
            del self.names[next(iter(self.names))]
        return True


@attrs.define
class State:
    """What is saved.

    Arguments:
        memory: what detectors remember.
        batch: the number of the first batch that is examined again after a start: some of its events may wait.
        entry: the number of the first entry of the outbox of which `reported` may not know.
        reported: which findings became part of an alert.
        not_examined: the numbers of batches that are left out, because examining them failed.

    """

    memory: Memory = attrs.field(factory=Memory)
    batch: int = 1
    entry: int = 1
    reported: Reported = attrs.field(factory=Reported)
    not_examined: set[int] = attrs.field(factory=set)

    @classmethod
    def load(cls, path: Path, /) -> Self:
        """Read the file; without one, everything begins.

        Raises:
            ConfigError: when it cannot be read, or another release wrote it.

        """
        try:
            document: Any = json.loads(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError):
            document = None
        try:
            return cls(  # a document of another version is not one
                Memory.from_dict(document["memory" if document["version"] == VERSION else "version"]),
                int(document["batch"]),
                int(document["entry"]),
                Reported(map(str, document["reported"])),
                set(map(int, document["not_examined"])),
            )
        except (ConfigError, TypeError, KeyError, ValueError, AttributeError):
            raise ConfigError(f"{path}: not a state of this release") from None

    def save(self, path: Path, /) -> None:
        """Replace the file; raises OSError when it cannot be written."""
        document = {
            "version": VERSION,
            "batch": self.batch,
            "entry": self.entry,
            "not_examined": sorted(number for number in self.not_examined if number >= self.batch),
            "reported": list(self.reported.names),
            "memory": self.memory.to_dict(),
        }
        write_atomically(path, json.dumps(document, separators=(",", ":")).encode())
