# SPDX-License-Identifier: Apache-2.0
"""Keeps printed lines on disk until their turn comes, so that memory does not grow with what was found."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable
from typing import IO

from k8stokendetect.outputs.columns import Line, Span


class Spool:
    """A file without a name, gone when it is closed or the process ends; it is made when the first lines come."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def put(self, lines: Iterable[Line], /) -> int:
        """Keep some lines and return where; raises OSError when the disk is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        place = self._file.seek(0, 2)
        pickle.dump([tuple(map(tuple, line)) for line in lines], self._file)
        return place

    def get(self, place: int, /) -> list[Line]:
        """Return the lines that `put` kept there."""
        assert self._file is not None  # noqa: S101 - there is a place
        self._file.seek(place)
        found = pickle.load(self._file)  # noqa: S301 - written by this process, into a file without a name
        return [tuple(Span(*span) for span in line) for line in found]

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file = None
