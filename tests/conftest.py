# SPDX-License-Identifier: Apache-2.0
"""Hypothesis without deadlines, as no test measures time; no window's width; recordings that no test changes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from recordings import changed

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.pop("COLUMNS", None)  # readline sets it for child processes, such as those that run tests side by side


@pytest.fixture(scope="session", autouse=True)
def _recordings_are_not_changed() -> Iterator[None]:
    """Fail where a test changed a recorded event, which all others share."""
    yield
    assert changed() == []
