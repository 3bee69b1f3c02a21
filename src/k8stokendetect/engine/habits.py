# SPDX-License-Identifier: Apache-2.0
"""Counts on how many days somebody has minted for the same service account: it is said, and proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding

MOST_HABITS: Final = 50_000
"""Maximum number of callers with an account that are remembered; who minted longest ago is forgotten first."""

_LONGEST: Final = 600


class Habits:
    """What was reported, by caller and account.

    Arguments:
        days: from before: on how many days, and the last of them, counted from the year 1.

    """

    def __init__(self, days: Mapping[str, tuple[int, int]] | None = None) -> None:
        self.days = dict(days or {})

    def tell(self, finding: Finding, /) -> Finding:
        """Count a mint that is reported; the second day on, its finding says so. The severity stays."""
        ref = finding.event
        if ref.time is None or not ref.user or not ref.name:
            return finding
        key = f"{ref.cluster or ''} {ref.user} {ref.impersonating or ''} {ref.namespace}/{ref.name}"[:_LONGEST]
        number, last = self.days.pop(key, (0, 0))
        today = ref.time.toordinal()
        if today > last:
            number, last = number + 1, today
        self.days[key] = number, last
        if len(self.days) > MOST_HABITS:
            del self.days[next(iter(self.days))]
        return finding if number == 1 else attrs.evolve(finding, summary=f"{finding.summary}; seen on {number} days")

    @classmethod
    def from_dict(cls, document: object, /) -> Habits:
        """Make it of what was saved.

        Raises:
            ConfigError: when it is nothing of the kind.

        """
        if not isinstance(document, Mapping):
            raise ConfigError("not the habits of callers")
        days = {}
        for key, value in document.items():
            if not isinstance(key, str) or not isinstance(value, list) or [type(one) for one in value] != [int, int]:
                raise ConfigError("not the habits of callers")
            days[key] = value[0], value[1]
        return cls(days)
