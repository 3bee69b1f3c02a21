# SPDX-License-Identifier: Apache-2.0
"""Recognises by their first bytes what is not a log, and says how to make one of it."""

from __future__ import annotations

import re
from typing import Final

_ADVICE: Final = {
    rb"%PDF-": "a PDF document: export the log as JSON or CSV",
    rb"ElfFile\0": "a Windows event log, which holds no audit events: give the log of the API server",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office document, or an encrypted one: save it as CSV",
    rb"PARE[^ -~]": "an encrypted Parquet file: read it with pyarrow and its keys, and give its rows",
    rb"Obj\x01": "an Avro file, as Event Hubs Capture writes: give the body of each of its records as bytes",
    rb"SQLite format 3\0": "a database of SQLite: export the events as JSON lines",
    rb"LPKSHHRH": "a journal of systemd: export it with `journalctl --file FILE -o json`",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it with `7z x`, and give the folder",
    rb"Rar!\x1a\x07": "a RAR archive: unpack it and give the folder",
    rb"\x1f\x9d": "compressed with compress (.Z): decompress it with `gzip -d`",
    rb"\x02\x21\x4c\x18": "compressed in the old format of lz4: decompress it with `lz4 -d`",
    rb"\xff\x06\0\0sNaPpY": "compressed with snappy: decompress it first",
    rb"\x5d\0\0..\xff\xff\xff\xff": "compressed with lzma: decompress it with `xz -d`",
    rb"LZIP\x01": "compressed with lzip: decompress it with `lzip -d`",
    rb"\x89LZO": "compressed with lzop: decompress it with `lzop -d`",
    rb"age-encryption\.org/": "encrypted with age: decrypt it with `age -d`",
    rb"-----BEGIN AGE ENCRYPTED FILE": "encrypted with age: decrypt it with `age -d`",
    rb"-----BEGIN PGP MESSAGE": "encrypted with PGP: decrypt it with `gpg -d`",
    rb"Salted__": "encrypted with openssl: decrypt it with `openssl enc -d`",
    rb"\$ANSIBLE_VAULT": "encrypted with Ansible Vault: decrypt it with `ansible-vault view`",
}
_BINARY: Final = tuple((re.compile(pattern, re.DOTALL), advice) for pattern, advice in _ADVICE.items())

COLUMNAR: Final = re.compile(rb"PAR1[^ -~]|ARROW1\0\0|FEA1[^ -~]")
"""How Parquet, Arrow and Feather files begin, which are read, though compression may hide every sign of an event."""

_PAGE: Final = re.compile(rb"(?is)\s*(?:<!--.{0,200}?-->\s*)?<(?:!doctype\s+html|html|head|body)[\s>]")
_XML: Final = re.compile(rb"\s*<\?xml\s")
_TEXTUAL: Final = (
    (_PAGE, "an HTML page, such as one that asks to log in: download the log itself, with credentials"),
    (_XML, "an XML document, such as an error of an object store: download the log itself, with credentials"),
)
_EVENT: Final = re.compile(
    rb"audit\.k8s\.io|auditID|audit_id| AUDIT: |serviceaccounts|io\.k8s\.|kubernetes|msg=audit\("
)
"""What some record of a log has, of an API server's or a host's, whatever stands before it."""

_UNUSUAL: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SHORT: Final = 64
_TEXT: Final = 0.9
"""Minimum share of a text that is characters; damaged logs have more."""

UNKNOWN: Final = (
    "binary data of an unknown kind, perhaps encrypted: decrypt it, or export the log as JSON lines, and try again"
)


def advice(sample: bytes, /) -> str | None:
    """Return what a file is, and what to do with it, where it holds no log; None where it may hold one.

    Arguments:
        sample: its first bytes, the more the better: what holds a sign of an audit event is read, whatever it
            begins with.

    """
    if COLUMNAR.match(sample):
        return None
    for pattern, reason in _BINARY:
        if pattern.match(sample):
            return reason
    for pattern, reason in _TEXTUAL:
        if pattern.match(sample):
            return None if _EVENT.search(sample) else reason
    return UNKNOWN if _is_binary(sample) and not _EVENT.search(sample.replace(b"\0", b"")) else None


def _is_binary(sample: bytes) -> bool:
    """Tell whether much of it is not text; zeros at its ends are what a crash left."""
    sample = sample.strip(b"\0")
    if len(sample) < _SHORT:
        return False
    text = sample.decode("utf-8", "replace")
    return text.count("\ufffd") + len(_UNUSUAL.findall(sample)) > (1 - _TEXT) * len(text)
