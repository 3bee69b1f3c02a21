# SPDX-License-Identifier: Apache-2.0
"""Reads a stream of YAML documents one by one, as `gcloud logging read` writes entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from k8stokendetect.convert.jsonlike import as_json
from k8stokendetect.convert.nesting import DEEP, MAX_NESTING, is_deep
from k8stokendetect.convert.redaction import shown
from k8stokendetect.convert.yaml import read_documents
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.line_reading import LineStream
from k8stokendetect.input.records import Record

_BEGINS: Final = re.compile(
    rb"(?:---[ \t]*\r?\n"
    rb"|(?:insertId|labels|logName|protoPayload|jsonPayload|textPayload|kind|apiVersion|auditID):[ \r\n])"
)
_INDENTED: Final = re.compile(rb"^[ \-?:]{%d}" % (8 * MAX_NESTING), re.MULTILINE)
_SHOWN: Final = {
    "requestURI": re.compile(rb"^ +(?:resourceName|requestURI): *['\"]?([^\s'\"]+)", re.MULTILINE),
    "verb": re.compile(rb"^ +(?:methodName: *\S*\.|verb: *['\"]?)([a-z]+)['\"]?\r?$", re.MULTILINE),
    "username": re.compile(rb"^ +(?:principalEmail|username): *['\"]?([^\r\n'\"]+)", re.MULTILINE),
}


def is_yaml(head: bytes, /) -> bool:
    """Tell the beginning of YAML documents that may hold audit events."""
    return _BEGINS.match(head) is not None


def yaml_records(stream: LineStream, limit: int, /) -> Iterator[Record]:
    """Yield each document with the number of its first line, and an error for each that is not one."""
    for number, text in _documents(stream, limit):
        try:
            for document in _decoded(text, limit):
                yield str(number), document
        except ConfigError as error:  # PyYAML is missing
            yield str(number), ReadError(f"YAML documents; {error}")
            return
        except ReadError as error:
            yield str(number), ReadError(error.reason, revealed=_revealed(text))


def _documents(stream: LineStream, limit: int) -> Iterator[tuple[int, bytes]]:
    """Cut at the markers; of a document that is too long, what exceeds the limit is dropped."""
    parts: list[bytes] = []
    size = number = 0
    begin, is_whole = 1, True
    while line := stream.readline(limit):
        if is_whole and line.rstrip() == b"---":
            yield from [(begin, b"".join(parts))] if parts else []
            parts, size, begin = [], 0, number + 2
        elif size <= limit:
            parts.append(line)
            size += len(line)
        is_whole = line.endswith(b"\n")
        number += is_whole
    if parts:
        yield begin, b"".join(parts)


def _decoded(text: bytes, limit: int) -> list[Any]:
    if len(text) > limit:
        raise ReadError(f"record longer than {limit} bytes, the limit max_record")
    if is_deep(text) or _INDENTED.search(text):
        raise ReadError(f"YAML {DEEP}")
    return [as_json(document) for document in read_documents(text)]


def _revealed(text: bytes) -> dict[str, str]:
    """Say what a damaged document shows of a call."""
    found = {name: pattern.search(text) for name, pattern in _SHOWN.items()}
    return shown({name: match[1].decode("utf-8", "replace") for name, match in found.items() if match})
