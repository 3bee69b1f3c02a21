# SPDX-License-Identifier: Apache-2.0
"""`Checkpoint`: the file from which a run goes on after it was stopped or killed, replaced at once or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from k8stokendetect.engine.memory import SAVED, WINDOW, Memory
from k8stokendetect.engine.state_file import new_name, read_document, refused, why, write_all, write_atomically
from k8stokendetect.errors import ConfigError

_LONGEST: Final = 200


@attrs.frozen
class Saved:
    """What a checkpoint holds.

    Arguments:
        memory: what detectors remember.
        more: what the caller saved with it, as JSON.
        noted: names of what was done since; its order is theirs.

    """

    memory: Memory = attrs.field(factory=Memory)
    more: Mapping[str, Any] = attrs.field(factory=dict)
    noted: tuple[str, ...] = ()


class Checkpoint:
    """One file that holds what detectors remember, what the caller adds, and a line for each thing done since.

    `save` replaces all of it, so that its parts cannot disagree, whenever the process is killed. `note` adds a line and
    costs little. A link is followed. Other programs may read the file, and must not write it.

    Arguments:
        path: of the file; it need not exist.

    """

    def __init__(self, path: Path, /) -> None:
        self.path = Path(os.path.realpath(path))
        self._notes: int | None = None

    def check(self) -> None:
        """Raise ConfigError unless it can be written, which is tried: its folder has to take another file."""
        if self.path.exists() and not stat.S_ISREG(self.path.stat().st_mode):
            raise ConfigError(f"{self.path}: cannot be written: not a file")
        written = new_name(self.path)
        try:
            written.write_bytes(b"")
            written.unlink()
            if self.path.exists():
                self.path.open("r+b").close()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path}: cannot be written: {why(error)}") from None

    def load(self) -> Saved:
        """Return what it holds; nothing where there is no file.

        Raises:
            ConfigError: when it is empty, damaged or of another release, or is not such a file; says which.

        """
        found = read_document(self.path)
        if found is None:
            return Saved()
        document, notes = found
        try:
            memory = Memory.from_dict(document)
        except ConfigError as error:
            raise refused(self.path, str(error)) from None
        more = document.get("more", {})
        if not isinstance(more, dict):
            raise refused(self.path, "what was saved with the memory is not an object")
        return Saved(memory, more, tuple(notes))

    def set_aside(self) -> Path:
        """Give a damaged file another name, `FILE.damaged` or with a number behind, and return that.

        Raises:
            OSError: when that is not possible.

        """
        number = 0
        while os.path.lexists(aside := self.path.with_name(f"{self.path.name}.damaged{number or ''}")):
            number += 1
        return self.path.rename(aside)

    def save(self, memory: Memory, more: Mapping[str, Any] | None = None) -> None:
        """Replace all of it; what was noted is forgotten.

        Arguments:
            memory: what detectors remember.
            more: what else to save, as JSON; with it, all that is remembered to tell repetitions is saved, not only
                the last.

        Raises:
            OSError: when it cannot be written; then the file is as it was.

        """
        document = memory.to_dict(SAVED) if more is None else memory.to_dict(WINDOW) | {"more": more}
        write_atomically(self.path, msgspec.json.encode(document) + b"\n")
        self.close()

    def note(self, names: Iterable[str], /) -> None:
        """Add names to the file: short, and without line ends.

        Raises:
            OSError: when it cannot be written.

        """
        lines = "".join(f"{name[:_LONGEST]}\n" for name in names).encode()
        if lines:
            if self._notes is None:
                self._notes = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            write_all(self._notes, lines)

    def close(self) -> None:
        """Close what is open; the file can still be saved."""
        if self._notes is not None:
            os.close(self._notes)
            self._notes = None
