# SPDX-License-Identifier: Apache-2.0
"""second-control-plane-credential: which of two credentials of one identity is at work."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import ConfigError, Finding, Severity, detect, parse_event
from k8stokendetect.engine import Memory
from k8stokendetect.testing import request

CASES = Path(__file__).parent / "data" / "trust"
RULE = "second-control-plane-credential"
MANAGER = "system:kube-controller-manager"
ID = "authentication.kubernetes.io/credential-id"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def user(credential: str) -> dict[str, Any]:
    """Return the controller manager with one of its certificates."""
    extra = {ID: [f"X509SHA256={64 * credential}"]}
    return {"username": MANAGER, "groups": ["system:authenticated"], "extra": extra}


def mint(minute: float, credential: str, name: str, **fields: Any) -> dict[str, Any]:
    """Return a mint for a controller's account."""
    time = (START + timedelta(minutes=minute)).isoformat()
    given = {"auditID": f"{minute}{credential}{name}", "user": user(credential), "issued": f"JTI={minute}{name}"}
    return token_request(target=f"kube-system/{name}", requestReceivedTimestamp=time, **(given | fields))


def lease(minute: float, credential: str, code: int = 200) -> dict[str, Any]:
    """Return a renewal of the controller manager's lease."""
    time = (START + timedelta(minutes=minute)).isoformat()
    made = request("update", "leases", namespace="kube-system", name="kube-controller-manager", code=code)
    return made | {"auditID": f"lease {minute}{credential}", "user": user(credential), "requestReceivedTimestamp": time}


def found(*events: dict[str, Any]) -> list[Finding]:
    """Return what the rule reports."""
    return [finding for finding in detect(events) if finding.rule.id == RULE]


def reported(*events: dict[str, Any]) -> list[str]:
    """Return whose mints are reported: credential and account."""
    return [f"{(one.event.used_credential or '')[11]} {one.event.name}" for one in found(*events)]


@pytest.mark.parametrize(
    ("case", "mints"),
    [("a1-kcm-second-cert-then-again", 3), ("a3-kcm-second-cert-uses-not-followed", 1), ("f4-ha-kcm", 0)],
)
def test_the_credential_that_does_not_hold_the_lease_is_reported(case: str, mints: int) -> None:
    """Every mint of it, each time; leaders that take the lease in turn are quiet."""
    findings = list(detect(CASES / f"{case}.log"))
    assert [finding.severity for finding in findings if finding.rule.id == RULE] == [Severity.CRITICAL] * mints
    assert {finding.event.peer_ip for finding in findings} == ({"10.9.9.9"} if mints else set())


def test_its_tokens_are_followed() -> None:
    """Though the mint itself has all proofs of the component."""
    (use,) = [
        finding
        for finding in detect(CASES / "a3-kcm-second-cert-uses-not-followed.log")
        if finding.rule.id == "minted-token-used"
    ]
    assert use.severity == Severity.CRITICAL
    assert use.event.target == "clusterroles admin"


LEASE = [lease(number / 30, "a") for number in range(30)]


def test_a_refused_try_for_the_lease_and_another_users_prove_nothing() -> None:
    """Only who was answered with success holds it."""
    assert reported(*LEASE, lease(0.99, "b", code=409), mint(1, "b", "job-controller")) == ["b job-controller"]
    stranger = lease(0.99, "b") | {"user": {"username": "mallory", "extra": user("b")["extra"]}}
    assert reported(*LEASE, stranger, mint(1, "b", "job-controller")) == ["b job-controller"]


def test_a_failover_is_quiet_and_the_old_leader_may_finish() -> None:
    """In both directions; a mint that was under way when the lease changed hands is the old leader's own."""
    there = [mint(0.9, "a", "job-controller"), lease(1, "b"), mint(1.05, "a", "node-controller"), mint(1.1, "b", "x")]
    back = [lease(1 + number / 30, "b") for number in range(1, 30)]
    assert reported(*LEASE, *there, *back, lease(3, "a"), mint(3.1, "a", "job-controller")) == []


def test_two_that_hold_the_lease_by_turns_are_both_reported() -> None:
    """Within seconds no failover does that; which of them is foreign is open."""
    fight = [lease(1, "b"), lease(1.03, "a"), lease(1.06, "b")]
    findings = found(*LEASE, *fight, mint(1.1, "a", "job-controller"), mint(1.2, "b", "job-controller"))
    assert [finding.severity for finding in findings] == [Severity.HIGH, Severity.HIGH]
    assert all(finding.caveats for finding in findings)


OWN = [mint(number / 10, "a", f"{name}-controller") for number, name in enumerate("job node pod ttl cronjob".split())]


def test_without_leases_a_failover_mints_for_the_same_accounts() -> None:
    """The old credential falls silent; nothing is reported, nor when it takes over again a day later."""
    there = [mint(5 + number, "b", f"{name}-controller") for number, name in enumerate("node job pod ttl".split())]
    assert reported(*OWN, *there) == []
    assert reported(*OWN, *there, mint(24 * 60, "a", "job-controller")) == []


def test_without_leases_a_mint_for_another_account_is_reported() -> None:
    """Each of them, and the component's own credential is not."""
    theft = [mint(5, "b", "clusterrole-aggregation-controller"), mint(6, "b", "expand-controller")]
    assert reported(*OWN, *theft, mint(7, "a", "job-controller")) == [
        "b clusterrole-aggregation-controller",
        "b expand-controller",
    ]


def test_without_leases_a_mint_that_waited_is_reported_when_the_other_goes_on() -> None:
    """One mint for a known account looks like the first of a failover, until the leader mints again."""
    theft = [*OWN, mint(5, "b", "job-controller")]
    assert reported(*theft) == []
    assert reported(*theft, mint(7, "a", "node-controller")) == ["b job-controller"]


def test_who_minted_first_is_not_believed_for_that() -> None:
    """With few mints of either, the later is reported as open, and names the other."""
    (finding,) = found(mint(0, "b", "expand-controller"), mint(1, "a", "job-controller"))
    assert finding.severity == Severity.HIGH
    assert "X509SHA256=bbbb" in finding.summary


def test_a_crowd_of_credentials_gets_one_warning() -> None:
    """More than eight live credentials are several clusters whose records do not say which is which."""
    crowd = [mint(number, credential, "job-controller") for number, credential in enumerate("0123456789abcdef" * 2)]
    findings = found(*crowd)
    assert len(findings) < 10
    (warning,) = [one for one in findings if one.severity == Severity.LOW]
    assert "9 credentials" in warning.summary
    assert "cluster_name" in warning.caveats[0]
    assert found(*crowd)[-1] == warning


def of_many(number: int) -> list[dict[str, Any]]:
    """Return the leases and mints of clusters, each with its own controller manager."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"[:number]
    leases = [lease((second + place / 50) / 60, one) for second in range(0, 20, 2) for place, one in enumerate(letters)]
    mints = [mint((5 + place / 10) / 60, one, "job-controller") for place, one in enumerate(letters)]
    return sorted([*leases, *mints], key=lambda event: str(event["requestReceivedTimestamp"]))


def test_a_crowd_that_renews_its_leases_gets_one_warning() -> None:
    """Each takes the lease from the others, as it seems."""
    assert [one.severity for one in found(*of_many(36))] == [Severity.LOW]
    assert [one.severity for one in found(*of_many(9))] == [Severity.LOW]
    assert min(one.severity for one in found(*of_many(2))) == Severity.HIGH, "eight or fewer may be a theft"


def test_clusters_that_are_named_are_kept_apart() -> None:
    """By `detect(cluster_name=)`, with one memory for all of them."""
    memory = Memory()
    for letter in "0123456789abcdef":
        log = [event for event in of_many(16) if user(letter) == event["user"]]
        assert not [one for one in detect(log, cluster_name=letter, memory=memory) if one.rule.id == RULE]
    assert len(memory.profiles) == 16
    theft = mint(5.1 / 60, "z", "job-controller")
    (finding,) = [one for one in detect([*of_many(1), theft], cluster_name="prod") if one.rule.id == RULE]
    assert (finding.severity, finding.event.cluster) == (Severity.CRITICAL, "prod")


def test_the_name_is_given_to_records_that_have_none() -> None:
    """Those that cannot be read included; a wrapper's own name stays."""
    cut = json.dumps(token_request()).encode()[:400]
    findings = list(detect(cut, cluster_name="prod", on_error=lambda _: None))
    assert {one.event.cluster for one in findings} == {"prod"}
    event = attrs.evolve(parse_event(token_request()), cluster="other")
    assert {one.event.cluster for one in detect([event], cluster_name="prod")} == {"other"}
    for name in ("", " ", 3):
        with pytest.raises(ConfigError):
            detect([], cluster_name=name)  # type: ignore[arg-type]
