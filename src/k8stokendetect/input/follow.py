# SPDX-License-Identifier: Apache-2.0
"""Follows a log file as it is written and rotated, and finds its place again after a restart."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from k8stokendetect.errors import OnError, ReadError, raise_error
from k8stokendetect.input.place import LogFile, Place
from k8stokendetect.input.progress import Left, Progress, beginning
from k8stokendetect.input.rotated import Trail, trail

POLL: Final = 0.2
"""Seconds between two looks at a file that has not grown."""

LAST_LOOK: Final = 5.0
"""Seconds for which what is there already is still read once reading is to stop."""

_PATIENCE: Final = 10
"""How often a rotation that looks incomplete is looked at again before it is reported."""


class FollowedFile:
    """An open binary file whose end is only the end so far; `read` waits for more.

    Rotated files are read to their end, in their order, before the next: those that were renamed, as by the API server
    and logrotate, compressed or moved to another folder since, and those that are copies (logrotate's `copytruncate`).
    Where nothing proves that one follows the other, an error says so, and all that may be newer is read.

    Arguments:
        path: the file; it may not exist yet.
        stop: asked between two reads; true ends the file, after what is there already.
        on_error: called with a ReadError where something may have been lost.
        folder: where rotated files are; None for the folder of the file and those in it.
        resume: what `at.position` returned, of an earlier process; None to begin with the beginning of the file.

    Attributes:
        on_idle: called while waiting.
        on_seam: called before each read: all whole lines that were delivered have been taken.
        at: how far it has been read, and from where another process would have to read on.

    Raises:
        ConfigError: when `resume` is damaged.

    """

    def __init__(
        self,
        path: Path,
        stop: Callable[[], bool],
        on_error: OnError = raise_error,
        folder: Path | None = None,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = str(path)
        self.on_idle: Callable[[], object] = lambda: None
        self.on_seam: Callable[[], object] = lambda: None
        self._path = path
        self._stop = stop
        self._on_error = on_error
        self._folder = folder
        self._from = None if resume is None else Place.from_dict(resume.get("from"))
        self._until = None if resume is None else Place.from_dict(resume.get("read"))
        self._replayed: int | None = None
        self._file: LogFile | None = None
        self._queue: deque[LogFile] = deque()
        self._left: Left | None = None
        self._live: tuple[int, int] | None = None
        self._before: Place | None = None
        self._modified_empty = 0
        self.at = Progress(beginning(path) if resume is None else resume)
        self._tries = 0
        self._failed = ""
        self._stopped_at: float | None = None
        self._asked_at = time.monotonic()
        self._is_ended = False

    @property
    def is_replaying(self) -> bool:
        """What is delivered was delivered by the earlier process, too."""
        return self.at.replays_to is not None

    def read(self, size: int = -1, /) -> bytes:
        """Return what comes next, up to `size` bytes; nothing only once `stop` says so."""
        self.on_seam()
        while not self._is_ended:
            data = self._next(size if size > 0 else 1 << 20)
            if self._stopped_at is None:
                if (not data or time.monotonic() - self._asked_at > LAST_LOOK / 10) and self._is_stopped():
                    self._stopped_at = time.monotonic()
            elif time.monotonic() - self._stopped_at > LAST_LOOK or not (data or self._has_more()):
                self._is_ended = True
            if data:
                return data
            self.at.replays_to = None if self._file is not None else self.at.replays_to  # all that was there is read
            self.on_idle()
            time.sleep(POLL)
        self.close()
        return b""

    def _has_more(self) -> bool:
        """Tell whether files that were rotated are still to be read, or looked for."""
        return self._tries > 0 or any(file.size for file in self._queue)

    def _is_stopped(self) -> bool:
        self._asked_at = time.monotonic()
        return self._stop()

    def _next(self, size: int) -> bytes:
        """Return what is there; nothing where there is nothing at present."""
        while self._file is not None or self._begin():
            file = self._file
            assert file is not None  # noqa: S101 - it has just been opened
            data = self._read_here(file, size)
            if data is None:
                continue
            if not self._queue and self._is_truncated(file):
                if self._go_on(None):
                    continue
                return b""
            if self._before is not None and not self._queue and not self._is_next(self._before, file, begun=bool(data)):
                continue
            if data:
                return self.at.deliver(data)
            if not self._queue and (file.is_at(self._path) or not self._go_on(file)):
                return self._late_lines()
            if (last := self._end_of_file(size)) is not None:
                return last
        return b""

    def _end_of_file(self, size: int) -> bytes | None:
        """Go to the next file; return what is still to be delivered of this one, nothing to wait, None once it is done.

        What writes this file may go on until the next one is in use.
        """
        if len(self._queue) == 1 and self._queue[0].size == 0:
            if self._queue[0].modified != self._queue[0].status.st_mtime_ns:
                self._queue.popleft().close()  # it was not empty in the meantime, perhaps
                return None
            return b""
        if data := self._file and self._read_here(self._file, size):
            return self.at.deliver(data)
        if self.at.is_open:
            return self.at.insert(b"\n")  # the line that was left open is not glued to the next file
        self._enter(self._queue.popleft(), 0)
        return None

    def _begin(self) -> bool:
        """Open the file, at its beginning or where the earlier process stopped; false while there is none."""
        if self._from is not None:
            return self._go_on(None)
        try:
            file = LogFile(self._path)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._report(f"cannot be opened: {error.strerror}")
            return False
        self.at.replays_to = None
        self._enter(file, 0)
        return True

    def _go_on(self, held: LogFile | None) -> bool:
        """Find what comes next: the file was renamed (`held` is it) or truncated, or this process has just begun.

        Returns false while nothing is found, or less than there should be: a rotation takes a moment.
        """
        place = self._from if self._file is None else self.at.place()
        assert place is not None  # noqa: S101 - a process that goes on has one
        found = trail(self._path, self._folder, place, held)
        if found is not None and not found.is_found and self._file is None and self._until is not None:
            found = self._nearer(found)
            place = self._until if found.is_found else place
        is_waiting = found is not None and not found.is_found and not self._path.exists()
        if found is None or is_waiting or (found.problem and place.head_size and self._tries < _PATIENCE):
            self._tries = 0 if is_waiting else self._tries + 1
            for file in () if found is None else found.files:
                file.close()
            return False
        self._tries = 0
        if found.problem:
            self._report(f"{found.problem}; what is left, and may have been read before, is read")
        if self._until is not None and not any(self._until.is_in(file) for file in found.files):
            self.at.replays_to = None
        self._queue.extend(found.files)
        self._from = None
        if held is not None:
            if found.is_found:
                self._queue.popleft().close()  # it is open already
            return bool(self._queue)
        if self._queue:
            self._enter(self._queue.popleft(), place.offset if found.is_found else 0)
        return True

    def _is_next(self, before: Place, file: LogFile, *, begun: bool) -> bool:
        """Tell whether what now stands in the log, which was empty when it was opened, follows the copy before it.

        The log may have been filled, copied and truncated again since. Then the copies are next, from `before` on.
        """
        modified = file.modified
        if not begun and modified == self._modified_empty:
            return True
        found = trail(self._path, self._folder, before, None)
        if found is None:
            time.sleep(POLL)
            return False
        first, *files = found.files
        if found.is_found and len(files) > 1:
            self._before = None
            self._queue.extend(files)
            self._enter(first, before.offset)
            return False
        for one in found.files:
            one.close()
        if begun:
            self._before = None
            if found.problem:
                self._report(f"{found.problem}; what is left is read")
        self._modified_empty = modified
        return True

    def _nearer(self, found: Trail) -> Trail:
        """Begin where the earlier process stopped reading, where what it would have read again is gone."""
        assert self._until is not None  # noqa: S101 - asked by the caller
        nearer = trail(self._path, self._folder, self._until, None)
        is_better = nearer is not None and nearer.is_found
        for file in found.files if is_better else nearer.files if nearer is not None else ():
            file.close()
        if nearer is None or not is_better:
            return found
        return attrs.evolve(nearer, problem="what waited to be examined was in a file that is gone")

    def _enter(self, file: LogFile, offset: int) -> None:
        """Read a file from a place on."""
        if self._left is not None:
            self._left.file.close()
        is_copied = self._live in {None, (file.status.st_dev, file.status.st_ino)}
        is_log = self._file is not None and not self._queue and not offset
        self._before = self.at.place() if is_log and is_copied else None
        self._modified_empty = file.status.st_mtime_ns
        if not self._queue:
            self._live = file.status.st_dev, file.status.st_ino
        is_left = self._file is not None and not self._file.is_at(self._path)
        self._left = Left(self._file, self.at.offset) if self._file is not None and is_left else None
        if self._file is not None and not is_left:
            self._file.close()
        self._file = file
        self.at.enter(file, offset)
        if self.is_replaying and self._until is not None and self._until.is_in(file):
            self._replayed, self._until = self._until.offset, None

    def _read_here(self, file: LogFile, size: int) -> bytes | None:
        """Read on in the file; where that fails it is reported, and None, and the next file is next."""
        if self._replayed is not None and self.at.offset >= self._replayed:
            self.at.replays_to = self._replayed = None
        elif self._replayed is not None:
            size = min(size, self._replayed - self.at.offset)
        try:
            return file.read_at(self.at.offset, size)
        except ReadError as error:
            if error.reason != self._failed:
                self._on_error(error)
            self._failed = error.reason
            if not self._queue:
                return b""
            self._enter(self._queue.popleft(), 0)
            return None

    def _is_truncated(self, file: LogFile) -> bool:
        """Tell whether what stands before our place is no longer what we read there, also if it grew back since."""
        with contextlib.suppress(ReadError):
            tail = self.at.tail
            return not file.is_packed and file.read_at(self.at.offset - len(tail), len(tail)) != tail
        return False

    def _late_lines(self) -> bytes:
        """Return lines that were written to the last file after this one had begun, and report that."""
        if self._left is None or self.at.is_open or not (lines := self._left.late_lines()):
            return b""
        self._report("the file before was written to after this one had begun; that is read late")
        return self.at.insert(lines)

    def _report(self, reason: str) -> None:
        self._on_error(ReadError(reason, self.name))

    def close(self) -> None:
        """Close what is open at present."""
        for file in (self._file, self._left.file if self._left is not None else None, *self._queue):
            if file is not None:
                file.close()
        self._file = self._left = None
        self._queue.clear()
