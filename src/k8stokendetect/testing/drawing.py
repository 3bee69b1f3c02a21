# SPDX-License-Identifier: Apache-2.0
"""Checks what Hypothesis draws, so often and no oftener; the smallest that fails is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

__tracebackhide__ = True  # pytest shows the message, not these lines


def for_any(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """Call a check with so many values of a strategy; raises what it raises."""

    def law(drawn: Any) -> None:
        check(drawn)

    bounded = settings(
        max_examples=max(1, examples),
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(strategy)(law))()
