# SPDX-License-Identifier: Apache-2.0
"""What is no log is one error that says what to do; what holds an event is read, whatever it begins with."""

from __future__ import annotations

import random
import zlib

import pytest

from packing import Pipe, zip_of
from test_compression import CONTENT, IDS, LINES, outcome

NOISE = random.Random(20261126).randbytes(5000)  # noqa: S311 - no secret
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>\n<form>\n</form>\n</body></html>\n"
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>\n</Error>\n'
KINDS = {
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\n" + NOISE, "a PDF document: export"),
    "Windows event log": (b"ElfFile\0" + NOISE, "a Windows event log"),
    "old Office": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "save it as CSV"),
    "Parquet": (b"PAR1\x15\x04" + NOISE, "a damaged Parquet file"),
    "encrypted Parquet": (b"PARE\x15" + NOISE, "an encrypted Parquet file"),
    "Arrow": (b"ARROW1\0\0" + NOISE, "a damaged Arrow file"),
    "Avro": (b"Obj\x01" + NOISE, "an Avro file, as Event Hubs Capture writes"),
    "SQLite": (b"SQLite format 3\0" + NOISE, "a database of SQLite"),
    "journal": (b"LPKSHHRH" + NOISE, "journalctl --file FILE -o json"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + NOISE, "unpack it with `7z x`"),
    "RAR": (b"Rar!\x1a\x07\1\0" + NOISE, "a RAR archive: unpack it"),
    "compress": (b"\x1f\x9d\x90" + NOISE, "decompress it with `gzip -d`"),
    "lz4, old": (b"\x02\x21\x4c\x18" + NOISE, "decompress it with `lz4 -d`"),
    "lzma": (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff" + NOISE, "decompress it with `xz -d`"),
    "age": (b"age-encryption.org/v1\n-> X25519 abc\n" + NOISE, "decrypt it with `age -d`"),
    "PGP": (b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n", "decrypt it with `gpg -d`"),
    "openssl": (b"Salted__" + NOISE, "decrypt it with `openssl enc -d`"),
    "HTML": (HTML, "an HTML page, such as one that asks to log in: download the log itself"),
    "HTML after a comment": (b"\n <!-- v2 --><HTML lang=en>\n<body>\n</body>", "an HTML page"),
    "XML": (XML, "an XML document, such as an error of an object store"),
    "noise": (NOISE, "binary data of an unknown kind, perhaps encrypted"),
    "a program": (b"\x7fELF\2\1\1" + bytes(9) + NOISE, "binary data of an unknown kind"),
    "zlib": (zlib.compress(NOISE), "binary data of an unknown kind"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_log_is_one_error_with_advice(name: str) -> None:
    """Alone, from a pipe, in an archive next to a log; never a thousand lines that are no JSON."""
    content, reason = KINDS[name]
    for source in (content, Pipe(content, 100)):
        ids, errors = outcome(source)
        assert (ids, len(errors)) == ([], 1)
        assert reason in errors[0]
    ids, errors = outcome(zip_of({"x": content, "audit.log": CONTENT}))
    assert (ids, len(errors)) == (IDS, 1)
    assert errors[0].startswith("<bytes>!x:")


@pytest.mark.parametrize(
    "begin", [HTML, XML, NOISE[:700] + b"\n", b"PAR1 ", b"ORC ", bytes(300), b"\x1b[0m\n", b"\xff" * 90]
)
def test_what_holds_an_event_is_read_whatever_it_begins_with(begin: bytes) -> None:
    """A download that failed first and was tried again, a block of garbage that a crash left, a host called PAR1."""
    ids, errors = outcome(begin + CONTENT)
    assert ids[-59:] == IDS[1:]
    assert len(errors) <= begin.count(b"\n") + 1


def test_a_text_of_another_language_is_text() -> None:
    """Its lines are errors with their places, as they are no JSON."""
    content = "Überwachung\nÄnderung\n".encode()
    assert len(outcome(content)[1]) == 2
    assert outcome(LINES[0] + "Schlüssel\n".encode())[0] == IDS[:1]


@pytest.mark.parametrize("content", [b"", b"\n", b"x", b"\x80", b"\0", b"PK", b"BZ", b"\x28\xb5"])
def test_what_is_too_short_to_be_recognised_is_no_crash(content: bytes) -> None:
    """At most one error."""
    assert len(outcome(content)[1]) <= 1
