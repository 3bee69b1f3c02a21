# SPDX-License-Identifier: Apache-2.0
"""Opens the files in archives, each a source of its own; nothing is unpacked to disk, and no name is used as a path."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs

from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.errors import ReadError
from k8stokendetect.input.budget import Budget
from k8stokendetect.input.frames import Feed
from k8stokendetect.input.slices import ForwardFile, PartError, SeekableFile
from k8stokendetect.input.streams import BinaryFile, ByteStream, check_depth

_LONGEST_NAME: Final = 300
_OFFICE: Final = "[Content_Types].xml"
"""The first file of a document of Office (ECMA-376, part 2, 10.2.7)."""

_REST: Final = "; the rest is not read"

_UNPRINTABLE: Final = re.compile(r"[^ -~\xa1-\U0010ffff]|!")


class PackedFile:
    """An open file in an archive.

    Arguments:
        name: of the archive, `!`, and its own.
        read: gives up to so many bytes of it.
        budget: of the source.
        depth: how often it was compressed or packed.

    """

    def __init__(self, name: str, read: Callable[[int], bytes], budget: Budget, depth: int) -> None:
        self.name = name
        self.budget = budget
        self.depth = depth
        self._read = read

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        return self._read(size)


@attrs.frozen
class Packed:
    """A file in an archive that may be opened.

    Arguments:
        name: of the archive, `!`, and its own.
        content: opens what is in it.
        budget: of the source.
        depth: how often it is compressed or packed.

    """

    name: str
    content: Callable[[], BinaryFile]
    budget: Budget
    depth: int

    def open(self) -> PackedFile:
        """Open it at its beginning.

        Raises:
            ReadError: when it cannot be read.

        """
        return PackedFile(self.name, self.content().read, self.budget, self.depth)


class Archive:
    """The files in an archive.

    Arguments:
        stream: at the beginning of the archive.
        source: what the stream reads from.
        start: where the source stood before; None where it cannot seek.
        name: of the archive.
        budget: of the source.

    Attributes:
        in_any_order: files can be opened at any time, several at once; otherwise each before the next is asked for.

    """

    def __init__(self, stream: ByteStream, source: BinaryFile, start: int | None, name: str, budget: Budget) -> None:
        self._stream = stream
        self._name = name
        self._budget = budget
        self._reason: str | None = None
        self._cuts = 0
        file, feed = self._places(source, start)
        self._contents: Iterable[tuple[str, Callable[[], BinaryFile]]]
        if stream.archive == "tar":
            from k8stokendetect.input.tars import tar_files  # noqa: PLC0415 - few logs are archives

            self.in_any_order = file is not None
            self._contents = tar_files(file or ForwardFile(feed), self._cut)
            return
        from k8stokendetect.input.zips import zip_files, zip_files_in_turn  # noqa: PLC0415 - the same

        found = None if file is None else zip_files(file, budget.limits.members)
        self.in_any_order = found is not None
        self._contents = zip_files_in_turn(feed, self._cut) if found is None else found

    def _places(self, source: BinaryFile, start: int | None) -> tuple[SeekableFile | None, Feed]:
        """Return the archive as a file that can be read anywhere, unless it is too long to be held, and as a stream."""
        if start is not None and self._stream.is_raw:
            return SeekableFile(source, start, self._budget.take), Feed(
                SeekableFile(source, start, self._budget.take).read
            )
        if isinstance(source, PackedFile):
            return None, Feed(self._stream.buffer.read1)
        longest = self._budget.limits.record
        held = self._stream.buffer.read(longest + 1)
        if len(held) <= longest:
            return SeekableFile(io.BytesIO(held), 0, _ignore), Feed(io.BytesIO(held).read)
        feed = Feed(self._stream.buffer.read1)
        feed.give_back(held)
        return None, feed

    def files(self) -> Iterator[Packed]:
        """Yield each file but dot files, in the order of the archive, as far as it can be read."""
        number = 0
        try:
            check_depth(self._stream, self._budget)
            for name, content in self._contents:
                if any(part.startswith(".") and part.strip(".") for part in name.split("/")):
                    continue
                number += 1
                if name == _OFFICE:
                    self._reason = "an Office document, such as an Excel workbook: save it as CSV"
                    return
                _refuse(self._budget.add_member())
                yield Packed(f"{self._name}!{_shown(name)}", content, self._budget, self._stream.depth + 1)
                _refuse(self._budget.excess())
        except PartError as error:
            self._reason = error.reason
        except ReadError as error:
            self._reason = f"{error.reason}{_REST}"
        if not number and not self._reason:
            self._reason = "the archive holds no log files"

    def _cut(self) -> str:
        self._cuts += 1
        return self._stream.failure or f"the {self._stream.archive} archive is cut off"

    @property
    def failure(self) -> ReadError | None:
        """Why not all of it could be read, once it was, unless that stopped the reading of a file in it."""
        if self._cuts > 1:
            return None
        lost = None if self._cuts or not self._stream.failure else f"{self._stream.failure}{_REST}"
        reason = self._reason or lost
        return None if reason is None else ReadError(reason, self._name)


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise ReadError(reason)


def logs_in(source: BinaryFile, name: str, budget: Budget) -> Iterator[tuple[str, ByteStream] | ReadError]:
    """Yield name and content of an open file or, where it is an archive, of each file in it, one after the other."""
    packed = source if isinstance(source, PackedFile) else None
    start = None if packed is not None else place_of(source)
    try:
        stream = ByteStream(source, budget, depth=0 if packed is None else packed.depth)
    except ReadError as error:
        yield error.at(name)
        return
    if stream.archive is None:
        yield name, stream
        return
    archive = Archive(stream, source, start, name, budget)
    for file in archive.files():
        try:
            opened = file.open()
        except ReadError as error:
            yield error.at(file.name)
        else:
            yield from logs_in(opened, file.name, budget)
    if (failure := archive.failure) is not None:
        yield failure


def place_of(source: Any) -> int | None:
    """Return where the next read of a file begins; None where it cannot seek."""
    try:
        return int(source.tell()) if source.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None


def _ignore(_: int) -> None:
    pass


def _shown(name: str) -> str:
    """Return the name of a file for origins: short, on one line, without tokens."""
    return _UNPRINTABLE.sub("?", clean_text(name[-_LONGEST_NAME:]))
