# SPDX-License-Identifier: Apache-2.0
"""A property that is computed once, for values of which many are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class computed(Generic[T]):  # noqa: N801 - used as a decorator, as `functools.cached_property` is
    """A property that is computed once; unlike `functools.cached_property` in Python 3.11 it takes no lock."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, event: None, owner: type) -> Self: ...
    @overload
    def __get__(self, event: object, owner: type) -> T: ...
    def __get__(self, event: object | None, owner: type) -> Self | T:
        """Compute it; the value then stands in the way of this call."""
        if event is None:
            return self
        value = event.__dict__[self._name] = self._compute(event)
        return value
