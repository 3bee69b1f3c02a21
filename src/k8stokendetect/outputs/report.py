# SPDX-License-Identifier: Apache-2.0
"""Incidents as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from k8stokendetect.convert.structure import plain
from k8stokendetect.findings import EventRef, Finding, Rule, Severity
from k8stokendetect.incidents import Incident
from k8stokendetect.incidents.story import acts
from k8stokendetect.outputs.figures import chain, lasting, shown, timeline, utc
from k8stokendetect.outputs.style import STYLE

OPEN_UP_TO: Final = 3
"""So few incidents are shown open; of more, each opens by a click."""

_MOST_NAMES: Final = 12

_HINT: Final = (
    '<p class="dim"><small>Each opens to its evidence: the field of the audit event, its value, what it means.'
    "</small></p>"
)

_LEGEND: Final = '<p class="dim"><small>Dashed: a token that was minted. Faint: refused.</small></p>'

_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
"""


def to_report(
    incidents: Sequence[Incident],
    /,
    *,
    title: str = "Minted Kubernetes service account tokens",
    generated: datetime | None = None,
) -> str:
    """Return a page about some incidents, the worst first.

    Whatever a client chose is escaped and stripped of control characters, and the page forbids itself to load or run
    anything. A value of more than 1000 characters is cut; the JSON form has it whole.

    Arguments:
        incidents: what to show.
        title: the page's heading.
        generated: when it was made; left out by default, so that equal incidents give equal pages.

    """
    worst_first = sorted(incidents, key=lambda incident: -incident.severity)
    rules = {finding.rule.id: finding.rule for incident in worst_first for finding in incident.findings}
    parts = [
        f"{_HEAD}<title>{shown(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>",
        f"<h1>{shown(title)}</h1>",
        f'<p class="dim">{_scope(worst_first, generated)}</p>\n{_counts(worst_first)}</header>\n<main>',
        *_contents(worst_first),
        *(
            _incident(number, incident, is_open=len(incidents) <= OPEN_UP_TO)
            for number, incident in enumerate(worst_first, 1)
        ),
        *_rules(rules.values()),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _scope(incidents: Sequence[Incident], generated: datetime | None) -> str:
    findings = sum(len(incident.findings) for incident in incidents)
    parts = [f"{_number(len(incidents), 'incident')}, {_number(findings, 'finding')}"]
    first = min((incident.first_seen for incident in incidents if incident.first_seen), default=None)
    last = max((incident.last_seen for incident in incidents if incident.last_seen), default=None)
    if first and last:
        parts.append(_span(first, last))
    if generated:
        parts.append(f"report of {utc(generated)}")
    return " · ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _span(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None or first == last:
        return utc(first or last)
    start, end = utc(first), utc(last)
    return f"{start} to {end[11:] if start[:10] == end[:10] else end} ({lasting(first, last)})"


def _counts(incidents: Sequence[Incident]) -> str:
    counts = Counter(incident.severity for incident in incidents)
    if not counts:
        return "<p>No incident was found.</p>"
    items = (f'<li class="s{severity.value}"><b>{counts[severity]}</b>{severity}</li>' for severity in _falling(counts))
    return f'<ul class="counts">{"".join(items)}</ul>'


def _falling(severities: Iterable[Severity]) -> list[Severity]:
    return sorted(severities, reverse=True)


def _tag(severity: Severity, *, full: bool = False) -> str:
    return f'<span class="tag{" full" if full else ""} s{severity.value}">{severity}</span>'


def _contents(incidents: Sequence[Incident]) -> Iterator[str]:
    """Yield the table of contents; its links open what they lead to, for they lead inside."""
    if len(incidents) < 2:  # noqa: PLR2004 - one needs no list
        return
    yield '<nav aria-label="Contents"><h2>Contents</h2>\n<ol>'
    for number, incident in enumerate(incidents, 1):
        yield (
            f'<li><a href="#incident-{number}"><span class="dim">{number}</span><span>{_tag(incident.severity)}</span>'
            f'<span class="t v">{shown(incident.title, 140)}</span>'
            f'<span class="d dim">{utc(incident.first_seen)}</span></a></li>'
        )
    yield "</ol></nav>\n<h2>Incidents</h2>"


def _incident(number: int, incident: Incident, *, is_open: bool) -> str:
    requests = acts(incident.findings)
    chained = f" · {incident.depth} tokens minted one with another" if incident.depth > 1 else ""
    todo = "".join(f"<li>{shown(sentence)}</li>" for sentence in incident.advice or _responses(incident.findings))
    when = _span(incident.first_seen, incident.last_seen)
    parts = [
        f'<details class="incident s{incident.severity.value}"{" open" if is_open else ""}>',
        f'<summary>{_tag(incident.severity, full=True)} <span class="t v">{shown(incident.title)}</span>',
        f"<small>{when} · {_number(len(incident.findings), 'finding')}{chained}</small></summary>",
        f'<div class="body" id="incident-{number}">',
        _facts(incident),
        f"<section><h3>Timeline</h3>{timeline(requests)}",
        '<p class="dim"><small>Squares are tokens minted, circles other requests.</small></p></section>',
        f'<div class="two"><section><h3>Chain</h3><div class="box">{chain(requests)}</div>{_LEGEND}</section>',
        f'<section class="todo"><h3>What to do now</h3><ol>{todo}</ol></section></div>',
        f"<section><h3>Findings</h3>{_HINT}{''.join(_findings(incident.findings))}</section>",
        "</div></details>",
    ]
    return "\n".join(parts)


def _facts(incident: Incident) -> str:
    rows = {
        "Actors": _names(incident.actors),
        "Service accounts": _names(incident.service_accounts),
        "Credentials": _names(incident.credentials),
        "First seen": utc(incident.first_seen),
        "Last seen": utc(incident.last_seen),
        "Incident": f"<code>{shown(incident.id)}</code>",
    }
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in rows.items())}</dl>"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    text = ", ".join(f"<code>{shown(name, 200)}</code>" for name in names[:_MOST_NAMES])
    return (text or '<span class="dim">none known</span>') + (f" and {more} more" if more > 0 else "")


def _responses(findings: Iterable[Finding]) -> Iterable[str]:
    """Return what the rules say is to be done, the worst first; for an incident without advice."""
    worst_first = sorted(findings, key=lambda finding: -finding.severity)
    return dict.fromkeys(finding.rule.response for finding in worst_first if finding.rule.response)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    previous: Finding | None = None
    for finding in findings:
        aside = f" · set aside by exclusion {shown(finding.excluded_by)}" if finding.excluded_by else ""
        yield (
            f'<details class="f"><summary>{_tag(finding.severity)} <span class="v">{shown(finding.summary)}</span> '
            f'<small class="dim">{utc(finding.event.time)} · {shown(finding.rule.id)}{aside}</small></summary><div>'
        )
        again = previous if previous is not None and previous.event == finding.event else None
        known = {(item.path, item.why) for item in again.evidence} if again else set()
        rows = "".join(
            f"<tr><td>{shown(item.path)}</td><td>{_value(item.value)}</td><td>{shown(item.why)}</td></tr>"
            for item in finding.evidence
            if (item.path, item.why) not in known
        )
        if rows:
            yield f"<table><tbody>{rows}</tbody></table>"
        if again:
            yield '<p class="dim">About the same request as the finding above; its facts are not repeated.</p>'
        yield "".join(f"<p>Note: {shown(caveat)}</p>" for caveat in finding.caveats)
        yield "".join(
            f"<p>Related: {shown(ref.user, 200) or 'nobody'} {shown(ref.verb, 50)} {shown(ref.target or '', 200)}, "
            f"{utc(ref.time)}, {_request(ref)}</p>"
            for ref in finding.related
        )
        rule = shown(finding.rule.id)
        yield f'<p class="dim">{_request(finding.event)}, <a href="#rule-{rule}">{rule}</a></p></div></details>'
        previous = finding


def _value(value: object) -> str:
    known = plain(value)
    return shown(known if isinstance(known, str) else json.dumps(known, ensure_ascii=False))


def _request(ref: EventRef) -> str:
    """Say where a request is found again."""
    audit_id = shown(ref.audit_id, 100)
    parts = (f"auditID {audit_id}" if audit_id else "no auditID", shown(ref.origin or "", 200))
    return ", ".join(part for part in parts if part)


def _rules(rules: Iterable[Rule]) -> Iterator[str]:
    """Yield what each rule means, once."""
    worst_first = sorted(rules, key=lambda rule: (-rule.severity, rule.id))
    if not worst_first:
        return
    yield '<h2>Rules</h2>\n<section class="rules">'
    for rule in worst_first:
        lists = (
            ("Response", (rule.response,)),
            ("False positives", rule.false_positives),
            ("Not seen by it", rule.blind_spots),
            ("ATT&CK", rule.techniques),
        )
        yield (
            f"<details><summary>{_tag(rule.severity)} {shown(rule.title)} <small class='dim'>{shown(rule.id)}</small>"
            f'</summary><div id="rule-{shown(rule.id)}"><p>{shown(rule.description, 4000)}</p><dl>'
            + "".join(
                f"<dt>{shown(name)}</dt><dd>{'; '.join(shown(item, 4000) for item in items)}</dd>"
                for name, items in lists
                if any(items)
            )
            + "</dl></div></details>"
        )
    yield "</section>"
