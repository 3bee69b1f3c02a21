# SPDX-License-Identifier: Apache-2.0
"""Alerts on their way to the sinks: on the disk before anything is sent, and sent to each sink in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from k8stokendetect.engine.state_file import write_atomically
from k8stokendetect.errors import K8sTokenDetectError, ReadError
from k8stokendetect.findings import Finding, Rule
from k8stokendetect.incidents import Alert
from k8stokendetect.outputs.native import finding_of
from k8stokendetect.outputs.size import LONGEST_DOCUMENT, bounded, one_line
from k8stokendetect.serve.journal import Journal
from k8stokendetect.sinks import Delivery
from k8stokendetect.sinks.delivery import StoppedError

KEPT: Final = 2_000
"""How many entries are kept after they were delivered, for the page."""

ENTRY: Final = 1024 * 1024
"""Bytes of alerts after which an entry is written; of a single alert there may be more."""

MOST_ALERTS: Final = 100
"""How many alerts an entry has, and findings an alert in it."""

_RETRY: Final = 5.0
"""Seconds after which a disk that refused a dead letter is tried again."""


class Outbox:
    """Keeps alerts until every sink has them, and some longer.

    Arguments:
        folder: where its files are.
        deliveries: one for each sink.
        report: takes what goes wrong, as kind and text.
        rules: of detectors of one's own, to read their findings back.

    Raises:
        ConfigError: when the folder cannot be used.

    """

    def __init__(
        self,
        folder: Path,
        deliveries: Sequence[Delivery],
        report: Callable[[str, str], object],
        rules: Iterable[Rule] = (),
    ) -> None:
        self._report = report
        self._journal = Journal(folder, "alerts", report=self.trouble)
        self._rules = tuple(rules)
        self._changed = threading.Condition()
        self._stopping = False
        self._couriers = [_Courier(self, delivery, folder / f"delivered-{delivery.name}") for delivery in deliveries]

    @property
    def end(self) -> int:
        """The number of the next entry."""
        return self._journal.end

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._journal.size

    def start(self) -> None:
        """Begin to deliver."""
        for courier in self._couriers:
            courier.start()

    def append(self, alerts: Sequence[Alert], /) -> None:
        """Keep alerts, each whole or not at all; they are on the disk when this returns.

        Raises:
            OSError: when they could not be written, from some alert on.

        """
        entry: list[str] = []
        for alert in alerts:
            for start in range(0, len(alert.findings), MOST_ALERTS):
                findings = alert.findings[start : start + MOST_ALERTS]
                document = one_line({"incident": alert.incident, "findings": [_bounded(one) for one in findings]})
                if len(entry) == MOST_ALERTS or (entry and sum(map(len, entry)) + len(document) > ENTRY):
                    self._write(entry)
                    entry = []
                entry.append(document)
        if entry:
            self._write(entry)

    def _write(self, entry: Sequence[str]) -> None:
        self._journal.append(f"[{','.join(entry)}]".encode())
        with self._changed:
            self._changed.notify_all()
        if self._journal.end % 100 == 0:
            self._trim()

    def expect(self, number: int, /) -> None:
        """Give no new entry a number before this one: it was seen already."""
        self._journal.expect(number)

    def _trim(self) -> None:
        undelivered = [courier.next_entry for courier in self._couriers]
        self._journal.drop_before(min([self._journal.end - KEPT, *undelivered]))

    def read(self, first: int = 1, /) -> Iterator[tuple[int, list[Alert]]]:
        """Yield the entries from a number on that are still kept."""
        for number, entry in self._journal.read(first):
            yield number, self._alerts(number, entry)

    def _alerts(self, number: int, entry: bytes) -> list[Alert]:
        try:
            return [
                Alert.of([finding_of(finding, rules=self._rules) for finding in one["findings"]], one["incident"])
                for one in json.loads(entry)
            ]
        except (ReadError, K8sTokenDetectError, ValueError, KeyError, TypeError) as error:
            self._report(
                "error outbox", f"entry {number} of the outbox cannot be read ({error}): it comes from another release"
            )
            return []

    def deliver(self) -> None:
        """Deliver what is there, in this thread; for those who do not `start`."""
        for courier in self._couriers:
            courier.drain()

    def wait(self, number: int, /) -> bool:
        """Wait for an entry; False when the outbox is being stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._journal.end > number)
        return not self._stopping

    def pause(self, seconds: float, /) -> bool:
        """Wait; False when the outbox is being stopped."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._stopping, seconds)

    def undelivered(self) -> dict[str, int]:
        """Return how many entries each sink has not seen yet."""
        return {courier.delivery.name: self._journal.end - courier.next_entry for courier in self._couriers}

    def flush(self, seconds: float, /) -> None:
        """Give the sinks some time to take what is left."""
        with self._changed:
            self._changed.wait_for(lambda: not any(self.undelivered().values()), seconds)

    def stop(self) -> None:
        """End the deliveries; what was not delivered is, after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for courier in self._couriers:
            if courier.is_alive():
                courier.join()
            courier.delivery.close()
        self._journal.close()

    def tell(self) -> None:
        """Say that an entry was delivered."""
        with self._changed:
            self._changed.notify_all()

    def trouble(self, text: str) -> None:
        """Report what goes wrong."""
        self._report("error outbox", text)


class _Courier(threading.Thread):
    """Delivers to one sink, and remembers on the disk how far it is.

    Arguments:
        outbox: what is delivered.
        delivery: where to.
        path: of the file that says how far it is.

    Attributes:
        next_entry: the number of the first entry that is not delivered whole.

    """

    def __init__(self, outbox: Outbox, delivery: Delivery, path: Path) -> None:
        super().__init__(name=f"sink-{delivery.name}", daemon=True)
        self.delivery = delivery
        self._outbox = outbox
        self._path = path
        self.next_entry, self._done = self._load()
        outbox.expect(self.next_entry)
        self._uncertain = outbox.end
        """What comes before may have been delivered by a process that could not note it any more."""

    def _load(self) -> tuple[int, int]:
        try:
            entry, done = json.loads(self._path.read_bytes())
            return int(entry), int(done)
        except FileNotFoundError:
            return 1, 0
        except (OSError, ValueError, TypeError):
            self._outbox.trouble(f"{self._path}: cannot be read; everything that is kept is delivered again")
            return 1, 0

    def run(self) -> None:
        """Deliver until the outbox is stopped."""
        while self._outbox.wait(self.next_entry):
            try:
                self.drain()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - without this thread the sink would get nothing, and nobody know
                what = error if isinstance(error, OSError | K8sTokenDetectError) else type(error).__name__
                self._outbox.trouble(f"sink {self.delivery.name}: {what}; tried again in {_RETRY:.0f} s")
                if not self._outbox.pause(_RETRY):
                    return

    def drain(self) -> None:
        """Deliver what is there, and go on behind what is lost."""
        end = self._outbox.end
        for number, alerts in self._outbox.read(self.next_entry):
            self._deliver(number, alerts)
        if self.next_entry < end:
            self._note(end, 0)
            self._outbox.tell()

    def _deliver(self, number: int, alerts: Sequence[Alert]) -> None:
        if number != self.next_entry:
            self.next_entry, self._done = number, 0
        for alert in alerts[self._done :]:
            if not (number < self._uncertain and self.delivery.sink.has(alert)):
                self.delivery.deliver(alert)
            self._note(number, self._done + 1)
        self.next_entry, self._done = number + 1, 0
        self._outbox.tell()

    def _note(self, entry: int, done: int) -> None:
        self.next_entry, self._done = entry, done
        # Not waited for: a machine that loses its power sends the last alerts again.
        write_atomically(self._path, json.dumps([entry, done]).encode(), wait=False)


def _bounded(finding: Finding) -> dict[str, Any]:
    """Return a finding that fits: with less evidence, which says so, where a client made it long."""
    document: dict[str, Any] = finding.to_dict()
    if len(one_line(document)) <= LONGEST_DOCUMENT:
        return document
    caveats = [*document["caveats"], "evidence was cut: it was too long to keep"]
    shorter = bounded({"evidence": document["evidence"]}, lambda _document, _left: None)
    return {**document, **shorter, "caveats": caveats}
