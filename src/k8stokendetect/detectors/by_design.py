# SPDX-License-Identifier: Apache-2.0
"""Who mints by design, told from the exclusions' own data: for detectors that would report them otherwise."""

from __future__ import annotations

from collections.abc import Iterable

from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event
from k8stokendetect.exclusions import Exclusion, verdict
from k8stokendetect.exclusions.index import Named
from k8stokendetect.findings import Rule


def checked(rule: Rule, exclusions: Iterable[Exclusion], /) -> tuple[Exclusion, ...]:
    """Return the exclusions that a detector was given.

    Raises:
        ConfigError: when one of them is none.

    """
    given = tuple(exclusions)
    if not all(isinstance(exclusion, Exclusion) for exclusion in given):
        raise ConfigError(f"{rule.id}: exclusions takes Exclusions")
    return given


def by_design(event: Event, exclusions: Named, /) -> bool:
    """Tell whether one of the exclusions excuses the caller of this event."""
    named = exclusions.of(event.user.username)
    return any((found := verdict(exclusion, event)) and found.excuses for exclusion in named)
