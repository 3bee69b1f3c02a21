# SPDX-License-Identifier: Apache-2.0
"""Refuses that two detect() calls use what remembers or counts at the same time, in one thread or in several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from k8stokendetect.errors import ConfigError

_CLAIMED: Final[dict[int, tuple[object, object]]] = {}
"""Who uses what, by the identity of what is used, with the user: one step each (`dict.setdefault`), hence no lock."""


@contextlib.contextmanager
def claimed(things: Iterable[tuple[str, object]], /) -> Iterator[None]:
    """Use things, as the only one to do so.

    Arguments:
        things: what to call each in an error, and the thing itself.

    Raises:
        ConfigError: when another call uses one of them that is not finished; nothing is used then.

    """
    user, taken = object(), list[int]()
    try:
        for name, thing in things:
            if _CLAIMED.setdefault(id(thing), (user, thing))[0] is not user:
                raise ConfigError(
                    f"{name} is in use by another detect() that is not finished: give each its own, or let one finish "
                    "(or close() it) before the next begins"
                )
            taken.append(id(thing))
        yield
    finally:
        for one in taken:
            _CLAIMED.pop(one, None)
