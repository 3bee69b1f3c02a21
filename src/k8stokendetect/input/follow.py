# SPDX-License-Identifier: Apache-2.0
"""Follows a log file as it is written and rotated, and finds its place again after a restart."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from k8stokendetect.errors import OnError, ReadError, raise_error
from k8stokendetect.input.place import LogFile, Place
from k8stokendetect.input.progress import Left, Progress
from k8stokendetect.input.rotated import NOT_FOUND, Trail, beginning, trail

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
    The place where reading is always stands behind something that was read: the end of the last file remains the place
    until the next has begun. Where nothing proves that one follows the other, an error says so, and all that may be
    newer is read.

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
        self._until = None if resume is None else Place.from_dict(resume.get("read"))
        if resume is None:
            start = beginning(path, folder)
            resume = {"from": start.to_dict(), "read": start.to_dict()}
        self._from = Place.from_dict(resume.get("from"))
        self.at = Progress(resume, replays=self._until is not None)
        self._replayed: int | None = None
        self._file: LogFile | None = None
        self._queue: deque[LogFile] = deque()
        self._left: Left | None = None
        self._is_cut = False
        self._seen: tuple[int, ...] | None = ()
        self._looks_again = False
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
                    self._stopped_at, self._seen = time.monotonic(), ()
            elif time.monotonic() - self._stopped_at > LAST_LOOK or not (data or self._looks_again or self._queue):
                self._is_ended = True
            if data:
                return data
            if self._file is not None and not self._looks_again:
                self._replays_no_more()  # all that was there is read
            self.on_idle()
            time.sleep(POLL)
        self.close()
        return b""

    def _is_stopped(self) -> bool:
        self._asked_at = time.monotonic()
        return self._stop()

    def _next(self, size: int) -> bytes:
        """Return what is there; nothing where there is nothing at present."""
        while self._file is not None or self._go_on(None):
            file = self._file
            assert file is not None  # noqa: S101 - it has just been opened
            if self._is_cut:
                self._is_cut = False
                return self.at.insert(b"\n")  # the line that was left open is not glued to the next file
            data = self._read_here(file, size)
            if not self.at.is_still_in(file):
                if not self._go_on(None):
                    return b""
            elif data:
                return self.at.deliver(data)
            elif self._queue:
                if late := self._late_lines():
                    return late
                self._enter(self._queue.popleft(), 0)
            elif file.is_at(self._path) or not self._go_on(file):
                return self._late_lines()
        return b""

    def _go_on(self, held: LogFile | None) -> bool:
        """Find what comes next: the file was renamed (`held` is it) or truncated, or this process has just begun.

        Returns false while nothing is found, or less than there should be: a rotation takes a moment.
        """
        seen, is_at_end = _seen(self._path), self._stopped_at is not None
        if (held is not None or self._file is None) and not self._looks_again and seen == self._seen:
            return False
        place = self._from if self._file is None else self.at.place()
        found = self._find(place, held)
        if found is None:
            return False
        is_lost = found.offset is None and place.head_size > 0
        if is_lost and seen is None and not is_at_end:
            _close(found)
            return False
        is_old = held is not None and found.offset is not None and len(found.files) == 1 and not is_at_end
        self._looks_again = bool(found.problem) and not is_old and self._tries < _PATIENCE
        self._tries = self._tries + 1 if self._looks_again else 0
        self._seen = seen if is_old or not found.files else ()
        if self._looks_again or is_old:
            _close(found)
            return False
        if found.problem:
            self._report(f"{found.problem}; the rest is read, and may have been read before")
        return self._take(found, held, is_lost=is_lost)

    def _find(self, place: Place, held: LogFile | None) -> Trail | None:
        """Find what comes after a place or, where that is gone, after the one where the earlier process stopped."""
        try:
            at_end = self._stopped_at is not None
            found = trail(self._path, self._folder, place, held, until=self._until, at_end=at_end)
            self._looks_again = found is None
            if found is None or self._file is not None or self._until is None or not self._until.head_size:
                return found
            if found.has_until and found.offset is not None:
                return found
            nearer = trail(self._path, self._folder, self._until, until=self._until)
        except ReadError as error:
            self._report_once(error)
            return None
        if found.offset is None and nearer is not None and nearer.offset is not None:
            _close(found)
            return attrs.evolve(nearer, problem="events that waited to be examined were in a file that is gone")
        if nearer is not None:
            _close(nearer)
        return attrs.evolve(found, problem=found.problem or NOT_FOUND)

    def _take(self, found: Trail, held: LogFile | None, *, is_lost: bool) -> bool:
        """Read what was found; false where that is nothing new."""
        files = deque(found.files)
        if self._until is not None and not found.has_until:
            self._replays_no_more()
        is_held = held is not None and found.offset is not None
        if not files:
            if is_lost:
                self.close()
                self._from = beginning(self._path, self._folder)
            return False
        if is_held:
            files.popleft().close()  # it is the one that is open, or its copy
        else:
            self._enter(files.popleft(), found.offset or 0)
        for file in self._queue:
            file.close()
        self._queue = files
        return bool(files) or not is_held

    def _enter(self, file: LogFile, offset: int) -> None:
        """Read a file from a place on."""
        self._is_cut = self._is_cut or (not offset and self.at.is_open)
        if self._left is not None:
            self._left.file.close()
        is_left = self._file is not None and not self._file.is_at(self._path) and self.at.is_still_in(self._file)
        self._left = Left(self._file, self.at.offset) if self._file is not None and is_left else None
        if self._file is not None and not is_left:
            self._file.close()
        self._file = file
        self.at.enter(file, offset)
        if self._until is not None and self._until.is_about(file):
            self._replayed = self._until.offset
        elif self._replayed is not None:
            self._replays_no_more()  # the copy of the file ended before the place

    def _replays_no_more(self) -> None:
        self.at.replays_to = self._replayed = self._until = None

    def _read_here(self, file: LogFile, size: int) -> bytes:
        """Read on in the file; where that fails it is reported, and the rest of it is lost."""
        if self._replayed is not None and self.at.offset >= self._replayed:
            self._replays_no_more()
        elif self._replayed is not None:
            size = min(size, self._replayed - self.at.offset)
        try:
            return file.read_at(self.at.offset, size)
        except ReadError as error:
            self._report_once(error)
            return b""

    def _late_lines(self) -> bytes:
        """Return lines that were written to the last file after this one had begun, and report that."""
        if self._left is None or self.at.is_open or not (lines := self._left.late_lines()):
            return b""
        self._report("the previous file was written to after this one had begun; that part is read late")
        return self.at.insert(lines)

    def _report_once(self, error: ReadError) -> None:
        if str(error) != self._failed:
            self._on_error(error)
        self._failed = str(error)

    def _report(self, reason: str) -> None:
        self._on_error(ReadError(reason, self.name))

    def close(self) -> None:
        """Close what is open at present."""
        for file in (self._file, self._left.file if self._left is not None else None, *self._queue):
            if file is not None:
                file.close()
        self._file = self._left = None
        self._queue.clear()


def _seen(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written or replaced; None without one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _close(found: Trail) -> None:
    for file in found.files:
        file.close()
