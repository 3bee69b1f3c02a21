# SPDX-License-Identifier: Apache-2.0
"""What `scan --follow` does besides printing: saves what is remembered and the position, and repeats nothing."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.running import FOREVER, Run, is_closed
from k8stokendetect.engine.checkpoint import Checkpoint, Saved
from k8stokendetect.engine.detection import Detection
from k8stokendetect.engine.memory import told_apart
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.findings import Finding
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.input.progress import checked_position
from k8stokendetect.outputs.native import finding_of

SAVE_AFTER: Final = 2.0
"""Seconds between two saves at least, and twenty times what the last one took."""

QUIET: Final = 3600.0
"""Seconds without a finding and without anything to read after which all incidents are complete."""

TIMELESS: Final = 1000
"""Findings about events without a time that are remembered: no other memory tells their repetitions."""

_LINE: Final = re.compile(r":(\d+)")


def checked(more: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """Return the position and the findings of open incidents that were saved.

    Raises:
        ConfigError: when they are damaged.

    """
    found = more.get("open", [])
    if not isinstance(found, list) or not isinstance(more.get("printed", []), list):
        raise ConfigError("the saved findings are not a list")
    try:
        return checked_position(more.get("followed")), [finding_of(one) for one in found if isinstance(one, Mapping)]
    except ReadError as error:
        raise ConfigError(f"the saved incidents are damaged: {error}") from None


class Following:
    """Takes findings of a followed file; saves, while it is read, what another process needs to go on.

    What is printed is noted at once, so that a process that is killed repeats at most the alert that it was printing.

    Arguments:
        source: the file.
        findings: what is found in it.
        printer: prints it.
        checkpoint: where to save; None for nowhere.
        saved: what an earlier process saved.
        unreadable: ids of the rules about records that cannot be read.

    Attributes:
        run: prints; to be set before anything is read.

    """

    run: Run

    def __init__(
        self,
        source: FollowedFile,
        findings: Detection,
        printer: Printer,
        checkpoint: Checkpoint | None,
        saved: Saved,
        unreadable: Iterable[str] = (),
    ) -> None:
        self._source = source
        self._findings = findings
        self._printer = printer
        self._checkpoint = checkpoint
        self._memory = saved.memory
        self._again = Counter([*saved.noted, *map(str, saved.more.get("printed", ()))])
        self._timeless: deque[str] = deque(maxlen=TIMELESS)
        self._unreadable = frozenset(unreadable)
        self._request = ""
        self._pending: list[str] = []
        self._saved: object = None
        self._due = 0.0
        self._last = time.monotonic()
        source.on_seam, source.on_idle = self._seam, self._idle
        if checkpoint is not None and not checkpoint.path.exists():
            checkpoint.save(saved.memory, {"followed": source.at.position()})

    def take(self, finding: Finding, /) -> None:
        """Print a finding, unless the earlier process has; its incident gets it in any case."""
        self._last = time.monotonic()
        name = _name(finding)
        if self._again[name] > 0:
            self._again[name] -= 1
            self._printer.groups.add(finding)
            return
        if self._source.is_replaying and finding.rule.id in self._unreadable:
            return
        if finding.event.request_id != self._request:
            self._printed()
        self._request = finding.event.request_id
        self._pending.append(name)
        if finding.event.time is None:
            self._timeless.append(name)
        self._printer.take(finding)

    def finish(self) -> None:
        """Print what comes at the end, and save; raises OSError when that fails."""
        self._printed()
        self._printer.finish()
        self.save()

    def _printed(self) -> None:
        """Print the alert that waits for more about its request, and note that."""
        self._printer.flush()
        if self._checkpoint is not None:
            self._checkpoint.note(self._pending)
        self._pending = []

    def _seam(self) -> None:
        if not self.run.ending.is_complete:
            return
        with self.run.writing():
            self._printed()
            if self._checkpoint is not None and time.monotonic() >= self._due:
                self.save()

    def _idle(self) -> None:
        """Print what has waited long enough; called while nothing comes."""
        if not self.run.ending.is_complete:
            return
        with self.run.writing():
            for finding in self._findings.idle():
                self.run.take(finding)
            if time.monotonic() - self._last > QUIET:
                self._last = time.monotonic()
                self.run.complete(FOREVER)
        self._seam()
        if not self._printer.has_file and is_closed(sys.stdout.fileno()):
            self.run.ending.is_closed = True

    def save(self) -> None:
        """Save what is remembered with the position; raises OSError when that fails."""
        if self._checkpoint is None:
            return
        lines = [line for event in self._findings.waiting() if (line := self._line(event.origin)) is not None]
        position = self._source.at.position(min(lines, default=None))
        opened = (
            [one.to_dict() for one in self._printer.groups.findings()] if self._printer.level == "incidents" else []
        )
        now = (position, len(opened), len(lines))
        if now == self._saved:
            return
        begun = time.monotonic()
        printed = [*self._again.elements(), *self._timeless]
        self._checkpoint.save(self._memory, {"followed": position, "open": opened, "printed": printed})
        self._saved = now
        ended = time.monotonic()
        self._due = ended + max(SAVE_AFTER, 20 * (ended - begun))

    def _line(self, origin: str | None) -> int | None:
        """Return the number of the line in which an event stands."""
        found = _LINE.match((origin or "").removeprefix(self._source.name))
        return int(found[1]) if found else None


def _name(finding: Finding) -> str:
    """Return what tells a finding from others, whenever it is found again."""
    parts = (finding.fingerprint, told_apart(finding), finding.excluded_by, finding.count, str(finding.last))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
