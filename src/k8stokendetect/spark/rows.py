# SPDX-License-Identifier: Apache-2.0
"""Turns rows of a table into sources for the reader, and remembers where each line came from."""

from __future__ import annotations

import bisect
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.errors import ReadError
from k8stokendetect.findings import Finding
from k8stokendetect.input.streams import is_packed

_REMEMBERED: Final = 200_000
"""Maximum number of source changes that are remembered: more than the lines that the reader holds."""

_PLACE: Final = re.compile(r"<rows (\d+)>:?(\d*)(.*)", re.DOTALL)


@attrs.frozen
class Source:
    """Where a row came from.

    Arguments:
        origin: as named in the table; None if it is not.
        cluster: the name of its cluster, as named in the table.

    """

    origin: str | None = None
    cluster: str | None = None

    def name(self, finding: Finding, /) -> Finding:
        """Name the cluster of what was found in a record that cannot be read."""
        if self.cluster is None or finding.event.cluster is not None:
            return finding
        return attrs.evolve(finding, event=attrs.evolve(finding.event, cluster=self.cluster))


Row = tuple[bytes, Source]


@attrs.define
class _Segment:
    """The rows that are read as one source.

    Arguments:
        alone: whether it is a single row of several lines, or of gzip.
        starts: the lines at which the origin changes.
        sources: the origins from those lines on.

    """

    alone: bool = False
    starts: list[int] = attrs.field(factory=list)
    sources: list[Source] = attrs.field(factory=list)
    lines: int = 0

    def add(self, source: Source) -> None:
        """Add a line."""
        self.lines += 1
        if not self.sources or self.sources[-1] != source:
            self.starts.append(self.lines)
            self.sources.append(source)
        if len(self.starts) > 2 * _REMEMBERED:
            del self.starts[:_REMEMBERED], self.sources[:_REMEMBERED]

    def at(self, line: int) -> Source:
        """Return where a line comes from."""
        return self.sources[max(0, bisect.bisect_right(self.starts, line) - 1)] if self.sources else Source()


class Rows:
    """Sources for `read`: one-line rows form a stream; a row of several lines, or of gzip, is a source of its own.

    Arguments:
        batches: Arrow record batches with the column `value` (binary), and optionally `origin` and `cluster`.
        to_be_read: told some rows, returns those that are to be read.
        trouble: called for each row that holds nothing to read.

    """

    def __init__(
        self,
        batches: Iterable[Any],
        to_be_read: Callable[[Sequence[Row]], Sequence[Row]],
        trouble: Callable[[ReadError, Source], object],
    ) -> None:
        self._batches = iter(batches)
        self._to_be_read = to_be_read
        self._trouble = trouble
        self._rows: deque[Row] = deque()
        self._ended = False
        self._segments: dict[int, _Segment] = {}
        self._number = 0

    def sources(self) -> Iterator[io.BufferedIOBase | io.RawIOBase]:
        """Yield open binary files, each to be read before the next."""
        while self._more():
            self._number += 1
            segment = self._segments[self._number] = _Segment(alone=_is_for_itself(self._rows[0][0]))
            self._segments.pop(self._number - _REMEMBERED, None)
            name = f"<rows {self._number}>"
            if segment.alone:
                value, source = self._rows.popleft()
                segment.add(source)
                yield _Named(value, name)
            else:
                yield _Lines(self._next, segment, name)

    def _more(self) -> bool:
        """Return whether there is another row, and fetch it."""
        while not self._rows and not self._ended:
            batch = next(self._batches, None)
            if batch is None:
                self._ended = True
            else:
                self._rows.extend(self._to_be_read(list(self._of(batch))))
        return bool(self._rows)

    def _next(self) -> list[Row]:
        """Return the next one-line rows, up to a row that is a source of its own."""
        rows: list[Row] = []
        self._more()
        while self._rows and not _is_for_itself(self._rows[0][0]):
            rows.append(self._rows.popleft())
        return rows

    def _of(self, batch: Any) -> Iterator[Row]:
        names = batch.schema.names
        values = batch.column("value").to_pylist()
        nothing = [None] * len(values)
        origins = batch.column("origin").to_pylist() if "origin" in names else nothing
        clusters = batch.column("cluster").to_pylist() if "cluster" in names else nothing
        source = Source()
        for value, origin, cluster in zip(values, origins, clusters, strict=True):
            if origin != source.origin or cluster != source.cluster:
                source = Source(origin, cluster)
            if value is None:
                self._trouble(ReadError("the column is null"), source)
            else:
                yield value.removesuffix(b"\n"), source

    def source(self, place: str | None, /) -> tuple[str | None, Source]:
        """Return where an event comes from, given the origin that the reader reports: `<rows 1>:12.records[3]`."""
        found = _PLACE.fullmatch(place or "")
        segment = self._segments.get(int(found[1])) if found else None
        if not found or segment is None:
            return place, Source()
        source = segment.at(1 if segment.alone else int(found[2] or 1))
        line = found[2] if segment.alone else ""
        inner = f":{line}{found[3]}" if line or found[3].startswith("row ") else found[3]
        return f"{source.origin or ''}{inner}" or None, source


def _is_for_itself(value: bytes) -> bool:
    return b"\n" in value or is_packed(value)


class _Named(io.BytesIO):
    """Bytes with a name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Lines(io.RawIOBase):
    """One-line rows as a binary file."""

    def __init__(self, rows: Callable[[], list[Row]], segment: _Segment, name: str) -> None:
        super().__init__()
        self.name = name
        self._rows = rows
        self._segment = segment
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; all that is buffered if negative."""
        if not self._held:
            rows = self._rows()
            for _, source in rows:
                self._segment.add(source)
            self._held = memoryview(b"".join(value + b"\n" for value, _ in rows))
        size = len(self._held) if size < 0 else size
        piece, self._held = bytes(self._held[:size]), self._held[size:]
        return piece
