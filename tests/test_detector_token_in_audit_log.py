# SPDX-License-Identifier: Apache-2.0
"""token-in-audit-log: once an hour for each kind of event, and never the token."""

from __future__ import annotations

from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import Finding, Severity, detect
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_in_audit_log import TokenInAuditLog
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records
from strategies import JWT


def found(*source: dict[str, Any]) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), detectors=[TokenInAuditLog()]))


def answered(at: str = "2026-11-23T21:43:45.581827Z", **fields: Any) -> dict[str, Any]:
    """Return a mint whose answer was logged, the token in it."""
    answer = body() | {"status": {"token": JWT, "expirationTimestamp": "2026-11-23T22:43:45Z"}}
    return token_request(
        level="RequestResponse", requestReceivedTimestamp=at, requestObject=body(), responseObject=answer
    ) | {"auditID": at, **fields}


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (answered(), "responseObject.status.token"),
        (token_request(query=f"?x={JWT}"), "requestURI"),
        (token_request(userAgent=JWT), "userAgent"),
        (
            token_request(
                objectRef={"resource": "tokenreviews"},
                requestObject={"kind": "TokenReview", "spec": {"token": JWT}},
            ),
            "requestObject.spec.token",
        ),
    ],
)
def test_a_token_in_the_log_is_reported_with_its_place_and_never_repeated(record: dict[str, Any], path: str) -> None:
    """In an answer, a URI, a client's name, a TokenReview; the evidence resolves in the redacted event."""
    (finding,) = found(record)

    assert finding.severity == Severity.MEDIUM
    assert path in {item.path for item in finding.evidence}
    assert all(plain(item.value) == resolve(item.path, redact(record)[0]) for item in finding.evidence)
    assert JWT.split(".")[1] not in repr(finding)


@pytest.mark.parametrize("name", ["system:anonymous", ""])
def test_names_of_unauthenticated_clients_are_one_low_finding(name: str) -> None:
    """Anybody can call a client like a token; a token in another place, or of somebody known, stays medium."""
    flood = [
        token_request(userAgent=JWT, objectRef={"resource": f"r{number}"}, user={"username": name})
        | {"auditID": f"flood-{number}"}
        for number in range(5)
    ]
    known = token_request(userAgent=JWT, objectRef={"resource": "pods"}) | {"auditID": "known"}
    in_uri = token_request(query=f"?x={JWT}", userAgent=JWT, user={"username": name}) | {"auditID": "uri"}

    assert [finding.severity for finding in found(*flood)] == [Severity.LOW]
    assert [finding.severity for finding in found(*flood, known)] == [Severity.LOW, Severity.MEDIUM]
    assert [finding.severity for finding in found(in_uri)] == [Severity.MEDIUM]


def test_what_carries_no_token_is_silent() -> None:
    """The placeholder of a request, and text that a client sent in a token's place, are none."""
    assert not found(token_request())
    assert not found(token_request(requestObject=body()))
    assert not found(token_request(requestObject=body() | {"status": {"token": "some text"}}))


def test_one_report_an_hour_speaks_for_its_kind_of_event_and_the_next_counts() -> None:
    """In event time; another level, resource or hour is another report."""
    at = [f"2026-11-23T{time}:00.000000Z" for time in ("10:00", "10:01", "10:59", "11:00", "11:30")]
    first, second = found(*(answered(moment) for moment in at))

    assert (first.event.audit_id, second.event.audit_id) == (at[0], at[3])
    assert "more such events" not in first.summary
    assert second.summary.endswith("; 2 more such events since the last report")
    assert len(found(answered(at[0]), answered(at[1], level="Request"))) == 2
    other = {"resource": "secrets", "namespace": "prod", "name": "x"}
    assert len(found(answered(at[0]), answered(at[1], objectRef=other))) == 2


def test_events_without_a_time_are_reported_once() -> None:
    """They cannot be told apart in time."""
    timeless = {"requestReceivedTimestamp": None, "stageTimestamp": None}

    assert len(found(answered("a", **timeless), answered("b", **timeless))) == 1


def test_on_the_recordings() -> None:
    """80 answers hold a token, within an hour: one report. At level Metadata there is none."""
    recorded = records(REQUEST_RESPONSE)
    answers = [record for record in recorded if record.get("responseObject", {}).get("kind") == "TokenRequest"]
    holding = [record for record in answers if record["responseObject"]["status"]["token"].startswith("eyJ")]

    assert len(holding) == 80
    (finding,) = found(*recorded)
    assert finding.event.audit_id in {record["auditID"] for record in holding}
    assert not found(*records(METADATA))
    assert not found(*records(METADATA_1_27))
