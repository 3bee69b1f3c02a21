# SPDX-License-Identifier: Apache-2.0
"""Ends a reading early and in order: never within the examination of an event, also while a source waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class _StoppedError(BaseException):
    """Raised in a reading that is to end; no Exception, so that no reader takes it for damage of what it reads."""


class Stopping:
    """Whether a reading is to end.

    Attributes:
        asked: it is.

    """

    def __init__(self) -> None:
        self.asked = False
        self._reads = False

    def ask(self) -> None:
        """End the reading: called by a signal's handler, and raises there if a source is being read at this moment."""
        self.asked = True
        if self._reads:
            self._reads = False
            raise _StoppedError

    def until_asked(self, items: Iterator[T], /) -> Iterator[T]:
        """Yield what is read, until it is to end."""
        while True:
            try:
                self._reads = True
                if self.asked:
                    return
                item = next(items)
            except (StopIteration, _StoppedError):
                return
            finally:
                self._reads = False
            yield item
