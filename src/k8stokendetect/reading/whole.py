# SPDX-License-Identifier: Apache-2.0
"""Tells files that are not lines of JSON by how they begin: tables, YAML documents, Parquet and Arrow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, Final

from k8stokendetect.input.damage import BOM
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.line_reading import LineStream
from k8stokendetect.input.records import Record
from k8stokendetect.reading.columnar import columnar_form, columnar_records
from k8stokendetect.reading.tables import Table, delimiter_of
from k8stokendetect.reading.yaml_documents import is_yaml, yaml_records

_LONGEST_HEADER: Final = 256 * 1024


class _Begun:
    """A stream of which some bytes were read already.

    Arguments:
        head: those bytes.
        stream: the rest.

    """

    def __init__(self, head: bytes, stream: io.BufferedReader[Any]) -> None:
        self._head = head
        self._stream = stream

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or so many bytes of it."""
        if not self._head:
            return self._stream.readline(size)
        end = self._head.find(b"\n", 0, size) + 1 or size
        line, self._head = self._head[:end], self._head[end:]
        return line if line.endswith(b"\n") or len(line) >= size else line + self._stream.readline(size - len(line))


def records_of(
    stream: io.BufferedReader[Any], limits: Limits, lines: Callable[[LineStream], Iterator[Record]], /
) -> Iterator[Record]:
    """Yield the records of a stream, whatever its form.

    Arguments:
        stream: from its beginning on.
        limits: against hostile input.
        lines: reads JSON and lines, which have no beginning of their own.

    """
    head = stream.peek(1)
    if head.lstrip(b"\0 \t\r\n")[:1] in b"{[":  # nothing, too
        return lines(stream)
    form = columnar_form(head)
    if form is not None:
        return columnar_records(stream, form, limits)
    source: LineStream = stream
    if b"\n" not in head:  # a pipe that gave little yet
        head = stream.readline(_LONGEST_HEADER)
        source = _Begun(head, stream)
    first = head[: head.find(b"\n") + 1] or head
    if is_yaml(head.removeprefix(BOM)):
        return yaml_records(source, limits.record)
    delimiter = delimiter_of(first) if len(first) <= _LONGEST_HEADER else None
    return lines(source) if delimiter is None else Table(source, limits.record, delimiter).records()
