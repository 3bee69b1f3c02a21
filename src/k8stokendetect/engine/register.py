# SPDX-License-Identifier: Apache-2.0
"""`Register`: counts what rules say about requests, each once, however often a request is delivered."""

from __future__ import annotations

from typing import Protocol

from k8stokendetect.engine.arrival import Arrival
from k8stokendetect.engine.memory import Memory, told_apart
from k8stokendetect.engine.tally import Tally
from k8stokendetect.findings import Finding


class Numbered(Protocol):
    """An event on its way, of whichever log."""

    @property
    def name(self) -> str:
        """Its request's id; empty where repetitions cannot be recognised."""
        ...

    @property
    def number(self) -> int:
        """Its position."""
        ...


class Register:
    """Counts findings, and tells repetitions.

    Arguments:
        tally: counted up.
        memory: what was said and folded before, also in earlier calls.

    """

    def __init__(self, tally: Tally, memory: Memory) -> None:
        self._tally = tally
        self._reported = memory.reported
        self._folded = memory.folded

    def enter(self, arrival: Numbered, rule: str, excluded_by: str | None, finding: Finding | None = None, /) -> bool:
        """Count what a rule says about an event; False, and counted as a duplicate, where it was said before.

        What was excluded does not make a repetition vanish that is reported.

        Arguments:
            arrival: the event.
            rule: the rule's id.
            excluded_by: the id of the exclusion that excludes it; None for none.
            finding: where one exists.

        """
        if arrival.name:
            is_call = finding is not None and finding.event.cloud is not None  # it may be said on a later mint
            name = f"{finding.event.request_id if finding and is_call else arrival.name} {rule} {excluded_by}"
            if finding is not None and (more := told_apart(finding)):
                name = f"{name} {more}"
            if self._reported.is_repeat(name, arrival.number):
                self._tally.duplicates += 1
                return False
        if excluded_by is None:
            self._tally.findings[rule] += 1
        else:
            self._tally.excluded[excluded_by] += 1
        return True

    def was_folded(self, arrival: Arrival, /) -> bool:
        """Tell whether keyed detectors took the same event before, and remember that they take this one."""
        if not arrival.name:
            return False
        event = arrival.event
        name = f"{arrival.name} {event.stage} {event.verb} {event.code} {event.used_credential}"
        return self._folded.is_repeat(name, arrival.number)
