# SPDX-License-Identifier: Apache-2.0
"""Sinks that write lines: standard output, and a file that holds each alert once."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from k8stokendetect.incidents import Alert
from k8stokendetect.sinks.base import SinkError

LOOKED_AT: Final = 4 * 1024 * 1024
"""How many of a file's last bytes are looked at for alerts that were written before a crash."""


class StdoutSink:
    """Writes a line for each alert to standard output.

    Arguments:
        name: for people.
        line: words an alert.

    """

    def __init__(self, name: str, line: Callable[[Alert], str]) -> None:
        self.name = name
        self._line = line

    def send(self, alert: Alert, /) -> None:
        """Write a line; raises SinkError when nobody reads."""
        try:
            sys.stdout.write(f"{self._line(alert)}\n")
            sys.stdout.flush()
        except OSError as error:
            raise SinkError(self.name, f"cannot be written: {error.strerror}", again=False) from None

    def has(self, _: Alert, /) -> bool:
        """Nobody knows what was read."""
        return False

    def close(self) -> None:
        """Leave standard output open; it is not ours."""


class FileSink:
    """Appends a line for each alert to a file, which is on the disk when `send` returns.

    A file that was renamed or removed meanwhile (logrotate) is opened again. Half a line, which only a machine that
    lost its power leaves, is removed.

    Arguments:
        name: for people.
        path: of the file; it is made where there is none, readable for its owner.
        line: words an alert.

    """

    def __init__(self, name: str, path: Path, line: Callable[[Alert], str]) -> None:
        self.name = name
        self._path = path
        self._line = line
        self._file: io.FileIO | None = None
        self._before: set[str] | None = None

    def open(self) -> None:
        """Open the file, to see early whether it can be written.

        Raises:
            SinkError: when it cannot.

        """
        self._writable()

    def send(self, alert: Alert, /) -> None:
        """Append a line, and wait for the disk."""
        data = f"{self._line(alert)}\n".encode()
        file = self._writable()
        start = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(start)
            raise SinkError(self.name, f"cannot be written: {error.strerror}") from None

    def has(self, alert: Alert, /) -> bool:
        """Tell whether the file's end, as it was when this process began, has the alert."""
        if self._before is None:
            self._before = _fingerprints(self._path)
        return alert.fingerprint in self._before

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writable(self) -> io.FileIO:
        try:
            if self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                self.close()
                self._file = _opened(self._path)
        except FileNotFoundError:
            self.close()
            self._file = self._reopened()
        except OSError as error:
            raise SinkError(self.name, f"cannot be written: {error.strerror}") from None
        return self._file

    def _reopened(self) -> io.FileIO:
        try:
            return _opened(self._path)
        except OSError as error:
            raise SinkError(self.name, f"cannot be written: {error.strerror}") from None


def _opened(path: Path) -> io.FileIO:
    file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600), "r+")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file; use `stdout` for standard output")
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LOOKED_AT))
    end = file.read(LOOKED_AT)
    if end and not end.endswith(b"\n"):
        file.truncate(size - len(end) + end.rfind(b"\n") + 1)
    return file


def _fingerprints(path: Path) -> set[str]:
    """Return the fingerprints in the last lines of a file, in any format."""
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOOKED_AT))
            for line in file.read().split(b"\n"):
                found |= _fingerprint(line)
    except OSError:
        return found
    return found


_IN_CEF: Final = re.compile(rb"[ |]externalId=([0-9a-f]{32})")


def _fingerprint(line: bytes) -> set[str]:
    try:
        document: Any = json.loads(line)
    except ValueError:
        found = _IN_CEF.search(line)
        return {found[1].decode()} if found else set()
    if not isinstance(document, dict):
        return set()
    places = {"event": "id", "metadata": "uid"}  # of ECS, of OCSF
    objects = {name: one for name in places if isinstance(one := document.get(name), dict)}
    known = [document.get("fingerprint"), *(one.get(places[name]) for name, one in objects.items())]
    return {one for one in known if isinstance(one, str)}
