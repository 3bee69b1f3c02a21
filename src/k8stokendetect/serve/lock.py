# SPDX-License-Identifier: Apache-2.0
"""One process for one folder: two would write into each other's journals."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from k8stokendetect.errors import ConfigError


def locked(folder: Path, /) -> contextlib.AbstractContextManager[None]:
    """Take a folder for this process; it is made. The lock ends with the process, however that ends.

    Raises:
        ConfigError: when another process has it, or it cannot be used.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigError(f"{folder}: another process uses it") from None
    return _held(handle)


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(handle)
