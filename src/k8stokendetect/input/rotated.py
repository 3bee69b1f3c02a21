# SPDX-License-Identifier: Apache-2.0
"""Finds the files into which a log was rotated, in their order, and those that come after a place."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from k8stokendetect.errors import ReadError
from k8stokendetect.input.place import LogFile, Place
from k8stokendetect.input.rotated_names import Rotated, opened


@attrs.frozen
class Trail:
    """What is to be read.

    Arguments:
        files: in their order. The log itself is the last, where it has begun and follows at once; while others are
            read it may be rotated. Who gets them closes them.
        offset: where to begin in the first of them; None where the place is in none of them.
        problem: why something between them may be missing, or may be read again; empty where nothing is.
        has_until: some file holds the place up to which all was read before.

    """

    files: tuple[LogFile, ...]
    offset: int | None
    problem: str = ""
    has_until: bool = False


NOT_FOUND: Final = "no file holds the place where reading stopped, so what was written after it may be lost"
_BEHIND: Final = "lines that were read are not in the copy of the file, so others that were written then may be lost"
_TWICE: Final = "several files hold the place where reading stopped, and it goes on in the oldest"
_UNSURE: Final = "the names of its rotated files do not tell their order, so it is not certain"


def trail(
    path: Path,
    folder: Path | None,
    place: Place,
    held: LogFile | None = None,
    /,
    *,
    until: Place | None = None,
    at_end: bool = False,
) -> Trail | None:
    """Find what comes after a place; None while nothing can be said, since files are being rotated.

    Arguments:
        path: of the log.
        folder: where its rotated files are; None for its own folder, or one in that.
        place: where reading stopped; one without a head is before all.
        held: the file in which that was, still open, and renamed or deleted by now; None where there is none.
        until: up to where all was read before; None for nowhere.
        at_end: nothing more will be written: the log has begun also where its first line has no end.

    Raises:
        ReadError: when the log cannot be opened.

    """
    found = opened(path, folder)
    if found is None:
        return None
    rotated, current = found
    files = [*(one.file for one in rotated), *current]
    after = Trail((), None)
    try:
        for one in current:
            one.read_at(0, 0)
        log = [one for one in current if one.is_begun or (at_end and one.head)]
        after = _after(_without_copies(rotated, current), log, place, held)
        problem, has_until = after.problem or _gap(rotated, after), until is not None and any(map(until.is_in, files))
        if until is not None and not has_until and any(map(until.is_behind, files)):
            problem, has_until = problem or _BEHIND, True
        return attrs.evolve(after, problem=problem, has_until=has_until)
    finally:
        for file in files:
            if file not in after.files:
                file.close()


def beginning(path: Path, folder: Path | None, /) -> Place:
    """Return the place where a reader begins: that of the log, or behind what was rotated before it has begun."""
    rotated, current = opened(path, folder) or ([], [])
    try:
        log = [one for one in current if one.is_begun]
        if log:
            return Place.at(log[0], log[0].begin)
        used = _without_copies(rotated, log)
        newest = max(used, key=lambda one: one.modified, default=None)
        if newest is not None:
            same = (one for one in used if one.series == newest.series)
            newest = max(same, key=lambda one: one.place_in_series)
            return Place.at(newest.file, newest.file.end())
    except ReadError:
        pass
    finally:
        for file in (*(one.file for one in rotated), *current):
            file.close()
    return Place.of(0, b"", b"", time.time_ns())


def _after(rotated: Sequence[Rotated], log: Sequence[LogFile], place: Place, held: LogFile | None) -> Trail:
    """Return what comes after a place."""
    first, offset, problem = _found(rotated, log, place, held)
    if first is None:
        newer = [one for one in rotated if not place.head_size or one.modified >= place.modified]
        is_sure = len({one.series for one in newer}) <= 1
        newer.sort(key=lambda one: one.place_in_series if is_sure else (one.modified,))
        problem = NOT_FOUND if place.head_size else "" if is_sure else _UNSURE
        return Trail(tuple(one.file for one in newer) or tuple(log), None, problem)
    if first in log:
        return Trail((first,), offset, problem)
    here = next(one for one in rotated if one.file is first)
    newer, is_sure = _newer(rotated, here, place)
    files = [one.file for one in newer] or log
    return Trail((first, *files), offset, problem or ("" if is_sure else _UNSURE))


def _found(
    rotated: Sequence[Rotated], log: Sequence[LogFile], place: Place, held: LogFile | None
) -> tuple[LogFile | None, int, str]:
    """Return the file that holds a place, where in it that is, and what is doubtful about that."""
    series = sorted(rotated, key=lambda one: one.modified)
    files = [*(one.file for one in sorted(series, key=lambda one: one.place_in_series)), *log]
    if held is not None:
        same = (file for file in files if os.path.samestat(file.status, held.status))
        copies = (file for file in files if file.is_prefix_of(held))
        if (one := next(itertools.chain(same, copies), None)) is not None:
            return one, place.offset, ""
    holding = [file for file in files if place.is_in(file)]
    if holding:
        return holding[0], place.offset, _TWICE if len(holding) > 1 else ""
    behind = next((file for file in reversed(files) if place.is_behind(file)), None)
    return (None, 0, "") if behind is None else (behind, behind.end(), _BEHIND)


def _newer(rotated: Sequence[Rotated], here: Rotated, place: Place) -> tuple[list[Rotated], bool]:
    """Return the rotated files that are newer than one, in their order, and whether that is certain.

    By their names, where these are of one kind; by their times where that contradicts them, for the clock may have been
    set back. What is named in another way counts where it was written to later, and looks like this log. Other folders
    below that of the log may be about other logs of its name.
    """
    near = [one for one in rotated if one.is_own or one.folder == here.folder]
    series = sorted((one for one in near if one.series == here.series), key=lambda one: one.place_in_series)
    by_name, by_time = _behind(here, series), _behind(here, sorted(series, key=lambda one: one.modified))
    named, timed = ([one for one in some if not one.file.is_packed] for some in (by_name, by_time))
    if here.file.is_packed:
        timed = sorted(named, key=lambda one: one.modified)  # its own time may be when it was compressed
    since = min(here.modified, place.modified) if here.file.is_packed else here.modified
    first = here.file.head[:1]
    strange = [one for one in near if one.series != here.series and one.modified > since]
    strange = [one for one in strange if one.file.head[:1] == first]
    if named != timed or strange:
        return sorted((*by_time, *strange), key=lambda one: one.modified), False
    orders = {one.place_in_series for one in (here, *by_name)}
    return by_name, len(orders) > len(by_name)


def _behind(here: Rotated, series: Sequence[Rotated]) -> list[Rotated]:
    return list(series[series.index(here) + 1 :])


def _without_copies(rotated: Sequence[Rotated], log: Sequence[LogFile]) -> list[Rotated]:
    """Leave out what has nothing in it, and copies of other files, whole or in progress."""
    ranks = {id(file): 0 for file in log}
    ranks |= {id(one.file): 2 if one.name.kind == "other" else 1 for one in rotated}
    kept = [one for one in rotated if one.file.size]
    for one in tuple(kept):
        for other in (*(another.file for another in kept if another is not one), *log):
            if one.file.is_prefix_of(other) and (
                not other.is_prefix_of(one.file) or ranks[id(other)] <= ranks[id(one.file)]
            ):
                kept.remove(one)
                break
    return kept


def _gap(rotated: Sequence[Rotated], found: Trail) -> str:
    """Say which numbers are missing between the files that follow one another."""
    first = next((one for one in rotated if found.files and one.file is found.files[0]), None)
    if first is None or found.offset is None or first.name.kind != "numbered":
        return ""
    numbers = {-one.name.order[0] for one in rotated if one.series == first.series}
    missing = next((number for number in range(-first.name.order[0], 0, -1) if number not in numbers), None)
    return "" if missing is None else f"rotated file number {missing} is missing"
