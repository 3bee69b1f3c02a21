# SPDX-License-Identifier: Apache-2.0
"""What people and programs read: stable names, no control characters, no token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import detect
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.text import neutral, to_text
from recordings import METADATA, REQUEST_RESPONSE
from strategies import JWT, audit_events, texts


def test_the_native_line_has_its_stable_names() -> None:
    """Consumers join on these."""
    (finding, _) = detect(token_request(), exclusions=())
    line = json.loads(to_line(finding))

    assert {
        "rule_id",
        "title",
        "severity",
        "techniques",
        "summary",
        "actor",
        "target",
        "event",
        "evidence",
        "related",
        "caveats",
        "excluded_by",
        "fingerprint",
    } == set(line)
    assert (
        line["rule_id"],
        line["severity"],
        line["actor"],
        line["target"],
        line["excluded_by"],
    ) == ("token-request", "medium", "alice", "prod/payments-sa", None)
    assert line["event"]["time"] == "2026-11-23T21:43:45.581827Z"
    assert token_request()["auditID"] == line["event"]["audit_id"]
    assert line["event"]["origin"] == "record 1"
    assert {"path", "value", "why"} == set(line["evidence"][0])
    assert line["event"]["source_ips"] == ["192.0.2.7"]


@pytest.mark.parametrize("path", [METADATA, REQUEST_RESPONSE], ids=lambda path: path.name)
def test_every_recorded_finding_is_one_ascii_line(path: Any) -> None:
    """Printable ASCII only: nothing a terminal or a line splitter could trip over."""
    for finding in detect(path, keep_excluded=True):
        line = to_line(finding)
        assert all(" " <= char <= "~" for char in line)
        assert finding.summary == json.loads(line)["summary"]


@given(record=audit_events, text=texts)
def test_no_field_can_steer_a_terminal(record: dict[str, Any], text: str) -> None:
    """Whatever a user agent, a name or a URI holds: only printable characters and our own line ends come out."""
    hostile = record | token_request(username=text, userAgent=text, requestURI=text, auditID=text, sourceIPs=[text])
    hostile["objectRef"].update(namespace=text, name=text)
    previous = None
    for finding in detect(hostile, exclusions=(), on_error=lambda _: None):
        shown = to_text(finding, previous)
        assert all(line.isprintable() for line in shown.split("\n"))
        assert all(" " <= char <= "~" for char in to_line(finding))
        previous = finding


@given(st.text())
def test_neutral_text_loses_nothing_that_is_printable(text: str) -> None:
    """And escapes the rest."""
    assert neutral(text).isprintable()
    assert not text.isprintable() or text == neutral(text)


def test_escapes_are_readable() -> None:
    """As Python writes them."""
    assert neutral("a\x1b[2J\u202e\n\x9b") == r"a\x1b[2J\u202e\n\x9b"


def test_the_second_finding_about_a_request_says_only_what_is_new() -> None:
    """A person reads each fact once."""
    first, second = detect(token_request(query="?dryRun=All"), exclusions=())
    text, more = to_text(first), to_text(second, first)

    assert text.startswith("MEDIUM  token-request  2026-11-23 21:43:45Z  record 1\n  ▸ alice minted a token for ")
    assert more.startswith("  also MEDIUM token-request-uri: alice called ")
    assert "    | user.username = alice  (who called)" in text
    assert "user.username" not in more
    assert (
        "    | requestURI = /api/v1/namespaces/prod/serviceaccounts/payments-sa/token?dryRun=All  (the raw URI)" in more
    )
    assert to_text(second).startswith("MEDIUM  token-request-uri")
    (elsewhere, _) = detect(token_request(auditID="b"), exclusions=())
    assert to_text(elsewhere, first).startswith("\nMEDIUM  token-request")


def test_long_values_are_cut_in_text_and_whole_in_json() -> None:
    """A query string of a megabyte must not drown the rest."""
    (_, finding) = detect(token_request(query="?x=" + "y" * 5000), exclusions=())

    assert "… (5060 characters)" in to_text(finding)
    assert max(map(len, to_text(finding).split("\n"))) < 300
    assert "y" * 5000 in to_line(finding)


@given(st.sampled_from(["userAgent", "requestURI", "auditID"]), st.booleans())
def test_no_token_reaches_an_output(field: str, logged: bool) -> None:  # noqa: FBT001 - drawn
    """Whichever field a client put it into, and where the level logged it."""
    response = {"responseObject": {"kind": "TokenRequest", "status": {"token": JWT}}} if logged else {}
    for finding in detect(token_request() | {field: f"x{JWT}"} | response, exclusions=()):
        assert "eyJ" not in to_line(finding) + to_text(finding) + repr(finding)
