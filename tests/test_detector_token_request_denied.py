# SPDX-License-Identifier: Apache-2.0
"""token-request-denied: calls that failed, counted, and which of them are what components do."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Actor, Component, ConfigError, Exclusion, Finding, Provenance, Severity, Tally, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_request_denied import TokenRequestDenied
from k8stokendetect.engine import Memory
from k8stokendetect.exclusions.controllers import CONTROLLERS
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, labelled_token_requests, records, requests

CASES = Path(__file__).parent / "data" / "trust"
ANONYMOUS = "system:anonymous"
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


def minted(seconds: float, target: str) -> dict[str, Any]:
    """Return a mint by the same caller."""
    time = (START + timedelta(seconds=seconds)).isoformat()
    return token_request(target=target, auditID=f"mint {target}", requestReceivedTimestamp=time)


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
def test_every_recorded_call_of_an_authenticated_caller_that_failed_once_and_no_other(path: Path) -> None:
    """All are malicious but an admin's try of a binding that 1.27 does not know yet; strangers are counted together."""
    findings = found(records(path))
    known = {request for request, label in expected(path).items() if label["user"] not in {"", ANONYMOUS}}
    strangers = set(expected(path)) - known

    assert set(requests(findings)) >= known, "and a mint that followed a search"
    assert len(set(requests(findings)) & strangers) == 1
    assert set(requests(findings).values()) == {1}
    benign = [label["scenario"] for label in expected(path).values() if not label["malicious"]]
    assert benign == (["09-benign-admin-node-bound"] if path == METADATA_1_27 else [])
    labels = labelled_token_requests(path)
    assert all(labels[Request.of(one)]["malicious"] for one in findings if one.severity > Severity.LOW)


def test_no_call_failed_in_the_excerpt() -> None:
    """It holds mints only."""
    assert found(records(REQUEST_RESPONSE)) == []


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


def test_a_search_that_succeeds_is_medium() -> None:
    """Refusals stay low, whatever their number; the mint that follows five accounts in ten minutes is told apart."""
    log = [refused(n, f"prod/sa-{n}") for n in range(6)]
    assert severities(log) == [Severity.LOW] * 6
    assert found(log)[-1].summary.endswith("; 6 such requests for 6 service accounts since 2026-11-23 12:00:00")
    assert severities([*log, minted(7, "prod/sa-7")])[-1] == Severity.MEDIUM
    assert severities([*log[:4], minted(7, "prod/sa-7")]) == [Severity.LOW] * 4
    assert severities([*log, minted(700, "prod/sa-7")])[-1] == Severity.LOW
    assert severities([*log[:2], minted(7, "prod/sa-7")], TokenRequestDenied(many=2))[-1] == Severity.MEDIUM


def test_many_attempts_are_counted() -> None:
    """The first fifty of an hour one by one, the rest in one finding."""
    flood = [refused(n / 10, f"prod/sa-{n}") for n in range(1001)]
    *listed, counted = found(flood)
    assert [one.count for one in listed] == [1] * 50
    assert (counted.count, counted.event.audit_id) == (1001, "prod/sa-50 5.0")
    assert counted.last == START + timedelta(seconds=100)
    assert counted.summary == (
        "alice asked 1,001 times for a token of prod/sa-901, prod/sa-902, prod/sa-903 and 97 more from 192.0.2.7 and "
        "got none (403), since 2026-11-23 12:00:00"
    )
    assert [one.count for one in found([*flood, refused(3601)])] == [1] * 50 + [1001, 1]


def test_what_was_counted_comes_when_its_window_closes() -> None:
    """As the log goes on, whoever makes it go on; each window by itself."""
    stranger = {"username": ANONYMOUS}
    first = [refused(n, f"prod/sa-{n}", user=stranger) for n in range(10)]
    later = [refused(3600 + n, f"prod/sa-{n}", user=stranger) for n in range(20)]
    passing = [minted(4000, "prod/x"), minted(7300, "prod/y")]
    log = iter([*first, *later, *passing])
    findings = detect(log, detectors=[TokenRequestDenied()])
    assert next(findings).count == 10
    assert next(findings).count == 20
    assert next(findings, None) is None
    assert [one.count for one in detect([*first, *passing], detectors=[TokenRequestDenied()])] == [10]


def test_what_was_counted_is_reported_once_a_call_and_again_as_it_grows() -> None:
    """By the same fingerprint: the first time, at ten times as much, and when the window is over."""
    detector, memory = TokenRequestDenied(), Memory()
    log = [refused(n, f"prod/sa-{n}", user={"username": ANONYMOUS}) for n in range(120)]
    findings = [one for record in log for one in detect([record], detectors=[detector], memory=memory)]
    assert [one.count for one in findings] == [1, 10, 100]
    saved = Memory.from_dict(json.loads(json.dumps(memory.to_dict())))
    (last,) = detect([minted(3700, "prod/x")], detectors=[TokenRequestDenied()], memory=saved)
    assert last.count == 120
    assert {one.fingerprint for one in (*findings, last)} == {last.fingerprint}


def test_what_an_exclusion_excludes_is_not_counted_among_the_rest() -> None:
    """Each is counted as excluded, and nothing is left to report in the end."""
    name = "system:serviceaccount:ci:deployer"
    groups = ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"]
    exclusion = Exclusion(
        component=Component(
            id="deployer",
            actor=Actor(username=(name,)),
            namespaces=("prod",),
            provenance=(Provenance(source="ours", checked=date(2026, 11, 1)),),
        ),
        rules=("token-request-denied",),
        because="it asks again and again",
        hides="whatever it asks for",
    )
    log = [refused(n, user={"username": name, "groups": groups, "uid": "u"}) for n in range(80)]
    tally = Tally()
    assert list(detect(log, detectors=[TokenRequestDenied()], exclusions=[exclusion], tally=tally)) == []
    assert (tally.excluded, tally.findings) == ({"deployer": 80}, {})
    assert len(found(log)) == 51


def test_who_did_not_authenticate_is_counted_together() -> None:
    """Whatever their address: a flood from many is as few findings as one from a single peer."""
    flood = [
        refused(n / 100, f"prod/sa-{n}", user={"username": ANONYMOUS}, sourceIPs=[f"198.51.{n // 250}.{n % 250}"])
        for n in range(1000)
    ]
    (finding,) = found(flood)
    assert (finding.severity, finding.count) == (Severity.LOW, 1000)
    assert " from 198.51.0.0 and 19 or more other addresses " in finding.summary
    (finding,) = detect(CASES / "d1-anon-odd-uri-flood.log.gz")
    assert (finding.rule.id, finding.severity, finding.count) == ("token-request-denied", Severity.LOW, 500)


def test_callers_are_told_apart() -> None:
    """The real caller counts, not whom it impersonates."""
    impersonating = [refused(n, f"prod/sa-{n}", impersonatedUser={"username": f"u-{n}"}) for n in range(5)]
    assert "5 such requests" in found(impersonating)[-1].summary
    assert "such requests" not in found([refused(n, username=f"user-{n}") for n in range(5)])[-1].summary


def of_node(seconds: float, target: str, *, peer: str = "10.0.0.7", code: int = 403, **fields: Any) -> dict[str, Any]:
    """Return a kubelet's call that failed."""
    given = {"user": NODE, "userAgent": "kubelet/v1.36.2", "sourceIPs": [peer], "annotations": NO_POD}
    return refused(seconds, target, code=code, **(given | fields))


OWN = [
    token_request(
        target=f"prod/own-{n}",
        auditID=f"own {n}",
        user=NODE,
        userAgent="kubelet/v1.36.2",
        sourceIPs=["10.0.0.7"],
        requestReceivedTimestamp=(START - timedelta(minutes=5)).isoformat(),
    )
    for n in range(10)
]


def test_a_kubelet_that_fails_as_kubelets_do_is_informational() -> None:
    """Once for each account and way of failing; a 404 proves nothing."""
    gone = [of_node(n, f"prod/own-{n % 3}") for n in range(30)]
    assert severities([*OWN, *gone]) == [Severity.INFORMATIONAL] * 3
    lost = [
        of_node(40 + n, "prod/own-1", annotations={}, responseStatus={"code": 403, "message": message})
        for n, message in enumerate(["audience x not found in pod spec volume", "because it is being terminated"] * 3)
    ]
    assert severities([*OWN, *gone, *lost]) == [Severity.INFORMATIONAL] * 5
    missing = [of_node(n, f"prod/sa-{n % 2}", code=404, annotations={REASON: ""}) for n in range(30)]
    assert severities([*OWN, *missing]) == [Severity.INFORMATIONAL] * 2
    assert {str(one.severity) for one in detect(CASES / "f3-kubelet-403.log")} == {"informational"}


@pytest.mark.parametrize(
    ("number", "peer", "severity"),
    [
        (1, "10.0.0.7", Severity.INFORMATIONAL),
        (2, "10.0.0.7", Severity.MEDIUM),
        (5, "10.0.0.7", Severity.HIGH),
        (1, "10.9.9.9", Severity.LOW),
        (2, "10.9.9.9", Severity.HIGH),
        (5, "10.9.9.9", Severity.CRITICAL),
    ],
)
def test_a_node_that_looks_for_what_it_can_get(number: int, peer: str, severity: Severity) -> None:
    """Accounts that it never minted for, within a minute; from a new address one level higher."""
    log = [of_node(n, f"kube-system/sa-{n}", peer=peer) for n in range(number)]
    assert severities([*OWN, *log])[-1] == severity
    slow = [of_node(n * 61, f"kube-system/sa-{n}", peer=peer) for n in range(number)]
    assert max(severities([*OWN, *slow])) <= Severity.LOW


@pytest.mark.parametrize(
    "fields",
    [
        {"annotations": {REASON: ""}},
        {"user": {"username": "system:node:worker-1"}},
        {"user": {"username": "alice", "groups": ["system:nodes"]}},
        {"userAgent": "curl/8"},
    ],
    ids=repr,
)
def test_what_only_looks_like_a_kubelets_failure_is_low(fields: dict[str, Any]) -> None:
    """Another refusal, or a proof is missing."""
    assert severities([of_node(0, "prod/own-1", **fields)]) == [Severity.LOW]


def test_a_thief_need_not_look_like_a_kubelet() -> None:
    """What is no kubelet's request is counted all the same, and never informational."""
    log = [of_node(n, f"kube-system/sa-{n}", userAgent="curl/8") for n in range(5)]
    assert severities([*OWN, *log]) == [Severity.LOW, *[Severity.MEDIUM] * 3, Severity.HIGH]


@pytest.mark.parametrize("name", ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"])
def test_a_control_plane_identity_that_is_refused(name: str) -> None:
    """For accounts that are no controllers' and that it never minted for."""
    log = [refused(n, f"prod/sa-{n}", username=name) for n in range(5)]
    assert severities(log) == [Severity.LOW, *[Severity.MEDIUM] * 3, Severity.HIGH]
    assert max(severities([refused(n, f"prod/sa-{n}", username=name, code=404) for n in range(5)])) == Severity.LOW
    own = [refused(n, f"kube-system/{one}", username=name) for n, one in enumerate(sorted(CONTROLLERS)[:5])]
    assert max(severities(own)) == Severity.LOW


def test_a_node_whose_certificate_expired_is_informational() -> None:
    """A stranger that calls itself a kubelet, from an address that nodes have."""
    stranger: dict[str, Any] = {"user": {"username": ANONYMOUS}, "annotations": {}, "code": 401}
    assert severities([*OWN, of_node(1, "prod/own-1", **stranger)]) == [Severity.INFORMATIONAL]
    assert severities([*OWN, of_node(1, "prod/own-1", peer="10.9.9.9", **stranger)]) == [Severity.LOW]
    flood = [of_node(n / 100, "prod/own-1", peer=f"10.9.{n // 250}.{n % 250}", **stranger) for n in range(1000)]
    assert [one.count for one in found([*OWN, *flood])] == [1000]


def test_what_a_node_minted_for_is_known_as_long_as_it_mints() -> None:
    """Its pods' tokens are renewed for days before they are gone."""
    days = [
        mint
        | {
            "auditID": f"{mint['auditID']} {hour}",
            "requestReceivedTimestamp": (START + timedelta(hours=hour)).isoformat(),
        }
        for hour in range(0, 48, 12)
        for mint in OWN[:5]
    ]
    gone = [of_node(37 * 3600 + n, f"prod/own-{n}") for n in range(5)]
    assert severities([*days, *gone]) == [Severity.INFORMATIONAL] * 5


def test_an_event_delivered_twice_counts_once() -> None:
    """In one stream, and by another instance that goes on with what the first remembered."""
    log = [refused(n, f"prod/sa-{n}") for n in range(5)]
    assert severities([event for event in log for _ in range(2)]) == severities(log)
    detector, again = TokenRequestDenied(), TokenRequestDenied()
    found(log, detector)
    again.restore(json.loads(json.dumps(detector.state())))
    assert severities([minted(6, "prod/sa-6")], again) == [Severity.MEDIUM]
    assert severities([minted(6, "prod/sa-6")]) == []


def test_memory_is_bounded() -> None:
    """The client chooses what it names: 100 names of an account's greatest length at most."""
    detector = TokenRequestDenied()
    found([refused(n / 10, f"prod/{n:05}{'x' * 5000}") for n in range(150)], detector)
    ((_, state, _),) = detector.states
    assert len(state.tried.targets) == 100
    assert max(map(len, state.tried.targets)) == 320


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


@pytest.mark.parametrize(("name", "severities"), [(ANONYMOUS, []), ("alice", [Severity.LOW])])
def test_an_odd_uri_of_a_refused_request_is_low(name: str, severities: list[Severity]) -> None:
    """A stranger's is only counted."""
    record = token_request(name, query="?odd=1", code=403, issued=None)

    assert [finding.severity for finding in detect(record, detectors=["token-request-uri"])] == severities


def test_a_mint_by_a_stranger_is_critical() -> None:
    """Anybody who reaches the API server can do it."""
    findings = detect(CASES / "m1-anonymous-mints.log", detectors=["token-request"])
    assert [finding.severity for finding in findings] == [Severity.CRITICAL]
