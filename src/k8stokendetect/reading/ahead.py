# SPDX-License-Identifier: Apache-2.0
"""Worker processes that look over a large file ahead of its reader, range by range."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

import attrs

from k8stokendetect.input.limits import GZIP
from k8stokendetect.reading.interest import Interest
from k8stokendetect.reading.search import BLOCK, Searched, search

LONGEST_END: Final = 64 * 1024
"""The last line of a range ends at most so far behind it; ranges with a longer one are left to the reader."""

SMALLEST: Final = 16 * BLOCK
"""Smaller files are not worth it: a process takes a tenth of a second to start."""

WINDOW: Final = 8
"""So many ranges of a file are handed to each process ahead of the reader."""


@attrs.frozen
class Task:
    """Which range of which file to look over.

    Arguments:
        path: of the file.
        identity: its device and inode; under another the path is another file by now.
        index: the how manyth range of BLOCK bytes.

    """

    path: str
    identity: tuple[int, int]
    index: int = 0


@attrs.frozen
class Result:
    """What a worker found: where the range really begins, and what it was, so that the reader can tell its own."""

    task: Task
    start: int
    length: int
    checksum: int
    searched: Searched


def range_end(offset: int, /) -> int:
    """Return where the range ends that this offset is in; the line that is begun there still belongs to it."""
    return (offset // BLOCK + 1) * BLOCK


def look_over(task: Task, interest: Interest, /) -> Result | None:
    """Read and search the lines that begin in a range; None where that cannot be done: it is for the reader to say."""
    begin = task.index * BLOCK
    try:
        file = os.open(task.path, os.O_RDONLY)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        before = 1 if begin else 0  # the end of the line before tells where the first one begins
        text = os.pread(file, before + BLOCK + LONGEST_END, begin - before)
    except OSError:
        return None
    finally:
        os.close(file)
    first = text.find(b"\n") + 1 if begin else 0
    end = text.find(b"\n", before + BLOCK - 1) + 1
    if (status.st_dev, status.st_ino) != task.identity or not first < end:
        return None
    text, start = text[first:end], begin - before + first
    return Result(task, start, len(text), zlib.crc32(text), search(text, interest))


@attrs.frozen
class Worker:
    """A process, and the connection to it."""

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]

    @classmethod
    def started(cls, interest: Interest, /) -> Self:
        """Start a process that imports what this one would, and nothing from the working directory beside."""
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [
                    sys.executable,
                    "-P",
                    "-c",
                    f"import k8stokendetect.reading.ahead as a; a.serve({theirs.fileno()})",
                ],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                pass_fds=[theirs.fileno()],
            )
        worker = cls(process, ours)
        worker.send((interest.resources, interest.words, interest.follows))
        return worker

    def send(self, what: object, /) -> None:
        """Hand something over; a process that has died takes nothing."""
        with contextlib.suppress(OSError):
            self.connection.send(what)

    def answers(self) -> Iterator[tuple[Task, Result | None]]:
        """Yield what there is, without waiting for more."""
        with contextlib.suppress(OSError, EOFError):
            while self.connection.poll():
                yield self.connection.recv()

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


class Workers:
    """Some processes, started when there is something for them to do, ended with the `with` block.

    Arguments:
        number: so many.
        interest: what is wanted; what is followed is not their business.

    """

    def __init__(self, number: int, interest: Interest) -> None:
        self._number = number
        self._interest = interest
        self._running: list[Worker] = []
        self._results: dict[Task, Result | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running:
            worker.end()

    def ahead(self, path: Path, file: int, /) -> Ahead | None:
        """Begin to look over a file; None where that is not worth it, or not possible (Windows).

        Arguments:
            path: of the file.
            file: its descriptor.

        """
        status = os.fstat(file)
        if not self._number or os.name != "posix" or status.st_size < SMALLEST or os.pread(file, 2, 0) == GZIP:
            return None
        if not self._running:
            self._running = [Worker.started(self._interest) for _ in range(self._number)]
        return Ahead(self, Task(str(path.absolute()), (status.st_dev, status.st_ino)), status.st_size)

    @property
    def window(self) -> int:
        """How many ranges are handed out ahead."""
        return WINDOW * len(self._running)

    def hand_out(self, task: Task, reader: int, /) -> None:
        """Hand a range to the process whose turn it is, and tell where the reader is."""
        self._running[task.index % len(self._running)].send((task, reader))

    def result(self, task: Task, /) -> Result | None:
        """Return what is known of a range; None where nothing is yet: the reader is as quick as a worker."""
        self._results |= self._running[task.index % len(self._running)].answers()
        stale = [one for one in self._results if one.path == task.path and one.index < task.index]
        for one in stale:
            del self._results[one]
        return self._results.pop(task, None)


class Ahead:
    """What the workers find out about one file.

    Arguments:
        workers: they.
        file: the file, as a task.
        size: of the file when it was opened; what is written later is for the reader alone.

    """

    def __init__(self, workers: Workers, file: Task, size: int) -> None:
        self._workers = workers
        self._file = file
        self._handed = 1  # the reader begins itself
        self._ranges = size // BLOCK

    def searched(self, offset: int, text: bytes, /) -> Searched | None:
        """Return what was found out about these lines; None where it was about others, or nothing is known."""
        index = offset // BLOCK
        self._handed = max(self._handed, index + 1)
        while self._handed < min(index + self._workers.window, self._ranges):
            self._workers.hand_out(attrs.evolve(self._file, index=self._handed), index)
            self._handed += 1
        result = self._workers.result(attrs.evolve(self._file, index=index))
        if result is None or (result.start, result.length, result.checksum) != (offset, len(text), zlib.crc32(text)):
            return None
        return result.searched


def serve(descriptor: int, /) -> None:
    """Be a worker process: take what is wanted, then ranges, and answer each, until the other end is closed.

    What the reader has come to meanwhile is left out: it has searched that itself.
    """
    waiting: deque[tuple[Task, int]] = deque()
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, OSError):
        interest = Interest(*connection.recv())
        while True:
            while not waiting or connection.poll():
                waiting.append(connection.recv())
            task, _ = waiting.popleft()
            if task.index > max((reader for other, reader in waiting if other.path == task.path), default=-1):
                connection.send((task, look_over(task, interest)))
