# SPDX-License-Identifier: Apache-2.0
"""Findings, alerts or incidents as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import EventRef, Finding, Severity
from k8stokendetect.incidents import Alert, Incident

if TYPE_CHECKING:
    import pandas as pd

_REQUEST: Final = (
    *("severity", "time", "actor", "impersonating", "target", "address", "summary", "count"),
    *("excluded_by", "fingerprint", "origin"),
)
FINDING_COLUMNS: Final = ("rule", *_REQUEST)
ALERT_COLUMNS: Final = ("id", "rules", "incident", *_REQUEST)
INCIDENT_COLUMNS: Final = (
    *("id", "severity", "first_seen", "last_seen", "title", "actors", "service_accounts", "depth", "findings"),
)


def to_frame(items: Iterable[Finding | Alert | Incident], /) -> pd.DataFrame:
    """Return one row for each finding, alert or incident.

    Severities are an ordered category, times have a zone (UTC), what is not known is an empty text or `NaT`. Texts are
    as a client chose them: they may hold control characters.

    Arguments:
        items: all of one kind; without any, the frame has the columns of findings.

    Raises:
        ConfigError: when pandas is not installed, or the items are of different kinds or of none of these.

    """
    try:
        import pandas as pd  # noqa: PLC0415 - in the extra `pandas`
    except ModuleNotFoundError:
        raise ConfigError("pandas is missing: pip install 'k8stokendetect[pandas]'") from None
    kind, rows = of_one_kind(items, "to_frame")
    columns, form = _FORMS[kind]
    frame = pd.DataFrame.from_records([tuple(map(form(row).get, columns)) for row in rows], columns=list(columns))
    frame["severity"] = pd.Categorical(frame["severity"], [str(severity) for severity in Severity], ordered=True)
    for name in ("time", "first_seen", "last_seen"):
        if name in columns:
            frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


def of_one_kind(items: Iterable[Finding | Alert | Incident], name: str, /) -> tuple[type, Iterator[Any]]:
    """Return the kind of the items, of findings where there are none, and the items; lazily.

    Arguments:
        items: all of one kind.
        name: of the function that takes them.

    Raises:
        ConfigError: when the items are of different kinds or of no known one; for later ones, when they are taken.

    """
    found = iter(items)
    first = list(islice(found, 1))
    kind: type = type(first[0]) if first else Finding

    def checked() -> Iterator[Any]:
        for item in chain(first, found):
            if type(item) is not kind or kind not in _FORMS:
                raise ConfigError(f"{name} takes findings, alerts or incidents, all of the same kind")
            yield item

    if first:
        next(checked())
    return kind, checked()


def _request(ref: EventRef) -> dict[str, object]:
    return {
        "time": ref.time,
        "actor": ref.user,
        "impersonating": ref.impersonating or "",
        "target": ref.target or "",
        "address": ref.peer_ip or "",
        "origin": ref.origin or "",
    }


def _said(item: Finding | Alert) -> dict[str, object]:
    return {
        **_request(item.event),
        "severity": str(item.severity),
        "summary": item.summary,
        "count": item.count,
        "excluded_by": item.excluded_by or "",
        "fingerprint": item.fingerprint,
    }


def _of_finding(finding: Finding) -> dict[str, object]:
    return {"rule": finding.rule.id, **_said(finding)}


def _of_alert(alert: Alert) -> dict[str, object]:
    rules = tuple(rule.id for rule in alert.rules)
    return {"id": alert.id, "rules": rules, "incident": alert.incident or "", **_said(alert)}


def _of_incident(incident: Incident) -> dict[str, object]:
    facts = {name: getattr(incident, name) for name in INCIDENT_COLUMNS}
    return {**facts, "severity": str(incident.severity), "findings": len(incident.findings)}


_FORMS: Final[Mapping[type, tuple[Sequence[str], Any]]] = {
    Finding: (FINDING_COLUMNS, _of_finding),
    Alert: (ALERT_COLUMNS, _of_alert),
    Incident: (INCIDENT_COLUMNS, _of_incident),
}
