# SPDX-License-Identifier: Apache-2.0
"""Keeps printed lines on disk until their turn comes, so that memory does not grow with what was found."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable

from k8stokendetect.outputs.columns import Line


class Spool:
    """A file without a name, which is gone when the process ends; it is made when the first lines come."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115 - it lives as long as the process

    def put(self, lines: Iterable[Line], /) -> int:
        """Keep some lines and return where; raises OSError when the disk is full."""
        place = self._file.seek(0, 2)
        pickle.dump([tuple(map(tuple, line)) for line in lines], self._file)
        return place

    def get(self, place: int, /) -> list[Line]:
        """Return the lines that were kept there."""
        self._file.seek(place)
        found: list[Line] = pickle.load(self._file)  # noqa: S301 - written by this process, into a file without a name
        return found
