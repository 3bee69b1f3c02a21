# SPDX-License-Identifier: Apache-2.0
"""Counts what one source has cost so far: bytes in, bytes out, files of archives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from k8stokendetect.input.limits import Limits

_ALWAYS_READ: Final = 64 * 1024 * 1024
"""Bytes that are always decompressed, whatever the ratio: a short log of equal calls is not a bomb."""


class Budget:
    """What a source may still cost, with all archives and compressed files in it.

    Arguments:
        limits: what it may cost.
        count: called with the number of bytes that were read from the source.

    """

    def __init__(self, limits: Limits, count: Callable[[int], object] = lambda _: None) -> None:
        self.limits = limits
        self._count = count
        self._packed = self._unpacked = self._members = 0

    def take(self, size: int) -> None:
        """Count bytes of the source."""
        self._packed += size
        self._count(size)

    def give(self, size: int) -> None:
        """Count bytes that came out of a decompressor or an archive."""
        self._unpacked += size

    def excess(self) -> str | None:
        """Return which limit was exceeded by what came out, in words; None for none."""
        if self._unpacked > _ALWAYS_READ and self._unpacked > self.limits.ratio * self._packed:
            return f"decompressed to more than {self.limits.ratio} times its size, the limit max_ratio"
        return None

    def add_member(self) -> str | None:
        """Count a file of an archive; return which limit it exceeds, in words."""
        self._members += 1
        if self._members > self.limits.members:
            return f"more than {self.limits.members} files in archives, the limit max_members"
        return None
