# SPDX-License-Identifier: Apache-2.0
"""Finds the files in a tar archive, as far as it is whole."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

from k8stokendetect.errors import ReadError
from k8stokendetect.input.slices import PartError, PositionedFile, Slice
from k8stokendetect.input.streams import BinaryFile

_LONGEST_HEADER: Final = 1024 * 1024
"""Bytes of a name or of attributes; Linux has paths of 4,096 (PATH_MAX)."""


class _Headers:
    """What `tarfile` reads headers from; it refuses those that would fill the memory, and notes damage."""

    def __init__(self, file: PositionedFile) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.is_damaged = False
        self.has_ended = False

    def read(self, size: int, /) -> bytes:
        if size > _LONGEST_HEADER:
            raise ReadError("the tar archive is damaged")
        data = self._file.read(size)
        if len(data) in {1, tarfile.BLOCKSIZE}:
            self.has_ended = data == bytes(tarfile.BLOCKSIZE)
        return data


class _Entry(tarfile.TarInfo):
    """A header; a damaged one is noted, and looked for in the next block."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.InvalidHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            headers: Any = archive.fileobj
            headers.is_damaged = True
            raise


def tar_files(file: PositionedFile, cut: Callable[[], str]) -> Iterator[tuple[str, Callable[[], BinaryFile]]]:
    """Yield the name of each file in an archive, and what opens it; of archives one after the other, too.

    Directories, links and devices hold nothing; what a link leads to is a file of its own.

    Arguments:
        file: at the beginning of the archive.
        cut: returns why the archive ends before its end.

    Raises:
        ReadError: when a part of it is damaged or it is cut off, after all the rest.

    """
    headers: Any = _Headers(file)
    is_whole = True
    try:
        archive: Any = tarfile.TarFile(
            fileobj=headers, tarinfo=_Entry, ignore_zeros=True, encoding="utf-8", errors="backslashreplace"
        )
        while (entry := archive.next()) is not None:
            archive.members = []  # they would fill the memory
            if entry.sparse is not None:
                yield entry.name, _refuse_sparse
            elif entry.isreg() or entry.type not in tarfile.SUPPORTED_TYPES:  # POSIX: as files
                yield entry.name, functools.partial(Slice, file, entry.offset_data, entry.size, cut)
    except ReadError:
        raise
    except Exception:  # noqa: BLE001 - of what is damaged, tarfile raises what it may
        is_whole = False
    if headers.is_damaged:
        raise PartError("the tar archive is damaged: a part of it was skipped")
    if not (is_whole and headers.has_ended):
        raise ReadError(cut())


def _refuse_sparse() -> BinaryFile:
    raise ReadError("a sparse file in a tar archive: unpack it with `tar -x`, and give the folder")
