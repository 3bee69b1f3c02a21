# SPDX-License-Identifier: Apache-2.0
"""Our own JSON of alerts, findings and incidents: a line each, ASCII only, at most 64 KiB; and findings back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from k8stokendetect.commands.token_request_command import TokenRequestCommand
from k8stokendetect.convert.structure import structure
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.outputs.size import MOST_LISTED, bounded, one_line
from k8stokendetect.outputs.values import alert_facts, alerts_of

_RULES: Final = {rule.id: rule for rule in (*(cls.rule for cls in (*BUILTIN, *OPTIONAL)), TokenRequestCommand.rule)}


def to_line(finding: Finding, /) -> str:
    r"""Return a finding as one line of JSON, without the line end.

    Everything but printable ASCII is escaped: U+2028 in a user agent would break the line elsewhere, and U+009B would
    steer a terminal. A line of more than 64 KiB is cut, and `left_out` says what of.
    """
    return one_line(bounded(finding.to_dict(), _note))


def to_alert_line(alert: Alert, /) -> str:
    """Return an alert as one line of JSON like `to_line`: what `Alert.to_dict` gives, cut to 64 KiB."""
    return one_line(bounded(alert.to_dict(), _note))


def to_incident_line(incident: Incident, /) -> str:
    """Return an incident as one line of JSON like `to_line`.

    `alerts` has what matters of each, the worst first; `findings` their fingerprints. Of more than 100 the others are
    counted in `left_out`.
    """
    found = alerts_of(incident)
    fingerprints = [finding.fingerprint for alert in found for finding in alert.findings]
    document = {
        **attrs.evolve(incident, findings=()).to_dict(),
        "number_of_alerts": len(found),
        "number_of_findings": len(fingerprints),
        "alerts": [alert_facts(alert) for alert in found[:MOST_LISTED]],
        "findings": fingerprints[:MOST_LISTED],
    }
    left = {"alerts": len(found) - MOST_LISTED, "findings": len(fingerprints) - MOST_LISTED}
    return one_line(bounded(document, _note, {name: count for name, count in left.items() if count > 0}))


def _note(document: dict[str, Any], left_out: list[dict[str, Any]]) -> None:
    document["left_out"] = left_out


def finding_of(line: str | bytes | Mapping[str, Any], /, *, rules: Iterable[Rule] = ()) -> Finding:
    """Return the finding that `to_line` wrote.

    It equals the one that was written, but for values in its evidence that JSON has no type for (a time is text, a
    tuple a list), and for the prose of a rule that is neither built in nor among `rules`: of that only id, title and
    techniques are in the line, and the finding's severity stands for the rule's.

    Arguments:
        line: as it was written, or already decoded.
        rules: of detectors of your own.

    Raises:
        ReadError: when it is not such a line, says where; when it was cut to 64 KiB; or when its fingerprint is another
            than that of what it says.

    """
    document = _decoded(line)
    event = structure(document.get("event"), EventRef, "$.event")
    related = structure(document.get("related", []), tuple[EventRef, ...], "$.related")
    excluded_by = document.get("excluded_by")
    severity = _severity(structure(document.get("severity"), str, "$.severity"))
    try:
        finding = Finding(
            rule=_rule(document, severity, {**_RULES, **{rule.id: rule for rule in rules}}),
            severity=severity,
            summary=structure(document.get("summary"), str, "$.summary"),
            event=event,
            evidence=tuple(structure(document.get("evidence", []), list[Evidence], "$.evidence")),
            related=related,
            caveats=structure(document.get("caveats", []), tuple[str, ...], "$.caveats"),
            excluded_by=None if excluded_by is None else structure(excluded_by, str, "$.excluded_by"),
            key=structure(document.get("key", ""), str, "$.key"),
            count=structure(document.get("count", 1), int, "$.count"),
            last=_last(document.get("last")),
            enable=structure(document.get("enable", ""), str, "$.enable"),
        )
    except ConfigError as error:
        raise ReadError(f"not a finding: {error}") from None
    if document.get("left_out"):
        raise ReadError("not a whole finding: it was too large and was cut when it was written", path="$.left_out")
    if finding.fingerprint != document.get("fingerprint"):
        raise ReadError(
            "its fingerprint does not match its content: it was changed, or comes from another release", None, "$"
        )
    try:
        to_line(finding)
    except (ValueError, RecursionError):  # Python decodes NaN and 1e999, which JSON has no form for, and any depth
        raise ReadError("a value that is not JSON", path="$.evidence") from None
    return finding


def _decoded(line: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        document: Any = line if isinstance(line, Mapping) else json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        raise ReadError("not a finding: not a JSON object")
    return document


def _last(text: object) -> datetime | None:
    return None if text is None else structure(text, datetime, "$.last")


def _severity(name: str) -> Severity:
    try:
        return Severity.of(name)
    except ConfigError:
        raise ReadError("not a known severity", path="$.severity") from None


def _rule(document: Mapping[str, Any], severity: Severity, known: Mapping[str, Rule]) -> Rule:
    id_ = structure(document.get("rule_id"), str, "$.rule_id")
    if id_ in known:
        return known[id_]
    title = structure(document.get("title"), str, "$.title")
    techniques = structure(document.get("techniques", []), tuple[str, ...], "$.techniques")
    return Rule(id_, title, severity, techniques=techniques)
