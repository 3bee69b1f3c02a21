# SPDX-License-Identifier: Apache-2.0
"""Hypothesis without deadlines, as machines are shared and no test measures time; recordings that no test changes.

`pytest --hypothesis-profile=thorough` draws a thousand examples where a test names no number of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from recordings import changed

settings.register_profile("quick", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("quick")

os.environ.pop("COLUMNS", None)  # readline sets it for child processes, such as those that run tests side by side
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: commands under test would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _recordings_are_not_changed() -> Iterator[None]:
    """Fail where a test changed a recorded event, which all others share."""
    yield
    assert changed() == []
