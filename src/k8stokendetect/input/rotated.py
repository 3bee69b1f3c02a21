# SPDX-License-Identifier: Apache-2.0
"""Finds the files into which a log was rotated, in their order, and those that come after a place."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from k8stokendetect.input.place import LogFile, Place

_COMPRESSED: Final = re.compile(r"\.(?:gz|bz2|xz|zst|lz4|Z)$")
_NUMBER: Final = re.compile(r"\d{1,5}")
_DATED: Final = re.compile(r"\d[\d.:_T-]*Z?")
_ATTEMPTS: Final = 20


@attrs.frozen
class Name:
    """What the name of a rotated file says.

    Arguments:
        kind: `numbered` as by logrotate; `dated` as by its `dateext`, by the API server and the kubelet; or `other`.
        order: older files have a lower one, within a kind.

    Sources: man logrotate(8), `dateext`, `extension`, `start`; for the API server
    https://github.com/natefinch/lumberjack/blob/v2.2.1/lumberjack.go (backupTimeFormat, compressSuffix); for the
    kubelet https://github.com/kubernetes/kubernetes/blob/v1.36.2/pkg/kubelet/logs/container_log_manager.go.

    """

    kind: str
    order: tuple[int, ...] = ()

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
            return cls("dated", tuple(int(digits) for digits in re.findall(r"\d+", middle)))
        return cls("other")


@attrs.frozen
class Rotated:
    """A rotated file that is open."""

    name: Name
    file: LogFile


@attrs.frozen
class Trail:
    """What is to be read.

    Arguments:
        files: in their order; the last is the log itself, where it exists. Who gets them closes them.
        is_found: the place is in the first of them; else all are to be read from their beginning.
        problem: why something between them may be missing; empty where nothing is.

    """

    files: tuple[LogFile, ...]
    is_found: bool
    problem: str = ""


def trail(path: Path, folder: Path | None, place: Place, held: LogFile | None, /) -> Trail | None:
    """Find what comes after a place; None while nothing can be said, since files are being rotated.

    Arguments:
        path: of the log.
        folder: where its rotated files are; None for its own folder, or one in that.
        place: where reading stopped.
        held: the file in which that was, still open, and renamed or deleted by now; None where there is none.

    """
    found = _opened(path, folder)
    if found is None:
        return None
    groups, current = found
    used = next(filter(None, (_after(group, current, place, held) for group in (groups or [[]]))), None)
    if used is None:
        newer = [one.file for one in (groups or [[]])[0] if one.file.status.st_mtime_ns >= place.modified]
        newer.sort(key=lambda file: file.status.st_mtime_ns)
        is_start = not place.head_size and not newer  # nothing was read before, and nothing was rotated since
        used = Trail((*newer, *current), is_found=False, problem="" if is_start else _NOT_FOUND)
    for group in groups:
        for one in group:
            if one.file not in used.files:
                one.file.close()
    return used


_NOT_FOUND: Final = "no file holds the place where reading stopped, so what was written after it may be lost"


def _after(group: Sequence[Rotated], current: Sequence[LogFile], place: Place, held: LogFile | None) -> Trail | None:
    """Return what comes after a place in one of these files; None where it is in none."""
    known = [one for one in group if one.name.kind != "other"]
    mixed = len({one.name.kind for one in known}) > 1
    known.sort(key=lambda one: (one.file.status.st_mtime_ns,) if mixed else one.name.order)
    files = [*(one.file for one in known), *current]
    order = range(len(files) - 1, -1, -1)  # the newest is asked first
    index = next((i for i in order if held is not None and os.path.samestat(files[i].status, held.status)), None)
    if index is None:
        index = next((i for i in order if place.is_in(files[i])), None)
    if index is not None:
        problem = _gap(known[index:])
        if mixed and index + 1 < len(known):
            problem = problem or "its rotated files are named in more than one way, so their order is not certain"
        return Trail(tuple(files[index:]), is_found=True, problem=problem)
    for one in group:
        if one.name.kind == "other" and place.is_in(one.file):
            newer = (other.file for other in known if other.file.status.st_mtime_ns > one.file.status.st_mtime_ns)
            return Trail((one.file, *newer, *current), is_found=True)
    return None


def _gap(known: Sequence[Rotated]) -> str:
    """Say which numbers are missing between the files that follow one another."""
    numbers = [-one.name.order[0] for one in known if one.name.kind == "numbered"]
    missing = [number for number in range(max(numbers, default=0), 0, -1) if number not in numbers]
    return f"rotated file number {missing[0]} is missing" if missing else ""


def _opened(path: Path, folder: Path | None) -> tuple[list[list[Rotated]], list[LogFile]] | None:
    """Open the rotated files, folder by folder, and the log, as they are at one moment: rotation changes their names.

    None where they are rotated faster than they can be opened.
    """
    for _ in range(_ATTEMPTS):
        before = _listed(path, folder)
        with contextlib.ExitStack() as opened:
            try:
                groups = [[Rotated(name, _open(opened, one)) for one, name in group.items()] for group in before]
                current = [_open(opened, path)] if path.exists() else []
            except OSError:
                continue
            files = [*(one.file for group in groups for one in group), *current]
            if all(file.is_at(file.path) for file in files) and _listed(path, folder) == before:
                opened.pop_all()
                return groups, current
    return None


def _open(opened: contextlib.ExitStack, path: Path) -> LogFile:
    file = LogFile(path)
    opened.callback(file.close)
    return file


def _listed(path: Path, folder: Path | None) -> list[dict[Path, Name]]:
    """Return the rotated files in each folder that may hold them; of one that is being compressed, the whole one."""
    real = Path(os.path.realpath(path))
    own = dict.fromkeys([(path.parent, path.name), (real.parent, real.name)])
    places = own if folder is None else {(folder, path.name): None}
    below = [(inner, name) for place, name in own for inner in (_below(place) if folder is None else ())]
    return [group for place, name in (*places, *below) if (group := _listed_in(place, name, real))]


def _listed_in(folder: Path, log: str, real: Path) -> dict[Path, Name]:
    found: dict[Path, Name] = {}
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = Name.of(entry.name, log)
            if name is not None and entry.is_file() and (one := Path(os.path.realpath(entry.path))) != real:
                found[one] = name
    plain = {one: _COMPRESSED.sub("", str(one)) for one in found}
    whole = {str(one) for one in found}
    return {one: name for one, name in found.items() if plain[one] == str(one) or plain[one] not in whole}


def _below(folder: Path) -> list[Path]:
    """Return the folders in a folder: logrotate's `olddir` is often one of them."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
