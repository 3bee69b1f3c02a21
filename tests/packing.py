# SPDX-License-Identifier: Apache-2.0
"""Compresses content and packs files, in every form that is read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": lambda content: bz2.compress(content, 1),  # blocks of 100 kB
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
}


def decompressed(name: str, packed: bytes) -> bytes:
    """Return what the library itself makes of the beginning of compressed data."""
    makers: dict[str, Callable[[], Any]] = {
        "zstd": zstd.ZstdDecompressor,
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
        "lz4": lz4.frame.LZ4FrameDecompressor,
    }
    found: bytes = makers[name]().decompress(packed)
    return found


class _Sink:
    """Takes what is written and cannot seek, so that `zipfile` writes sizes behind the files."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)

    def flush(self) -> None:
        pass


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, streamed: bool = False) -> bytes:
    """Return a zip archive; one that was streamed has the size of each file behind it."""
    sink: Any = _Sink() if streamed else io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytes(sink.content) if streamed else sink.getvalue()


def tar_of(files: Mapping[str, bytes], compression: str = "", form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar archive, compressed or not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}", format=form) as archive:  # type: ignore[call-overload]  # a mode made here
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class Pipe:
    """A stream that cannot seek and gives some bytes at a time."""

    name = "pipe"

    def __init__(self, content: bytes, step: int = 1000) -> None:
        self._content = io.BytesIO(content)
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        """Return fewer bytes than were asked for."""
        return self._content.read(min(size, self._step) if size > 0 else self._step)
