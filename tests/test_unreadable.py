# SPDX-License-Identifier: Apache-2.0
"""A record that cannot be read and begins like a TokenRequest is a finding: an attacker can make one on purpose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import Severity, Tally, detect
from k8stokendetect import read as read_log
from k8stokendetect.convert.broken import revealed
from k8stokendetect.errors import K8sTokenDetectError, raise_error
from k8stokendetect.outputs.native import to_line
from k8stokendetect.outputs.text import to_text
from k8stokendetect.testing import request
from recordings import METADATA, labelled_token_requests
from strategies import JWT


def found(source: Any) -> tuple[list[str], list[K8sTokenDetectError]]:
    """Return rules and errors."""
    errors: list[K8sTokenDetectError] = []
    return [finding.rule.id for finding in detect(source, on_error=errors.append)], errors


RECORDED = [label["event"] for label in labelled_token_requests(METADATA).values()]


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_every_recorded_call_that_is_cut_off_after_its_uri_is_found(wrap: int) -> None:
    """Plain, or as a string in a wrapper, or in two; with its target, and as an error, too."""
    for event in RECORDED:
        text = json.dumps(event, separators=(",", ":"))
        cut = text[: text.index('"objectRef"')]
        for _ in range(wrap):
            cut = json.dumps({"x": cut})[:-5]
        errors: list[K8sTokenDetectError] = []
        findings = list(detect(cut.encode(), on_error=errors.append))

        if "/token/extra" in event["requestURI"]:
            continue
        overlong = ["overlong-audit-id"] * (len(event["auditID"]) > 64)
        assert [one.rule.id for one in findings] == ["unreadable-token-request", *overlong], event["requestURI"]
        assert findings[0].event.target == f"{event['objectRef']['namespace']}/{event['objectRef']['name']}"
        assert len(errors) == 1


@pytest.mark.parametrize(
    "record",
    [
        token_request(responseStatus={"code": "201"}),
        token_request(stageTimestamp=""),
    ],
)
def test_an_event_with_a_wrong_part_is_found(record: dict[str, Any]) -> None:
    """Of a wrong type: not a mint we can vouch for, and not silence."""
    for source in (record, json.dumps(record).encode()):
        rules, errors = found(source)
        assert rules == ["unreadable-token-request"]
        assert len(errors) == 1


def test_what_the_finding_says() -> None:
    """Who, as far as it shows; for which service account; that the rest is not certain; never a token."""
    text = json.dumps(token_request(requestURI=token_request()["requestURI"] + f"?x={JWT}"), separators=(",", ":"))
    tally = Tally()
    findings = list(detect(text[: text.index('"responseStatus"')].encode(), on_error=lambda _: None, tally=tally))

    assert [(f.severity, f.summary) for f in findings] == [
        (Severity.MEDIUM, "alice called the token subresource of prod/payments-sa; the record cannot be read")
    ]
    assert (findings[0].event.user, findings[0].event.origin) == ("alice", "<bytes>:1")
    assert tally.findings == {"unreadable-token-request": 1}
    assert "eyJ" not in to_text(findings[0]) + to_line(findings[0]) + repr(findings[0])


@pytest.mark.parametrize(
    "text", ["", "x", '{"requestURI":"/api/v1/namespaces/prod/pods/token', '{"auditID":"a","requestURI":7']
)
def test_other_damage_is_no_token_request(text: str) -> None:
    """It is an error, and no more."""
    rules, errors = found(text.encode())
    assert rules == []
    assert len(errors) == bool(text)


def test_two_damaged_records_are_two_findings() -> None:
    """Each has its place for a name."""
    cut = json.dumps(token_request())[:-20].encode()
    findings = list(detect(cut + b"\n" + cut, on_error=lambda _: None))
    assert len({finding.fingerprint for finding in findings}) == 2


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_reveal_texts(content: bytes) -> None:
    """Or nothing; and never raise."""
    assert all(isinstance(value, str) for value in revealed(content).values())


def test_a_long_record_is_looked_at_from_its_beginning() -> None:
    """A fixed cost, whatever stands behind."""
    assert revealed(b'{"requestURI":"/a",' + b"\\" * 5_000_000) == {"requestURI": "/a"}
    assert revealed(b"x" * 1_200_000 + b'"requestURI":"/a"') == {}


def test_an_audit_id_as_long_as_headers_may_be_hides_nothing() -> None:
    """The client chooses it, and it stands before the URI."""
    text = json.dumps(token_request(auditID="a" * (1 << 20)), separators=(",", ":"))
    assert found(text[: text.index('"responseStatus"')].encode())[0] == [
        "unreadable-token-request",
        "overlong-audit-id",
    ]
    assert found(text[:-20].encode())[0] == ["token-request", "token-request-uri", "overlong-audit-id"]


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_every_recorded_mint_that_is_cut_off_behind_its_answer_is_read(wrap: int) -> None:
    """Who, for whom and the answer stand before the bodies: an event with what is lost named, and no error."""
    mints = [event for event in RECORDED if event.get("responseStatus", {}).get("code") == 201]
    assert len(mints) > 100
    for event in mints:
        text = json.dumps(event, separators=(",", ":"))
        cut = text[: text.index('"requestReceivedTimestamp"') + 20]
        for _ in range(wrap):
            cut = json.dumps({"log": cut})
        (read,) = parsed = list(read_log(cut.encode(), on_error=raise_error))
        assert (read.user.username, read.code) == (event["user"]["username"], 201)
        assert {"annotations", "the end of the record, which was cut off"} <= parsed[0].lost


def test_an_attackers_mint_is_followed_although_its_record_is_cut_off() -> None:
    """Its id is lost: whatever the account does next may be a use of the token."""
    mint = json.dumps(token_request(), separators=(",", ":"))
    groups = ("system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated")
    use = request("list", "secrets", user="system:serviceaccount:prod:payments-sa", groups=groups)
    findings = list(detect([mint[: mint.index('"requestReceivedTimestamp"')].encode(), use]))
    assert {"token-request", "minted-token-used"} <= {one.rule.id for one in findings}


def test_an_event_without_uri_reveals_its_object() -> None:
    """GKE logs none."""
    record = token_request(responseStatus={"code": "201"})
    del record["requestURI"]
    assert found(record)[0] == ["unreadable-token-request"]
