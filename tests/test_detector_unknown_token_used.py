# SPDX-License-Identifier: Apache-2.0
"""unknown-token-used: tokens whose mint the log lacks, once it has shown that it has those of others."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Finding, Severity, Tally, detect, read
from k8stokendetect.engine import Memory
from k8stokendetect.testing import request, service_account_user
from k8stokendetect.testing.builders import START
from paths import resolve
from recordings import METADATA, METADATA_1_27, records

RULE = "unknown-token-used"
USED = "authentication.kubernetes.io/credential-id"
ISSUED = "authentication.kubernetes.io/issued-credential-id"
MANAGER = "system:kube-controller-manager"


def mint(number: int, seconds: float = 0, target: str = "prod/ci") -> dict[str, Any]:
    """Return a mint by kubectl, so many seconds after the start."""
    time = (START + timedelta(seconds=seconds)).isoformat()
    issued = f"JTI={number}"
    return token_request(target=target, issued=issued, auditID=f"mint {number}", requestReceivedTimestamp=time)


def use(jti: object, seconds: float, account: str = "prod/ci", **fields: Any) -> dict[str, Any]:
    """Return a request with a token."""
    given: dict[str, Any] = {"verb": "get", "resource": "configmaps"} | fields
    user = given.pop("user", service_account_user(account, f"JTI={jti}"))
    made = request(user=user, time=START + timedelta(seconds=seconds), **given)
    return made | {"auditID": f"use {jti} {seconds}"}


KNOWN = [one for number in range(20) for one in (mint(number, number), use(number, number + 0.5))]
"""Twenty tokens whose mints the log has."""


def found(events: list[dict[str, Any]], tally: Tally | None = None, **options: Any) -> list[Finding]:
    """Return what the rule reports."""
    return list(detect(events, detectors=[RULE], tally=tally, **options))


def test_a_token_whose_mint_is_not_in_the_log() -> None:
    """With its evidence, and what it did."""
    foreign = use("x", 60, ip="203.0.113.9")
    (finding,) = found([*KNOWN, foreign])
    assert finding.severity == Severity.MEDIUM
    assert finding.summary == (
        "prod/ci acted from 203.0.113.9 with kubectl/v1.36.2 with a token whose mint is not in the log: get configmaps"
    )
    for item in finding.evidence:
        assert item.value == resolve(item.path, foreign)


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({}, Severity.MEDIUM),
        ({"verb": "list", "resource": "secrets"}, Severity.HIGH),
        ({"verb": "list", "resource": "secrets", "code": 403}, Severity.LOW),
    ],
)
def test_it_is_rated_by_effect(fields: dict[str, Any], severity: Severity) -> None:
    """What the API server served."""
    assert [one.severity for one in found([*KNOWN, use("x", 60, **fields)])] == [severity]


@pytest.mark.parametrize(
    "fields",
    [
        {"user": service_account_user("prod/ci", "JTI=x", pod="ci-1")},
        {"user": service_account_user("prod/ci")},
        {"user": {"username": "alice", "extra": {USED: ["JTI=x"]}}},
        {"user": {"username": "system:serviceaccount:prod:ci", "extra": {USED: ["JTI=x"]}}},
        {"account": "kube-system/job-controller"},
        {"account": "kube-system/node-controller"},
        {"account": "openshift-infra/build-controller"},
        {"jti": "3"},
    ],
    ids=["bound to a pod", "no id", "a user", "without groups", "a controller", "a cloud's", "OpenShift's", "known"],
)
def test_of_what_it_says_nothing(fields: dict[str, Any]) -> None:
    """The mint is known, it is not known for another reason, or it is not a token's."""
    given: dict[str, Any] = {"jti": "x", "seconds": 60} | fields
    assert found([*KNOWN, use(**given)]) == []


def test_coverage_is_asked_for_not_time() -> None:
    """Twenty tokens whose mints are there, and no other unknown one for an hour, or since the log began."""
    tally = Tally()
    assert found([*KNOWN[:38], use("x", 60)], tally) == []
    assert tally.undecided == 1
    early = [use("old", 0), *KNOWN]
    assert found([*early, use("x", 60)], tally) == []
    assert tally.undecided == 3
    later = [mint(100, 3000), use(100, 3001)]
    assert len(found([*early, *later, use("x", 3600)])) == 1
    assert found([*early, *later, use("x", 3599)]) == []
    assert found([use("old", 0, "kube-system/job-controller"), *KNOWN, use("x", 60)]) == [], "the log began before"


def test_after_a_gap_in_the_log_coverage_is_shown_anew() -> None:
    """Tokens may have been minted meanwhile."""
    assert found([*KNOWN, use("x", 4 * 3600)]) == []
    assert found([*KNOWN, *(use(0, 1800 * n) for n in range(1, 8)), use("x", 4 * 3600)]) == []


def test_many_unknown_tokens_mean_that_the_log_has_lost_mints() -> None:
    """Five within an hour are reported."""
    tally = Tally()
    assert len(found([*KNOWN, *(use(f"x{n}", 60 + n) for n in range(9))], tally)) == 5
    assert tally.undecided == 4


def test_what_it_does_afterwards_is_reported_once_for_each_act() -> None:
    """The reader goes on reading its uses, and skips those of known tokens."""
    acts = [use("x", 60 + n) for n in range(5)] + [use("x", 70 + n, resource="secrets", verb="list") for n in range(3)]
    assert [one.severity for one in found([*KNOWN, *acts])] == [Severity.MEDIUM, Severity.HIGH]
    assert found([*KNOWN, *(use(7, 60 + n, resource="secrets") for n in range(5))]) == []


def test_a_mint_that_is_read_a_little_later_counts() -> None:
    """The clocks of API servers differ, and their files are read one after another."""
    assert found([*KNOWN, use(50, 60), mint(50, 60.1)]) == []


def test_it_remembers_mints_from_call_to_call_and_in_a_file() -> None:
    """And each cluster by itself."""
    memory = Memory()
    assert found(KNOWN, memory=memory) == []
    saved = Memory.from_dict(json.loads(json.dumps(memory.to_dict())))
    assert found([use(3, 60)], memory=saved) == []
    assert len(found([use("x", 61)], memory=saved)) == 1
    assert found([use("x", 62)], memory=saved) == [], "the same act"


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_log_that_begins_in_the_middle(tenth: int) -> None:
    """Tokens that were minted before are never reported: what is missing, the controllers' tokens tell."""
    log = records(METADATA)
    assert found(log[len(log) * tenth // 10 :], on_error=lambda _: None) == []


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
def test_a_whole_recording_has_all_mints(path: Any) -> None:
    """1.27 has no ids, and nothing to say."""
    tally = Tally()
    assert found(records(path), tally) == []
    assert tally.undecided == 0


def _of_attacker(record: dict[str, Any]) -> bool:
    return record["user"].get("username") == "alice" and ISSUED in (record.get("annotations") or {})


@pytest.mark.parametrize("forged", [False, True], ids=["the mint was dropped", "its annotation was forged"])
def test_a_recorded_attack_whose_mint_is_hidden(forged: bool) -> None:  # noqa: FBT001
    """Too large to be logged, or under an id that an admission policy wrote: the use remains."""
    log = records(METADATA)
    used = {id_ for one in log for id_ in (one["user"].get("extra") or {}).get(USED, ())}
    hidden = next(one for one in log if _of_attacker(one) and one["annotations"][ISSUED] in used)
    other = hidden | {"annotations": hidden["annotations"] | {ISSUED: "JTI=forged"}}
    changed = [other if one is hidden else one for one in log] if forged else [one for one in log if one is not hidden]
    findings = found(changed)
    assert {one.event.used_credential for one in findings} == {hidden["annotations"][ISSUED]}
    assert max(one.severity for one in findings) >= Severity.MEDIUM


def test_the_reader_skips_uses_of_known_tokens() -> None:
    """From when the first one was looked at; those of an unknown token are all read."""
    known = [use(3, 120 + n) for n in range(500)]
    unknown = [use("x", 700 + n) for n in range(500)]
    log = read("\n".join(map(json.dumps, [*KNOWN, *known, *unknown])).encode())
    assert len(list(detect(log, detectors=[RULE]))) == 1
    assert 400 < log.passed_over < 500
