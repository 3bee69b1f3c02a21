# SPDX-License-Identifier: Apache-2.0
"""A followed file loses and doubles no event, however it is rotated, however late it is read, and across restarts."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import rotating
from builders import token_request
from k8stokendetect import Event, read
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, ReadError
from k8stokendetect.input import follow, progress
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.input.place import LogFile, Place
from k8stokendetect.input.rotated_names import Name
from rotating import Reader, written

Rotate = Callable[[Path, int], None]
by_all = pytest.mark.parametrize("rotate", rotating.ROTATIONS)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than a service does."""
    monkeypatch.setattr(follow, "POLL", 0.002)
    monkeypatch.setattr(follow, "LAST_LOOK", 30.0)


def followed_under_load(path: Path, rotate: Rotate, files: int, seed: int) -> tuple[bytes, list[str]]:
    """Return what is read of a log of so many files, and the errors.

    The reader lags by up to three rotations, and its process ends and another goes on, three times.
    """
    chance, done, rotated = random.Random(seed), threading.Event(), [0]  # noqa: S311 - the same every time
    path.touch()
    reader, begun = Reader(path), threading.Event()

    def write() -> None:
        begun.wait(10)
        for number in range(100 * files):
            written(path, range(number, number + 1))
            if number % 100 == 99:
                rotate(path, number // 100 + 1)
                rotated[0] += 1
            if number % 40 == 0:
                time.sleep(0.001)
        done.set()

    writer, parts = threading.Thread(target=write), [files // 4, files // 2, 3 * files // 4, files]
    writer.start()
    for part in parts:
        source = FollowedFile(path, done.is_set, reader.note, None, reader.position)
        begun.set()
        while data := source.read(chance.choice([3000, 50_000, 1 << 20])):
            reader.text += b"" if source.is_replaying else data
            until = rotated[0] + chance.choice([0, 0, 1, 2, 3])
            while rotated[0] < until and not done.is_set():
                time.sleep(0.001)
            if part < files and rotated[0] >= part:
                break
        reader.position = json.loads(json.dumps(source.at.position()))
        source.close()
    writer.join()
    return reader.text, reader.errors


@by_all
def test_rotation_under_load(tmp_path: Path, rotate: Rotate) -> None:
    """A reader that lags by several rotations, and is replaced, loses and repeats nothing: 1,600 events, 16 files."""
    text, errors = followed_under_load(tmp_path / "audit.log", rotate, 16, 3)

    assert text == rotating.lines(*range(1600))
    assert errors == []


@pytest.mark.slow  # half a minute for each way of rotating
@by_all
@pytest.mark.parametrize("seed", range(20))
def test_rotation_under_long_load(tmp_path: Path, rotate: Rotate, seed: int) -> None:
    """The same with 4,000 events and 40 files, twenty times."""
    text, errors = followed_under_load(tmp_path / "audit.log", rotate, 40, seed)

    assert text == rotating.lines(*range(4000))
    assert errors == []


@by_all
def test_every_byte_once_across_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotate: Rotate) -> None:
    """The reader ends at any moment, also in the middle of a line, and the log is rotated meanwhile."""
    chance, number, rotated = random.Random(rotate.__name__), 1, 0  # noqa: S311 - the same every time
    path = tmp_path / "audit.log"
    whole, reader = written(path, range(1)), Reader(path)
    reader.read()
    for _ in range(25):
        monkeypatch.setattr(progress, "AGAIN", chance.choice([4 * 1024 * 1024, 3000]))
        more = chance.randint(0, 12)
        whole += written(path, range(number, number + more))
        number += more
        if chance.random() < 0.5 and path.stat().st_size:
            rotated += 1
            rotate(path, rotated)
        if chance.random() < 0.4:
            reader.read(most=chance.choice([3, 60, 400]), size=chance.choice([700, 5000, 100_000]))
    reader.read()
    reader.read()

    assert reader.text == whole
    assert rotated > 5
    assert reader.errors == []


def test_a_gap_is_reported_and_what_is_left_is_read(tmp_path: Path) -> None:
    """Where the file with the place is gone, and where a number is missing."""
    path, reader = tmp_path / "audit.log", Reader(tmp_path / "audit.log")
    first = written(path, range(3))
    reader.read()
    for number in range(3):
        rotating.numbered(path, 0)
        written(path, range(10 * number + 10, 10 * number + 13))
    path.with_name("audit.log.2").unlink()
    reader.read()
    assert reader.errors == [
        f"{path}: rotated file number 2 is missing; the rest is read, and may have been read before"
    ]
    assert reader.text == first + b"".join(map(rotating.line, [20, 21, 22, 30, 31, 32]))

    rotating.numbered(path, 0)
    written(path, range(40, 43))
    for old in tmp_path.glob("audit.log.*"):
        old.unlink()
    reader.read()
    assert "no file holds the place where reading stopped" in reader.errors[1]
    assert reader.text.endswith(b"".join(map(rotating.line, [30, 31, 32, 40, 41, 42])))


def test_while_it_reads_a_file_may_be_removed(tmp_path: Path) -> None:
    """It is read to its end, and that nothing proves what came next is reported."""
    path, step, errors = tmp_path / "audit.log", itertools.count(), list[K8sTokenDetectError]()
    first = written(path, range(3))

    def stop() -> bool:
        if next(step) == 0:
            path.unlink()
            written(path, range(5, 7))
        return next(step) > 60

    followed, text = FollowedFile(path, stop, errors.append), b""
    while data := followed.read():
        text += data
    assert text == first + b"".join(map(rotating.line, [5, 6]))
    assert len(errors) == 1


def test_another_folder_may_be_named(tmp_path: Path) -> None:
    """Logrotate's `olddir` may be anywhere."""
    path, old = tmp_path / "logs" / "audit.log", tmp_path / "elsewhere"
    path.parent.mkdir()
    old.mkdir()
    reader = Reader(path, old)
    whole = written(path, range(3))
    reader.read()
    whole += written(path, range(3, 6))
    path.rename(old / "audit.log.1")
    whole += written(path, range(6, 9))
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_a_file_is_known_by_its_content_not_by_its_number(tmp_path: Path) -> None:
    """An inode is used again for the next file: it is another one all the same."""
    path, reader = tmp_path / "audit.log", Reader(tmp_path / "audit.log")
    whole = written(path, range(5))
    reader.read()
    whole += written(path, range(5, 7))
    gone = path.with_name("audit.log.1.gz")
    gone.write_bytes(gzip.compress(path.read_bytes()))
    number = path.stat().st_ino
    path.unlink()
    whole += written(path, range(7, 30))
    if path.stat().st_ino != number:  # where the file system has not used it again, it is the same file
        path.with_name("other").touch()
    reader.read()

    assert (reader.text, reader.errors) == (whole, [])


def test_a_damaged_rotated_file_costs_itself(tmp_path: Path) -> None:
    """What can be read of it is read; an error says that it is cut off, and the next file follows."""
    path, reader = tmp_path / "audit.log", Reader(tmp_path / "audit.log")
    first = written(path, range(3))
    reader.read()
    rotating.numbered(path, 0)
    written(path, range(10, 30))
    rotating.numbered(path, 0)
    whole = gzip.compress(path.with_name("audit.log.1").read_bytes())
    path.with_name("audit.log.1.gz").write_bytes(whole[:-60])
    path.with_name("audit.log.1").unlink()
    last = written(path, range(40, 43))
    reader.read()

    assert reader.text.startswith(first)
    assert reader.text.endswith(last)
    assert ["cut off" in error for error in reader.errors] == [True]


def test_what_is_written_to_the_old_file_is_read_late(tmp_path: Path) -> None:
    """A writer that was not told of the rotation goes on for a while: it is read, and reported."""
    path, looks, errors = tmp_path / "audit.log", itertools.count(), list[K8sTokenDetectError]()
    written(path, range(2))

    def stop() -> bool:
        look = next(looks)
        if look == 0:
            rotating.numbered(path, 0)
            written(path, range(10, 12))
        elif look == 5:
            written(path.with_name("audit.log.1"), range(2, 4))
        return look > 20

    followed, text = FollowedFile(path, stop, errors.append), b""
    while data := followed.read():
        text += data
    assert text == b"".join(map(rotating.line, [0, 1, 10, 11, 2, 3]))
    assert ["read late" in str(error) for error in errors] == [True]


def test_a_line_that_was_left_open_is_not_glued_to_the_next_file(tmp_path: Path) -> None:
    """It is an error of its own."""
    path, step = tmp_path / "audit.log", itertools.count()
    path.write_bytes(b'{"auditID":"cut')

    def stop() -> bool:
        if next(step) == 0:
            path.rename(path.with_name("audit.log.1"))
            path.write_bytes(json.dumps(token_request(auditID="next")).encode() + b"\n")
        return next(step) > 9

    items = list(read(FollowedFile(path, stop)).stream())
    assert [isinstance(item, Event) for item in items] == [False, True]


@pytest.mark.parametrize(
    ("name", "kind", "order"),
    [
        ("audit.log.2", "numbered", (-2,)),
        ("audit.log.10.gz", "numbered", (-10,)),
        ("audit.2.log", "numbered", (-2,)),
        ("audit.log-20261127", "dated", (20261127,)),
        ("audit.log-20261127-1764237600.xz", "dated", (20261127, 1764237600)),
        ("audit-20261127.log.gz", "dated", (20261127,)),
        ("audit-2026-11-27T10-00-00.000.log", "dated", (2026, 11, 27, 10, 0, 0, 0)),
        ("audit-2026-11-27T10-00-00.000.log.gz", "dated", (2026, 11, 27, 10, 0, 0, 0)),
        ("audit.log.20261127-100000.gz", "dated", (20261127, 100000)),
        ("audit.log.bak", "other", ()),
        ("audit.log", None, ()),
        ("audit-policy.yaml", None, ()),
        ("audit2.log", None, ()),
        ("kube.log.1", None, ()),
    ],
)
def test_names_of_rotated_files(name: str, kind: str | None, order: tuple[int, ...]) -> None:
    """Those of logrotate, the API server and the kubelet; what is no rotated file is none."""
    found = Name.of(name, "audit.log")
    assert (found and found.kind, found.order if found else ()) == (kind, order)


def test_a_place_holds_no_text_and_only_what_is_one_is_a_place(tmp_path: Path) -> None:
    """Saved, it is numbers and hashes."""
    path = tmp_path / "audit.log"
    text = written(path, range(5))
    place = Place.of(700, text, text[:700], 1)
    file = LogFile(path)
    assert place.is_in(file)
    assert not Place.of(701, text, text[:701] + b"x", 1).is_in(file)
    assert Place.from_dict(json.loads(json.dumps(place.to_dict()))) == place
    assert "alice" not in json.dumps(place.to_dict())
    file.close()
    wrongs: list[object] = [None, [], {}, {**place.to_dict(), "offset": -1}, {**place.to_dict(), "offset": True}]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="not a place"):
            Place.from_dict(wrong)
    os.mkfifo(tmp_path / "audit.log.1")
    with pytest.raises(ReadError, match="not a file"):
        LogFile(tmp_path / "audit.log.1").read_at(0, 1)
