# SPDX-License-Identifier: Apache-2.0
"""How many bytes of bodies are held at once: what has arrived counts, not what was announced."""

from __future__ import annotations


class Budget:
    """How many bytes of bodies may be held at once.

    Arguments:
        total: bytes.

    """

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, size: int, /) -> bool:
        """Take some, if there are enough."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int, /) -> None:
        """Give them back."""
        self.left += size


class Share:
    """What one body takes of a budget: as much as has arrived, so that a client who is slow holds little.

    Arguments:
        budget: of all bodies.

    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def take(self, size: int, /) -> bool:
        """Take some more, if there are enough."""
        if not self._budget.take(size):
            return False
        self._size += size
        return True

    def give_back(self) -> None:
        """Give all of it back."""
        self._budget.give_back(self._size)
        self._size = 0
