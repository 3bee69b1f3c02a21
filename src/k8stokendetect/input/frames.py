# SPDX-License-Identifier: Apache-2.0
"""Decompresses zstd, bzip2, xz and lz4: frames of any of these, one after the other."""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from k8stokendetect.errors import ReadError

_CHUNK: Final = 4096
"""Bytes of the source that are decompressed at a time: damage costs what stands before it in the same chunk."""

_BLOCK: Final = 64 * 1024
"""Bytes of the source that are read at a time."""

_MOST: Final = 64 * 1024
"""Maximum number of bytes that come out at a time."""

_MEMORY: Final = 128 * 1024 * 1024
"""Bytes that decompressing xz may take: `xz -9` needs 65 MiB (xz(1)). libzstd refuses windows beyond 128 MiB by itself
(ZSTD_WINDOWLOG_LIMIT_DEFAULT in github.com/facebook/zstd, lib/zstd.h)."""


class Decompressor(Protocol):
    """What the standard library has for one frame; zstd and lz4 follow it."""

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes out without more input."""
        ...

    @property
    def unused_data(self) -> bytes | None:
        """What was given beyond the end of the frame."""
        ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """Take compressed data, and return up to so many bytes."""
        ...


class Format(NamedTuple):
    """A compressed format: its name, and what decompresses a frame of it.

    A missing package is an ImportError when a decompressor is made.
    """

    name: str
    new: Callable[[], Decompressor]


def _new_xz() -> Decompressor:
    return lzma.LZMADecompressor(memlimit=_MEMORY)


def _new_zstd() -> Any:
    if sys.version_info >= (3, 14):
        return importlib.import_module("compression.zstd").ZstdDecompressor()
    return importlib.import_module("backports.zstd").ZstdDecompressor()


def _new_lz4() -> Any:
    return importlib.import_module("lz4.frame").LZ4FrameDecompressor()


BZIP2: Final = Format("bzip2", bz2.BZ2Decompressor)
XZ: Final = Format("xz", _new_xz)
ZSTD: Final = Format("zstd", _new_zstd)
LZ4: Final = Format("lz4", _new_lz4)

_FORMATS: Final = {
    b"BZh": BZIP2,
    b"\xfd7zXZ\0": XZ,  # tukaani.org/xz/xz-file-format.txt, 2.1.1.1
    b"\x28\xb5\x2f\xfd": ZSTD,  # RFC 8878, 3.1.1
    b"\x04\x22\x4d\x18": LZ4,  # github.com/lz4/lz4, doc/lz4_Frame_format.md
}
_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""The beginning of a frame that holds no data, in zstd and lz4 (RFC 8878, 3.1.2); `pzstd` writes them."""

_LONGEST_MAGIC: Final = 6


def _format_of(head: bytes) -> Format | None:
    return next((form for magic, form in _FORMATS.items() if head.startswith(magic)), None)


def begins_frame(head: bytes, /) -> bool:
    """Tell whether frames begin so."""
    return _format_of(head) is not None or _SKIPPABLE.match(head) is not None


def new_decompressor(form: Format, /) -> Decompressor:
    """Return what decompresses one frame.

    Raises:
        ReadError: when its package is missing.

    """
    try:
        return form.new()
    except ImportError:
        reason = f"compressed with {form.name}: pip install 'k8stokendetect[compression]' to read it"
    raise ReadError(reason)


def check_package(head: bytes, /) -> None:
    """Raise ReadError where frames begin so whose package is missing."""
    if (form := _format_of(head)) is not None:
        new_decompressor(form)


class Feed:
    """A source from which bytes can be taken, looked at and given back.

    Arguments:
        read: gives up to so many bytes, as soon as there are any; none at the end.

    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._kept = b""
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end."""
        if self._at == len(self._kept):
            self._kept, self._at = self._read(_BLOCK), 0
        taken = self._kept[self._at : self._at + size] if size > 0 else self._kept[self._at :]
        self._at += len(taken)
        return taken

    def peek(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer at the end; they are still to be read."""
        while len(self._kept) - self._at < size and (more := self._read(_BLOCK)):
            self.give_back(b"")
            self._kept += more
        return self._kept[self._at : self._at + size]

    def give_back(self, data: bytes, /) -> None:
        """Let these bytes be read next."""
        self._kept, self._at = data + self._kept[self._at :], 0

    def skip(self, size: int, /) -> bool:
        """Skip so many bytes; tell whether there were as many."""
        while size > 0 and (passed := self.read(min(size, _BLOCK))):
            size -= len(passed)
        return size == 0


class Frame:
    """Decompresses one frame; what comes after it stays in the source.

    Arguments:
        source: is read from its beginning on.
        name: of the format, for errors.
        decompressor: a new one.
        cut: returns why the source ended within the frame.

    """

    def __init__(
        self, source: Feed, name: str, decompressor: Decompressor, cut: Callable[[], str] | None = None
    ) -> None:
        self._source = source
        self._name = name
        self._decompressor = decompressor
        self._cut = cut or (lambda: f"the {name} data is cut off")
        self._is_open = True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end of the frame.

        Raises:
            ReadError: when it is cut off or damaged.

        """
        most = min(size, _MOST) if size > 0 else _MOST
        while not self._decompressor.eof:
            if data := self._next(most):
                return data
        if self._is_open:
            self._is_open = False
            self._source.give_back(self._decompressor.unused_data or b"")
        return b""

    def _next(self, most: int) -> bytes:
        packed = self._source.read(_CHUNK) if self._decompressor.needs_input else b""
        if self._decompressor.needs_input and not packed:
            raise ReadError(self._cut())
        try:
            return self._decompressor.decompress(packed, most)
        except Exception as error:  # noqa: BLE001 - each library has its own
            # In liblzma's words, the memory usage limit is exceeded; in libzstd's, the frame requires too much memory.
            reason = "needs more memory than is allowed" if "memory" in str(error).lower() else "is damaged"
        raise ReadError(f"the {self._name} data {reason}")


class Frames:
    """Reads compressed frames one after the other, with zeros and skippable frames between them.

    Arguments:
        read: gives up to so many bytes of the source, as soon as there are any; none at its end.

    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._source = Feed(read)
        self._frame: Frame | None = None
        self._name = ""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, as soon as there are any; none at the end.

        Raises:
            ReadError: when the source is cut off, damaged, or of a format whose package is missing.

        """
        while frame := self._frame or self._begin():
            if data := frame.read(size):
                return data
            self._frame = None
        return b""

    def _begin(self) -> Frame | None:
        """Open the next frame; there may be none."""
        while head := self._source.peek(_LONGEST_MAGIC):
            if self._name and head[0] == 0:  # padding; there is none before the first frame
                self._source.skip(len(head) - len(head.lstrip(b"\0")))
            elif form := _format_of(head):
                self._name = form.name
                self._frame = Frame(self._source, form.name, new_decompressor(form))
                return self._frame
            elif not _SKIPPABLE.match(head):
                cut = any(magic.startswith(head) for magic in _FORMATS)
                raise ReadError(f"the {self._name} data is {'cut off' if cut else 'damaged'}")
            elif not self._skip_frame():
                raise ReadError("the compressed data is cut off")
        return None

    def _skip_frame(self) -> bool:
        """Skip a frame without data; tell whether it was whole."""
        head = self._source.peek(8)
        return self._source.skip(8) and self._source.skip(int.from_bytes(head[4:], "little"))
