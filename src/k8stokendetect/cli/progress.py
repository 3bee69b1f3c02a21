# SPDX-License-Identifier: Apache-2.0
"""The progress bar of a long read, when standard error is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from k8stokendetect.reading import AuditLog

LONG_READ = 32 * 1024 * 1024
"""From so many bytes on, a terminal gets a progress bar."""


def size_of(name: str, /) -> int:
    """Return the number of bytes to read, as far as it is known; what cannot be read is reported later."""
    try:
        path = Path(name)
        return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def progress(files: tuple[str, ...], log: AuditLog, /) -> Iterator[None]:
    """Show a progress bar for a long read, when standard error is a terminal."""
    total = sum(map(size_of, files)) if sys.stderr.isatty() else 0
    if total < LONG_READ:
        yield
        return
    from rich import console  # noqa: PLC0415 - only a long read at a terminal needs it
    from rich import progress as bars  # noqa: PLC0415 - the same

    class Bar(bars.Progress):
        def get_renderables(self) -> Iterable[Any]:
            for task in self.task_ids:
                self.update(task, completed=log.bytes_read)
            return super().get_renderables()

    # Findings must never leave standard output, unless it is the same terminal: then they go above the bar.
    with Bar(console=console.Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        bar.add_task("reading", total=total)
        yield
