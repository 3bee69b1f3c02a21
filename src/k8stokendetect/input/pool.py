# SPDX-License-Identifier: Apache-2.0
"""Reads many files in turn with few of them open: one that has not been read for a while is closed and opened again."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Final, Protocol

from k8stokendetect.errors import ReadError
from k8stokendetect.input.sources import opened

MAX_OPEN: Final = 48
"""Files that are open at once; many systems allow a process 256 or 1,024, and it has others."""


class Closable(Protocol):
    """What is opened again when it is read after it was closed."""

    def close(self) -> None:
        """Close it."""
        ...


class FilePool:
    """Opens files, and closes those that have not been read for the longest time."""

    def __init__(self) -> None:
        self._open: OrderedDict[Closable, None] = OrderedDict()

    def open(self, path: Path, /) -> PooledFile | ReadError:
        """Open a file for reading; an error where that is not possible."""
        file = opened(path)
        if isinstance(file, ReadError):
            return file
        file.close()
        return PooledFile(path, self)

    def use(self, file: Closable, /) -> None:
        """Note that a file is open and is read now."""
        self._open[file] = None
        self._open.move_to_end(file)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[0].close()

    def forget(self, file: Closable, /) -> None:
        """Note that a file is closed."""
        self._open.pop(file, None)


class PooledFile:
    """A binary file that may be closed between two reads."""

    def __init__(self, path: Path, pool: FilePool) -> None:
        self._path = path
        self._pool = pool
        self._file: int | None = None
        self._identity: tuple[int, int] | None = None
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            ReadError: when there is another file of this name by now.
            OSError: when it cannot be read.

        """
        if self._file is None:
            self._file = self._reopened()
        self._pool.use(self)
        data = os.read(self._file, size if size > 0 else 1 << 20)
        self._position += len(data)
        return data

    def seekable(self) -> bool:
        """Tell whether any place of it can be read; a pipe can not."""
        return stat.S_ISREG(self._path.stat().st_mode)

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, position: int, /) -> int:
        """Let the next read begin elsewhere."""
        self._position = position
        if self._file is not None:
            os.lseek(self._file, position, os.SEEK_SET)
        return position

    def _reopened(self) -> int:
        file = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        status = os.fstat(file)
        identity = (status.st_dev, status.st_ino)
        if self._identity not in (None, identity):
            os.close(file)
            raise ReadError("was replaced while it was read")
        self._identity = identity
        if stat.S_ISREG(status.st_mode):
            os.lseek(file, self._position, os.SEEK_SET)
        return file

    def close(self) -> None:
        """Close it; the next read goes on where the last one ended."""
        self._pool.forget(self)
        if self._file is not None:
            os.close(self._file)
            self._file = None
