# SPDX-License-Identifier: Apache-2.0
"""What a detector says: Severity, Rule, Evidence and Finding, all frozen values."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Self

import attrs

from k8stokendetect.bounds import LONGEST_EVIDENCE, cut
from k8stokendetect.cards import card
from k8stokendetect.convert.structure import plain
from k8stokendetect.errors import ConfigError
from k8stokendetect.event_ref import EventRef, Referable
from k8stokendetect.events import JsonValue
from k8stokendetect.reprs import short, short_repr

__all__ = ["EventRef", "Evidence", "Finding", "Referable", "Rule", "Severity"]


class Severity(enum.IntEnum):
    """How urgent a finding is; ordered, and printed in lower case."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str, /) -> str:
        return format(str(self), spec)

    @classmethod
    def of(cls, name: str, /) -> Self:
        """Return the severity of that name, in any case; raises ConfigError for an unknown one."""
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(str(severity) for severity in cls)
            raise ConfigError(f"unknown severity {name!r}; known: {known}") from None


_RULE_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_TECHNIQUE = re.compile(r"T\d{4}(?:\.\d{3})?")


def _check_rule_id(_: Rule, __: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not _RULE_ID.fullmatch(value):
        raise ConfigError(f"rule id {value!r} is not lower-case words joined by '-' or '.'")


def _check_text(rule: Rule, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"rule {rule.id}: {attribute.name} is empty")


def _check_severity(rule: Rule, _: attrs.Attribute[Severity], value: object) -> None:
    if not isinstance(value, Severity):
        raise ConfigError(f"rule {rule.id}: severity {value!r} is not a Severity")


def _check_texts(rule: Rule, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"rule {rule.id}: {attribute.name} is not a tuple of strings")


def _check_techniques(rule: Rule, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    _check_texts(rule, attribute, value)
    for technique in value:
        if not _TECHNIQUE.fullmatch(technique):
            raise ConfigError(f"rule {rule.id}: {technique!r} is not an ATT&CK technique id such as T1552.007")


@attrs.frozen
class Rule:
    """What a detector looks for, for people and for the SIEM.

    Arguments:
        id: lower-case words joined by `-` or `.`; it never changes once released.
        title: one line.
        severity: the usual one; a finding may say otherwise.
        description: what it finds and why that matters.
        techniques: MITRE ATT&CK technique ids.
        tactics: MITRE ATT&CK tactics, such as `credential-access`.
        references: where to read on.
        false_positives: who triggers it without bad intent.
        blind_spots: what it cannot see.
        response: what to do when it fires.

    Raises:
        ConfigError: when a value is malformed.

    """

    id: str = attrs.field(validator=_check_rule_id)
    title: str = attrs.field(validator=_check_text)
    severity: Severity = attrs.field(validator=_check_severity)
    description: str = ""
    techniques: tuple[str, ...] = attrs.field(default=(), validator=_check_techniques)
    tactics: tuple[str, ...] = attrs.field(default=(), validator=_check_texts)
    references: tuple[str, ...] = attrs.field(default=(), validator=_check_texts)
    false_positives: tuple[str, ...] = attrs.field(default=(), validator=_check_texts)
    blind_spots: tuple[str, ...] = attrs.field(default=(), validator=_check_texts)
    response: str = ""

    def __repr__(self) -> str:
        return short_repr(self, id=self.id, title=self.title, severity=str(self.severity))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        fields = attrs.asdict(self, recurse=False).items()
        texts = {name: list(value) if isinstance(value, tuple) else value for name, value in fields}
        return {**texts, "severity": str(self.severity)}


def facts(ref: EventRef, /) -> tuple[tuple[str, str], ...]:
    """Return what a card says about a request."""
    return (
        ("when", ref.time.isoformat(" ", "seconds") if ref.time else "not logged"),
        ("who", ref.user or "not logged"),
        ("impersonating", ref.impersonating or ""),
        ("what", f"{ref.verb} {ref.target or ref.request_uri}"),
        ("answer", str(ref.code or "")),
        ("from", f"{ref.peer_ip or 'an unknown address'}, {ref.user_agent or 'an unknown client'}"),
        ("credential", ref.used_credential or ""),
        ("issued", ref.minted_credential or ""),
        ("where", " ".join(filter(None, (ref.cluster, ref.origin)))),
    )


def shown(evidence: Iterable[Evidence], /) -> list[tuple[str, str]]:
    """Return what a card says about evidence."""
    return [(f"{item.path} = {short(item.value)} ({item.why})", "") for item in evidence]


def _check_value(evidence: Evidence, _: attrs.Attribute[JsonValue], value: object) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST_EVIDENCE and value is evidence.value:
            object.__setattr__(evidence, "value", bounded(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_value(evidence, _, item)
            _check_value(evidence, _, key)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_value(evidence, _, item)
    elif not (value is None or isinstance(value, bool | int | float | datetime) or attrs.has(type(value))):
        raise ConfigError(f"evidence {evidence.path}: {type(value).__name__} is not a JSON value")


def bounded(value: JsonValue, /) -> JsonValue:
    """Cut a long text, which a client may have chosen; all else stays as it is."""
    return cut(value, LONGEST_EVIDENCE) if isinstance(value, str) else value


@attrs.frozen
class Evidence:
    """One observed fact.

    Arguments:
        path: where it stands in the audit event, such as `user.username` or `annotations['KEY']`.
        value: what stands there, cut to 8,192 characters; a time, a tuple or a part of an Event will do.
        why: what it means here.

    Raises:
        ConfigError: when the value could not be written as JSON.

    """

    path: str
    value: JsonValue = attrs.field(hash=False, validator=_check_value)
    why: str

    def __repr__(self) -> str:
        return short_repr(self, path=self.path, value=self.value, why=self.why)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {"path": self.path, "value": plain(self.value), "why": self.why}


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that a detector reports about one request; it explains itself and never holds a token.

    Arguments:
        rule: what was looked for.
        severity: how urgent this one is.
        summary: one sentence: who did what to whom.
        event: the request.
        evidence: the facts it rests on.
        related: other requests that belong to it.
        caveats: what the audit level or the log's wrapper hid.
        excluded_by: the id of the exclusion that set it aside; None for a reported finding.
        key: tells several findings of one rule about one request apart.
        count: how many requests it is about: `event` is the first of those that are only counted.
        last: the time of the last of them; None where it is about one request.
        enable: the id of an optional exclusion of which the caller has every proof: with it, it would be excluded.

    """

    rule: Rule
    severity: Severity
    summary: str
    event: EventRef
    evidence: tuple[Evidence, ...] = ()
    related: tuple[EventRef, ...] = ()
    caveats: tuple[str, ...] = ()
    excluded_by: str | None = None
    key: str = ""
    count: int = 1
    last: datetime | None = None
    enable: str = ""

    def __repr__(self) -> str:
        severity = str(self.severity)
        return short_repr(
            self, rule=self.rule.id, severity=severity, summary=self.summary, excluded_by=self.excluded_by
        )

    @property
    def fingerprint(self) -> str:
        """The same for the same request and rule, wherever the record was read from.

        It rests on `EventRef.request_id`. Words, severity and evidence are not in it: they may differ by audit level
        and release.
        """
        parts = [self.rule.id, self.event.request_id, [ref.audit_id for ref in self.related], self.key]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return card(
            f"{str(self.severity).upper()}  {self.summary}",
            (
                ("rule", f"{self.rule.id}: {self.rule.title}"),
                *facts(self.event),
                ("evidence", shown(self.evidence)),
                ("note", [(caveat, "") for caveat in self.caveats]),
                ("excluded by", self.excluded_by or ""),
                ("fingerprint", self.fingerprint),
            ),
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {
            "rule_id": self.rule.id,
            "title": self.rule.title,
            "severity": str(self.severity),
            "techniques": list(self.rule.techniques),
            "summary": self.summary,
            "actor": self.event.user,
            "target": self.event.target,
            "event": self.event.to_dict(),
            "evidence": [item.to_dict() for item in self.evidence],
            "related": [ref.to_dict() for ref in self.related],
            "caveats": list(self.caveats),
            "excluded_by": self.excluded_by,
            "fingerprint": self.fingerprint,
            **({"key": self.key} if self.key else {}),
            **({"count": self.count, "last": plain(self.last)} if self.count > 1 else {}),
            **({"enable": self.enable} if self.enable else {}),
        }
