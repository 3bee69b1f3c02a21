# SPDX-License-Identifier: Apache-2.0
"""Folds equal parts of an incident that stand side by side into one, with their number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from k8stokendetect.findings import Severity


class Part(Protocol):
    """What a tree or a drawing is made of."""

    shape: int
    worst: Severity
    seen: tuple[datetime, ...]
    times: int


P = TypeVar("P", bound=Part)


def folded(parts: Iterable[P], /) -> tuple[P, ...]:
    """Fold parts of one shape; the most urgent come first, for the rest may be cut off, then the earliest."""
    found: dict[int, P] = {}
    for part in parts:
        same = found.setdefault(part.shape, part)
        if same is not part:
            same.times += 1
            same.seen += part.seen
    return tuple(sorted(found.values(), key=lambda part: -part.worst))
