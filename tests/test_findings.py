# SPDX-License-Identifier: Apache-2.0
"""What a finding is: written in a few lines, as JSON, and with an id that a client cannot choose."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from builders import about
from k8stokendetect import Evidence, Finding, Rule, Severity
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import incidents
from k8stokendetect.spark.schema import FINDING as FINDING_COLUMNS

LONG = "x" * 5000
RULE = Rule("acme.x", LONG, Severity.HIGH, LONG, references=(LONG,), response=LONG)
REF = EventRef(
    audit_id=LONG,
    user=LONG,
    verb=LONG,
    **about("secrets prod"),
    user_agent=LONG,
    time=datetime(2026, 11, 25, tzinfo=UTC),
)
FINDING = Finding(
    rule=RULE,
    severity=Severity.HIGH,
    summary=LONG,
    event=REF,
    evidence=(Evidence("verb", [LONG] * 9, LONG),) * 30,
    related=(REF,) * 30,
    caveats=(LONG,) * 30,
    excluded_by=LONG,
)


@pytest.mark.parametrize(
    "value",
    [RULE, REF, FINDING.evidence[0], FINDING, incidents([attrs.evolve(FINDING, excluded_by=None)])[0]],
    ids=lambda value: type(value).__name__,
)
def test_every_value_is_written_in_three_lines(value: object) -> None:
    """Also when its texts are long; a terminal has some 120 columns."""
    assert len(repr(value)) <= 360


def test_what_is_written_says_what_it_is() -> None:
    """The rule, how urgent it is, and the sentence."""
    finding = Finding(rule=Rule("a", "A", Severity.LOW), severity=Severity.LOW, summary="It happened", event=REF)

    assert repr(finding) == "Finding(rule='a', severity='low', summary='It happened', …)"
    assert repr(finding.rule) == "Rule(id='a', title='A', severity='low', …)"


def test_json_has_stable_names() -> None:
    """They stay once released; what a time or a tuple is in JSON is settled here, too."""
    mapping = FINDING.to_dict()

    assert list(mapping) == [
        "rule_id", "title", "severity", "techniques", "summary", "actor", "target", "event", "evidence", "related",
        "caveats", "excluded_by", "fingerprint",
    ]  # fmt: skip
    fields = {field.name for field in attrs.fields(EventRef)} - {"cloud"}  # which is only there for calls in a cloud
    assert set(mapping["event"]) == fields | {"request_id", "target"}
    assert mapping["event"]["time"] == "2026-11-25T00:00:00Z"
    assert json.loads(json.dumps(mapping)) == mapping
    assert attrs.evolve(FINDING, key="k").to_dict()["key"] == "k"


def test_a_table_on_spark_has_a_column_for_each_name() -> None:
    """The document is read by this schema; what has no column would be lost."""
    mapping = FINDING.to_dict()

    for name in {*mapping, *mapping["event"], "key", "apiVersion"}:
        assert re.search(rf"\b{name} [a-z]", FINDING_COLUMNS), name


@pytest.mark.parametrize(
    "change",
    [
        {"rule": Rule("acme.y", "Y", Severity.HIGH)},
        {"event": attrs.evolve(REF, audit_id="other")},
        {"related": ()},
        {"key": "k"},
    ],
    ids="".join,
)
def test_another_rule_request_chain_or_key_has_another_fingerprint(change: dict[str, Any]) -> None:
    """One each."""
    assert attrs.evolve(FINDING, **change).fingerprint != FINDING.fingerprint


def test_words_and_severity_do_not_change_the_fingerprint() -> None:
    """They differ by audit level and release."""
    other = attrs.evolve(FINDING, summary="y", severity=Severity.LOW, evidence=(), caveats=(), excluded_by=None)

    assert other.fingerprint == FINDING.fingerprint
