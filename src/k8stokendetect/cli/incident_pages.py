# SPDX-License-Identifier: Apache-2.0
"""Text about incidents: urgent alerts when they are found, an overview, then a tree for each of the worst."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from k8stokendetect.cli.screen import Screen
from k8stokendetect.cli.selecting import Choice
from k8stokendetect.cli.spool import Spool
from k8stokendetect.findings import Severity
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.outputs.columns import Line, Span
from k8stokendetect.outputs.overview import Entry, overview_lines
from k8stokendetect.outputs.text import alert_line
from k8stokendetect.outputs.tree import tree_lines

LISTED: Final = 50
"""Incidents that get a line in the overview, unless --limit says otherwise."""

SHOWN: Final = 20
"""Incidents that get a tree, unless --limit says otherwise."""

PATIENCE: Final = 2.0
"""Seconds for which a scan that has an end keeps urgent alerts for the overview."""

MOST_URGENT: Final = 20
"""Maximum number of urgent alerts on standard error; the overview has all of them."""


class IncidentPages:
    """Prints incidents as text.

    Where the end may be far off, urgent alerts and complete incidents are printed at once, and the overview at the end.
    Otherwise the overview comes first; urgent alerts go to standard error while a long log is still read.

    Arguments:
        screen: where to print.
        choice: what to print.
        live: whether the end may be far off.
        quiet: whether standard error is for errors only.
        patience: in seconds, see PATIENCE.

    """

    def __init__(
        self, screen: Screen, choice: Choice, *, live: bool, quiet: bool = False, patience: float = PATIENCE
    ) -> None:
        self._screen = screen
        self._choice = choice
        self._live = live
        self._quiet = quiet
        self._waits_until = time.monotonic() + patience
        self._early: list[Line] = []
        self._urgent: dict[tuple[str | None, str], Severity] = {}
        self._number_of_urgent = 0
        self._entries: list[tuple[Entry, int]] = []
        self._spool = Spool()
        self._excluded: list[int] = []
        self._counts: Counter[str] = Counter()

    def urgent(self, alert: Alert, /) -> None:
        """Print the line of an alert, where it is the first of its incident, or worse than what was printed."""
        key = (alert.incident, "" if alert.incident else alert.event.user)
        before = self._urgent.get(key)
        if (before is not None and before >= alert.severity) or not self._choice.matches(alert):
            return
        self._urgent[key] = alert.severity
        line = alert_line(alert, self._screen.width)
        if self._live:
            self._screen.line(line)
        elif not self._quiet:
            self._number_of_urgent += 1
            if self._number_of_urgent <= MOST_URGENT:
                self._early.append(line)
            elif self._number_of_urgent == MOST_URGENT + 1:
                self._early.append((Span("… more of them follow in the overview", "dim"),))
            self._print_early()

    def _print_early(self) -> None:
        if time.monotonic() >= self._waits_until:
            for line in self._early:
                self._screen.line(line, err=True)
            self._early = []

    def alert(self, alert: Alert, /) -> None:
        """Keep the line of an excluded alert for the end, or print it at once."""
        if self._early:
            self._print_early()
        if alert.excluded_by is None or not self._choice.wants(alert):
            return
        line = alert_line(alert, self._screen.width)
        if self._live:
            self._screen.line(line)
        else:
            self._excluded.append(self._spool.put([line]))

    def incident(self, incident: Incident, /) -> None:
        """Print a tree, or keep it for its place."""
        self._counts["findings"] += len(incident.findings)
        self._counts["alerts"] += len({finding.event.request_id for finding in incident.findings})
        number = len(self._entries) + 1
        self._entries.append((Entry.of(incident), 0))
        if self._live and self._choice.limit and number > self._choice.limit:
            return
        lines = tree_lines(incident, width=self._screen.width, full=self._choice.limit == 0, number=number)
        if self._live:
            self._screen.lines(lines)
            self._screen.line(())
        else:
            self._entries[-1] = self._entries[-1][0], self._spool.put(lines)

    def finish(self) -> None:
        """Print the overview and what was kept."""
        chosen = self._choice.limit
        listed, shown = (LISTED, SHOWN) if chosen is None else (chosen, chosen or len(self._entries))
        entries = list(self._entries)
        if not self._live:
            entries.sort(key=lambda item: item[0].order)
        if entries:
            numbers = {"alerts": self._counts["alerts"], "findings": self._counts["findings"]}
            found = [entry for entry, _ in entries]
            self._screen.lines(overview_lines(found, **numbers, width=self._screen.width, limit=listed))
        for number, (_, place) in enumerate(() if self._live else entries[:shown], 1):
            first, *others = self._spool.get(place)
            self._screen.line(())
            self._screen.line((Span(f"#{number}  ", "dim"), *first[1:]))
            self._screen.lines(others)
        if not self._live and len(entries) > shown:
            more = len(entries) - shown
            self._screen.lines([(), (Span(f"… {more:,} more trees: --limit 0 prints all", "dim"),)])
        for number, place in enumerate(self._excluded):
            if not number and entries:
                self._screen.line(())
            self._screen.lines(self._spool.get(place))
        self._spool.close()
