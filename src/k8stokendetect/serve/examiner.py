# SPDX-License-Identifier: Apache-2.0
"""Examines batches as one stream, in one thread, so that a crash at any point loses nothing and repeats nothing.

The order of things is what makes it so:

1. a batch is in the journal, on the disk, before the API server is answered;
2. alerts are in the outbox, on the disk, before what detectors remember of them is saved;
3. what is saved says with which batch to begin again: the first of which an event may still wait for earlier ones;
4. after a start, batches from there on are examined again, and findings that are in the outbox already are dropped.
"""

from __future__ import annotations

import io
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from k8stokendetect.engine.detection import Detection
from k8stokendetect.engine.memory import Memory
from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.findings import Finding
from k8stokendetect.incidents import Alert, alerts
from k8stokendetect.serve.batch import Batch, number_of
from k8stokendetect.serve.board import Board
from k8stokendetect.serve.journal import Journal
from k8stokendetect.serve.metrics import Metrics
from k8stokendetect.serve.outbox import MOST_ALERTS, Outbox
from k8stokendetect.serve.state import State

Detecting = Callable[[Iterator[io.BytesIO], Memory], Detection]
"""Makes the run that examines a stream, with what is remembered."""

SAVE_EVERY: Final = 20.0
"""Seconds between two saved states."""

OVERLAP: Final = 120.0
"""Seconds for which a batch is kept after it was examined: a use may have been logged before its mint."""

IDLE: Final = 0.5
"""Seconds between two looks at what waits for the clock."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts while a disk refuses."""

_MOST_FAILURES: Final = 3


class Full(Exception):  # noqa: N818 - a state, not a mistake
    """No more can be taken at present."""


class Examiner(threading.Thread):
    """Examines what is taken, and puts alerts into the outbox.

    Arguments:
        folder: where journal and state are.
        detecting: makes a run of the detectors.
        outbox: takes the alerts.
        board: takes them, too, for the page.
        metrics: counted up.
        report: takes what goes wrong, as kind and text.
        room: bytes that may wait to be examined.

    Attributes:
        failure: why it ended, where it did not end in order.

    Raises:
        ConfigError: when the folder or what is in it cannot be used.

    """

    def __init__(
        self,
        folder: Path,
        detecting: Detecting,
        outbox: Outbox,
        board: Board,
        metrics: Metrics,
        report: Callable[[str, str], object],
        room: int,
    ) -> None:
        super().__init__(name="examiner", daemon=True)
        self._path = folder / "state.json"
        self._aside = folder / "not-examined"
        self._journal = Journal(folder / "batches", "batches", report=lambda text: report("error journal", text))
        self._detecting = detecting
        self._outbox = outbox
        self._board = board
        self._metrics = metrics
        self._report = report
        self._room = room
        self._waits = 0
        self._queue: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._taking = threading.Lock()
        self._stopping = threading.Event()
        self._failures, self._pause = 0, FIRST_PAUSE
        self._begun: deque[tuple[int, float]] = deque()
        self._current = 0
        self._pending: list[Finding] = []
        self._changed = False
        self._saved_at = time.monotonic()
        self.failure = ""
        self._state = self._loaded()

    def _loaded(self) -> State:
        try:
            state = State.load(self._path)
        except ConfigError as error:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            self._path.replace(aside)
            self._report("error", f"{error}; it is moved to {aside}, and what detectors remembered is lost")
            state = State()
        self._journal.expect(max([state.batch, *(number + 1 for number in state.not_examined)]))
        self._outbox.expect(state.entry)
        for number, entry in self._outbox.read(state.entry):
            state.entry = number + 1
            for finding in (finding for alert in entry for finding in alert.findings):
                state.reported.add(finding.fingerprint)
        return state

    def waiting(self) -> dict[str, int]:
        """Return how much waits or is kept, by the name of its metric."""
        return {
            "waiting_bytes": self._waits,
            "waiting_batches": self._queue.qsize(),
            "journal_bytes": self._journal.size,
            "outbox_bytes": self._outbox.size,
        }

    def take(self, lines: list[bytes], /) -> None:
        """Take a batch; it is on the disk when this returns.

        Raises:
            Full: when too much waits, or the examiner has ended.
            OSError: when the batch could not be written.

        """
        text = b"\n".join(lines) + b"\n"
        with self._taking:
            if self._stopping.is_set() or self.failure or self._waits + len(text) > self._room:
                raise Full
            number = self._journal.append(zlib.compress(text, 1))
            self._waits += len(text)
            self._queue.put((number, text))
        self._metrics.last_batch.set_to_current_time()
        self._metrics.events_taken.inc(len(lines))

    def stop(self) -> None:
        """Examine what was taken, and save; what waits for earlier events waits no longer."""
        with self._taking:
            self._stopping.set()
            self._queue.put(None)
        if self.is_alive():
            self.join()
        self._journal.close()

    def run(self) -> None:
        """Examine until it is stopped. A batch on which that fails is moved away, and everything begins again."""
        failed_on = -1
        while True:
            try:
                self._examine()
            except Exception as error:  # noqa: BLE001 - whatever it is, the batches behind it are examined
                self._failures = self._failures + 1 if self._current == failed_on else 1
                failed_on = self._current
                if self._failures > _MOST_FAILURES or not self._put_aside(error):
                    self.failure = f"{type(error).__name__} on batch {self._current}"
                    self._report("fatal", f"nothing more is examined: {self.failure}: {error}")
                    return
            else:
                return

    def _examine(self) -> None:
        """Examine the batches that are kept, then those that come."""
        findings = self._detecting(self._batches(), self._state.memory)
        self._idle = findings.idle
        self._still_waiting = findings.waiting
        for finding in findings:
            self._add(finding)
        self._flush()
        self._save(all_done=True)

    def _batches(self) -> Iterator[io.BytesIO]:
        """Yield the batches; between two of them, alerts and the state are written."""
        last = self._state.batch - 1
        for number, text in self._journal.read(self._state.batch):
            last = number
            if number not in self._state.not_examined:
                yield from self._one(number, zlib.decompress(text))
        while True:
            try:
                item = self._queue.get(timeout=IDLE)
            except Empty:
                self._tick()
                continue
            if item is None:
                return
            number, text = item
            self._waits -= len(text)
            if number > last:
                yield from self._one(number, text)

    def _one(self, number: int, text: bytes) -> Iterator[io.BytesIO]:
        self._current = number
        self._begun.append((number, time.monotonic()))
        yield Batch(number, text)
        self._changed = True
        self._tick()

    def _tick(self) -> None:
        for finding in self._idle():
            self._add(finding)
        self._flush()
        if self._changed and time.monotonic() - self._saved_at >= SAVE_EVERY:
            self._save()

    def _add(self, finding: Finding) -> None:
        if len(self._pending) >= MOST_ALERTS and self._pending[-1].event.request_id != finding.event.request_id:
            self._flush()
        self._pending.append(finding)

    def _flush(self) -> None:
        """Put what was found into the outbox, as far as it is new."""
        found = self._board.take([new for alert in alerts(self._pending) if (new := self._new_part(alert))])
        if found:
            self._outbox.append(found)
            for alert in found:
                self._metrics.alerts.labels(str(alert.severity)).inc()
        self._pending.clear()

    def _new_part(self, alert: Alert) -> Alert | None:
        """Return an alert without what is in the outbox already."""
        findings = [finding for finding in alert.findings if self._state.reported.add(finding.fingerprint)]
        return Alert.of(findings) if findings and alert.excluded_by is None else None

    def _save(self, *, all_done: bool = False) -> None:
        """Save what is remembered, and forget the batches that are not needed any more."""
        now = time.monotonic()
        while self._begun and now - self._begun[0][1] > OVERLAP:
            self._begun.popleft()
        kept = [self._begun[0][0] if self._begun else self._current + 1]
        kept += [number for event in self._still_waiting() if (number := number_of(event.origin)) is not None]
        self._state.batch = max(self._state.batch, min(kept))
        self._state.entry = self._outbox.end
        try:
            self._state.save(self._path)
        except OSError as error:
            self._report("error disk", f"the state cannot be saved: {error.strerror}")
            if all_done:
                raise
        else:
            self._journal.drop_before(self._state.batch)
            self._metrics.last_state.set_to_current_time()
            self._changed, self._pause = False, FIRST_PAUSE
        self._saved_at = now

    def _put_aside(self, error: Exception) -> bool:
        """Leave a batch out from now on, and keep it where a person finds it; tell whether that could be done."""
        number = self._current
        if isinstance(error, OSError) or number == 0:
            return self._waits_for_disk(error)
        try:
            text = next((text for found, text in self._journal.read(number) if found == number), b"")
            self._aside.mkdir(exist_ok=True, mode=0o700)
            path = self._aside / f"batch-{number}.jsonl"
            path.write_bytes(zlib.decompress(text) if text else b"")
            self._state = self._loaded()
            self._state.not_examined.add(number)
            self._state.save(self._path)
        except (OSError, K8sTokenDetectError) as trouble:
            return self._waits_for_disk(trouble)
        self._metrics.lost.inc()
        self._pending.clear()
        self._begun.clear()
        self._report("error", f"batch {number} is not examined, and kept as {path}: {type(error).__name__}: {error}")
        return True

    def _waits_for_disk(self, error: Exception) -> bool:
        """Wait, longer each time, and load what was saved; False when the examiner is being stopped."""
        self._pending.clear()
        self._begun.clear()
        while True:
            self._failures *= not isinstance(error, OSError)  # it may refuse for as long as it takes
            self._report("error disk", f"cannot be written: {error}; tried again in {self._pause:.0f} s")
            if self._stopping.wait(self._pause):
                return False
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                self._state = self._loaded()
            except OSError as again:
                error = again
            else:
                return True
