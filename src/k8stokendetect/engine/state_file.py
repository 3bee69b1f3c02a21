# SPDX-License-Identifier: Apache-2.0
"""Files that hold what is remembered: read with care, whatever stands in them, and replaced at once or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

from k8stokendetect.errors import ConfigError

LARGEST: Final = 256 * 1024 * 1024
"""Maximum size of a file that is read, in bytes: what detectors remember is bounded, and takes less."""


def read_document(path: Path, /) -> tuple[Any, list[str]] | None:
    """Return the JSON document in the first line of a file, and the other lines that are whole; None without a file.

    Raises:
        ConfigError: when it cannot be read, is empty, too large or damaged; says which.

    """
    try:
        data = _read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise refused(path, f"it cannot be read: {why(error)}") from None
    first, _, rest = data.partition(b"\n")
    if not first.strip(b"\0 \t\r\n"):
        raise refused(path, "it is empty")
    try:
        document = msgspec.json.decode(first)
    except (ValueError, RecursionError, MemoryError):
        raise refused(path, "it is damaged, or not JSON") from None
    whole = rest.rpartition(b"\n")[0]  # the process may have been killed as it wrote the last one
    return document, whole.decode("utf-8", "replace").split("\n") if whole else []


def refused(path: Path, reason: str, /) -> ConfigError:
    """Return the error about a file that is not what it should be."""
    return ConfigError(f"{path}: not a state that this command wrote: {reason}")


def write_atomically(path: Path, data: bytes, /, *, wait: bool = True) -> None:
    """Replace a file at once or not at all.

    Arguments:
        path: of the file.
        data: all that it is to hold.
        wait: until it is on the disk.

    Raises:
        OSError: when it cannot be written; the old file stays, and no other is left behind.

    """
    written = new_name(path)
    try:
        file = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_all(file, data)
            if wait:
                os.fsync(file)
        finally:
            os.close(file)
        written.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            written.unlink()
        raise
    if wait:
        sync_folder(path.parent)


def sync_folder(folder: Path, /) -> None:
    """Wait until the names in a folder are on the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(file: int, data: bytes, /) -> None:
    """Write all of it; raises OSError when that fails."""
    while data:
        data = data[os.write(file, data) :]


def new_name(path: Path, /) -> Path:
    """Return the name under which a file is written before it replaces the old one."""
    return path.with_name(f"{path.name}.new")


def _read(path: Path) -> bytes:
    """Read a file; raises ValueError for one that is too large, and for what is not a file and may have no end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")
        if status.st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST} bytes")
        return file.read(LARGEST)


def why(error: Exception, /) -> str:
    """Return the reason of an error, without the name of the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
