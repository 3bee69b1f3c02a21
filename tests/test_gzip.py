# SPDX-License-Identifier: Apache-2.0
"""Compressed logs: with isal or without, whole or damaged, the same records, errors and reasons."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Event, ReadError, read
from k8stokendetect.input import gunzip
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.input.gunzip import FASTEST, STANDARD, Gunzip, Library
from k8stokendetect.input.limits import Limits, decompress

IDS = [hashlib.sha256(bytes([number % 256, number >> 8])).hexdigest()[:32] for number in range(300)]
LINES = [json.dumps(token_request(auditID=audit_id)).encode() + b"\n" for audit_id in IDS]
CONTENT = b"".join(LINES)
WHOLE = gzip.compress(CONTENT, mtime=0)
HALF = gzip.compress(b"".join(LINES[:150]), mtime=0), gzip.compress(b"".join(LINES[150:]), mtime=0)
TRAILER = WHOLE[-8:]
RICH_HEADER = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\x03\0abc" + b"audit.log\0" + b"rotated\0" + b"\x12\x34"
CUT, DAMAGED = "the gzip data is cut off", "the gzip data is damaged"

CASES = {
    "whole": (WHOLE, 300, ""),
    "one member after the other": (HALF[0] + HALF[1], 300, ""),
    "a member for each line": (b"".join(map(gzip.compress, LINES)), 300, ""),
    "an empty member between": (HALF[0] + gzip.compress(b"") + HALF[1], 300, ""),
    "stored, not compressed": (gzip.compress(CONTENT, 0), 300, ""),
    "every field of the header": (RICH_HEADER + WHOLE[10:], 300, ""),
    "zeros at the end": (WHOLE + bytes(9000), 300, ""),
    "zeros between members": (HALF[0] + bytes(9000) + HALF[1], 300, ""),
    "garbage at the end": (WHOLE + b"garbage", 300, DAMAGED),
    "garbage after zeros": (WHOLE + bytes(9000) + b"garbage", 300, DAMAGED),
    "another method": (WHOLE[:2] + b"\x07" + WHOLE[3:], 0, DAMAGED),
    "a wrong checksum": (WHOLE[:-8] + b"\0\0\0\0" + TRAILER[4:], 300, DAMAGED),
    "a wrong length": (WHOLE[:-4] + b"\0\0\0\0", 300, DAMAGED),
    "a wrong checksum before another member": (HALF[0][:-8] + bytes(4) + HALF[0][-4:] + HALF[1], 150, DAMAGED),
    "no such block": (HALF[0] + HALF[1][:10] + b"\x07" + HALF[1][11:], 150, DAMAGED),
    "cut in the header": (WHOLE[:8], 0, CUT),
    "cut in the name": (RICH_HEADER[:20], 0, CUT),
    "cut after the header": (HALF[0] + HALF[1][:10], 150, CUT),
    "cut in the header of the second": (HALF[0] + HALF[1][:2], 150, CUT),
    "cut before the trailer": (WHOLE[:-8], 300, CUT),
    "cut in the trailer": (WHOLE[:-1], 300, CUT),
}


class Trickle:
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        """Return fewer bytes than were asked for."""
        return self._data.read(min(size, self._step))


@pytest.fixture(params=[STANDARD, FASTEST], ids=["zlib", "isal"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Decompress with each library in turn."""
    monkeypatch.setattr(gunzip, "FASTEST", request.param)
    chosen: Library = request.param
    return chosen


def outcome(source: Any) -> tuple[list[str], list[str]]:
    """Return the ids of the events, and the errors."""
    items = list(read(source).stream())
    ids = [item.audit_id for item in items if isinstance(item, Event)]
    return ids, [item.reason for item in items if isinstance(item, ReadError)]


def given(data: bytes, library: Library, step: int = 1 << 20) -> tuple[bytes, type[Exception] | None]:
    """Return what is decompressed before an error, and the kind of error."""
    file, parts = Gunzip(Trickle(data, step).read, library), []
    try:
        while part := file.read(1 << 16):
            parts.append(part)
    except (EOFError, gzip.BadGzipFile) as error:
        return b"".join(parts), type(error)
    return b"".join(parts), None


def test_isal_is_used_where_it_is_installed() -> None:
    """It comes with the extra `fast`, which the extra `cli` includes."""
    assert (FASTEST is STANDARD) == (importlib.util.find_spec("isal") is None)


@pytest.mark.parametrize(
    ("version", "sound"),
    [("1.7.1", False), ("1.8.0", False), ("1.9.0", True), ("1.10", True), ("2.0", True), ("x", False)],
)
def test_an_isal_that_reports_intact_files_as_damaged_is_not_used(version: str, *, sound: bool) -> None:
    """1.7 and 1.8 gave 10,734 of 11,825 events of an intact file."""
    assert gunzip.is_sound(version) is sound


@pytest.mark.parametrize("step", [7, 1 << 20])
@pytest.mark.parametrize("case", CASES)
def test_damage_costs_what_comes_after_it_and_is_said(case: str, step: int) -> None:
    """Every record before it is read, from a slow stream too."""
    data, events, reason = CASES[case]
    ids, errors = outcome(Trickle(data, step))

    assert ids == IDS[:events]
    assert errors == ([f"{reason}; the rest is not read"] if reason else [])


@pytest.mark.parametrize("case", CASES)
def test_the_standard_library_agrees(case: str, library: Library) -> None:
    """`gzip` calls the same inputs whole, cut off or damaged, and gives the same of the whole ones."""
    data, _, _ = CASES[case]
    content, error = given(data, library)
    if error is None:
        assert content == gzip.decompress(data)
    else:
        with pytest.raises(EOFError if error is EOFError else (gzip.BadGzipFile, zlib.error)):
            gzip.decompress(data)


def test_a_cut_anywhere_gives_what_stands_before_it(library: Library) -> None:
    """With isal perhaps one byte less than with zlib, which looks less far ahead."""
    for cut in range(2, len(WHOLE), 41):
        expected, error = given(WHOLE[:cut], STANDARD)
        content, same = given(WHOLE[:cut], library)
        assert error is same is EOFError
        assert CONTENT.startswith(expected)
        assert content in {expected, expected[:-1]}


def test_a_flipped_bit_anywhere_is_found_at_the_same_place(library: Library) -> None:
    """What is given before the error does not depend on the library."""
    for place in range(10, len(WHOLE), 29):
        data = WHOLE[:place] + bytes([WHOLE[place] ^ 1 << place % 8]) + WHOLE[place + 1 :]
        content, error = given(data, library)
        assert (content, error) == given(data, STANDARD)
        assert error is not None


def test_damage_costs_at_most_the_4096_bytes_before_it(library: Library) -> None:
    """What was decompressed before is given before the error; here of a block that cannot be."""
    packer = zlib.compressobj(wbits=31)
    intact = packer.compress(CONTENT) + packer.flush(zlib.Z_FULL_FLUSH)
    content, error = given(intact + b"\x07", library)
    least, _ = given(intact[:-4096], STANDARD)

    assert error is gzip.BadGzipFile
    assert CONTENT.startswith(content)
    assert len(content) >= len(least) > len(CONTENT) // 4


def test_what_a_slow_stream_delivered_is_given_at_once() -> None:
    """A log that is compressed as it is written is read up to its last flush; no more of it is awaited."""
    packer = zlib.compressobj(wbits=31)
    flushed = [packer.compress(line) + packer.flush(zlib.Z_SYNC_FLUSH) for line in LINES[:3]]
    asked: list[int] = []

    def deliver(size: int) -> bytes:
        asked.append(size)
        return flushed[len(asked) - 1]

    file = Gunzip(deliver)
    for number, line in enumerate(LINES[:3], 1):
        assert file.read(1 << 20) == line
        assert len(asked) == number, "no more was read than was needed"


def test_a_followed_file_may_be_compressed(tmp_path: Path) -> None:
    """Members are appended to it; it ends where the last of them does."""
    path = tmp_path / "audit.log.gz"
    path.write_bytes(HALF[0] + HALF[1])
    assert outcome(FollowedFile(path, lambda: True)) == (IDS, [])


def test_a_bomb_comes_out_in_small_pieces(library: Library) -> None:
    """At most 2 MiB at a time, so that the limit is seen before memory is full."""
    file = Gunzip(io.BytesIO(gzip.compress(bytes(20 << 20))).read, library)
    sizes = []
    while part := file.read():
        sizes.append(len(part))
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= 2 << 20


def test_a_message_is_decompressed_alike(library: Library) -> None:
    """Of one member or many; damaged or too large is an error without its content."""
    assert decompress(WHOLE, Limits()) == decompress(HALF[0] + HALF[1] + bytes(9), Limits()) == CONTENT
    for case in ("garbage at the end", "a wrong checksum", "no such block", "cut before the trailer"):
        with pytest.raises(ReadError, match="compressed data in a wrapper, whose gzip is damaged"):
            decompress(CASES[case][0], Limits())
    with pytest.raises(ReadError, match=r"larger than 1000 bytes when decompressed \(limit max_record\)"):
        decompress(WHOLE, Limits(record=1000))
    assert library in {STANDARD, FASTEST}
