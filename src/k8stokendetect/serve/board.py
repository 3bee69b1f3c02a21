# SPDX-License-Identifier: Apache-2.0
"""The incidents at present, and the page about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.cluster import Cluster
from k8stokendetect.engine.tally import Tally
from k8stokendetect.incidents import Alert, Incidents
from k8stokendetect.outputs.provenance import Scan
from k8stokendetect.outputs.report import to_report
from k8stokendetect.serve.state import Reported

MOST_FINDINGS: Final = 20_000
"""How many findings the page rests on at most; then incidents in which nothing happens any more leave it earlier."""

PRUNE_EVERY: Final = 300.0
FRESH: Final = 5.0
"""Seconds for which a page is shown again as it was made: to make a large one takes a second."""

_WINDOW: Final = timedelta(hours=1)


class Board:
    """Groups alerts into incidents, and words them as a page.

    Arguments:
        cluster: a snapshot of the cluster.
        keep: how long an incident is shown after its last request.
        tally: for the page.
        options: for the page: the command line without credentials.

    """

    def __init__(self, cluster: Cluster | None, keep: timedelta, tally: Tally, options: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._keep = max(keep, _WINDOW)
        self._tally = tally
        self._options = tuple(options)
        self._groups = Incidents(window=_WINDOW, cluster=cluster)
        self._known = Reported()
        self._number = 0
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._started = datetime.now(UTC)
        self._pruned_at = time.monotonic()
        self._page = b""
        self._made_at: float | None = None
        self._version = self._made_version = 0

    def restore(self, alerts: Sequence[Alert], /) -> None:
        """Take alerts that were sent before."""
        with self._lock:
            for alert in alerts:
                self._add(alert)

    def take(self, alerts: Sequence[Alert], /) -> list[Alert]:
        """Take new alerts, and return them with the ids of their incidents."""
        with self._lock:
            for alert in alerts:
                self._add(alert)
            named = [attrs.evolve(alert, incident=self._groups.id_of(alert.worst)) for alert in alerts]
            if time.monotonic() - self._pruned_at > PRUNE_EVERY or self._number > MOST_FINDINGS:
                self._prune()
        return named

    def _add(self, alert: Alert) -> None:
        for finding in alert.findings:
            if self._known.add(finding.fingerprint):
                self._groups.add(finding)
                self._number += 1
                self._version += 1

    def _prune(self) -> None:
        """Let go of incidents that are over; of too many, also of those that may not be."""
        self._pruned_at = time.monotonic()
        now = datetime.now(UTC)
        for keep in (self._keep, self._keep / 4, _WINDOW):
            self._number -= sum(len(one.findings) for one in self._groups.close(now - keep + _WINDOW))
            if self._number <= MOST_FINDINGS:
                return
        latest = sorted(self._groups.all(), key=lambda one: one.last_seen or now)[-100:]
        findings = [finding for one in latest for finding in one.findings][-MOST_FINDINGS // 2 :]
        self._groups = Incidents(window=_WINDOW, cluster=self._cluster)
        for finding in findings:
            self._groups.add(finding)
        self._number = len(findings)

    def page(self) -> bytes:
        """Return the page; it is made again when something changed and some seconds have passed."""
        with self._making:
            now = time.monotonic()
            is_old = self._made_at is None or now - self._made_at > FRESH
            if self._made_at is None or (is_old and self._version != self._made_version):
                with self._lock:
                    version, found = self._version, self._groups.all()
                self._page = to_report(found, scan=self._scan()).encode("utf-8", "replace")
                self._made_at, self._made_version = now, version
            return self._page

    def _scan(self) -> Scan:
        return Scan.counted(
            self._tally,
            options=self._options,
            started=self._started,
            ended=datetime.now(UTC),
            note="A running service: counts are since its start; the page also shows what was alerted before.",
        )
