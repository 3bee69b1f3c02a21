# SPDX-License-Identifier: Apache-2.0
"""Writes a log and rotates it, as other programs do, and reads it as one process after the other."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from builders import token_request
from k8stokendetect.errors import K8sTokenDetectError
from k8stokendetect.input.follow import FollowedFile

LINE: Final = json.dumps(token_request(auditID="NUMBER", issued="JTI=NUMBER"))


def line(number: int) -> bytes:
    """Return a mint, one a second."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_764_237_600 + number))
    text = LINE.replace("NUMBER", str(number)).replace("2026-11-23T21:43:45", stamp)
    return text.encode() + b"\n"


def lines(*numbers: int) -> bytes:
    """Return mints."""
    return b"".join(map(line, numbers))


def written(path: Path, numbers: range) -> bytes:
    """Write mints to a log and return them."""
    text = lines(*numbers)
    with path.open("ab") as out:
        out.write(text)
    return text


class Reader:
    """Reads a followed file for a while, again and again, each time as another process would."""

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        self.folder = folder
        self.text = b""
        self.errors: list[str] = []
        self.position: Mapping[str, Any] | None = None

    def read(self, looks: int = 14, most: int = 1000, size: int = 1 << 20) -> None:
        """Read until nothing has come for so many looks, or so many times."""
        left = itertools.count(looks, -1)
        source = FollowedFile(self.path, lambda: next(left) <= 0, self.note, self.folder, self.position)
        for _ in range(most):
            data = source.read(size)
            self.text += b"" if source.is_replaying else data
            if not data:
                break
        self.position = json.loads(json.dumps(source.at.position()))
        source.close()

    def note(self, error: K8sTokenDetectError) -> None:
        """Keep an error."""
        self.errors.append(str(error))


def packed(path: Path, *, keeps_time: bool = False) -> None:
    """Compress a file: it goes when its copy is whole. Gzip keeps its time; what the API server uses does not."""
    whole, status = path.with_name(f"{path.name}.gz"), path.stat()
    with path.open("rb") as plain, gzip.open(whole, "wb") as out:
        shutil.copyfileobj(plain, out)
    if keeps_time:
        os.utime(whole, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()


def _shifted(folder: Path) -> None:
    """Give each rotated file the next number."""
    for path in sorted(folder.glob("audit.log.*"), key=lambda path: -int(path.name.split(".")[2])):
        number = int(path.name.split(".")[2])
        path.rename(folder / path.name.replace(f".{number}", f".{number + 1}", 1))


def numbered(path: Path, number: int) -> None:
    """Rotate as logrotate does, with `compress` and `delaycompress` every other time."""
    _shifted(path.parent)
    path.rename(path.with_name("audit.log.1"))
    path.touch()
    if number % 2 and path.with_name("audit.log.2").exists():
        packed(path.with_name("audit.log.2"), keeps_time=True)


def olddir(path: Path, number: int) -> None:  # noqa: ARG001 - as the others
    """Rotate as logrotate does, into another folder."""
    folder = path.parent / "old"
    folder.mkdir(exist_ok=True)
    _shifted(folder)
    path.rename(folder / "audit.log.1")
    path.touch()


def dated(path: Path, number: int) -> None:
    """Rotate as logrotate does with `dateext`, and `compress` every other time."""
    rotated = path.with_name(f"audit.log-{20261101 + number}")
    path.rename(rotated)
    path.touch()
    if number % 2:
        packed(rotated, keeps_time=True)


def api_server(path: Path, number: int) -> None:
    """Rotate as kube-apiserver does, which compresses with --audit-log-compress."""
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(1_764_237_600 + number))
    rotated = path.with_name(f"audit-{stamp}.{number % 1000:03}.log")
    path.rename(rotated)
    path.touch()
    if number % 2:
        packed(rotated)


def copytruncate(path: Path, number: int) -> None:  # noqa: ARG001 - as the others
    """Rotate as logrotate does with `copytruncate`."""
    _shifted(path.parent)
    shutil.copy2(path, path.with_name("audit.log.1"))
    os.truncate(path, 0)


def copied_and_dated(path: Path, number: int) -> None:
    """Rotate as logrotate does with `copytruncate`, `dateext` and `compress`."""
    rotated = path.with_name(f"audit.log-20261127-{1_764_237_600 + number}")
    shutil.copy(path, rotated)
    os.truncate(path, 0)
    packed(rotated, keeps_time=True)


ROTATIONS: Final[tuple[Callable[[Path, int], None], ...]] = (
    numbered,
    olddir,
    dated,
    api_server,
    copytruncate,
    copied_and_dated,
)
