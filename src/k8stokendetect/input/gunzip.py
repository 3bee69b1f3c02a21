# SPDX-License-Identifier: Apache-2.0
"""Decompresses gzip: with isal where it is installed (the extra `fast`), which takes less than half the time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

_HEAD: Final = b"\x1f\x8b\x08"
_BLOCK: Final = 64 * 1024
"""Bytes of the source that are read at a time."""

_CHUNK: Final = 4096
"""Bytes of the source that are decompressed at a time: damage costs what stands before it in the same chunk."""

_MOST: Final = 1024 * 1024
"""Maximum number of bytes that come out at a time. isal decompresses ahead; damage would cost the rest."""

_CHECKSUM, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16  # RFC 1952, 2.3.1


class _Inflate(Protocol):
    """What `zlib.decompressobj` returns."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class Library(NamedTuple):
    """What decompresses, and with which error it says that it cannot."""

    inflate: Callable[[], _Inflate]
    crc32: Callable[[bytes, int], int]
    error: Any  # a class of exceptions; the types of isal take it for an exception


STANDARD: Final = Library(lambda: zlib.decompressobj(-zlib.MAX_WBITS), zlib.crc32, zlib.error)


def _fastest() -> Library:
    try:
        from isal import __version__, isal_zlib  # noqa: PLC0415 - an extra
    except ImportError:
        return STANDARD
    if not is_sound(__version__):
        return STANDARD
    return Library(lambda: isal_zlib.decompressobj(-isal_zlib.MAX_WBITS), isal_zlib.crc32, isal_zlib.error)


def is_sound(version: str, /) -> bool:
    """Return whether this version of isal reads every intact file: 1.7 and 1.8 report some as damaged (measured)."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= (1, 9)


FASTEST: Final = _fastest()
"""Some 2,100 MB/s of log with isal, 1,000 with zlib."""


class Gunzip:
    """Reads gzip of one member or many (RFC 1952), zeros after them included.

    `gzip.GzipFile` and `isal.igzip` differ in how much of a damaged file they give before they raise, igzip by up to a
    megabyte of log. Here both libraries give the same, and what a slow source has delivered is given at once.

    Arguments:
        read: gives up to so many bytes of the source, as soon as there are any; none at its end.
        library: what decompresses; the fastest that is installed unless told otherwise.

    """

    def __init__(self, read: Callable[[int], bytes], library: Library | None = None) -> None:
        self._read = read
        self._library = library or FASTEST
        self._source = self._packed = self._ready = b""
        self._next = self._given = 0
        self._member: _Inflate | None = None
        self._is_first = True
        self._holds_more = False
        self._crc = self._length = 0
        self._is_damaged = False

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end.

        Raises:
            EOFError: when the source ends within a member.
            gzip.BadGzipFile: when the source is damaged.

        """
        if self._given == len(self._ready):
            self._ready, self._given = self._decompressed(), 0
        end = self._given + size if size > 0 else len(self._ready)
        data = self._ready[self._given : end]
        self._given += len(data)
        return data

    def _decompressed(self) -> bytes:
        while (member := self._member or self._begin()) is not None:
            if data := self._from_member(member):
                return data
            self._end()
        return b""

    def _from_member(self, member: _Inflate) -> bytes:
        """Decompress what was read of a member, none at its end; more is read only while there is nothing to give."""
        parts: list[bytes] = []
        size = 0
        while not (member.eof or self._is_damaged or size >= _MOST) and (not parts or self._has_more()):
            data = self._inflated(member)
            parts += [data] if data else []
            size += len(data)
        if self._is_damaged and not parts:
            raise gzip.BadGzipFile
        return b"".join(parts)

    def _inflated(self, member: _Inflate) -> bytes:
        if not (self._packed or self._holds_more or self._more()):
            raise EOFError
        try:
            data = member.decompress(self._packed, _MOST)
        except self._library.error:
            self._is_damaged = True
            return b""
        self._packed = member.unconsumed_tail or member.unused_data
        self._holds_more = len(data) == _MOST
        self._crc = self._library.crc32(data, self._crc)
        self._length += len(data)
        return data

    def _begin(self) -> _Inflate | None:
        """Read the header of the next member; there may be none."""
        if not self._skip_zeros():
            return None
        if self._take(len(_HEAD)) != _HEAD:
            raise gzip.BadGzipFile
        flags = self._take(7)[0]
        if flags & _EXTRA:
            self._take(int.from_bytes(self._take(2), "little"))
        for _ in range(bool(flags & _NAME) + bool(flags & _COMMENT)):
            self._skip_text()
        if flags & _CHECKSUM:
            self._take(2)
        self._member, self._is_first, self._holds_more = self._library.inflate(), False, False
        self._crc = self._length = 0
        return self._member

    def _end(self) -> None:
        """Compare the member with its checksum and length."""
        trailer = self._take(8)
        if trailer != self._crc.to_bytes(4, "little") + (self._length % 2**32).to_bytes(4, "little"):
            raise gzip.BadGzipFile
        self._member = None

    def _has_more(self) -> bool:
        """Tell whether some of what was read is not decompressed yet."""
        return bool(self._packed) or self._next < len(self._source)

    def _more(self) -> bool:
        if self._next == len(self._source):
            self._source, self._next = self._read(_BLOCK), 0
        more = self._source[self._next : self._next + _CHUNK]
        self._next += len(more)
        self._packed += more
        return bool(more)

    def _take(self, size: int) -> bytes:
        while len(self._packed) < size:
            if not self._more():
                raise EOFError
        taken, self._packed = self._packed[:size], self._packed[size:]
        return taken

    def _skip_zeros(self) -> bool:
        """Skip the padding of a tape or a block device, not before the first member; tell whether anything is left."""
        while not (rest := self._packed if self._is_first else self._packed.lstrip(b"\0")):
            self._packed = b""
            if not self._more():
                return False
        self._packed = rest
        return True

    def _skip_text(self) -> None:
        while (end := self._packed.find(b"\0")) < 0:
            self._packed = b""
            if not self._more():
                raise EOFError
        self._packed = self._packed[end + 1 :]
