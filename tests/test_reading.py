# SPDX-License-Identifier: Apache-2.0
"""Every source gives the same Events, and whatever cannot be read is reported with its place."""

from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import AuditLog, ConfigError, Event, ReadError, detect, parse_event, read
from k8stokendetect.errors import K8sTokenDetectError
from recordings import METADATA, records
from strategies import JWT, audit_events, damaged_events

RECORDS = [token_request(auditID=str(number)) for number in range(5)]
CONTENT = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
IDS = [record["auditID"] for record in RECORDS]


def ids(source: Any, **options: Any) -> list[str]:
    """Read the audit ids of a source."""
    return [event.audit_id for event in read(source, **options)]


def troubles(source: Any, **options: Any) -> tuple[list[str], list[str]]:
    """Return the audit ids that could be read and the errors."""
    errors: list[K8sTokenDetectError] = []
    return ids(source, on_error=errors.append, **options), [str(error) for error in errors]


def as_list(records: list[Any]) -> dict[str, Any]:
    """Make a webhook body of events: its items carry neither kind nor apiVersion."""
    items = [{key: value for key, value in record.items() if key not in {"kind", "apiVersion"}} for record in records]
    return {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}


def file(tmp_path: Path, content: bytes, name: str = "audit.log") -> Path:
    """Write a file."""
    path = tmp_path / name
    path.write_bytes(content)
    return path


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda tmp: file(tmp, CONTENT),
    "path as text": lambda tmp: str(file(tmp, CONTENT)),
    "gzip": lambda tmp: file(tmp, gzip.compress(CONTENT), "audit.log.gz"),
    "gzip by another name": lambda tmp: file(tmp, gzip.compress(CONTENT)),
    "concatenated gzip": lambda tmp: file(tmp, b"".join(gzip.compress(line + b"\n") for line in CONTENT.splitlines())),
    "folder": lambda tmp: file(tmp, CONTENT).parent,
    "bytes": lambda _: CONTENT,
    "bytes, gzip": lambda _: gzip.compress(CONTENT),
    "bytearray": lambda _: bytearray(CONTENT),
    "open file": lambda _: io.BytesIO(CONTENT),
    "open gzip file": lambda _: io.BytesIO(gzip.compress(CONTENT)),
    "list of mappings": lambda _: RECORDS,
    "generator of mappings": lambda _: iter(RECORDS),
    "one EventList": lambda _: as_list(RECORDS),
    "list of Events": lambda _: [parse_event(record) for record in RECORDS],
    "list of bytes": lambda _: CONTENT.splitlines(),
    "list of paths": lambda tmp: [file(tmp, CONTENT[: CONTENT.index(b"\n")]), io.BytesIO(CONTENT.split(b"\n", 1)[1])],
    "AuditLog": lambda _: read(CONTENT),
    "JSON array": lambda _: json.dumps(RECORDS).encode(),
    "indented JSON array": lambda _: json.dumps(RECORDS, indent=2).encode(),
    "indented EventList": lambda _: json.dumps(as_list(RECORDS), indent=2).encode(),
    "EventList a line": lambda _: b"\n".join(json.dumps(as_list([record])).encode() for record in RECORDS),
    "array of EventLists": lambda _: json.dumps([as_list(RECORDS[:2]), as_list(RECORDS[2:])]).encode(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_events(kind: str, tmp_path: Path) -> None:
    """Told by its type: a str is a path, bytes are content."""
    assert ids(SOURCES[kind](tmp_path)) == IDS


def test_one_mapping_and_one_event_are_sources() -> None:
    """What an embedding tool holds already goes straight in."""
    event = parse_event(RECORDS[0])

    assert [event] == [attrs.evolve(got, origin=None) for got in read(RECORDS[0])]
    assert [event] == list(read(event))


def test_iterating_twice_reads_twice() -> None:
    """An AuditLog is an iterable, not an iterator."""
    log = read(CONTENT)
    assert [event.audit_id for _ in range(2) for event in log] == IDS * 2
    assert 2 * len(CONTENT) == log.bytes_read


def test_nothing_is_read_before_it_is_iterated() -> None:
    """And no further than it is iterated."""

    def source() -> Iterator[Any]:
        yield RECORDS[0]
        pytest.fail("read ahead")

    log = read(source())
    assert next(iter(log)).audit_id == "0"


def test_the_origin_names_file_and_line(tmp_path: Path) -> None:
    """In an array also the element; in memory the number of the record."""
    path = file(tmp_path, b"\n" + CONTENT)

    assert [f"{path}:{line}" for line in range(2, 7)] == [event.origin for event in read(path)]
    assert [event.origin for event in read(json.dumps(RECORDS[:2]).encode())] == ["<bytes>:1[0]", "<bytes>:1[1]"]
    assert [event.origin for event in read(RECORDS[:2])] == ["record 1", "record 2"]
    assert [event.origin for event in read(as_list(RECORDS[:1]))] == ["record 1[0]"]


def test_rotated_files_are_read_in_time_order(tmp_path: Path) -> None:
    """By their first event, whatever the rotation calls them; compressed or not."""
    names = ["audit.log.2.gz", "audit-2026-11-23T21-00-00.000.log", "audit.log.1", "old/audit.log", "audit.log"]
    for hour, name in enumerate(names):
        record = token_request(auditID=str(hour), requestReceivedTimestamp=f"2026-11-23T0{hour}:00:00.000000Z")
        content = b"broken\n" + json.dumps(record).encode()
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (tmp_path / ".hidden").write_text("not a log")
    read_ids, errors = troubles(tmp_path)

    assert read_ids == ["0", "1", "2", "3", "4"]
    assert [f"{tmp_path / name}:1" for name in names] == [error.split(": ")[0] for error in errors]


def test_the_platform_is_where_the_caller_says() -> None:
    """Also for Events made without one; never over what an Event knows itself."""
    bare, known = parse_event(RECORDS[0]), parse_event(RECORDS[0], platform="aks")

    assert [event.platform for event in read([RECORDS[0], bare, known], platform="eks")] == ["eks", "eks", "aks"]
    assert [event.platform for event in read(RECORDS[0])] == [None]


def test_bad_sources_are_refused_at_the_call(tmp_path: Path) -> None:
    """Before anything is read."""
    path = file(tmp_path, CONTENT)
    with path.open(encoding="utf-8") as text:
        sources: list[tuple[Any, str]] = [
            (text, "text mode"),
            (7, "from int"),
            (None, "from NoneType"),
            (object(), "from object"),
            ("", "the path is empty"),
        ]
        for source, message in sources:
            with pytest.raises(ConfigError, match=message):
                read(source)
    options: list[tuple[dict[str, Any], str]] = [
        ({"max_record": 0}, "max_record"),
        ({"max_record": -1}, "max_record"),
        ({"on_error": None}, "on_error is not callable"),
        ({"platform": "ekz"}, "unknown platform 'ekz'"),
    ]
    for wrong, message in options:
        with pytest.raises(ConfigError, match=message):
            read(path, **wrong)


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A missing file, a folder without logs, a name that cannot be one: the others are still read."""
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = tmp_path / "missing.log"

    assert troubles([missing, empty, CONTENT, Path("\0"), Path("x" * 300)]) == (
        IDS,
        [
            f"{missing}: cannot be opened: No such file or directory",
            f"{empty}: the folder holds no log files",
            "\0: cannot be opened: not a file name",
            f"{'x' * 300}: cannot be opened: File name too long",
        ],
    )
    with pytest.raises(ReadError, match=r"missing\.log"):
        list(read(missing))


def test_no_message_chooses_which_file_is_opened(tmp_path: Path) -> None:
    """A str in an iterable may come from a queue: it is neither opened nor repeated."""
    path = file(tmp_path, CONTENT)
    reason = "a str in an iterable: give bytes for content, a Path for a file"
    assert troubles([str(path), CONTENT]) == (IDS, [f"record 1: {reason}"])
    assert troubles([7]) == ([], ["record 1: cannot read an event from int"])
    with pytest.raises(ConfigError, match="a str is a path, and this looks like content"):
        read(CONTENT.decode())


def test_a_folder_gives_its_files_and_reports_everything_else(tmp_path: Path) -> None:
    """Links to folders are followed, each folder once; a pipe would wait for ever."""
    logs = tmp_path / "logs"
    (logs / "old").mkdir(parents=True)
    file(logs / "old", CONTENT)
    (logs / "again").symlink_to(logs)
    (logs / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    file(tmp_path / "elsewhere", json.dumps(token_request(auditID="linked")).encode())
    os.mkfifo(logs / "pipe")
    (logs / "dangling").symlink_to(tmp_path / "nowhere")
    read_ids, errors = troubles(logs)

    assert sorted(read_ids) == sorted([*IDS, "linked"])
    assert errors == [f"{logs / name}: neither a file nor a folder, or a broken link" for name in ("dangling", "pipe")]


def test_an_empty_list_of_events_is_no_error() -> None:
    """Go writes it as null."""
    empty = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": None}
    assert troubles([empty, as_list([])]) == ([], [])


def test_no_frame_of_an_error_holds_the_record() -> None:
    """A crash reporter that saves local variables must not save a token."""
    errors: list[K8sTokenDetectError] = []
    list(read({"auditID": 7, "verb": "x", "userAgent": JWT}, on_error=errors.append))

    assert errors[0].__traceback__ is None


@pytest.mark.parametrize("cut", range(20, len(gzip.compress(CONTENT)), 10))
def test_a_truncated_gzip_gives_every_whole_line_and_an_error(cut: int) -> None:
    """The download broke off: what came through is examined."""
    read_ids, errors = troubles(gzip.compress(CONTENT, mtime=0)[:cut])

    assert IDS[: len(read_ids)] == read_ids
    assert "the gzip data is cut off; the rest is not read" in errors[-1]


def test_damaged_gzip_is_an_error() -> None:
    """A flipped checksum, garbage after the end."""
    content = gzip.compress(CONTENT)
    for damaged in (content[:-8] + b"\0" * 8, content + b"garbage"):
        read_ids, errors = troubles(damaged)
        assert read_ids == IDS
        assert errors == ["<bytes>:5: the gzip data is damaged; the rest is not read"]


def test_a_source_that_fails_midway_is_an_error() -> None:
    """An I/O error, a read() that gives text."""

    class Failing:
        def __init__(self, last: Any) -> None:
            self.parts = iter([CONTENT, last])

        def read(self, _: int = -1) -> Any:
            part = next(self.parts)
            if isinstance(part, Exception):
                raise part
            return part[:8] if part is CONTENT else part

    class Whole(Failing):
        def read(self, size: int = -1) -> Any:
            if not hasattr(self, "content"):
                self.content = io.BytesIO(next(self.parts))
            return self.content.read(size) or super().read(size)

    for last, reason in ((OSError(5, "Input/output error"), "output error"), ("text", "read() gave str, not bytes")):
        read_ids, errors = troubles(Whole(last))
        assert read_ids == IDS
        assert reason in errors[-1]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"nonsense", "not JSON: "),
        (b'"text"', "JSON, but not an audit event: not an object"),
        (b"{}", "JSON, but not an audit event"),
        (b'{"kind":"Pod","apiVersion":"v1"}', "JSON, but not an audit event"),
        (b'{"kind":"Event","apiVersion":"v1"}', "a Kubernetes Event of another API group than audit.k8s.io"),
        (b'{"auditID":"x"}', "required field missing @ $.verb"),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}', "an EventList without a list of items"),
        (b'{"auditID":"x","verb":"get","user":7}', "expected an object, got a number @ $.user"),
        (b"[" * 10 + b"]" * 10, "wrapped more than 8 times"),
    ],
)
def test_an_unreadable_record_is_reported_and_the_rest_is_read(record: bytes, reason: str) -> None:
    """With file and line, one error for one record."""
    read_ids, errors = troubles(CONTENT + record + b"\n" + CONTENT)

    assert read_ids == IDS * 2
    assert len(errors) == 1
    assert errors[0].startswith("<bytes>:6")
    assert reason in errors[0]


def test_the_default_raises() -> None:
    """So that nobody overlooks it."""
    with pytest.raises(ReadError, match="<bytes>:1: not JSON"):
        list(read(b"nonsense"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 7 MB is read in a part of that, most of it buffers of a fixed size."""
    path = tmp_path / "big.log"
    with path.open("wb") as out:
        for _ in range(2_000):
            out.write(CONTENT)
    tracemalloc.start()
    count = sum(1 for _ in read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 10_000
    assert path.stat().st_size > 6_000_000
    assert peak < 5_000_000


@given(st.lists(damaged_events() | audit_events, max_size=6))
def test_events_plus_errors_are_the_records(records: list[Any]) -> None:
    """Nothing is dropped: each record is an Event or one ReadError, as lines and as mappings."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    for source in (lines, records):
        errors: list[K8sTokenDetectError] = []
        events = list(AuditLog(source, on_error=errors.append))

        assert len(records) == len(events) + len(errors)
        assert all(isinstance(event, Event) for event in events)
        assert all(isinstance(error, ReadError) and error.origin for error in errors)


def test_logs_of_several_servers_are_read_in_the_order_of_their_events(tmp_path: Path) -> None:
    """A folder, or a list of files: the token is minted through one server and used through the other.

    Hours lie between its first and last events, so that reading one file after the other would have forgotten.
    """
    log = [parse_event(record) for record in records(METADATA)]
    lines = [json.dumps(record) for record in records(METADATA)]
    servers: dict[str, list[str]] = {"a.log": [], "b.log": []}
    for event, line in zip(log, lines, strict=True):
        servers["b.log" if event.resource == "serviceaccounts/token" else "a.log"].append(line)
    for number, name in enumerate(servers):
        (tmp_path / name).write_text("\n".join([late(0), *servers[name], late(300 + number)]), encoding="utf-8")

    def found(source: Any) -> set[str]:
        return {finding.fingerprint for finding in detect(source, detectors=["minted-token-used"])}

    whole = found(METADATA)
    assert len(whole) > 40
    assert found(str(tmp_path)) == whole
    assert found([tmp_path / "b.log", tmp_path / "a.log"]) == whole
    assert len(list(read(str(tmp_path)))) == len(log) + 4


def late(minutes: int) -> str:
    """Return a harmless event, so many minutes after the recording began."""
    time = datetime(2026, 11, 23, 21, 40, tzinfo=UTC) + timedelta(minutes=minutes)
    return json.dumps({"auditID": f"late-{minutes}", "verb": "get", "requestReceivedTimestamp": time.isoformat()})


def test_an_error_stays_beside_the_event_before_it(tmp_path: Path) -> None:
    """Also where files are read as one."""
    (tmp_path / "a.log").write_bytes(late(1).encode() + b"\n{x\n" + late(3).encode())
    (tmp_path / "b.log").write_text(late(2), encoding="utf-8")
    items = list(read(str(tmp_path)).stream())
    assert [getattr(item, "audit_id", "error") for item in items] == ["late-1", "error", "late-2", "late-3"]
