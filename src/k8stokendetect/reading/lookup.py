# SPDX-License-Identifier: Apache-2.0
"""Finds the events behind some requests in a second reading of their log, so that the first one keeps none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from k8stokendetect.bounds import cut_text
from k8stokendetect.convert.credentials import REDACTED, clean_name
from k8stokendetect.event_ref import EventRef, request_id
from k8stokendetect.events import Event
from k8stokendetect.reading.audit_log import AuditLog
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.projection import Plain, Projection


def events_of(log: AuditLog, refs: Iterable[EventRef], /) -> Iterator[tuple[str, Event]]:
    """Yield the event behind each request with its `request_id`, until all were found or the log ends.

    The event that stands where the first reading found it comes last for its request; before it, or instead of it, may
    come events of the same request at other stages or in other files. The place decides, as what the rest of the log
    contradicts is not part of a finding's request any more. Only events with a wanted auditID are read in
    full. What cannot be read is passed to nobody: the first reading reported it.

    Arguments:
        log: a fresh AuditLog of the same source.
        refs: the requests.

    """
    missing = {ref.request_id: ref for ref in refs}
    places = {(ref.origin, ref.audit_id): id_ for id_, ref in missing.items()}
    done: set[str] = set()
    for item in log.stream(_ByAuditID({ref.audit_id for ref in missing.values()})) if missing else ():
        if not isinstance(item, Event):
            continue
        if (id_ := places.get((item.origin, cut_text(item.audit_id)))) is not None:
            done.add(id_)
        elif (id_ := request_id(item)) not in missing or id_ in done:
            continue
        yield id_, item
        if len(done) == len(missing):
            return


class _ByAuditID(Prefilter):
    """Wants the events that have one of some auditIDs; those without one are read in full in any case."""

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = ids
        super().__init__(())

    def _decision(self) -> Callable[[Plain | Projection], str | None]:
        ids = self._ids
        if any(REDACTED in id_ for id_ in ids):
            return lambda event: None if clean_name(event.audit_id) in ids else ""
        return lambda event: None if event.audit_id in ids else ""
