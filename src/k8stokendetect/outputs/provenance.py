# SPDX-License-Identifier: Apache-2.0
"""Scan: what a report rests on: the files and their hashes, the counts, the errors, the options, the version."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import attrs

from k8stokendetect.engine.tally import Tally
from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.frozen(kw_only=True)
class SourceFile:
    """A file that was read, as it lay there: of a compressed file or an archive, the file itself.

    Arguments:
        name: its path, or where else it came from, without credentials.
        size: in bytes; None where that is not known.
        sha256: of its bytes, in hexadecimal; empty where there is none, which `note` explains.
        modified: when it was last written to, where that is known.
        note: what else to say, such as that it changed while it was read.

    """

    name: str
    size: int | None = None
    sha256: str = ""
    modified: datetime | None = None
    note: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str], /) -> Self:
        """Hash a file in pieces; what cannot be read has a note that says why, and nothing is raised."""
        name = os.fspath(path)
        try:
            if not Path(path).is_file():
                return cls(name=name, note="not hashed: it is not a file, and it can be read only once")
            with Path(path).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
        except (OSError, ValueError) as error:
            return cls(name=name, note=f"not hashed: {getattr(error, 'strerror', None) or 'not a file name'}")
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        return cls(name=name, size=status.st_size, sha256=sha256, modified=modified)


def _version() -> str:
    return metadata.version("k8stokendetect")


@with_short_repr
@attrs.frozen(kw_only=True)
class Scan:
    """What a report rests on, so that another person can repeat it and trust it.

    Arguments:
        files: what was read.
        events: how many events were read, including those that no detector wanted.
        findings: how many findings were reported.
        excluded: how many findings were excluded, by exclusion id.
        errors: the first errors, in words.
        number_of_errors: how many there were in all.
        counts: other things that were counted, in words, such as `records of other logs: 3`.
        options: the command line, without its program and without credentials.
        version: of k8stokendetect.
        started: when reading began.
        ended: when it ended, or when a live page was made.
        note: what else to say first, such as that the scan was interrupted.
        logs: what `k8stokendetect explain` is given to show an event; empty where nothing can be read again.

    """

    files: tuple[SourceFile, ...] = ()
    events: int | None = None
    findings: int | None = None
    excluded: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    errors: tuple[str, ...] = ()
    number_of_errors: int = 0
    counts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    version: str = attrs.field(factory=_version)
    started: datetime | None = None
    ended: datetime | None = None
    note: str = ""
    logs: tuple[str, ...] = ()

    @classmethod
    def counted(cls, tally: Tally, /, **fields: Any) -> Self:
        """Make it of what was counted, and of the other arguments."""
        counts = (
            (tally.duplicates, "repeated findings"),
            (tally.unreadable, "unreadable records"),
            (tally.skipped, "records of other logs"),
            (tally.unproven, "events of an unproven source"),
            (tally.undecided, "tokens of unknown origin, with too little log before them to judge"),
            (tally.failures, "detector failures"),
        )
        return cls(
            events=tally.events,
            findings=tally.findings.total(),
            excluded=dict(tally.excluded),
            counts=tuple(f"{what}: {number:,}" for number, what in counts if number),
            **fields,
        )

    @property
    def command(self) -> str:
        """The options as they are written in a shell."""
        return shlex.join(self.options)

    @property
    def size(self) -> int:
        """How many bytes the files have together, as far as that is known."""
        return sum(file.size or 0 for file in self.files)

    def explain(self, *ids: str) -> str:
        """Return the command that shows some requests and their events; empty where nothing can be read again."""
        return shlex.join(["k8stokendetect", "explain", *ids, *self.logs]) if self.logs else ""
