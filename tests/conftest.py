# SPDX-License-Identifier: Apache-2.0
"""Hypothesis without deadlines, as machines are shared and no test measures time; recordings that no test changes.

And what makes the run quick: little garbage collection, and bytecode for the processes that tests start.

`pytest --hypothesis-profile=thorough` draws a thousand examples where a test names no number of its own.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from recordings import changed

settings.register_profile("quick", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("quick")

os.environ.pop("COLUMNS", None)  # readline sets it for child processes, such as those that run tests side by side
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: commands under test would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _recordings_are_not_changed() -> Iterator[None]:
    """Fail where a test changed a recorded event, which all others share."""
    yield
    assert changed() == []


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while thousands of tests are made, and look at what lives as long as the run no more."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(700, 10, 100)


@pytest.fixture(scope="session", autouse=True)
def _processes_share_bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where none may be written next to the sources, every process would compile them all: it goes with the run."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            run = tmp_path_factory.getbasetemp()
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            shared = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
            patch.setenv("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
        yield
