# SPDX-License-Identifier: Apache-2.0
"""Writes a log and rotates it, as the programs do that rotate audit logs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from builders import token_request

LINE: Final = json.dumps(token_request(auditID="NUMBER", issued="JTI=NUMBER"))


def line(number: int) -> bytes:
    """Return a mint, one of many at different times."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_764_237_600 + number // 10))
    text = LINE.replace("NUMBER", str(number)).replace("2026-11-23T21:43:45", stamp)
    return text.encode() + b"\n"


def packed(path: Path) -> None:
    """Compress a file as logrotate and the API server do: the file goes when its copy is whole."""
    whole = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(whole, "wb") as out:
        shutil.copyfileobj(plain, out)
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
        packed(path.with_name("audit.log.2"))


def olddir(path: Path, number: int) -> None:  # noqa: ARG001 - as the others
    """Rotate as logrotate does, into another folder."""
    folder = path.parent / "old"
    folder.mkdir(exist_ok=True)
    _shifted(folder)
    path.rename(folder / "audit.log.1")
    path.touch()


def dated(path: Path, number: int) -> None:
    """Rotate as logrotate does with `dateext`."""
    path.rename(path.with_name(f"audit.log-{20261101 + number}"))
    path.touch()


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


ROTATIONS: Final[tuple[Callable[[Path, int], None], ...]] = (numbered, olddir, dated, api_server, copytruncate)
