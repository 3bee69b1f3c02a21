# SPDX-License-Identifier: Apache-2.0
"""What the report page says about an incident: its parts, folded and bounded, ready for the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple, Self

import attrs

from k8stokendetect.findings import EventRef, Evidence, Finding
from k8stokendetect.incidents import Alert, Incident, Step
from k8stokendetect.incidents.story import Request, requests_of
from k8stokendetect.outputs.figures import graph, lasting, timeline
from k8stokendetect.outputs.text import caller_facts, span, utc
from k8stokendetect.outputs.values import as_text, is_command
from k8stokendetect.words import caller_of, request_of

MOST_ACTORS: Final = 60
"""Maximum number of actors of an incident that the filter knows by name; one that has more is always shown."""

MOST_IDS: Final = 10

MOST_ADVICE: Final = 8
"""How much of what to do is seen at once, as far as steps repeat each other; repetitions open by a click."""


class Fact(NamedTuple):
    """A field of an event, its value as text, and all that it means."""

    path: str
    value: str
    why: str


class AdviceGroup(NamedTuple):
    """Steps that follow each other, from a number on; those that are folded only repeat the one before."""

    start: int
    steps: tuple[Step, ...]
    is_folded: bool


@attrs.frozen(kw_only=True)
class StepPart:
    """What is said about one request, and how many like it there were.

    Arguments:
        number: in the incident, in the order of time.
        alert: about the first of them.
        times: when the first and the last came in; without the date, where all of the incident was on one day.
        count: how many requests it is about.
        also: what other rules said about it in other words.
        facts: what the alert rests on.
        others: the ids of the others.
        made_with: the number of the step that minted its token; 0 for none.
        related: other requests that belong to it, in words.
        event: the redacted event behind it; empty where it is not shown.
        explain: the command that shows the event where it is not shown; empty where that is impossible.
        is_brief: its evidence and its event are not shown: a page has room for so many only.

    """

    number: int
    alert: Alert
    times: str
    count: int
    also: tuple[str, ...]
    facts: tuple[Fact, ...]
    others: tuple[str, ...]
    made_with: int
    related: tuple[str, ...]
    event: str
    explain: str
    is_brief: bool


@attrs.frozen(kw_only=True)
class IncidentPart:
    """What is said about an incident besides its own fields.

    Arguments:
        incident: the incident.
        head: when, how long, how much.
        actors: the names that the filter looks at; none where there are too many to keep.
        timeline: its requests in time, as SVG; empty where that would show one moment.
        graph: identities, tokens and acts, as nested lists.
        advice: what to do, in its order.
        steps: its requests, in the order of time.
        hidden: how many requests are not among the steps.
        explain: the command that shows what is left out of brief steps; empty where there are none.

    """

    incident: Incident
    head: str
    actors: tuple[str, ...]
    timeline: str
    graph: str
    advice: tuple[AdviceGroup, ...]
    steps: tuple[StepPart, ...]
    hidden: int
    explain: str

    @classmethod
    def of(cls, incident: Incident, room: Room, event: EventFinder, explain: Explain, /) -> Self:
        """Prepare an incident.

        Arguments:
            incident: what to show.
            room: how many steps to show, the worst of them.
            event: finds the event behind a request.
            explain: returns the command that shows some requests.

        """
        requests = requests_of(incident.findings)
        folded = _folded(incident)
        worst = _worst_first(folded)
        kept = sorted(worst[: room.steps])
        in_full = set(worst[: room.in_full])
        numbers = {folded[place][0].id: number for number, place in enumerate(kept, 1)}
        steps = tuple(
            _step(folded[place], incident, requests, numbers, event, explain, is_brief=place not in in_full)
            for place in kept
        )
        brief = [step.alert.id for step in steps if step.is_brief]
        many = len(incident.actors) > MOST_ACTORS
        return cls(
            incident=incident,
            head=_head(incident, sum(map(len, folded))),
            actors=() if many else incident.actors or (caller_of(incident.findings[0].event),),
            timeline=timeline(requests),
            graph=graph(requests),
            advice=tuple(_advice(tuple(incident.advice or _responses(incident.findings)))),
            steps=steps,
            hidden=sum(map(len, folded)) - sum(len(folded[place]) for place in kept),
            explain=explain(*brief) if brief else "",
        )


class Room(NamedTuple):
    """How many steps an incident may have on the page, and how many of them with evidence and event."""

    steps: int
    in_full: int


def in_full(incident: Incident, room: Room, /) -> Iterator[EventRef]:
    """Yield the requests of an incident whose events are shown, as far as there are any."""
    folded = _folded(incident)
    for place in _worst_first(folded)[: room.in_full]:
        yield folded[place][0].event


EventFinder = Callable[[EventRef], str]
"""Returns the text of the event behind a request; empty where there is none to show."""

Explain = Callable[..., str]
"""Returns the command that shows the requests of some ids; empty where that is impossible."""


def number_of(count: int, noun: str, /) -> str:
    """Return a number with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def when(first: datetime | None, last: datetime | None, /) -> str:
    """Return a span of time and how long it is."""
    return span(first, last) + (f" ({lasting(first, last)})" if first and last and first != last else "")


def _head(incident: Incident, requests: int) -> str:
    chained = f"chain of {incident.depth:,} tokens" if incident.depth > 1 else ""
    parts = (when(incident.first_seen, incident.last_seen), number_of(requests, "request"), chained)
    return " · ".join(filter(None, parts))


def _advice(steps: Sequence[Step]) -> Iterator[AdviceGroup]:
    """Group the steps: of many, the last of those that say the same of another name are folded, tokens to end first."""
    kinds = [step.text.partition(" ")[0] for step in steps]
    repeated = [place for place in range(1, len(steps)) if kinds[place] == kinds[place - 1]]
    often = Counter(kinds)
    repeated.sort(key=lambda place: (kinds[place] == "End", often[kinds[place]], place), reverse=True)
    folded = set(repeated[: max(0, len(steps) - MOST_ADVICE)])
    for is_folded, places in groupby(range(len(steps)), folded.__contains__):
        group = list(places)
        yield AdviceGroup(group[0] + 1, tuple(steps[place] for place in group), is_folded)


def _responses(findings: Iterable[Finding]) -> Iterable[Step]:
    """Return what the rules say is to be done, the worst first; for an incident without advice."""
    worst_first = sorted(findings, key=lambda finding: -finding.severity)
    return dict.fromkeys(Step(finding.rule.response) for finding in worst_first if finding.rule.response)


def _folded(incident: Incident) -> list[list[Alert]]:
    """Return the alerts in the order of time, those that say the same together."""
    requests: dict[tuple[str, bool], list[Finding]] = {}
    for finding in incident.findings:
        requests.setdefault((finding.event.request_id, finding.excluded_by is not None), []).append(finding)
    found: dict[object, list[Alert]] = {}
    for findings in requests.values():
        alert = Alert.of(findings, incident.id)
        event = alert.event
        said = (alert.summary, alert.severity, alert.excluded_by, event.user, event.peer_ip, event.code, alert.count)
        known = tuple((finding.rule.id, finding.summary, finding.caveats) for finding in alert.findings)
        paths = tuple((item.path, item.why) for item in alert.evidence)
        found.setdefault((said, known, paths), []).append(alert)
    return list(found.values())


def _worst_first(folded: Sequence[Sequence[Alert]]) -> list[int]:
    return sorted(range(len(folded)), key=lambda place: -folded[place][0].severity)


def _step(
    alerts: Sequence[Alert],
    incident: Incident,
    requests: Mapping[str, Request],
    numbers: Mapping[str, int],
    event: EventFinder,
    explain: Explain,
    *,
    is_brief: bool,
) -> StepPart:
    alert = alerts[0]
    parent = requests[alert.id].parent
    made_with = numbers.get(parent or "", 0)
    text = "" if is_brief else event(alert.event)
    command = "" if text or is_brief else explain(alert.id)
    return StepPart(
        number=numbers[alert.id],
        alert=alert,
        times=_times(alerts, incident),
        count=sum(one.count for one in alerts),
        also=tuple(dict.fromkeys(one.summary for one in alert.findings if one.summary != alert.summary)),
        facts=() if is_brief else tuple(_facts(alert, is_alone=not text and not command)),
        others=tuple(one.id for one in alerts[1:]),
        made_with=made_with,
        related=tuple(_named(ref) for ref in alert.related if not (made_with and ref.request_id == parent)),
        event=text,
        explain=command,
        is_brief=is_brief,
    )


def _times(alerts: Sequence[Alert], incident: Incident) -> str:
    times = [time for one in alerts for time in (one.event.time, one.last) if time]
    said = span(min(times, default=None), max(times, default=None))
    day = utc(incident.first_seen)[:10]
    return said.removeprefix(f"{day} ") if utc(incident.last_seen)[:10] == day else said


def _facts(alert: Alert, *, is_alone: bool) -> Iterator[Fact]:
    """Yield what the alert rests on, each value once, with all it means.

    Arguments:
        alert: about a request.
        is_alone: nobody can look at the event: the caller is described, too.

    """
    known = {item.path for item in alert.evidence}
    about = caller_facts(alert.event) if is_alone and not is_command(alert.event) else ()
    whys: dict[tuple[str, str], list[str]] = {}
    facts: tuple[Evidence, ...] = (*(fact for fact in about if fact.path not in known), *alert.evidence)
    for fact in facts:
        whys.setdefault((fact.path, as_text(fact.value)), []).append(fact.why)
    for (path, value), said in whys.items():
        yield Fact(path, value, "; ".join(dict.fromkeys(said)))


def _named(ref: EventRef) -> str:
    """Name a request in words."""
    where = f", {ref.origin}" if ref.origin else ""
    return f"{caller_of(ref)}: {request_of(ref)}, {utc(ref.time)}, request {ref.request_id}{where}"
