# SPDX-License-Identifier: Apache-2.0
"""A followed log whose files are odd: nothing is lost without an error, and what is no part of it is not read."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rotating
from k8stokendetect.input import follow, rotated_names
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.input.place import HEAD, LogFile
from rotating import Reader, lines, written


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than a service does."""
    monkeypatch.setattr(follow, "POLL", 0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a log."""
    return tmp_path / "audit.log"


def renamed(path: Path, name: str, age: int = 0) -> Path:
    """Rename a log; it was written to so many seconds before it would have been."""
    rotated = path.rename(path.with_name(name))
    status = rotated.stat()
    os.utime(rotated, ns=(status.st_atime_ns, status.st_mtime_ns - age * 10**9))
    return rotated


def after(path: Path, *steps: Callable[[], object], looks: int = 60) -> tuple[bytes, list[str]]:
    """Return what is read of a log while something is done at each look for more, and the errors."""
    source_errors: list[str] = []
    todo, count = iter(steps), itertools.count()

    def stop() -> bool:
        for step in itertools.islice(todo, 1):
            step()
        return next(count) > looks

    source, text = FollowedFile(path, stop, lambda error: source_errors.append(str(error))), b""
    while data := source.read():
        text += data
    return text, source_errors


def test_a_log_that_was_empty_may_be_filled_and_copied_again_and_again(path: Path) -> None:
    """Between two looks; with and without earlier files, also where it comes back to the size it had."""
    rotating.copytruncate(path.parent / written_to(path, 0), 0)
    path.touch()

    def thrice(begin: int) -> None:
        for number in range(begin, begin + 3):
            written(path, range(number, number + 1))
            rotating.copytruncate(path, number)

    text, errors = after(
        path, lambda: thrice(10), lambda: None, lambda: thrice(20), lambda: written(path, range(30, 31))
    )
    assert (text, errors) == (lines(10, 11, 12, 20, 21, 22, 30), [])


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_begins_with_all_that_was_read_is_taken_for_the_old_one(path: Path, *, kept: bool) -> None:
    """With its copy or without. No more than those very lines is skipped: to `detect` they would be repetitions."""
    written(path, range(3))

    def again() -> None:
        if kept:
            rotating.copytruncate(path, 1)
        path.write_bytes(lines(0, 1, 2, 3))

    text, errors = after(path, lambda: None, again, lambda: written(path, range(4, 5)))
    assert (text, errors) == (lines(0, 1, 2, 3, 4), [])


def written_to(path: Path, number: int) -> str:
    """Write one line and return the name of the file."""
    written(path, range(number, number + 1))
    return path.name


def test_what_writes_to_its_own_offset_leaves_a_hole(path: Path) -> None:
    """After each truncation the file begins with zeros: they are passed over, and tell nothing."""
    reader = Reader(path)
    with path.open("wb", buffering=0) as out:
        out.write(lines(0, 1))
        reader.read()
        for number in range(2, 6):
            rotating.copytruncate(path, number)
            out.write(lines(number))
        file = LogFile(path)
        file.close()
        assert file.begin == len(lines(0, 1, 2, 3, 4))
    reader.read()

    assert (reader.text, reader.errors) == (lines(0, 1, 2, 3, 4, 5), [])


def test_files_that_begin_alike_are_told_apart_or_reported(path: Path) -> None:
    """A client may choose most of what an event says: its times are not in the first bytes."""
    begin = b'{"requestURI":"' + b"a" * HEAD
    path.write_bytes(begin + b'","time":1}\n')
    reader = Reader(path)
    source = FollowedFile(path, lambda: True, reader.note)
    reader.position = source.at.position()
    rotating.copytruncate(path, 1)
    path.write_bytes(begin + b'","time":2}\n')
    reader.read(looks=30)

    assert reader.text == begin + b'","time":1}\n' + begin + b'","time":2}\n'
    assert ["several files hold the place" in error for error in reader.errors] == [True]


def test_a_file_that_cannot_be_opened_is_reported_in_its_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are read."""
    reader = Reader(path)
    written(path, range(2))
    reader.read()
    rotating.numbered(path, 0)
    written(path, range(10, 12))
    rotating.numbered(path, 0)
    written(path, range(20, 22))
    opened = os.open

    def refuse(name: Any, *more: Any) -> int:
        if str(name).endswith("audit.log.1"):
            raise PermissionError(13, "Permission denied", str(name))
        return opened(name, *more)

    monkeypatch.setattr(os, "open", refuse)
    reader.read()
    assert reader.text == lines(0, 1, 20, 21)
    assert reader.errors == [f"{path}.1: cannot be opened: Permission denied"]


def test_a_log_that_cannot_be_opened_is_reported_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And read as soon as it can be opened."""
    written(path, range(2))
    opened, tries = os.open, itertools.count()

    def refuse(name: Any, *more: Any) -> int:
        if str(name) == str(path) and next(tries) < 6:
            raise PermissionError(13, "Permission denied", str(name))
        return opened(name, *more)

    monkeypatch.setattr(os, "open", refuse)
    text, errors = after(path)
    assert text == lines(0, 1)
    assert errors == [f"{path}: cannot be opened: Permission denied"]


def test_what_was_read_after_the_copy_was_made_is_not_read_again(path: Path) -> None:
    """What else was written then is lost, perhaps, and an error says so."""
    reader = Reader(path)
    first = written(path, range(50))
    shutil.copy(path, path.with_name("audit.log.1"))
    first += written(path, range(50, 80))
    reader.read()
    os.truncate(path, 0)
    last = written(path, range(100, 102))
    reader.read(looks=30)

    assert reader.text == first + last
    assert ["not in the copy" in error for error in reader.errors] == [True]


def test_a_copy_in_progress_is_not_read(path: Path) -> None:
    """Nor is one that is whole, before the log is truncated."""
    reader = Reader(path)
    whole = written(path, range(50))
    reader.read(most=2, size=700)
    copy = path.with_name("audit.log.1")
    copy.write_bytes(whole[:9000])
    reader.read(most=2, size=700)
    copy.write_bytes(whole)
    reader.read()
    os.truncate(path, 0)
    whole += written(path, range(60, 61))
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_a_copy_that_is_overwritten(path: Path) -> None:
    """A script that keeps one copy: nothing is lost at first, and an error says when the next one has replaced it."""
    reader = Reader(path)

    def rotate() -> None:
        shutil.copyfile(path, path.with_name("audit.log.old"))
        os.truncate(path, 0)

    whole = written(path, range(2))
    reader.read(most=2, size=700)
    rotate()
    whole += written(path, range(2, 4))
    reader.read()
    assert (reader.text, reader.errors) == (whole, [])

    rotate()
    written(path, range(10, 12))
    rotate()
    last = written(path, range(20, 22))
    reader.read(looks=30)
    assert reader.text.startswith(whole)
    assert reader.text.endswith(last)
    assert ["no file holds the place" in error for error in reader.errors] == [True]


def test_names_that_say_nothing_are_ordered_by_time(path: Path) -> None:
    """Without an error where the times differ, with one where they are equal."""
    reader, whole = Reader(path), written(path, range(1))
    reader.read()
    for number, day in enumerate(["friday", "saturday", "sunday"]):
        renamed(path, f"audit.log.{day}", 10 - number)
        whole += written(path, range(number + 1, number + 2))
    reader.read()
    assert (reader.text, reader.errors) == (whole, [])

    files = [renamed(path, "audit.log.monday")]
    whole += written(path, range(10, 11))
    files.append(renamed(path, "audit.log.tuesday"))
    for file in files:
        os.utime(file, (1, 2_000_000_000))
    whole += written(path, range(11, 12))
    reader.read(looks=30)
    assert reader.text == whole
    assert ["do not tell their order" in error for error in reader.errors] == [True]


@pytest.mark.parametrize("names", [("audit.log.1", "audit.log-20261127"), ("audit.log-20261128", "audit.log-20261127")])
def test_names_that_contradict_one_another_or_the_times_are_reported(path: Path, names: tuple[str, str]) -> None:
    """Rotation was set up in another way since, or the clock was set back: all is read, in the order of the times."""
    reader, whole = Reader(path), written(path, range(1))
    reader.read()
    for number, name in enumerate(names):
        renamed(path, name, 10 - number)
        whole += written(path, range(number + 1, number + 2))
    reader.read(looks=30)

    assert reader.text == whole
    assert {"do not tell their order" in error for error in reader.errors} == {True}


def test_what_stands_next_to_a_log_is_no_part_of_it(path: Path) -> None:
    """What other readers note, copies that a person made, and another node's log of the same name."""
    reader, whole = Reader(path), written(path, range(2))
    reader.read()
    path.with_name("audit.log.pos").write_text("/var/log/audit.log\t0000000000000400\n")
    shutil.copy(path, path.with_name("audit.log.bak"))
    (path.parent / "node-2").mkdir()
    whole += written(path, range(2, 4))
    rotating.dated(path, 0)
    other = path.parent / "node-2" / "audit.log"
    written(other, range(90, 92))
    rotating.dated(other, 2)
    written(other, range(92, 94))
    rotating.numbered(other, 0)
    whole += written(path, range(4, 6))
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_older_files_may_be_moved_to_another_folder(path: Path) -> None:
    """The newer ones are still next to the log."""
    reader, whole = Reader(path), written(path, range(2))
    reader.read()
    rotating.dated(path, 0)
    whole += written(path, range(2, 4))
    rotating.dated(path, 2)
    whole += written(path, range(4, 6))
    (path.parent / "archive").mkdir()
    path.with_name("audit.log-20261101").rename(path.parent / "archive" / "audit.log-20261101")
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_there_may_be_more_files_than_a_process_may_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are looked at; where the place is in an older one, an error says so."""
    monkeypatch.setattr(rotated_names, "MOST", 3)
    reader, whole = Reader(path), written(path, range(1))
    reader.read()
    for number in range(1, 4):
        renamed(path, f"audit.log-2026110{number}", 10 - number)
        whole += written(path, range(number, number + 1))
    reader.read()
    assert (reader.text, reader.errors) == (whole, [])

    for number in range(4, 9):
        renamed(path, f"audit.log-2026110{number}", 10 - number)
        whole += written(path, range(number, number + 1))
    reader.read(looks=30)
    assert ["no file holds the place" in error for error in reader.errors] == [True]
    assert reader.text.endswith(lines(8))


@pytest.mark.parametrize("form", ["zst", "lz4"])
def test_other_compression(path: Path, form: str) -> None:
    """What logrotate's `compresscmd` names may be read, too."""
    name = {"zst": "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", "lz4": "lz4.frame"}[form]
    codec = pytest.importorskip(name)
    reader, whole = Reader(path), written(path, range(2))
    reader.read()
    for number in range(1, 3):
        whole += written(path, range(10 * number, 10 * number + 2))
        rotated = path.with_name(f"audit.log-2026110{number}.{form}")
        rotated.write_bytes(codec.compress(path.read_bytes()))
        path.unlink()
        path.touch()
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_a_missing_package_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not taken for a damaged log."""
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    reader = Reader(path)
    written(path, range(2))
    reader.read()
    rotating.dated(path, 0)
    path.with_name("audit.log-20261102.lz4").write_bytes(b"\x04\x22\x4d\x18 and so on")
    written(path, range(2, 4))
    reader.read()

    assert reader.text == lines(0, 1, 2, 3)
    assert ["pip install" in error for error in reader.errors] == [True]


def test_a_file_that_is_compressed_and_still_written_to_is_read_on(path: Path) -> None:
    """Logrotate warns of that: without `delaycompress` a writer may go on in a file that is gone."""
    written(path, range(2))
    out = path.open("ab", buffering=0)

    def rotate() -> None:
        rotating.dated(path, 1)

    text, errors = after(path, rotate, lambda: out.write(lines(2)), lambda: written(path, range(3, 4)))
    out.close()
    assert (text, errors) == (lines(0, 1, 2, 3), [])


def test_a_log_that_is_truncated_without_a_copy_is_reported(path: Path) -> None:
    """And read from its beginning, also where it is empty for a while."""
    written(path, range(2))
    text, errors = after(
        path, lambda: os.truncate(path, 0), *[lambda: None] * 20, lambda: written(path, range(5, 7)), looks=90
    )
    assert text == lines(0, 1, 5, 6)
    assert ["no file holds the place" in error for error in errors] == [True]


def test_a_damaged_compressed_copy_of_the_place_is_reported(path: Path) -> None:
    """It cannot be told whether it holds the place."""
    reader = Reader(path)
    written(path, range(200))
    reader.read()
    whole = gzip.compress(path.read_bytes())
    path.with_name("audit.log.1.gz").write_bytes(whole[:-100])
    path.unlink()
    last = written(path, range(300, 302))
    reader.read(looks=30)

    assert reader.text.endswith(last)
    assert len(reader.errors) >= 1
