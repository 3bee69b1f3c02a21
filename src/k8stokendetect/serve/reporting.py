# SPDX-License-Identifier: Apache-2.0
"""Lines for the operator on standard error: neutral, one each, and not more of a kind than a person reads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from k8stokendetect.outputs.text import cut, neutral

MOST_A_MINUTE: Final = 20
"""Lines of one kind; the others are counted."""

_MINUTE: Final = 60.0
_LONGEST: Final = 2000


class Log:
    """Writes lines, a limited number of each kind a minute.

    Arguments:
        write: takes a line without its end; by default standard error.
        clock: in seconds.

    """

    def __init__(
        self, write: Callable[[str], object] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write or _to_stderr
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def __call__(self, kind: str, text: str) -> None:
        """Write a line, or count it."""
        with self._lock:
            now = self._clock()
            since, number = self._kinds.get(kind, (now, 0))
            if now - since >= _MINUTE:
                if number > MOST_A_MINUTE:
                    self._write(f"{kind}: {number - MOST_A_MINUTE:,} more in the last minute")
                since, number = now, 0
            self._kinds[kind] = since, number + 1
            if number < MOST_A_MINUTE:
                self._write(f"{kind}: {neutral(cut(text, _LONGEST))}")
            elif number == MOST_A_MINUTE:
                self._write(f"{kind}: more of them; only counted for the rest of this minute")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
