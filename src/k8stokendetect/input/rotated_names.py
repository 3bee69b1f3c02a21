# SPDX-License-Identifier: Apache-2.0
"""Opens a log and the files into which it was rotated, as they are at one moment, and reads their names."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

import attrs

from k8stokendetect.errors import ReadError
from k8stokendetect.input.place import LogFile

_COMPRESSED: Final = re.compile(r"\.(?:gz|bz2|xz|zst|lz4|Z)$")
_NUMBER: Final = re.compile(r"\d{1,5}")
_DATED: Final = re.compile(r"\d{4}[\d.:_T+-]*Z?")
_ATTEMPTS: Final = 20

MOST: Final = 200
"""Maximum number of rotated files that are looked at, those that were written to last: a process may open only some."""


@attrs.frozen
class Name:
    """What the name of a rotated file says.

    Arguments:
        kind: `numbered` as by logrotate; `dated` as by its `dateext`, by the API server and the kubelet; or `other`.
        order: older files have a lower one, within a kind and form.
        form: how a date is written, with 0 for each digit: only dates of one form can be compared.

    Sources: man logrotate(8), `dateext`, `dateformat` (names must sort by time), `extension`, `start`; for the API
    server https://github.com/natefinch/lumberjack/blob/v2.2.1/lumberjack.go (backupTimeFormat, compressSuffix); for the
    kubelet https://github.com/kubernetes/kubernetes/blob/v1.36.2/pkg/kubelet/logs/container_log_manager.go.

    """

    kind: str
    order: tuple[int, ...] = ()
    form: str = ""

    @classmethod
    def of(cls, name: str, log: str, /) -> Name | None:
        """Read a name; None where it is not one of a log's rotated files.

        Arguments:
            name: of the file, such as `audit.log.2.gz` or `audit-2026-11-27T10-00-00.000.log`.
            log: the name of the log, such as `audit.log`.

        """
        plain = _COMPRESSED.sub("", name)
        extension = Path(log).suffix
        stem = log.removesuffix(extension)
        if plain.startswith(log) and plain != log:
            middle = plain[len(log) :]
        elif extension and plain.startswith(stem) and plain.endswith(extension) and plain != log:
            middle = plain[len(stem) : -len(extension)]
        else:
            return None
        separator, middle = middle[:1], middle[1:]
        if separator not in {".", "-", "_"}:
            return None
        if separator == "." and _NUMBER.fullmatch(middle):
            return cls("numbered", (-int(middle),))
        if _DATED.fullmatch(middle):
            digits = re.findall(r"\d+", middle)
            return cls("dated", tuple(map(int, digits)), re.sub(r"\d", "0", middle))
        return cls("other")


@attrs.frozen
class Rotated:
    """A rotated file that is open.

    Arguments:
        name: what its name says.
        file: it.
        is_own: it is where rotated files are looked for first: in the folder of the log, or in the one that was named.

    """

    name: Name
    file: LogFile
    is_own: bool

    @property
    def folder(self) -> Path:
        """The folder it is in."""
        return self.file.path.parent

    @property
    def series(self) -> tuple[object, ...]:
        """What files have in common whose names tell their order."""
        return self.name.kind, self.name.form, self.folder if self.name.kind == "numbered" else None

    @property
    def modified(self) -> int:
        """When it was last written to."""
        return self.file.status.st_mtime_ns

    @property
    def place_in_series(self) -> tuple[int, ...]:
        """What tells its order: its name or, where that says nothing, its time."""
        return self.name.order if self.name.kind != "other" else (self.modified,)


def opened(path: Path, folder: Path | None) -> tuple[list[Rotated], list[LogFile]] | None:
    """Open the log and its rotated files as they are at one moment: rotation changes their names.

    None where they are rotated faster than they can be opened. The log is opened first, and has to begin in the same
    way at the end: then all that was rotated before is in the other files, and none of what was rotated since.
    """
    own = {Path(os.path.realpath(one)) for one in (path.parent, folder or path.parent)}
    own.add(Path(os.path.realpath(path)).parent)
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as stack:
            try:
                current = [_open(stack, path)] if path.exists() else []
                before = _listed(path, folder)
                rotated = [Rotated(name, _open(stack, one), one.parent in own) for one, name in before.items()]
            except FileNotFoundError:
                continue
            files = [*(one.file for one in rotated), *current]
            is_same = all(file.is_at(file.path) for file in files) and _listed(path, folder) == before
            if is_same and all(_begins_as_it_did(file) for file in current):
                stack.pop_all()
                return rotated, current
    return None


def _begins_as_it_did(file: LogFile) -> bool:
    with contextlib.suppress(ReadError):
        return file.read_at(file.begin, len(file.head)) == file.head
    return not file.head


def _open(stack: contextlib.ExitStack, path: Path) -> LogFile:
    file = LogFile(path)
    stack.callback(file.close)
    return file


def _listed(path: Path, folder: Path | None) -> dict[Path, Name]:
    """Return the rotated files, the newest `MOST`; of one that is being compressed, the whole one."""
    real = Path(os.path.realpath(path))
    own = dict.fromkeys([(path.parent, path.name), (real.parent, real.name)])
    places = own if folder is None else {(folder, path.name): None}
    below = [(inner, name) for place, name in own for inner in (_below(place) if folder is None else ())]
    found: dict[Path, tuple[int, Name]] = {}
    for place, name in (*places, *below):
        found |= _listed_in(place, name, real)
    newest = sorted(found.items(), key=lambda item: item[1][0])[-MOST:]
    return {one: name for one, (_, name) in sorted(newest, key=lambda item: str(item[0]))}


def _listed_in(folder: Path, log: str, real: Path) -> dict[Path, tuple[int, Name]]:
    found: dict[Path, tuple[int, Name]] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            name = Name.of(entry.name, log)
            if name is not None and entry.is_file() and (one := Path(os.path.realpath(entry.path))) != real:
                with contextlib.suppress(FileNotFoundError):
                    found[one] = entry.stat().st_mtime_ns, name
    plain = {one: _COMPRESSED.sub("", str(one)) for one in found}
    whole = {str(one) for one in found}
    return {one: about for one, about in found.items() if plain[one] == str(one) or plain[one] not in whole}


def _below(folder: Path) -> list[Path]:
    """Return the folders in a folder: logrotate's `olddir` is often one of them."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
