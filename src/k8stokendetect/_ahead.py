# SPDX-License-Identifier: Apache-2.0
"""Worker processes that look over a large file ahead of its reader, range by range."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import IO, Final, Self, cast

import attrs

from k8stokendetect._interest import Interest, Word
from k8stokendetect._limits import GZIP
from k8stokendetect._search import BLOCK, Searched, search

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


class Workers:
    """Some processes, started when there is something for them to do, ended with the `with` block.

    Arguments:
        number: so many.
        interest: what is wanted; what is followed is not their business.

    """

    def __init__(self, number: int, interest: Interest) -> None:
        self._number = number
        self._interest = interest
        self._processes: list[subprocess.Popen[bytes]] = []
        self._results: dict[Task, Result | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def ahead(self, path: Path, file: int, /) -> Ahead | None:
        """Begin to look over a file; None where that is not worth it.

        Arguments:
            path: of the file.
            file: its descriptor.

        """
        status = os.fstat(file)
        if not self._number or status.st_size < SMALLEST or os.pread(file, len(GZIP), 0) == GZIP:
            return None
        if not self._processes:
            given = self._interest.resources, self._interest.words, self._interest.follows
            self._processes = [_started(given) for _ in range(self._number)]
        return Ahead(self, Task(str(path.absolute()), (status.st_dev, status.st_ino)), status.st_size)

    @property
    def window(self) -> int:
        """How many ranges are handed out ahead."""
        return WINDOW * len(self._processes)

    def hand_out(self, task: Task, /) -> None:
        """Hand a range to the process whose turn it is."""
        process = self._processes[task.index % len(self._processes)]
        try:
            pickle.dump(task, _pipe(process.stdin))
            _pipe(process.stdin).flush()
        except OSError:  # it has died
            self._results[task] = None

    def result(self, task: Task, /) -> Result | None:
        """Wait for a range that was handed out; None where there is none, as when the process has died."""
        process = self._processes[task.index % len(self._processes)]
        while task not in self._results:
            try:
                done, result = pickle.load(_pipe(process.stdout))  # noqa: S301 - our own process
            except (EOFError, OSError, pickle.UnpicklingError):
                return None
            self._results[done] = result
        return self._results.pop(task)


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
        self._handed = 0
        self._ranges = size // BLOCK

    def searched(self, offset: int, text: bytes, /) -> Searched | None:
        """Return what was found out about these lines; None where it was about others, or nothing is known."""
        index = offset // BLOCK
        self._handed = max(self._handed, index)
        while self._handed < min(index + self._workers.window, self._ranges):
            self._workers.hand_out(attrs.evolve(self._file, index=self._handed))
            self._handed += 1
        if index >= self._ranges:
            return None
        result = self._workers.result(attrs.evolve(self._file, index=index))
        if result is None or (result.start, result.length, result.checksum) != (offset, len(text), zlib.crc32(text)):
            return None
        return result.searched


def serve() -> None:
    """Be a worker process: read what is wanted, then ranges, and answer each."""
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    interest = Interest(*pickle.load(given))  # noqa: S301 - our own parent
    while True:
        try:
            task = pickle.load(given)  # noqa: S301 - our own parent
        except EOFError:
            return
        pickle.dump((task, look_over(task, interest)), answers)
        answers.flush()


def _started(given: tuple[tuple[bytes, ...], tuple[Word, ...], bool]) -> subprocess.Popen[bytes]:
    """Start a process that imports what this one would, and nothing from the working directory beside."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from k8stokendetect._ahead import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    with contextlib.suppress(OSError):
        pickle.dump(given, _pipe(process.stdin))
        _pipe(process.stdin).flush()
    return process


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    """Return an end of a pipe that is there."""
    return cast("IO[bytes]", end)
