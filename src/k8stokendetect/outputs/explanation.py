# SPDX-License-Identifier: Apache-2.0
"""Everything known about one request: what was said about it, on which facts, and its audit event without tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from k8stokendetect.convert.structure import event_to_mapping, plain
from k8stokendetect.events import Event, JsonValue
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.outputs.event_text import to_event_text
from k8stokendetect.outputs.text import inert, neutral, utc
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.words import caller_of, request_of

_MOST_RELATED: Final = 20
"""Maximum number of related requests that are listed; the JSON form has all."""


@with_short_repr
@attrs.frozen(kw_only=True)
class Explanation:
    """A request, and everything known about it.

    Arguments:
        id: its `request_id`.
        alerts: what was said about it; one more where a part of it was excluded, none where nothing was said.
        event: its audit event; None where it was not found again.
        mint: the audit event that issued the token it was made with; None where that is not known.
        incident: the requests of the incident that has the same id, this one included; empty where none has.
        part_of: the incident that the request belongs to; None where it belongs to none.

    """

    id: str
    alerts: tuple[Alert, ...] = ()
    event: Event | None = None
    mint: Event | None = None
    incident: tuple[EventRef, ...] = ()
    part_of: Incident | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {
            "request_id": self.id,
            "alerts": [alert.to_dict() for alert in self.alerts],
            "event": _mapping(self.event),
            "mint": _mapping(self.mint),
            "incident_requests": [ref.request_id for ref in self.incident],
            "incident": self.part_of.id if self.part_of else None,
            "advice": [step.to_dict() for step in self.part_of.advice] if self.part_of else [],
        }


def to_explanation_line(explanation: Explanation, /) -> str:
    """Return it as one line of JSON, without the line end."""
    return json.dumps(explanation.to_dict())


def to_explanation(explanation: Explanation, /) -> str:
    """Return it as text for a terminal, without the last line end; no value can steer the terminal."""
    return "\n".join(_lines(explanation))


def _mapping(event: Event | None) -> JsonValue:
    return None if event is None else plain(event_to_mapping(event))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"request {explanation.id}"
    if len(explanation.incident) > 1:
        number = len(explanation.incident)
        yield f"  the first of {number:,} requests of the incident of this id; the others are listed last"
    if not explanation.alerts:
        yield "  No rule reported it."
    for alert in explanation.alerts:
        yield from map(neutral, _about(alert))
    if explanation.part_of is not None:
        yield from map(neutral, _advice(explanation.part_of))
    yield from _event("its audit event, without credentials", explanation.event)
    if explanation.mint is not None:
        yield from _event("the event that issued its token", explanation.mint)
    others = [ref for ref in explanation.incident if ref.request_id != explanation.id]
    if others:
        yield ""
        yield from map(neutral, _related(others, "the other requests of the incident:"))


def _about(alert: Alert) -> Iterator[str]:
    event = alert.event
    yield ""
    yield "  ".join(filter(None, (str(alert.severity).upper(), utc(event.time), event.origin)))
    yield f"  {alert.summary}"
    if alert.excluded_by:
        yield f"  excluded by {alert.excluded_by}"
    if alert.count > 1:
        yield f"  {alert.count:,} requests, the last at {utc(alert.last)}"
    for finding in alert.findings:
        said = finding.rule.title if finding.summary == alert.summary else finding.summary
        yield f"  {finding.rule.id}: {said} ({finding.severity}, fingerprint {finding.fingerprint})"
    yield from (f"  note: {caveat}" for caveat in alert.caveats)
    yield "because:"
    yield from (f"  {item.path} = {plain(item.value)}  ({item.why})" for item in alert.evidence)
    yield from _related(alert.related)
    if not alert.excluded_by:
        responses = dict.fromkeys(rule.response for rule in alert.rules if rule.response)
        yield from (f"  the rule says: {response}" for response in responses)


def _advice(incident: Incident) -> Iterator[str]:
    """Yield what the tree and the page of the incident say, too, each command on a line of its own."""
    yield ""
    yield f"incident {incident.id}: {incident.title}"
    yield "what to do:"
    for place, step in enumerate(incident.advice, 1):
        yield f"  {place}. {inert(step.text)}"
        if step.command:
            yield f"     {step.command}"


def _related(refs: Sequence[EventRef], title: str = "related:") -> Iterator[str]:
    if refs:
        yield title
    for ref in refs[:_MOST_RELATED]:
        where = f", {ref.origin}" if ref.origin else ""
        yield f"  {ref.request_id}  {utc(ref.time)}  {caller_of(ref)}: {request_of(ref)}{where}"
    if len(refs) > _MOST_RELATED:
        yield f"  and {len(refs) - _MOST_RELATED:,} more: see --format json"


def _event(title: str, event: Event | None) -> Iterator[str]:
    yield ""
    if event is None:
        yield f"{title}: not found in these logs"
        return
    yield f"{title}, {neutral(event.origin or 'of unknown origin')}:"
    yield to_event_text(event, is_bounded=False)
