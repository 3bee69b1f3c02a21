# SPDX-License-Identifier: Apache-2.0
"""audit-annotation-forged, and that nothing is believed that such a policy can write."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sigma_runner as runner
from builders import token_request
from k8stokendetect import ConfigError, detect, parse_event, sigma
from k8stokendetect.engine import Memory
from k8stokendetect.engine.profile import MOST_ISSUED, ClusterProfile
from k8stokendetect.testing import request
from paths import resolve

CASE = Path(__file__).parent / "data" / "trust" / "o1-vap-forges-annotations.log.gz"
NAME = "authentication.k8s.io"
LEGACY = {"authentication.k8s.io/legacy-token": "system:serviceaccount:x:y"}


def policy(verb: str = "create", name: str = NAME, code: int = 201, minute: int = 0) -> dict[str, Any]:
    """Return a request about an admission policy."""
    made = request(verb, "validatingadmissionpolicies", namespace=None, name=name, code=code)
    return made | {"auditID": f"{verb} {minute}", "requestReceivedTimestamp": f"2026-11-23T12:{minute:02}:00Z"}


def marked(minute: int) -> dict[str, Any]:
    """Return a request that an annotation says was made with an old token."""
    user = {"username": "system:serviceaccount:x:y", "groups": ["system:serviceaccounts", "system:serviceaccounts:x"]}
    made = request(user=user) | {"annotations": LEGACY, "auditID": f"use {minute}"}
    return made | {"requestReceivedTimestamp": f"2026-11-23T12:{minute:02}:00Z"}


def rules(events: list[Any], **options: Any) -> list[str]:
    """Return the rules that fire."""
    return [finding.rule.id for finding in detect(events, **options)]


def test_on_a_real_server_only_the_policies_and_the_administrators_mint_are_reported() -> None:
    """Nothing about the controllers, whose annotations were forged."""
    findings = Counter((one.rule.id, one.event.user) for one in detect(CASE))
    assert findings == {
        ("audit-annotation-forged", "kubernetes-admin"): 3,
        ("token-request", "kubernetes-admin"): 1,
        ("token-request-uri", "kubernetes-admin"): 1,
    }


def test_its_sigma_form_finds_the_same_on_a_real_server() -> None:
    """In SQLite, as the form is exported."""
    events = [json.loads(line) for line in gzip.decompress(CASE.read_bytes()).splitlines()]
    found = runner.flagged(runner.table(events), sigma.rule_for("audit-annotation-forged"))

    assert {events[place]["auditID"] for place in found} == {
        one.event.audit_id for one in detect(CASE, detectors=["audit-annotation-forged"])
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("query", "body", "is_deleted"),
    [
        ("", None, True),
        ("?labelSelector=a%3Db", None, False),
        ("?fieldSelector=metadata.name%3Dx", None, False),
        ("?dryRun=All", None, False),
        ("", {"dryRun": ["All"]}, False),
        ("", {"propagationPolicy": "Background"}, True),
    ],
)
def test_policies_that_are_deleted_together(query: str, body: Any, *, is_deleted: bool) -> None:
    """All of them at once are gone; a selection, or a dry run, may have left it."""
    together = policy("deletecollection", name="", code=200, minute=1)
    together |= {"requestURI": f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies{query}"}
    together |= {"level": "Request", "requestObject": body} if body else {}
    assert rules([policy(), together, marked(2)])[1:] == ["legacy-token-secret"] * is_deleted


@pytest.mark.parametrize(
    ("event", "fires"),
    [
        (policy(), True),
        (policy("patch", code=200), True),
        (policy("update", "audit.k8s.io", 200), True),
        (policy(name="require-labels"), False),
        (policy(code=403), False),
        (policy("delete", code=200), False),
        (policy("get", code=200), False),
    ],
)
def test_what_is_reported(event: dict[str, Any], *, fires: bool) -> None:
    """Any request that stores one of these names."""
    assert rules([event]) == ["audit-annotation-forged"] * fires


def test_annotations_of_its_name_are_not_believed_until_it_is_deleted() -> None:
    """Also in the next call, and after the memory was saved."""
    assert rules([marked(1)]) == ["legacy-token-secret"]
    assert rules([policy(), marked(1)]) == ["audit-annotation-forged"]
    assert rules([policy(name="audit.k8s.io"), marked(1)]) == ["audit-annotation-forged", "legacy-token-secret"]
    assert rules([policy(), policy("delete", code=200, minute=1), marked(2)])[-1] == "legacy-token-secret"
    twin = policy() | {"objectRef": {"resource": "mutatingadmissionpolicies", "name": NAME}, "auditID": "twin"}
    assert rules([policy(), twin, policy("delete", code=200, minute=1), marked(2)])[2:] == [], "the twin is left"
    memory = Memory()
    rules([policy()], memory=memory)
    assert rules([marked(1)], memory=Memory.from_dict(memory.to_dict())) == []


def test_a_policy_that_is_older_than_the_log_shows_by_what_it_writes(tmp_path: Path) -> None:
    """The same recording without the policies: one finding, and nothing about the controllers."""
    lines = gzip.decompress(CASE.read_bytes()).splitlines(keepends=True)
    log = tmp_path / "audit.log"
    log.write_bytes(b"".join(line for line in lines if b"validatingadmissionpolic" not in line))
    findings = Counter((one.rule.id, one.event.user) for one in detect(log))
    assert findings == {
        ("audit-annotation-forged", "system:kube-controller-manager"): 1,
        ("token-request", "kubernetes-admin"): 1,
        ("token-request-uri", "kubernetes-admin"): 1,
    }


def mint(number: int, credential: str = "JTI=1", **fields: Any) -> dict[str, Any]:
    """Return a mint by the controller manager, excluded by design."""
    user: Any = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}
    agent = "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519/kube-controller-manager"
    notes = {"authentication.kubernetes.io/issued-credential-id": credential}
    made = token_request(user, "kube-system/job-controller", userAgent=agent, annotations=notes)
    return made | {"auditID": f"m{number}", "requestReceivedTimestamp": f"2026-11-23T12:{number:02}:00Z"} | fields


TRUNCATED = {"audit.k8s.io/truncated": "true"}
HELD = {"authentication.kubernetes.io/credential-id": ["JTI=9"]}


@pytest.mark.parametrize(
    ("events", "number"),
    [
        ([mint(1), mint(2)], 1),
        ([mint(1), mint(2), mint(3), mint(4, "JTI=2"), mint(5, "JTI=2")], 1),
        ([mint(1), mint(2, "JTI=2")], 0),
        ([mint(1), mint(1)], 0),
        ([mint(1), mint(2, responseStatus={"code": 403}, annotations={})], 0),
        ([mint(1, annotations=TRUNCATED)], 1),
        ([mint(1, annotations=TRUNCATED, level="Request")], 0),
        ([marked(1) | {"user": {"username": "alice"}}], 1),
        ([marked(1) | {"user": marked(1)["user"] | {"extra": HELD}}], 1),
        ([marked(1)], 0),
        ([marked(1) | {"user": {}}], 0),
    ],
)
def test_what_contradicts_an_annotation(events: list[Any], number: int) -> None:
    """Once a day; whose it may be is believed."""
    findings = list(detect(events, detectors=["audit-annotation-forged"]))
    assert len(findings) == number
    for finding in findings:
        record = next(event for event in events if event["auditID"] == finding.event.audit_id)
        assert all(item.value == resolve(item.path, record) for item in finding.evidence)
    days = [
        event | {"requestReceivedTimestamp": event["requestReceivedTimestamp"].replace("-23", "-25")}
        for event in events
    ]
    again = [event | {"auditID": event["auditID"] + "-again"} for event in days]
    assert len(list(detect([*events, *again], detectors=["audit-annotation-forged"]))) >= 2 * number


def test_an_id_that_was_issued_before_is_not_followed() -> None:
    """So that a policy cannot have a stranger's requests taken for uses of its own."""
    first, second = (token_request(auditID=name, annotations=mint(1)["annotations"]) for name in "ab")
    issued = [one.event.minted_credential for one in detect([first, second], detectors=["token-request"])]
    assert issued == ["JTI=1", None]


def test_what_was_issued_is_saved_and_bounded() -> None:
    """The oldest is forgotten first, but what is issued again and again is kept."""
    memory = Memory()
    rules([mint(1)], memory=memory)
    assert rules([mint(2)], memory=Memory.from_dict(memory.to_dict())) == ["audit-annotation-forged"]
    profile = ClusterProfile()
    for number in range(MOST_ISSUED + 1):
        profile.learn(parse_event(mint(1, f"JTI={number}")))
        if number % 100 == 0:
            profile.learn(parse_event(mint(1, "JTI=0")))
    assert len(profile.issued) == MOST_ISSUED
    assert "JTI=0" in profile.issued
    assert "JTI=1" not in profile.issued
    with pytest.raises(ConfigError):
        ClusterProfile.from_dict(profile.to_dict() | {"issued": {"JTI=1": 1}})


def test_a_mint_is_a_mint_without_its_annotation() -> None:
    """The answer says so; what it issued is not known."""
    mint = token_request(requestReceivedTimestamp="2026-11-23T12:01:00Z")
    name = "authentication.kubernetes.io"
    (finding,) = [one for one in detect([policy(name=name), mint]) if one.rule.id == "token-request"]
    assert finding.event.minted_credential is None
