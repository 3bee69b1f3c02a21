# SPDX-License-Identifier: Apache-2.0
"""Hypothesis without deadlines, as machines are shared and no test measures time; recordings that no test changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from recordings import changed

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _recordings_are_not_changed() -> Iterator[None]:
    """Fail where a test changed a recorded event, which all others share."""
    yield
    assert changed() == []
