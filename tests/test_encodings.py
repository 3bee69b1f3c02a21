# SPDX-License-Identifier: Apache-2.0
"""UTF-16 and UTF-32, with a byte order mark or without, and byte order marks before anything."""

from __future__ import annotations

import codecs
import gzip
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import detect, read
from k8stokendetect.input.decoding import NotJSONError, decode
from k8stokendetect.input.encodings import Recoded, encoding_of
from packing import Pipe, zip_of
from test_compression import CONTENT, IDS, LINES, outcome

TEXT = CONTENT.decode()
ENCODED = {
    "UTF-8, mark": codecs.BOM_UTF8 + CONTENT,
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16, big-endian": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-16 without a mark, big-endian": TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "UTF-32, big-endian": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    "UTF-32 without a mark": TEXT.encode("utf-32-le"),
    "UTF-32 without a mark, big-endian": TEXT.encode("utf-32-be"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding_gives_the_same_events_and_lines(name: str) -> None:
    """As PowerShell's `>` writes it; from a slow pipe, compressed or in an archive, too."""
    content = ENCODED[name]
    for source in (content, Pipe(content, 7), gzip.compress(content), zip_of({"audit.log": content})):
        assert outcome(source) == (IDS, [])
    assert [event.origin for event in read(b"".join([content]))][-1] == "<bytes>:60"
    damaged = TEXT.replace(LINES[3].decode(), "{broken\r\n").encode("utf-16")
    ids, errors = outcome(damaged)
    assert ids == IDS[:3] + IDS[4:]
    assert [error.partition(": ")[0] for error in errors] == ["<bytes>:4"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_one_damaged_line_at_the_beginning_is_told_alike_from_a_slow_pipe(encoding: str) -> None:
    """Whether a text is UTF-16 shows at the end of its first line, however few bytes come at a time."""
    content = LINES[0].decode().strip().encode(encoding) + b"\n" + b"".join(LINES[1:])
    ids, errors = outcome(content)

    assert ids == IDS[1:]
    assert [error.partition(": ")[2] for error in errors] == ["not JSON: binary data"]
    for size in (1, 2, 7, 1000):
        found, told = outcome(Pipe(content, size))
        assert (found, [error.partition(":")[2] for error in told]) == (
            ids,
            [error.partition(":")[2] for error in errors],
        )


@pytest.mark.parametrize("layout", ["object", "array", "list", "two objects"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_indented_json(layout: str, encoding: str) -> None:
    """As Windows tools save it: each of the public samples of AKS begins so."""
    record = token_request(auditID="0")
    document = {
        "object": record,
        "array": [record],
        "list": {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [record]},
        "two objects": record,
    }[layout]
    text = json.dumps(document, indent=2)
    content = text.encode(encoding)
    if layout == "two objects":
        content += b"\n" if encoding == "utf-8-sig" else "\n".encode("utf-16-le")
        content *= 2
    ids, errors = outcome(content)
    assert set(ids) == {"0"}
    assert errors == []
    assert [finding.rule.id for finding in detect(content)][:1] == ["token-request"]


@pytest.mark.parametrize(("encoding", "size"), [("utf-16", 1), ("utf-32", 1), ("utf-32", 3)])
def test_a_text_that_ends_within_a_character_is_an_error(encoding: str, size: int) -> None:
    """Its last line is read all the same, where only half of the line end is missing."""
    content = TEXT.encode(encoding)
    name = encoding.upper()
    reason = f"<bytes>:60: the {name} text ends within a character; the rest is not read"
    assert outcome(content[:-size]) == (IDS, [reason])


def test_what_only_begins_with_zeros_is_no_utf16() -> None:
    """A crash leaves zeros, and truncation by copying; letters between zeros decide."""
    assert encoding_of(bytes(64)) is None
    assert encoding_of(bytes(3) + CONTENT[:64]) is None
    assert encoding_of(b"{\0" + CONTENT[:64]) is None
    assert outcome(bytes(4096) + CONTENT) == (IDS, [])
    assert encoding_of(b"") is encoding_of(b"{") is encoding_of(CONTENT[:512]) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", [b"", b"\n", "last"])
def test_what_another_tool_appended_is_read_too(encoding: str, end: bytes | str) -> None:
    """As a prompt of Windows appends UTF-8 to what PowerShell wrote, after a line end of the one kind or the other."""
    first = b"".join(LINES[:30]).decode().encode(encoding)
    if end:
        first = first[: -len("\n".encode(encoding.removesuffix("-le").removesuffix("-be") + "-le"))]
        first += b"\n" if end == b"\n" else b"\r\n"
    content = first + b"".join(LINES[30:])
    for source in (content, Pipe(content, 11)):
        assert outcome(source) == (IDS, [])


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]),
    st.integers(1, 9),
)
def test_recoding_in_any_pieces_gives_the_text(text: str, encoding: str, step: int) -> None:
    """And never more than was asked for."""
    file, found = Recoded(Pipe(text.encode(encoding), step).read, encoding, 0), b""
    while part := file.read(5):
        assert len(part) <= 5
        found += part
    assert found.decode() == text


@given(st.binary(max_size=80), st.sampled_from(["utf-16-le", "utf-32-be"]))
def test_any_bytes_are_recoded_or_an_error(content: bytes, encoding: str) -> None:
    """What is no character becomes U+FFFD."""
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-32-be": codecs.BOM_UTF32_BE}[encoding]
    items = list(read(mark + content).stream())
    assert not [item for item in items if hasattr(item, "audit_id")]


def test_recoding_takes_little_memory() -> None:
    """A piece at a time, however long the text."""
    content: Any = Pipe(codecs.BOM_UTF16_LE + b"x\0" * (20 << 20), 1 << 20)
    tracemalloc.start()
    outcome(content, max_record=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 << 20


def test_one_line_of_another_encoding_costs_itself() -> None:
    """Also where it is the first: the line end decides."""
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        line = LINES[0].decode().strip().encode(encoding)
        ids, errors = outcome(line + b"\n" + b"".join(LINES[1:]))
        assert (ids, len(errors)) == (IDS[1:], 1)


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        (r'"\ud800"', "\ufffd"),
        (r'"\uDC00x"', "\ufffdx"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\\ud800\ud800"', "\\ud800\ufffd"),
        (r'"\ud800", "1e999": "1e999"', "\ufffd"),
        ("-1e999", "-1e999"),
        ("9" * 5000, "9" * 5000),
        (r'"\udc00", "n": 1e999', "\ufffd"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_only_go_takes_is_replaced(value: str, read_as: str) -> None:
    """Half a surrogate pair, and a number that no float holds; next to bytes that are no UTF-8, too."""
    text = f'{{"a": {value}}}'
    assert decode(text)["a"] == decode(text.encode())["a"] == read_as
    assert decode(text.encode().replace(b'"a"', b'"\xff": [2.50, 7, true], "a"')) == {
        "\ufffd": [2.5, 7, True],
        **decode(text),
    }


@pytest.mark.parametrize("text", [r'{"a":"\ud800', r'{"a":"\ud8"}', r'{"a":"\ud800" 1}', "[1e999 2]", "[1e999,-]"])
def test_what_is_no_json_stays_none(text: str) -> None:
    """Whatever is replaced in it."""
    with pytest.raises(NotJSONError):
        decode(text)


def test_an_open_string_of_escaped_quotes_costs_one_look() -> None:
    """One for each of its quotes would take minutes; the suite's time limit tells."""
    quotes = b'\\"' * 200_000
    for text in (b'{"a":"\\ud800' + quotes, b'{"a":' * 200 + b'"' + quotes):
        with pytest.raises(NotJSONError):
            decode(text)
