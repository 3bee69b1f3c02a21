# SPDX-License-Identifier: Apache-2.0
"""Files in zip and tar archives: each a source of its own, in the order of events, within limits, never on disk."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Event, ReadError, detect, read
from k8stokendetect.convert.times import format_time
from k8stokendetect.input.streams import is_packed
from packing import COMPRESSIONS, Pipe, tar_of, zip_of
from strategies import JWT
from test_compression import CONTENT, IDS, LINES, outcome
from test_detector_minted_token_used import use

FILES = {
    "node1/audit.log": b"".join(LINES[:20]),
    "./node2/audit.log.gz": gzip.compress(b"".join(LINES[20:40])),
    "node2/old/audit.log.zst": COMPRESSIONS["zstd"](b"".join(LINES[40:])),
}
ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zip_of,
    "zip, stored": lambda files: zip_of(files, zipfile.ZIP_STORED),
    "zip, bzip2": lambda files: zip_of(files, zipfile.ZIP_BZIP2),
    "zip, streamed": lambda files: zip_of(files, streamed=True),
    "tar": tar_of,
    "tar, ustar": lambda files: tar_of(files, form=tarfile.USTAR_FORMAT),
    "tar, GNU": lambda files: tar_of(files, form=tarfile.GNU_FORMAT),
    "tar.gz": lambda files: tar_of(files, "gz"),
    "tar.bz2": lambda files: tar_of(files, "bz2"),
    "tar.xz": lambda files: tar_of(files, "xz"),
    "tar.zst": lambda files: COMPRESSIONS["zstd"](tar_of(files)),
}


def sources(content: bytes, tmp_path: Path) -> dict[str, Any]:
    """Return everything that an archive can be read from."""
    path = tmp_path / "audit.log"
    path.write_bytes(content)
    return {"path": path, "bytes": content, "open": io.BytesIO(content), "pipe": Pipe(content)}


@pytest.mark.parametrize("name", ARCHIVES)
def test_each_file_is_a_source_with_its_own_place(name: str, tmp_path: Path) -> None:
    """From a path, bytes, an open file or a pipe; its name stands behind the archive's."""
    content = ARCHIVES[name](FILES)
    for source in sources(content, tmp_path).values():
        assert outcome(source) == (IDS, [])
    origins = [str(event.origin) for event in read(content)]
    assert origins[0] == "<bytes>!node1/audit.log:1"
    assert origins[20].endswith("node2/audit.log.gz:1")
    assert origins[-1] == "<bytes>!node2/old/audit.log.zst:20"


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_long_archive_is_read_in_turn_not_held(name: str) -> None:
    """A pipe of more than the longest record, here 1,000 bytes of JSON."""
    assert outcome(Pipe(ARCHIVES[name](FILES)), max_record=1000) == (IDS, [])


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_in_archives_and_folders(name: str, tmp_path: Path) -> None:
    """Up to the limit on nesting; a folder may mix them with logs."""
    content = ARCHIVES[name](FILES)
    for outer in ("zip", "tar.gz"):
        nested = ARCHIVES[outer]({"logs.bin": content})
        for source in (nested, Pipe(nested)):
            assert outcome(source) == (IDS, [])
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b.log").write_bytes(CONTENT.replace(b'"auditID": "', b'"auditID": "b'))
    ids, errors = outcome(tmp_path)
    assert (sorted(ids), errors) == (sorted([*IDS, *(f"b{audit_id}" for audit_id in IDS)]), [])
    deep = content
    for _ in range(8):
        deep = zip_of({"deeper": deep})
    ids, errors = outcome(deep)
    assert ids == []
    assert errors
    assert all("archived more than 8 times, the limit max_nesting" in error for error in errors)


def test_a_packed_row_is_recognised() -> None:
    """On Spark, rows of lines are read together, and each packed one for itself."""
    packed = [pack(CONTENT) for pack in COMPRESSIONS.values()] + [pack(FILES) for pack in ARCHIVES.values()]
    assert all(map(is_packed, [*packed, LINES[0].decode().encode("utf-16"), LINES[0].decode().encode("utf-16-le")]))
    assert not any(map(is_packed, [*LINES, b"", b"{", b"[", b"node1 " + LINES[0], b"\0" * 9]))


def at(seconds: float) -> str:
    """Return a time as the API server writes it."""
    return format_time(datetime(2026, 11, 23, 8, tzinfo=UTC) + timedelta(seconds=seconds))


def servers() -> dict[str, bytes]:
    """Return two servers' logs of the same hours: each token is minted through one, and used through the other."""
    logs: dict[str, list[bytes]] = {"a/audit.log": [], "b/audit.log": []}
    for number in range(0, 40, 2):
        first, second = list(logs) if number % 4 else list(logs)[::-1]
        mint = token_request(issued=f"JTI={number}", auditID=f"m{number}", requestReceivedTimestamp=at(300 * number))
        used = use(f"JTI={number}", auditID=f"u{number}", requestReceivedTimestamp=at(300 * number + 120))
        logs[first].append(json.dumps(mint).encode() + b"\n")
        logs[second].append(json.dumps(used).encode() + b"\n")
    return {name: b"".join(lines) for name, lines in logs.items()}


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_logs_of_several_servers_are_read_in_the_order_of_their_events(name: str, tmp_path: Path) -> None:
    """As from a folder."""
    for place, content in servers().items():
        (tmp_path / "folder" / place).parent.mkdir(parents=True)
        (tmp_path / "folder" / place).write_bytes(content)
    expected = [event.audit_id for event in read(tmp_path / "folder")]
    found = [finding.fingerprint for finding in detect(tmp_path / "folder", detectors=["minted-token-used"])]
    assert len(found) == 20
    for source in sources(ARCHIVES[name](servers()), tmp_path).values():
        assert [event.audit_id for event in read(source)] == expected
    (tmp_path / "logs").write_bytes(ARCHIVES[name](servers()))
    assert [f.fingerprint for f in detect(tmp_path / "logs", detectors=["minted-token-used"])] == found


def test_an_archive_that_cannot_be_put_in_order_says_so() -> None:
    """Too large to be held, and its files overlap in time: one error, and all events."""
    content = tar_of(servers(), "gz")
    ids, errors = outcome(content, max_record=2000)
    assert len(ids) == 40
    assert [error.partition(":")[0] for error in errors] == ["<bytes>"]
    assert "the files in the archive overlap in time, and it is too large to be put in order: unpack it" in errors[0]
    halves = {"1.log": b"".join(LINES[:30]), "2.log": b"".join(LINES[30:])}
    assert outcome(tar_of(halves, "gz"), max_record=2000) == (IDS, []), "rotated files follow each other"


@pytest.mark.parametrize("name", ["zip", "zip, stored", "zip, streamed", "tar", "tar.gz"])
def test_a_cut_archive_gives_what_stands_before_the_cut_and_one_error(name: str) -> None:
    """Within a file, a header or the directory; perhaps one more for the line that was cut."""
    content = ARCHIVES[name](FILES)
    chance = random.Random(20261126)  # noqa: S311 - no secret
    for place in sorted(chance.randrange(20, len(content) - 1) for _ in range(20)):
        cut = content[:place].rstrip(b"\0") if name == "tar" else content[:place]
        for source in (cut, Pipe(cut)):
            ids, errors = outcome(source)
            assert ids == IDS[: len(ids)]
            broken = [error for error in errors if "not JSON" in error or "not closed" in error]
            others = [error for error in errors if error not in broken]
            assert len(broken) <= 1
            assert len(others) == 1
            assert others[0].endswith(" is cut off; the rest is not read")


def test_damage_costs_one_file() -> None:
    """A wrong checksum, a broken header: the others are read."""
    content = zip_of(FILES, zipfile.ZIP_STORED)
    flipped = content.replace(b'"auditID": "7"', b'"auditID": "8"')
    for source in (flipped, Pipe(flipped)):
        ids, errors = outcome(source)
        assert len(ids) == 60
        assert [error.partition(": ")[2] for error in errors] == ["the zip data is damaged; the rest is not read"]
    content = tar_of(FILES, form=tarfile.USTAR_FORMAT)
    place = content.index(b"./node2/audit.log.gz")
    broken = content[:place] + b"#" + content[place + 1 :]
    for source in (broken, Pipe(broken)):
        ids, errors = outcome(source)
        assert ids == IDS[:20] + IDS[40:]
        assert [error.partition(": ")[2] for error in errors] == [
            "the tar archive is damaged: a part of it was skipped"
        ]


def test_several_archives_in_one_file() -> None:
    """As `cat *.tar` makes it: nothing hides behind the end of the first, nor a second that is cut off."""
    one, two = {"1.log": b"".join(LINES[:30])}, {"2.log": b"".join(LINES[30:])}
    for pack in (zip_of, tar_of):
        joined = pack(one) + pack(two)
        assert outcome(joined) == outcome(Pipe(joined)) == (IDS, [])
    cut = zip_of(one) + zip_of(two)[:-40]
    assert outcome(cut) == (IDS, ["<bytes>: the zip archive is cut off; the rest is not read"])


def test_names_are_shown_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No path leads out of an archive, no token stands in a name's place, no name breaks a line."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names = ["../../etc/passwd", "/etc/shadow", f"{JWT}.log", "a\nerror: b", "x" * 900, "C:\\audit.log", "a!b"]
    files = {name: LINES[number] for number, name in enumerate(names)}
    for content in (zip_of(files), tar_of(files), tar_of(files, "gz")):
        origins = [str(event.origin) for event in read(content)]
        assert len(origins) == len(names)
        assert not [origin for origin in origins if JWT in origin or "\n" in origin or len(origin) > 320]
        assert "<bytes>!../../etc/passwd:1" in origins
        assert all(origin.count("!") == 1 for origin in origins)
    assert not list(folder.iterdir())


def test_dot_files_folders_and_links_hold_nothing() -> None:
    """As in a folder."""
    assert outcome(zip_of({".hidden": b"x", "__MACOSX/._audit.log": b"x", "logs/": b"", "audit.log": CONTENT})) == (
        IDS,
        [],
    )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("logs", tarfile.DIRTYPE), ("latest", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "../../etc/passwd"
            archive.addfile(entry)
        entry = tarfile.TarInfo("logs/audit.log")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    assert outcome(out.getvalue()) == (IDS, [])
    for empty in (zip_of({}), zip_of({".x": b""}), tar_of({".x": b""})):
        assert outcome(empty) == ([], ["<bytes>: the archive holds no log files"])


def test_what_cannot_be_unpacked_says_what_to_do() -> None:
    """Encrypted, of another method, sparse, of unknown size, an Excel workbook: one error for each file."""
    content = bytearray(zip_of({"a.log": LINES[0], "b.log": LINES[1]}, zipfile.ZIP_STORED))
    encrypted = bytes(_patched(content, flags=1))
    deflate64 = bytes(_patched(content, method=9))
    unknown = bytes(_patched(content, method=77))
    for packed, reason in (
        (encrypted, "encrypted: unpack the zip archive with its password (`7z x`), and give the folder"),
        (deflate64, "compressed with Deflate64: unpack the zip archive (`7z x`), and give the folder"),
        (unknown, "compressed with method 77: unpack the zip archive (`7z x`), and give the folder"),
    ):
        for source, name in ((packed, "<bytes>"), (Pipe(packed), "pipe")):
            assert outcome(source) == (IDS[1:2], [f"{name}!a.log: {reason}"])
    workbook = zip_of({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"})
    reason = "an Office document, such as an Excel workbook: save it as CSV"
    assert outcome(workbook)[1] == [f"<bytes>: {reason}"]


def _patched(content: bytearray, **fields: int) -> bytearray:
    """Change the first file's flags or method, in its header and in the directory."""
    patched = bytearray(content)
    for start, shift in ((0, 6), (content.index(b"PK\x01\x02"), 8)):
        for name, value in fields.items():
            at = start + shift + {"flags": 0, "method": 2}[name]
            patched[at : at + 2] = value.to_bytes(2, "little")
    return patched


def test_more_files_than_the_limit_are_an_error() -> None:
    """In all archives of a source together; those before it are read."""
    files = {f"{number}.log": line for number, line in enumerate(LINES)}
    reason = "more than 50 files in archives, the limit max_members; the rest is not read"
    for content in (zip_of(files), tar_of(files), tar_of(files, "gz")):
        for source, name in ((content, "<bytes>"), (Pipe(content), "pipe")):
            assert outcome(source, max_members=50) == (IDS[:50], [f"{name}: {reason}"])
    nested = zip_of({f"{number}.zip": zip_of({"audit.log": line}) for number, line in enumerate(LINES)})
    ids, errors = outcome(nested, max_members=50)
    assert ids == IDS[:0] + IDS[: len(ids)]
    assert any(reason in error for error in errors)
    directory = zip_of({f"{number}.log": b"" for number in range(4000)})
    assert any("the limit max_members" in error for error in outcome(directory, max_members=10)[1])


@pytest.mark.parametrize("pack", [zip_of, lambda files: tar_of(files, "gz")], ids=["zip", "tar.gz"])
def test_a_bomb_of_many_files_is_an_error(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """None of them is a bomb alone."""
    files = {f"{number}.log": LINES[number] + b" " * (8 << 20) for number in range(20)}
    ids, errors = outcome(pack(files), max_ratio=50)
    assert ids == IDS[: len(ids)], "the lines before it are read"
    assert errors
    assert all("decompressed to more than 50 times its size, the limit max_ratio" in error for error in errors)


def test_files_that_share_bytes_are_refused() -> None:
    """The directory of a bomb names one file a thousand times (David Fifield, "A better zip bomb", 2019)."""
    content = zip_of({"audit.log": CONTENT, "other": b"x"})
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start : start + 46 + len("audit.log")]
    directory = entry * 5
    ending = content[end : end + 8] + (5).to_bytes(2, "little") * 2 + len(directory).to_bytes(4, "little")
    bomb = content[:start] + directory + ending + content[end + 16 :]
    ids, errors = outcome(bomb)
    assert ids == IDS, "the last one"
    assert [error.partition(": ")[2] for error in errors] == ["the zip data is damaged: files overlap"] * 4


def test_a_headers_length_fills_no_memory() -> None:
    """A name of a gigabyte in a tar archive."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    content = entry.tobuf(tarfile.GNU_FORMAT) + b"x" * 5000
    assert outcome(content) == ([], ["<bytes>: the tar archive is damaged; the rest is not read"])


@pytest.mark.parametrize("name", ARCHIVES)
def test_flipped_bytes_give_events_or_errors(name: str) -> None:
    """Whatever is broken: no other exception, and nothing is lost without an error."""
    content = ARCHIVES[name](FILES)
    chance = random.Random(20261127)  # noqa: S311 - no secret
    for _ in range(15):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        for source in (bytes(damaged), Pipe(bytes(damaged))):
            items = list(read(source).stream())
            assert all(isinstance(item, Event | ReadError) for item in items)
            events = [item for item in items if isinstance(item, Event)]
            assert len(events) == len(items) == 60 or len(events) < len(items)
