# SPDX-License-Identifier: Apache-2.0
"""Bytes to JSON records: lines end at 0x0A only, documents may span lines, and damage swallows nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import ReadError
from k8stokendetect.input.records import split_records
from strategies import json_values

objects = st.dictionaries(st.text(max_size=3), json_values, max_size=3)


def split(content: bytes, limit: int = 1 << 20) -> list[tuple[str, Any]]:
    """Return places and values; an error as its reason."""
    records = split_records(io.BytesIO(content), limit)
    return [(place, value.reason if isinstance(value, ReadError) else value) for place, value in records]


def values(content: bytes) -> list[Any]:
    """Return the values that are no errors."""
    return [value for _, value in split(content) if not isinstance(value, str)]


def test_a_record_a_line() -> None:
    """Blank lines, Windows line ends, a byte order mark and a missing last line end are no trouble."""
    assert split(b'\xef\xbb\xbf{"a":1}\r\n \r\n{"b":2}\n{"c":3}') == [("1", {"a": 1}), ("3", {"b": 2}), ("4", {"c": 3})]


def test_only_the_byte_0x0a_ends_a_line() -> None:
    """Go escapes neither U+0085 nor U+2028, and a client can send both in its user agent."""
    content = '{"userAgent":"x\u2028y\u0085z\x0b\x0c"}\n'.replace("\x0b", "\\u000b").replace("\x0c", "\\u000c")

    assert split(content.encode()) == [("1", {"userAgent": "x\u2028y\u0085z\x0b\x0c"})]


@given(st.lists(objects.filter(bool), min_size=1, max_size=5), st.sampled_from([None, 1, 4]))
def test_arrays_and_documents_in_every_layout(items: list[Any], indent: int | None) -> None:
    """The same records, whether a line each, one array, an array with a line each, or indented documents."""
    texts = [json.dumps(item, indent=indent) for item in items]
    lines = "\n".join(texts)
    arrays = [json.dumps(items, indent=indent), f"[\n{','.join(texts)}\n]", "[" + ",\n".join(texts) + "]\n"]

    assert items == values(lines.encode())
    for array in arrays:
        found = values(array.encode())
        assert items in (found, found[0])  # an array on one line is one record, opened by its envelope


@given(st.lists(objects, max_size=4), st.integers(1, 40))
def test_a_stream_in_arbitrary_pieces_reads_the_same(items: list[Any], size: int) -> None:
    """Whatever pieces a pipe delivers."""

    class Slow(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.content = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = self.content.read(min(size, len(buffer)))
            buffer[: len(data)] = data
            return len(data)

    content = json.dumps(items, indent=1).encode() + b"\n" + b"\n".join(json.dumps(i).encode() for i in items)
    slow = [place for place, _ in split_records(io.BufferedReader(Slow(content), 16))]

    assert [place for place, _ in split(content)] == slow


GOOD = [{"auditID": str(number), "s": '}]{"[,'} for number in range(3)]
LINES = b"".join(json.dumps(item).encode() + b"\n" for item in GOOD)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"a":',
        b'{"a":"x',
        b"[",
        b"[{",
        b'[{"a":1},{"b":',
        b'[{"a":1},{"b":"x',
        b"{",
        b"[klog] 1 main.go:1] x",
        b"not JSON",
        b"\x00\x01",
        b"\xff\xfe{}",
        b'{"a":1}{"b":',
        b'[{"a":1}] x',
        b'{"a":NaN}',
        b"[" * 2000,
        b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","lev',
        b'{"kind":"EventList","items":[{"a":1},{"b":',
        b'{\n "kind": "EventList",\n "items": [',
    ],
)
def test_a_damaged_record_swallows_no_other(damage: bytes) -> None:
    """Every whole line after it is still read, and the damage is reported with its line."""
    found = split(LINES + damage + b"\n" + LINES)

    assert [item for item in GOOD * 2 if item] == [v for _, v in found if isinstance(v, dict) and "auditID" in v]
    assert {"4", "5", "6", "7"} >= {place.partition("[")[0] for place, value in found if isinstance(value, str)} > set()


def test_a_line_cut_off_after_its_bracket_costs_itself_only() -> None:
    """Indented JSON goes on with a key; another object is the next record, and so is a damaged one."""
    found = split(b'{\n{"a":1}\n{"b\n{\n')
    assert [(place, isinstance(value, str)) for place, value in found] == [
        ("1", True),
        ("2", False),
        ("3", True),
        ("4", True),
    ]
    assert split(b'{\n\n "a": 1\n}\n{"b":1}') == [("1", {"a": 1}), ("5", {"b": 1})]
    long = b'{"a":"' + b"x" * (2 << 20) + b'"}'
    assert [place for place, value in split(b"{\n" + long + b"\n{}", 4 << 20)] == ["1", "2", "3"]


def test_a_record_that_is_too_long_is_reported_and_skipped_to_its_end() -> None:
    """Memory stays bounded."""
    content = b'{"a":"' + b"x" * 5000 + b'"}\n{"b":1}\n' + b'[{"c":"' + b"x" * 5000 + b'"}]\n{"d":1}\n'

    assert split(content, limit=100) == [
        ("1", "record longer than 100 bytes, the limit max_record"),
        ("2", {"b": 1}),
        ("3[0]", "record longer than 100 bytes, the limit max_record"),
        ("4", {"d": 1}),
    ]


def test_an_array_longer_than_a_record_is_read_element_by_element() -> None:
    """A whole export in one line needs no more memory than its longest element."""
    items = [{"auditID": str(number)} for number in range(100)]

    assert items == [value for _, value in split(json.dumps(items).encode(), limit=100)]


@pytest.mark.parametrize("limit", [64, 1 << 16])
def test_objects_in_one_line_longer_than_a_record_are_read_one_by_one(limit: int) -> None:
    """Firehose writes no newline; a broken object costs itself, and what follows the line is read."""
    items = [{"auditID": str(number), "s": '}{"'} for number in range(6000)]
    line = b"".join(json.dumps(item).encode() for item in items)
    assert [value for _, value in split(line + b" \n" + LINES, limit=limit)] == items + GOOD

    assert split(b'{"a":1}' * 20 + b'{"a":x}' + b'{"b":1}' * 20 + b"\n" + LINES, limit=100)[20:22] == [
        ("1", "not JSON: invalid character (byte 5)"),
        ("1", {"b": 1}),
    ]
    assert split(b'{"a":1}' * 20 + b'{"a":"' + b"x" * 100 + b"\n" + LINES, limit=100)[20:22] == [
        ("1", "record longer than 100 bytes, the limit max_record"),
        ("2", GOOD[0]),
    ]


@pytest.mark.parametrize("begin", [b"", b"[", b'{"kind":"EventList","items":[', b'{"a":1}'])
def test_a_record_that_is_too_long_reveals_its_beginning(begin: bytes) -> None:
    """Wherever it stands: an attacker makes a request long on purpose."""
    long = b'{"auditID":"a","requestURI":"/u?' + b"x" * 5000 + b'"}'
    errors = [v for _, v in split_records(io.BytesIO(begin + long + b"]}"), 100) if isinstance(v, ReadError)]
    assert errors[0].revealed["requestURI"].startswith("/u?xx")


def test_an_array_that_is_not_closed_gives_its_elements_and_an_error() -> None:
    """A download that broke off."""
    assert split(b'[\n{"a":1},\n{"b":2}\n') == [
        ("2[0]", {"a": 1}),
        ("3[1]", {"b": 2}),
        ("3", "the document is not closed"),
    ]


@given(st.binary(max_size=200))
def test_any_bytes_give_records_or_errors(content: bytes) -> None:
    """And whatever is not blank gives at least one of them."""
    found = split(content)

    assert found or not content.replace(b"\xef\xbb\xbf", b"").strip()


def test_blocks_that_were_never_written_are_reported() -> None:
    """A crash can leave zeros where an event stood; before an event on the same line they are copy-truncation's."""
    assert split(b"\0" * 100) == [("1", "not JSON: binary data")]
    assert split(b"\0" * 100 + b'{"a":1}\n') == [("1", {"a": 1})]


def test_no_error_repeats_what_it_read() -> None:
    """A broken line may hold a live token."""
    for line in (b'{"token":"secret', b"[secret", b'[{"a":"secret"} secret', b"secret", b'["secret'):
        errors = [value for _, value in split_records(io.BytesIO(line)) if isinstance(value, ReadError)]
        assert errors
        for error in errors:
            assert "secret" not in repr(error) + str(error)
            assert (error.__cause__, error.__context__) == (None, None)


EVENTS = [{"kind": "Event", "auditID": str(number)} for number in range(3)]
COMPACT = [json.dumps(event, separators=(",", ":")).encode() for event in EVENTS]


@pytest.mark.parametrize(
    "content",
    [
        b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","lev' + b"\n".join(COMPACT),
        b"".join(COMPACT),
        b"\0" * 10 + b"\n".join(COMPACT),
        b"\n\xef\xbb\xbf".join(COMPACT),
        b"[\n" + b"\n".join(COMPACT) + b"\n]\n",
        b'[{"kind":"EventList","items":[{"a":1\n' + b"\n".join(COMPACT) + b"\n]}]\n}\n",
        b'{"kind":"EventList","items":[' + b",".join(COMPACT),
        b'{"kind":"EventList","items":[' + b",".join(COMPACT) + b',{"kind":"Ev',
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['
        + b",".join(COMPACT)
        + b',{"x":\xff}]}',
        b'{"kind":"EventList","items":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}," + b",".join(COMPACT) + b"]}",
        b'{\n "kind": "EventList",\n "items": [\n' + b",\n".join(COMPACT) + b"\n ],\n",
    ],
)
def test_whole_events_in_damage_are_read(content: bytes) -> None:
    """Glued lines, a list cut off or with one hostile item, the NULs of copy-truncation: none hides another."""
    found = [value for value in values(content) if value in EVENTS]

    assert found == EVENTS


PREFIXES = [
    b"Nov 12 10:00:00 cp-1 kube-apiserver[123]: ",
    b'<134>1 2026-11-12T10:00:00.123456+00:00 cp-1 kube-apiserver 123 - [meta@1 a="b"] ',
    b"2026-11-12T10:00:00.123456+00:00 cp-1 k3s[7]: ",
    b"audit-2026-11-20.log:",
    b"/var/log/kubernetes/audit/audit.log:17:",
    b'2026-11-20T10:00:00Z {job="audit", namespace="kube-system"} ',
    b"[pod/kube-apiserver-cp1/kube-apiserver] ",
    b"a b c d e f g h i ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_words_before_an_event_are_no_damage(prefix: bytes) -> None:
    """However many: the event is read, and nothing is reported."""
    assert [value for _, value in split(b"".join(prefix + one + b"\n" for one in COMPACT))] == EVENTS


@pytest.mark.parametrize("end", [b'"allow"}}', b'00:00Z"}', b'"verb":"get",', b"\0\0{", b'JTI=1"]}'])
def test_half_a_record_before_an_event_is_damage(end: bytes) -> None:
    """It may have been a mint: an error stands for it, and the event behind it is read."""
    found = split(end + COMPACT[0] + b"\n")
    assert [value for _, value in found if not isinstance(value, str)] == EVENTS[:1]
    assert len(found) == 2


FORGED = b'{"kind":"Event","auditID":"forged","verb":"create"}'
HEAD = b'{"kind":"Event","auditID":"a","verb":"create","requestObject":'


@pytest.mark.parametrize(
    "line",
    [
        HEAD + FORGED + b',"pad":"xxx',
        HEAD + FORGED,
        HEAD + b'{"items":[' + FORGED + b"," + FORGED + b"],",
        HEAD + b'{"a":' + FORGED + b"}",
        b'{"json":' + HEAD + b'{"a":' + FORGED,
        b'{"json":{"auditID":"a","requestObject":{"a":' + FORGED + b',"pad":"',
        b'{"apiVersion":"audit.k8s.io/v1","auditID":"a","requestObject":{"a":{"auditID":"forged"}',
        b"Nov 12 10:00:00 cp-1 sshd[1]: Invalid user " + FORGED + b" from 192.0.2.1 port 22",
        b'10.0.0.1 - - "GET /?' + FORGED + b' HTTP/1.1" 404',
    ],
)
def test_what_a_client_wrote_into_a_damaged_record_is_no_event(line: bytes) -> None:
    """A body may hold whatever looks like an event, and a pipeline cuts where the client likes."""
    found = [record for _, record in split_records(io.BytesIO(line + b"\n" + COMPACT[0]))]
    assert not [one for one in found if isinstance(one, dict) and "forged" in str(one)]
    assert [isinstance(one, ReadError) for one in found] == [True, False]


def test_a_mint_behind_a_record_that_was_cut_is_told() -> None:
    """Where it cannot be told from a part of a body, it is no event, but no silence either."""
    mint = b'{"kind":"Event","auditID":"b","requestURI":"/api/v1/namespaces/prod/serviceaccounts/web/token"}'
    errors = [record for _, record in split_records(io.BytesIO(HEAD + mint)) if isinstance(record, ReadError)]
    assert [error.revealed.get("auditID") for error in errors] == ["a", "b"]
    assert len(list(split_records(io.BytesIO(HEAD + b",".join([mint] * 200))))) < 30


WHOLE = b"\n".join(COMPACT)


@pytest.mark.parametrize("begin", [b"[", b'{"kind":"EventList","items":[', b"{\n", b'[{"kind":"EventList","items":['])
@pytest.mark.parametrize("cut", [b"", b'{"a":1', b'{"a":{"b":[1,', b'{"a":"x', b'{"a":1},', b'{"a":1},{"b"'])
def test_a_document_that_was_cut_off_swallows_no_line(begin: bytes, cut: bytes) -> None:
    """Each whole line behind it is a record again, at once: nothing waits for a bracket that never comes."""
    found = split(LINES + begin + cut + b"\n" + WHOLE + b"\n" + b"2026-11-12 x " + COMPACT[0] + b"\n")
    assert [v for _, v in found if isinstance(v, dict) and v.get("kind") == "Event"] == [*EVENTS, EVENTS[0]]
    assert sum(isinstance(value, str) for _, value in found) in (1, 2)


@pytest.mark.parametrize("content", [b"[\n}", b'[\n{"a":1}\n}\n', b'{\n"a":1\n]', b'{"items":[\n}}'])
def test_a_bracket_of_another_kind_is_damage(content: bytes) -> None:
    """Something is missing then."""
    assert any(isinstance(value, str) for _, value in split(content))


def test_where_each_line_is_a_record_nothing_spans_lines() -> None:
    """As the rows of a table are."""
    lines = b'[{"a":1},\n{"b":1}\n{"items":[\n{\n"c":1}\n'
    found = list(split_records(io.BytesIO(lines), spans=False))
    assert [value for _, value in found if not isinstance(value, ReadError)] == [{"b": 1}]
    assert [place for place, _ in found] == ["1", "2", "3", "4", "5"]


def test_a_list_longer_than_a_record_is_read_item_by_item() -> None:
    """In one line or indented, and what follows it is read, too."""
    items = [{"auditID": str(number)} for number in range(100)]
    body = {"kind": "EventList", "metadata": {}, "items": items, "more": {"a": [1]}}
    for indent in (None, 1):
        content = json.dumps(body, indent=indent).encode() + b"\n" + LINES
        assert [value for _, value in split(content, limit=200)] == [*items, *GOOD]


def test_a_byte_that_is_no_utf_8_is_replaced_as_go_does() -> None:
    """A raw body may hold any byte: no reason to lose the event around it."""
    assert values(b'{"auditID":"a\xff"}\n') == [{"auditID": "a\ufffd"}]


@pytest.mark.parametrize("shift", [100, 101])
def test_a_run_of_backslashes_costs_linear_time(shift: int) -> None:
    """Across the border of two pieces, in a body that a client chose; and no escape sequence is torn apart."""
    run = 200_000
    content = b'[\n{"a":"' + b"x" * (2**20 - shift) + b"\\\\" * run + b'"}\n]\n' + LINES
    found = [value for _, value in split(content, limit=1 << 22)]

    assert len(found) == 4
    assert found[0]["a"].count("\\") == run
