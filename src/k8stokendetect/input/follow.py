# SPDX-License-Identifier: Apache-2.0
"""Follows a log file as the API server writes it, through rotation by rename and by copy-and-truncate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

POLL: Final = 0.2
"""Seconds between two looks at a file that has not grown."""

_TAIL: Final = 256
"""Number of last bytes that are remembered, to recognise the file they were read from."""


def _nothing() -> None:
    """Do nothing."""


class FollowedFile:
    """An open binary file whose end is only the end so far; `read` waits for more.

    Rename (the API server's own rotation): the old file is read to its end, then the new one from its beginning.
    Copy-and-truncate (logrotate): what was written between the last read and the truncation is read from the copy.

    Arguments:
        path: the file; it may not exist yet.
        stop: asked while waiting; true ends the file.

    Attributes:
        on_idle: called while waiting.

    """

    def __init__(self, path: Path, stop: Callable[[], bool]) -> None:
        self.name = str(path)
        self.on_idle: Callable[[], object] = _nothing
        self._path = path
        self._stop = stop
        self._file: int | None = None
        self._position = 0
        self._tail = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return what comes next, up to `size` bytes; nothing only once `stop` says so."""
        while True:
            if data := self._next(size if size > 0 else 1 << 20):
                self._tail = (self._tail + data)[-_TAIL:]
                return data
            if self._stop():
                return b""
            self.on_idle()
            time.sleep(POLL)

    def _next(self, size: int) -> bytes:
        if self._file is None:
            return self._opened(size)
        if not self._is_truncated():
            data = os.pread(self._file, size, self._position)
            if data:
                self._position += len(data)
                return data
            return self._line_end() + self._opened(size) if self._is_replaced() and not self._grew() else b""
        missed = self._from_copy()
        ended = self._line_end() if not missed.endswith(b"\n") else b""
        self._position, self._tail = 0, b""
        return missed + ended

    def _opened(self, size: int) -> bytes:
        """Open the file by its name and read from its beginning; nothing while there is none."""
        try:
            file = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return b""
        self.close()
        self._file, self._position = file, 0
        data = os.pread(file, size, 0)
        self._position = len(data)
        return data

    def _line_end(self) -> bytes:
        """End a line that the old file left open, so that it is not glued to the first of the new one."""
        ended = b"" if not self._tail or self._tail.endswith(b"\n") else b"\n"
        self._tail = b""
        return ended

    def _grew(self) -> bool:
        """Tell whether the old file got another line between the last read and its replacement."""
        return self._file is not None and os.fstat(self._file).st_size > self._position

    def _is_replaced(self) -> bool:
        try:
            return self._file is not None and not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _is_truncated(self) -> bool:
        """Tell whether what stands before our place is no longer what we read there, also if it grew back since."""
        if self._file is None or not self._tail:
            return False
        start = self._position - min(len(self._tail), self._position)
        return os.pread(self._file, self._position - start, start) != self._tail[-(self._position - start) :]

    def _from_copy(self) -> bytes:
        """Return what the copy of a truncated file has beyond our place; nothing when no copy is found."""
        start = self._position - min(len(self._tail), self._position)
        for copy in sorted(self._path.parent.glob(f"{self._path.name}*"), key=os.path.getmtime, reverse=True):
            if copy == self._path or not copy.is_file():
                continue
            with copy.open("rb") as file:
                file.seek(start)
                if file.read(self._position - start) == self._tail[-(self._position - start) :]:
                    return file.read()
        return b""

    def close(self) -> None:
        """Close the file that is open at present."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
