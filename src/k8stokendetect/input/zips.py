# SPDX-License-Identifier: Apache-2.0
"""Finds the files in a zip archive: by its directory or, where that is cut off or cannot be reached yet, one by one.

Source of all structures: APPNOTE.TXT of PKWARE (pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), section 4.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from k8stokendetect.errors import ReadError
from k8stokendetect.input.frames import BZIP2, XZ, ZSTD, Decompressor, Feed, Frame, new_decompressor
from k8stokendetect.input.gunzip import FASTEST
from k8stokendetect.input.slices import SeekableFile, Slice
from k8stokendetect.input.streams import BinaryFile

_FILE: Final = b"PK\x03\x04"
_DESCRIPTOR: Final = b"PK\x07\x08"
_END, _END_SIZE = b"PK\x05\x06", 22
_DIRECTORY: Final = {
    b"PK\x01\x02": struct.Struct("<28x3H12x"),
    _END: struct.Struct(f"<{_END_SIZE - 2}xH"),
    b"PK\x06\x06": struct.Struct("<4xQ"),
    b"PK\x06\x07": struct.Struct("<20x"),
}
"""What follows the last file: the directory's entries, its end, that of a large one, where that stands; each with the
sizes of what comes behind it."""

_HEADER: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED, _SIZE_FOLLOWS, _UTF8 = 1, 8, 0x800
_STORED, _DEFLATED = 0, 8
_FRAMES: Final = {12: BZIP2, 93: ZSTD, 95: XZ}
_OTHERS: Final = {9: "Deflate64", 14: "LZMA", 98: "PPMd"}
_ENTRY: Final = 512
"""Bytes of the directory for each file that may be in it; an entry takes 46 and its name."""


class _Deflate:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._inflate = FASTEST.inflate()
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        found = self._inflate.decompress(self._tail + data, max_length)
        self._tail = self._inflate.unconsumed_tail
        self.needs_input = not self._tail and len(found) < max_length
        return found


class _Entry(NamedTuple):
    """What the header of a file says about it."""

    flags: int
    method: int
    checksum: int
    packed: int

    def decompressor(self) -> Decompressor | None:
        """Return what decompresses it; None where it is stored.

        Raises:
            ReadError: when it cannot be read.

        """
        if self.flags & _ENCRYPTED:
            raise ReadError("encrypted: unpack the zip archive with its password (`7z x`), and give the folder")
        if self.method == _DEFLATED:
            return _Deflate()
        if self.method in _FRAMES:
            return new_decompressor(_FRAMES[self.method])
        if self.method != _STORED:
            name = _OTHERS.get(self.method, f"method {self.method}")
            raise ReadError(f"compressed with {name}: unpack the zip archive (`7z x`), and give the folder")
        if self.flags & _SIZE_FOLLOWS and not self.packed:
            raise ReadError("neither compressed nor of known size: unpack the zip archive, and give the folder")
        return None


class _Checked:
    """Compares what is read with its checksum, at its end."""

    def __init__(self, read: Callable[[int], bytes], checksum: Callable[[], int]) -> None:
        self._read = read
        self._checksum = checksum
        self._crc = 0
        self.is_open = True

    def read(self, size: int = -1, /) -> bytes:
        data = self._read(size) if self.is_open else b""
        self._crc = zlib.crc32(data, self._crc)
        if not data and self.is_open:
            self.is_open = False
            if self._crc != self._checksum():
                raise ReadError("the zip data is damaged")
        return data


def zip_files(file: SeekableFile, most: int) -> list[tuple[str, Callable[[], BinaryFile]]] | None:
    """Return the name of each file in an archive, and what opens it; None where it has no directory that can be read.

    Arguments:
        file: the archive.
        most: maximum number of files; of an archive with more, some more are returned.

    """
    try:
        with zipfile.ZipFile(_Bounded(file, most * _ENTRY)) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        file.seek(-_END_SIZE - len(archive.comment), io.SEEK_END)
        has_ended = file.read(4) == _END
    except Exception:  # noqa: BLE001 - of what is damaged, zipfile raises what it may
        infos, has_ended = None, False
    if infos is None or not has_ended or (infos and infos[0].header_offset):  # an archive may stand before or after it
        return None
    ends = [*(info.header_offset for info in infos), 1 << 63][1:]
    return [
        (info.filename, functools.partial(_opened, file, info, end))
        for info, end in zip(infos, ends, strict=True)
        if not info.is_dir()
    ]


class _Bounded:
    """What `zipfile` reads the directory from, which it would read whole however long it is."""

    def __init__(self, file: SeekableFile, most: int) -> None:
        self._file = file
        self._most = max(most, 1 << 17)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1, /) -> bytes:
        if size > self._most:
            raise ReadError("the directory of the zip archive is too long")
        return self._file.read(size if size >= 0 else self._most)


def _opened(file: SeekableFile, info: zipfile.ZipInfo, end: int) -> BinaryFile:
    """Open a file by its entry in the directory.

    Raises:
        ReadError: when it cannot be read, or shares bytes with the next one, as in a bomb.

    """
    file.seek(info.header_offset)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_FILE):
        raise ReadError("the zip data is damaged")
    *_, name, extra = _HEADER.unpack(header)
    start = info.header_offset + _HEADER.size + name + extra
    if start + info.compress_size > end:
        raise ReadError("the zip data is damaged: files overlap")
    entry = _Entry(info.flag_bits, info.compress_type, info.CRC, info.compress_size)
    packed = Slice(file, start, info.compress_size, lambda: "the zip archive is cut off")
    return _reader(entry, Feed(packed.read), lambda: info.CRC, lambda: "the zip data is damaged")


def _reader(entry: _Entry, packed: Feed, checksum: Callable[[], int], cut: Callable[[], str]) -> _Checked:
    decompressor = entry.decompressor()
    return _Checked(packed.read if decompressor is None else Frame(packed, "zip", decompressor, cut).read, checksum)


def zip_files_in_turn(source: Feed, cut: Callable[[], str]) -> Iterator[tuple[str, Callable[[], BinaryFile]]]:
    """Yield the name of each file in an archive, and what opens it before the next one; of several archives, too.

    Arguments:
        source: at the beginning of the archive.
        cut: returns why the archive ends before its end.

    Raises:
        ReadError: when it is damaged or cut off.

    """
    has_ended = False
    while header := source.peek(_HEADER.size):
        if header.startswith(_FILE) and len(header) == _HEADER.size:
            source.skip(_HEADER.size)
            has_ended = False
            _, _, flags, method, _, _, checksum, packed, _, name_size, extra_size = _HEADER.unpack(header)
            name, extra = _exactly(source, name_size, cut), _exactly(source, extra_size, cut)
            entry = _Entry(flags, method, checksum, _packed_size(packed, extra))
            text = name.decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace")
            yield from _file_in_turn(entry, text, source, cut)
        elif (rest := _DIRECTORY.get(header[:4])) is not None:
            sizes = rest.unpack(_exactly(source, rest.size, cut))
            if not source.skip(sum(sizes)):
                raise ReadError(cut())
            has_ended = header.startswith(_END)
        else:
            raise ReadError("the zip archive is damaged" if len(header) == _HEADER.size else cut())
    if not has_ended:
        raise ReadError(cut())


def _file_in_turn(
    entry: _Entry, name: str, source: Feed, cut: Callable[[], str]
) -> Iterator[tuple[str, Callable[[], BinaryFile]]]:
    """Yield one file, and go to its end."""
    part = _Part(source, entry.packed, cut)
    if not entry.flags & _SIZE_FOLLOWS:
        if not name.endswith("/"):
            yield (
                name,
                functools.partial(
                    _reader, entry, Feed(part.read), lambda: entry.checksum, lambda: "the zip data is damaged"
                ),
            )
        part.skip()
        return
    try:
        file = _reader(entry, source, lambda: _described(source, cut), cut)
    except ReadError as error:
        reason = error.reason
    else:
        yield name, lambda: file
        while file.is_open and file.read(1 << 16):  # finds where the next one begins
            pass
        return
    yield name, functools.partial(_refuse, reason)
    raise ReadError("the end of a file in the zip archive cannot be found")


def _refuse(reason: str) -> BinaryFile:
    raise ReadError(reason)


class _Part:
    """The next bytes of a source, up to a number."""

    def __init__(self, source: Feed, size: int, cut: Callable[[], str]) -> None:
        self._source = source
        self._left = size
        self._cut = cut

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            return b""
        data = self._source.read(min(size, self._left) if size > 0 else self._left)
        if not data:
            raise ReadError(self._cut())
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self.read(1 << 16):
            pass


def _described(source: Feed, cut: Callable[[], str]) -> int:
    """Read what follows a file of unknown size: its checksum, and sizes of 4 or 8 bytes each; return the checksum."""
    head = source.peek(26)
    begin = len(_DESCRIPTOR) if head.startswith(_DESCRIPTOR) else 0
    if len(head) < begin + 12:
        raise ReadError(cut())
    source.skip(next((size for size in (begin + 12, begin + 20) if head[size : size + 2] == b"PK"), begin + 12))
    return int.from_bytes(head[begin : begin + 4], "little")


def _packed_size(size: int, extra: bytes) -> int:
    """Return the size of the packed data; that of a large file stands in the extra field 1, behind the other size."""
    while size == 0xFFFFFFFF and len(extra) >= 4:  # noqa: PLR2004 - id and size of a field
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1 and length >= 16:  # noqa: PLR2004 - two sizes
            return int.from_bytes(extra[12:20], "little")
        extra = extra[4 + length :]
    return size


def _exactly(source: Feed, size: int, cut: Callable[[], str]) -> bytes:
    data = source.peek(size)
    if len(data) < size:
        raise ReadError(cut())
    source.skip(size)
    return data
