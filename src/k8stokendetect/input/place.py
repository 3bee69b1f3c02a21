# SPDX-License-Identifier: Apache-2.0
"""A place in a log file that is recognised by what stands around it, whatever the file is called by now."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import attrs

from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.limits import GZIP

HEAD: Final = 1024
"""Number of first bytes by which a file is recognised."""

TAIL: Final = 256
"""Number of bytes before a place by which it is recognised."""

_PACKED: Final[tuple[tuple[bytes, Callable[..., Any]], ...]] = (
    (GZIP, gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)


class LogFile:
    """An open file of a log, plain or compressed with gzip, bzip2 or xz; read by offset, after decompression.

    Arguments:
        path: of the file.

    Attributes:
        path: what it was called when it was opened.
        status: as it was then.
        is_packed: it is compressed.

    Raises:
        OSError: when it cannot be opened, or is no file.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            self.status = os.fstat(self._handle)
            if not stat.S_ISREG(self.status.st_mode):
                raise IsADirectoryError(0, "not a file", str(path))
            head = os.pread(self._handle, 6, 0)
        except OSError:
            os.close(self._handle)
            raise
        self._raw = os.fdopen(self._handle, "rb")
        unpack = next((opened for magic, opened in _PACKED if head.startswith(magic)), None)
        self._stream: Any = unpack(self._raw, "rb") if unpack else None
        self.is_packed = unpack is not None

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Return so many bytes from a place on, fewer at the end.

        Raises:
            ReadError: when that is not possible: the disk fails, or the file is damaged.

        """
        try:
            if self._stream is None:
                return os.pread(self._handle, size, offset)
            self._stream.seek(offset)
            return bytes(self._stream.read(size))
        except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "the compressed data is damaged or cut off"
            raise ReadError(f"cannot be read: {reason}", str(self.path)) from None

    @property
    def size(self) -> int:
        """How many bytes it has now, compressed where it is."""
        return os.fstat(self._handle).st_size

    @property
    def modified(self) -> int:
        """When it was last written to, in nanoseconds."""
        return os.fstat(self._handle).st_mtime_ns

    def is_at(self, path: Path, /) -> bool | None:
        """Tell whether this is the file of a name; None where there is none."""
        try:
            return os.path.samestat(path.stat(), self.status)
        except OSError:
            return None

    def close(self) -> None:
        """Close it."""
        self._raw.close()


@attrs.frozen
class Place:
    """A place in a log; it holds hashes, no text.

    Arguments:
        offset: how many bytes stand before it.
        head_size: how many of the first bytes of the file `head` is about.
        head: their hash.
        tail: that of the last bytes before the place.
        modified: when the file was last written to, as far as that was seen, in nanoseconds.

    """

    offset: int
    head_size: int
    head: str
    tail: str
    modified: int

    @classmethod
    def of(cls, offset: int, head: bytes, before: bytes, modified: int, /) -> Self:
        """Describe a place.

        Arguments:
            offset: how many bytes stand before it.
            head: the first bytes of the file, also from beyond the place; `HEAD` of them are enough.
            before: the bytes before the place; `TAIL` of them are enough.
            modified: when the file was last written to.

        """
        head = head[:HEAD]
        return cls(offset, len(head), _hashed(head), _hashed(before[len(before) - min(TAIL, offset) :]), modified)

    def is_in(self, file: LogFile, /) -> bool:
        """Tell whether a file has this place; one that cannot be read has not."""
        size = min(TAIL, self.offset)
        try:
            return (
                self.head_size > 0
                and _hashed(file.read_at(0, self.head_size)) == self.head
                and _hashed(file.read_at(self.offset - size, size)) == self.tail
            )
        except ReadError:
            return False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, document: object, /) -> Self:
        """Make a place of what `to_dict` returned.

        Raises:
            ConfigError: when it is nothing of the kind.

        """
        kinds = {"offset": int, "head_size": int, "head": str, "tail": str, "modified": int}
        if not isinstance(document, Mapping) or any(type(document.get(key)) is not kinds[key] for key in kinds):
            raise ConfigError("not a place in a log")
        place = cls(**{key: document[key] for key in kinds})
        if place.offset < 0 or not 0 <= place.head_size <= HEAD:
            raise ConfigError("not a place in a log")
        return place


def _hashed(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
