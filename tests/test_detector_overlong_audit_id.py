# SPDX-License-Identifier: Apache-2.0
"""overlong-audit-id, and what a broken record reveals without believing what a client wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Severity, detect
from k8stokendetect.convert.broken import revealed
from k8stokendetect.testing import request

CASES = Path(__file__).parent / "data" / "reader"
MINT: dict[str, Any] = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "Metadata",
    "auditID": "a",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/prod/serviceaccounts/sa/token",
    "verb": "create",
    "user": {"username": "mallory", "groups": ["g"]},
}


def found(source: Any) -> list[tuple[str, str]]:
    """Return rule and severity of each finding."""
    errors: list[Exception] = []
    return [(one.rule.id, str(one.severity)) for one in detect(source, on_error=errors.append)]


@pytest.mark.parametrize("case", ["l1-aks-audit-id-16k.log", "l3-fluentbit-split-32k.log", "l5-aks-cut-spoofed.log"])
def test_a_record_that_an_audit_id_fills_is_high(case: str) -> None:
    """Whether it was a TokenRequest cannot be known."""
    assert ("overlong-audit-id", "high") in found(CASES / case)


def test_what_an_audit_id_spells_is_not_believed() -> None:
    """The request next to it is reported as what it is."""
    assert ("unreadable-token-request", "medium") in found(CASES / "l5-aks-cut-spoofed.log")
    assert ("token-request", "medium") in found(CASES / "j2-deep-spoofed-auditid.log")


@pytest.mark.parametrize(
    ("size", "severity"), [(36, None), (64, None), (65, "low"), (120, "low"), (2000, "high"), (200_000, "high")]
)
def test_how_long_an_id_may_be(size: int, severity: str | None) -> None:
    """As a mapping, as a line, and in any request; a long one is cut in the finding."""
    event = request() | {"auditID": "x" * size}
    expected = [("overlong-audit-id", severity)] if severity else []
    assert found([event]) == found(json.dumps(event).encode()) == expected
    assert all(len(json.dumps(one.to_dict())) < 12_000 for one in detect([event]))


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "odd", ["a", 'x","requestURI":"/healthz","verb":"get', 'x\\","requestURI":"/healthz', "\\" * 7]
)
def test_only_fields_of_the_event_are_fields(levels: int, odd: str) -> None:
    """In strings in strings of wrappers, and wherever it ends."""
    text = json.dumps(MINT | {"auditID": odd}, separators=(",", ":"))
    text = text[: text.index('"groups"')]
    for _ in range(levels):
        text = '{"log":' + json.dumps(text)
    shown = revealed(text)
    assert shown["requestURI"] == MINT["requestURI"]
    assert (shown["auditID"], shown["verb"], shown["username"]) == (odd, "create", "mallory")


def test_the_field_in_which_a_record_ends_is_named() -> None:
    """With what there is of it."""
    text = json.dumps(MINT | {"auditID": "y" * 100}, separators=(",", ":"))
    assert revealed(text[: text.index("yyy") + 80]) == {"auditID": "y" * 80, "cut": "auditID"}
    assert revealed(text[: text.index("/sa/")])["cut"] == "requestURI"
    assert "cut" not in revealed(text)


def test_severity_rests_on_whether_it_can_hide_anything() -> None:
    """A kilobyte is no trace id."""
    (finding,) = detect([request() | {"auditID": "x" * 1001}])
    assert finding.severity == Severity.HIGH


@pytest.mark.parametrize(
    "damage",
    [',[1]:"x', ',7:"x', ',{"a":1}:{"b"', ',"x":' + "[" * 100_000, "," + "[" * 100_000, "," + '{"a":' * 100_000],
)
def test_damage_is_an_error_and_no_crash(damage: str) -> None:
    """A key that is none, and what is nested too deeply for any decoder."""
    text = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a"' + damage
    assert revealed(text)["auditID"] == "a"
    errors: list[Exception] = []
    assert list(detect(text.encode(), on_error=errors.append)) == []
    assert len(errors) == 1


def test_of_a_field_that_stands_twice_the_first_counts() -> None:
    """As in everything that a damaged record reveals."""
    assert revealed('{"kind":"Event","auditID":"a","auditID":"b","verb":"x') == {
        "auditID": "a",
        "cut": "verb",
        "verb": "x",
    }


@pytest.mark.parametrize("end", ['"auditID":"', '"stage":"Resp'])
def test_a_record_that_ends_before_its_uri_is_low(end: str) -> None:
    """Its id is not overlong, but what was asked for is lost."""
    text = json.dumps(token_request(), separators=(",", ":"))
    cut = text[: text.index(end) + len(end)] + ("0f6c" if "auditID" in end else "")
    errors: list[Any] = []
    (finding,) = detect(cut.encode(), on_error=errors.append)
    assert (finding.rule.id, finding.severity) == ("overlong-audit-id", Severity.LOW)
    assert "ends before it says what was asked for" in finding.summary
    assert len(errors) == 1
