# SPDX-License-Identifier: Apache-2.0
"""zstd, bzip2, xz and lz4: whole, joined, cut off, damaged, as bombs, and without their packages."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builders import token_request
from k8stokendetect import Event, ReadError, detect, read
from k8stokendetect.cli import main
from k8stokendetect.commands import detect_commands
from k8stokendetect.errors import K8sTokenDetectError
from packing import COMPRESSIONS, Pipe, decompressed, tar_of, zip_of
from test_wrappers import LOG

IDS = [str(number) for number in range(60)]
LINES = [json.dumps(token_request(auditID=audit_id)).encode() + b"\n" for audit_id in IDS]
CONTENT = b"".join(LINES)
HALF = b"".join(LINES[:30]), b"".join(LINES[30:])
FRAMES = [name for name in COMPRESSIONS if name != "gzip"]
RECORDING = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in LOG)


def outcome(source: Any, **options: Any) -> tuple[list[str], list[str]]:
    """Return the ids of the events, and the errors."""
    items = list(read(source, **options).stream())
    ids = [item.audit_id for item in items if isinstance(item, Event)]
    return ids, [str(item) for item in items if isinstance(item, ReadError)]


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_the_first_bytes_decide_whatever_the_name(name: str, tmp_path: Path) -> None:
    """A path, bytes, an open file and a pipe give the same; line numbers are those of the log."""
    packed = COMPRESSIONS[name](CONTENT)
    path = tmp_path / "audit.log.gz"
    path.write_bytes(packed)
    with path.open("rb") as file:
        for source in (path, packed, io.BytesIO(packed), file, Pipe(packed, 7)):
            assert outcome(source) == (IDS, [])
    assert [event.origin for event in read(path)][-1] == f"{path}:60"


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_standard_input_may_be_compressed(name: str) -> None:
    """As `cat audit.log.zst | k8stokendetect scan -`."""
    result = CliRunner().invoke(main, ["scan", "-"], input=COMPRESSIONS[name](CONTENT))
    assert "events read: 60;" in result.stderr
    assert "unreadable: 0" in result.stderr


@pytest.mark.parametrize("name", FRAMES)
def test_frames_follow_each_other(name: str) -> None:
    """Of the same form or another, empty ones, with zeros and skippable frames between them."""
    pack = COMPRESSIONS[name]
    skippable = b"\x5e\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"about"
    for between in (b"", bytes(8), pack(b""), skippable, COMPRESSIONS["bzip2"](b"")):
        joined = pack(HALF[0]) + between + pack(HALF[1])
        assert outcome(joined) == outcome(Pipe(joined, 3)) == (IDS, [])
    assert outcome(skippable + pack(CONTENT) + bytes(12)) == (IDS, [])
    assert outcome(b"".join(map(pack, LINES))) == (IDS, [])


@pytest.mark.parametrize("name", FRAMES)
def test_damage_is_one_error_and_what_stands_before_is_read(name: str) -> None:
    """Garbage behind a frame, half a magic number, a flipped bit in the second frame."""
    first, second = map(COMPRESSIONS[name], HALF)
    reason = f"<bytes>:30: the {name} data is {{}}; the rest is not read"
    assert outcome(first + b"garbage") == (IDS[:30], [reason.format("damaged")])
    assert outcome(first + second[:3]) == (IDS[:30], [reason.format("cut off")])
    middle = len(second) // 2
    flipped = second[:middle] + bytes([second[middle] ^ 0x10]) + second[middle + 1 :]
    ids, errors = outcome(first + flipped)
    assert ids[:30] == IDS[:30]
    assert [error for error in errors if "data is damaged; the rest is not read" in error] == errors[-1:]


@pytest.mark.parametrize("name", [*FRAMES, "zstd in gzip", "gzip in bzip2"])
def test_a_log_may_be_compressed_twice(name: str) -> None:
    """Up to the limit on nesting."""
    inner, _, outer = name.partition(" in ")
    packed = COMPRESSIONS[outer or inner](COMPRESSIONS[inner](CONTENT))
    assert outcome(packed) == (IDS, [])
    assert outcome(packed, max_nesting=1) == (
        [],
        ["<bytes>: compressed or archived more than 1 times, the limit max_nesting"],
    )


def found(source: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the rule and audit id of each finding, and the errors."""
    errors: list[K8sTokenDetectError] = []
    findings = [(finding.rule.id, finding.event.audit_id) for finding in detect(source, on_error=errors.append)]
    return findings, [error.reason for error in errors if isinstance(error, ReadError)]


ARCHIVES = {
    "tar": (lambda content: tar_of({"audit.log": content}), lambda cut: cut[512:]),
    "zip, stored": (lambda content: zip_of({"audit.log": content}, 0), lambda cut: cut[39:]),
}
"""What packs the recording, and what a cut archive still holds of it."""


@pytest.mark.parametrize("name", [*FRAMES, *ARCHIVES])
def test_a_cut_anywhere_gives_the_findings_of_what_stands_before_it_and_one_error(name: str) -> None:
    """The download broke off: as the library itself decompresses it, natively, and one error more."""
    pack, rest = ARCHIVES.get(name, (COMPRESSIONS.get(name), lambda cut: decompressed(name, cut)))
    assert pack is not None
    packed = pack(RECORDING)
    chance = random.Random(20261126)  # noqa: S311 - no secret
    ends = len(packed) - 10_240 if name == "tar" else len(packed)  # zeros at the end of a tar hold nothing
    places = sorted(chance.randrange(len(packed) // 4, ends) for _ in range(2))
    assert len(found(packed)[0]) > 100
    for place in places:
        cut = packed[:place]
        findings, errors = found(rest(cut)[: len(RECORDING)])
        for source in (cut, Pipe(cut, 9000)):
            more, reasons = found(source)
            assert more == findings
            assert reasons[:-1] == errors
            assert reasons[-1].endswith("is cut off; the rest is not read")


@pytest.mark.parametrize("name", FRAMES)
def test_a_bomb_costs_little_memory_and_is_an_error(name: str) -> None:
    """70 MB of spaces: whole lines before them are read."""
    bomb = COMPRESSIONS[name](LINES[0] + (b" " * (1 << 20) + b"\n") * 70)
    tracemalloc.start()
    ids, errors = outcome(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ids == IDS[:1]
    assert "decompressed to more than 200 times its size, the limit max_ratio" in errors[0]
    assert peak < 16 << 20


def test_what_needs_too_much_memory_is_an_error() -> None:
    """The header of xz may ask for gigabytes before the first byte comes out."""
    packed = bytearray(lzma.compress(CONTENT))
    assert packed[14:16] == b"\x21\x01", "the filter LZMA2, with properties of one byte (xz-file-format.txt, 5.3.1)"
    packed[16] = 36  # a dictionary of 1 GiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    reason = "<bytes>: the xz data needs more memory than is allowed; the rest is not read"
    assert outcome(bytes(packed)) == ([], [reason])


@pytest.mark.parametrize(("name", "package"), [("zstd", "backports.zstd"), ("lz4", "lz4.frame")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error, which says what to install."""
    package = "compression.zstd" if name == "zstd" and sys.version_info >= (3, 14) else package
    monkeypatch.setitem(sys.modules, package, None)
    reason = f"compressed with {name}: pip install 'k8stokendetect[compression]' to read it"
    assert outcome(COMPRESSIONS[name](CONTENT)) == ([], [f"<bytes>: {reason}"])


def test_a_host_log_may_be_compressed_and_archived() -> None:
    """`scan-host` reads the same forms."""
    log = Path(__file__).parents[1].joinpath("examples/host-audit.log").read_bytes()
    plain = [finding.fingerprint for finding in detect_commands(log)]
    assert plain
    for packed in (bz2.compress(log), zip_of({"audit.log": gzip.compress(log)}), tar_of({"audit.log": log}, "xz")):
        assert [finding.fingerprint for finding in detect_commands(packed)] == plain
    errors: list[K8sTokenDetectError] = []
    list(detect_commands(tar_of({"audit.log": log})[: 512 + len(log) // 2], on_error=errors.append))
    assert "the tar archive is cut off; the rest is not read" in str(errors[-1])
