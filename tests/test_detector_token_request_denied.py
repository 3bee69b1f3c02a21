# SPDX-License-Identifier: Apache-2.0
"""token-request-denied: every call that failed, and which of them are a search."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ConfigError, Finding, Severity, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_request_denied import TokenRequestDenied
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, labelled_token_requests, records, requests

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
REASON = "authorization.k8s.io/reason"
NODE = {"username": "system:node:worker-1", "groups": ["system:nodes", "system:authenticated"]}
NO_POD = {REASON: "no relationship found between node 'worker-1' and this object"}


def refused(seconds: float = 0, target: str = "prod/payments-sa", *, code: int = 403, **fields: Any) -> dict[str, Any]:
    """Return a call that failed, so many seconds after the start."""
    time = (START + timedelta(seconds=seconds)).isoformat()
    status = {"metadata": {}, "status": "Failure", "code": code}
    fields = {"auditID": f"{target} {seconds}", "responseStatus": status, "requestReceivedTimestamp": time} | fields
    return token_request(target=target, issued=None, **fields)


def found(source: list[dict[str, Any]], detector: TokenRequestDenied | None = None) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(source, detectors=[detector or TokenRequestDenied()]))


def severities(source: list[dict[str, Any]], detector: TokenRequestDenied | None = None) -> list[Severity]:
    """Return how urgent each finding is."""
    return [finding.severity for finding in found(source, detector)]


def expected(path: Path) -> dict[Request, dict[str, Any]]:
    """Return the recorded creates that are labelled as failed."""
    return {
        request: label
        for request, label in labelled_token_requests(path).items()
        if label["kind"] in {"mint-denied", "mint-unauthenticated", "mint-notfound", "mint-invalid"}
        and label["verb"] == "create"
    }


@LABELLED
def test_every_recorded_call_that_failed_once_and_no_other(path: Path) -> None:
    """All are malicious but an admin's try of a binding that 1.27 does not know yet."""
    findings = found(records(path))

    assert set(requests(findings)) == set(expected(path))
    assert set(requests(findings).values()) == {1}
    benign = [label["scenario"] for label in expected(path).values() if not label["malicious"]]
    assert benign == (["09-benign-admin-node-bound"] if path == METADATA_1_27 else [])


def test_no_call_failed_in_the_excerpt() -> None:
    """It holds mints only."""
    assert found(records(REQUEST_RESPONSE)) == []


@LABELLED
def test_the_recorded_probing_is_the_one_search(path: Path) -> None:
    """From the fifth service account on that one caller asked for in ten minutes, counted from the labels."""
    targets: dict[str, set[str]] = defaultdict(set)
    searching = set()
    for request, label in sorted(expected(path).items(), key=lambda item: item[0].received):
        kubelet = label["user"].startswith("system:node:") and label["event"]["annotations"][REASON]
        caller = label["event"]["sourceIPs"][-1] if label["user"] in {"", "system:anonymous"} else label["user"]
        if not kubelet:
            targets[caller].add(label["target"])
        if len(targets[caller]) >= 5 and not kubelet:
            searching.add(request)
    times = sorted(request.received for request in expected(path))
    assert datetime.fromisoformat(times[-1]) - datetime.fromisoformat(times[0]) < timedelta(minutes=10)

    medium = [finding for finding in found(records(path)) if finding.severity == Severity.MEDIUM]
    assert set(requests(medium)) == searching
    assert len(searching) > 20


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_its_evidence_resolves(path: Path) -> None:
    """Each path leads to just that value."""
    by_request = {Request.of(record): record for record in records(path) if record["stage"] != "RequestReceived"}
    for finding in found(records(path)):
        assert finding.evidence
        for item in finding.evidence:
            assert plain(item.value) == resolve(item.path, by_request[Request.of(finding)])


@pytest.mark.parametrize("code", [400, 401, 403, 404, 406, 409, 415, 422])
def test_every_way_to_fail(code: int) -> None:
    """What the caller asked for was looked at and not given."""
    (finding,) = found([refused(code=code)])
    assert finding.severity == Severity.LOW
    assert finding.summary == (
        f"alice asked for a token of prod/payments-sa from 192.0.2.7 with kubectl/v1.36.2 and got none ({code})"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"code": 201},
        {"code": 403, "issued": "JTI=1"},
        {"code": 429},
        {"code": 500},
        {"code": 405, "verb": "get"},
        {"code": 403, "verb": "watch"},
        {"stage": "RequestReceived", "code": 403},
        {"responseStatus": None},
        {"code": 403, "objectRef": {"resource": "serviceaccounts", "namespace": "prod", "name": "x"}},
    ],
    ids=repr,
)
def test_what_is_no_refused_mint(fields: dict[str, Any]) -> None:
    """A mint, one to be asked again later, the server's own fault, another verb, another stage, another resource."""
    assert found([token_request(**{"issued": None} | fields)]) == []


def test_the_fifth_service_account_is_a_search() -> None:
    """And every later call; the number is said. The same account again is no further one."""
    log = [refused(n, f"prod/sa-{n}") for n in range(6)]
    assert severities(log) == [Severity.LOW] * 4 + [Severity.MEDIUM] * 2
    assert found(log)[-1].summary.endswith("and got none (403): 6 service accounts within 10 min")
    assert severities([refused(n) for n in range(20)]) == [Severity.LOW] * 20
    assert severities(log[:3], TokenRequestDenied(many=2)) == [Severity.LOW] + [Severity.MEDIUM] * 2


def test_the_window_slides() -> None:
    """Five in ten minutes are a search, five in more are not."""
    assert severities([refused(n * 149, f"prod/sa-{n}") for n in range(5)])[-1] == Severity.MEDIUM
    assert severities([refused(n * 150, f"prod/sa-{n}") for n in range(9)]) == [Severity.LOW] * 9


@pytest.mark.parametrize("user", [{}, {"username": "system:anonymous", "groups": ["system:unauthenticated"]}])
def test_who_did_not_authenticate_is_known_by_address(user: dict[str, Any]) -> None:
    """The peer's, not one that the client claims."""
    fields: dict[str, Any] = {"user": user, "stage": "ResponseStarted", "code": 401}
    one = [refused(n, f"prod/sa-{n}", sourceIPs=[f"203.0.113.{n}", "192.0.2.7"], **fields) for n in range(5)]
    many = [refused(n, f"prod/sa-{n}", sourceIPs=["203.0.113.1", f"192.0.2.{n}"], **fields) for n in range(5)]
    assert severities(one)[-1] == Severity.MEDIUM
    assert severities(many)[-1] == Severity.LOW


def test_callers_are_told_apart() -> None:
    """One account each is no search, whoever does it."""
    assert severities([refused(n, f"prod/sa-{n}", username=f"user-{n}") for n in range(5)]) == [Severity.LOW] * 5
    impersonating = [refused(n, f"prod/sa-{n}", impersonatedUser={"username": f"u-{n}"}) for n in range(5)]
    assert severities(impersonating)[-1] == Severity.MEDIUM, "the real caller counts"


def test_a_kubelet_whose_pods_were_deleted_stays_low() -> None:
    """Only by the Node authorizer's refusal, and with the group; any other refusal counts."""
    honest = [refused(n, f"prod/sa-{n}", user=NODE, annotations=NO_POD) for n in range(9)]
    assert severities(honest) == [Severity.LOW] * 9
    for fields in (
        {"user": NODE, "annotations": {REASON: ""}},
        {"user": {"username": "system:node:worker-1"}, "annotations": NO_POD},
        {"user": {"username": "alice", "groups": ["system:nodes"]}, "annotations": NO_POD},
    ):
        assert severities([refused(n, f"prod/sa-{n}", **fields) for n in range(9)])[-1] == Severity.MEDIUM


def test_an_event_delivered_twice_counts_once() -> None:
    """In one stream, and by a second run with what the first remembered."""
    log = [refused(n, f"prod/sa-{n}") for n in range(5)]
    assert severities([event for event in log for _ in range(2)]) == severities(log)
    detector = TokenRequestDenied()
    assert severities(log, detector) == severities(log, detector)
    delivered = TokenRequestDenied()
    for seconds in (590, 0):
        found([refused(seconds, "prod/sa-0")], delivered)
    later = [refused(n, f"prod/sa-{n}") for n in (610, 620, 630, 640)]
    assert severities(later, delivered)[-1] == Severity.MEDIUM, "an old try that comes late moves no time back"
    again = TokenRequestDenied()
    again.restore(json.loads(json.dumps(detector.state())))
    assert severities([refused(5, "prod/sa-4")], again) == [Severity.MEDIUM]
    assert severities([refused(5, "prod/sa-4")]) == [Severity.LOW]


def test_memory_is_bounded() -> None:
    """The client chooses what it names: 100 names of an account's greatest length at most."""
    detector = TokenRequestDenied()
    found([refused(n / 10, f"prod/{n:05}{'x' * 5000}") for n in range(150)], detector)
    ((_, state, _),) = detector.states
    assert len(state.targets) == 100
    assert max(map(len, state.targets)) == 320
    assert ": 100 or more service accounts" in found([refused(20, "prod/sa")], detector)[0].summary


def test_without_a_time_it_is_still_reported() -> None:
    """Low, and it is said."""
    (finding,) = found([refused(requestReceivedTimestamp=None, stageTimestamp=None)])
    assert (finding.severity, finding.caveats) == (
        Severity.LOW,
        ("when it happened is not known: no timestamp was logged",),
    )


@pytest.mark.parametrize(
    "options",
    [{"many": 1}, {"many": 101}, {"many": "5"}, {"many": True}, {"window": timedelta()}, {"window": 600}],
    ids=repr,
)
def test_nonsense_is_refused(options: Any) -> None:
    """When it is made."""
    with pytest.raises(ConfigError):
        TokenRequestDenied(**options)


@pytest.mark.parametrize(("name", "severity"), [("system:anonymous", Severity.LOW), ("alice", Severity.MEDIUM)])
def test_an_odd_uri_of_a_refused_stranger_stays_low(name: str, severity: Severity) -> None:
    """Unauthenticated callers never exceed low unless one of them succeeded."""
    record = token_request(name, query="?odd=1", code=403, issued=None)

    assert [finding.severity for finding in detect(record, detectors=["token-request-uri"])] == [severity]
