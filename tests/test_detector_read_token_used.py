# SPDX-License-Identifier: Apache-2.0
"""read-token-used: a pod's token at another address, after a command has read it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from k8stokendetect import Finding, Severity, detect
from k8stokendetect.testing import request, service_account_user
from paths import resolve

RULE = "read-token-used"
HOME, READER, ELSEWHERE = "10.0.1.5", "192.0.2.7", "203.0.113.9"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path


def at(minute: int) -> str:
    """Return a time."""
    return f"2026-11-23T12:{minute:02}:00Z"


def use(minute: int, ip: str, uid: str = "u1", pod: str = "web-1", jti: str = "JTI=1", **fields: Any) -> dict[str, Any]:
    """Return a request with the pod's token."""
    user: Any = service_account_user("prod/web", jti, pod=pod)
    user["extra"] = user["extra"] | {"authentication.kubernetes.io/pod-uid": [uid]}
    options: dict[str, Any] = {"verb": "get", "resource": "configmaps"} | fields
    return request(user=user, ip=ip, time=at(minute), **options) | {"auditID": f"use {minute} {ip}"}


def read(minute: int, word: str = TOKEN, code: int = 101, name: str = "web-1") -> dict[str, Any]:
    """Return an exec into the pod."""
    uri = f"/api/v1/namespaces/prod/pods/{name}/exec?" + urlencode([("command", "cat"), ("command", word)])
    return request("get", "pods/exec", user="mallory", name=name, code=code, ip=READER, time=at(minute), requestURI=uri)


def found(*events: dict[str, Any]) -> list[Finding]:
    """Return what the rule reports."""
    return [finding for finding in detect(events, detectors=[RULE]) if finding.rule.id == RULE]


@pytest.mark.parametrize(
    ("events", "number"),
    [
        ([use(0, HOME), read(1), use(2, ELSEWHERE)], 1),
        ([use(0, HOME), read(1), use(2, ELSEWHERE, jti="JTI=2")], 1),
        ([read(1), use(2, READER)], 1),
        ([use(0, HOME), read(1), use(2, ELSEWHERE), use(3, ELSEWHERE)], 1),
        ([use(0, HOME), read(1), use(2, ELSEWHERE), use(3, READER), use(4, ELSEWHERE, resource="secrets")], 3),
        ([use(0, HOME), use(0, ELSEWHERE), read(1), use(2, ELSEWHERE), use(3, HOME)], 0),
        ([use(0, HOME), read(1), use(2, HOME), use(3, "fd00::5")], 0),
        ([use(0, READER), read(1), use(2, READER)], 0),
        ([read(1), use(2, HOME), use(3, ELSEWHERE)], 1),
        ([use(0, HOME), use(2, ELSEWHERE), read(3)], 0),
        ([use(0, HOME), read(1, code=403), use(2, ELSEWHERE)], 0),
        ([use(0, HOME), read(1, word="/etc/hosts"), use(2, ELSEWHERE)], 0),
        ([use(0, HOME), read(1, name="web-2"), use(2, ELSEWHERE)], 0),
        ([use(0, HOME), read(1), use(2, ELSEWHERE, uid="u2")], 0),
        ([use(0, HOME), read(1), use(2, ELSEWHERE, uid="")], 1),
    ],
)
def test_a_token_that_was_read_is_used_elsewhere(events: list[dict[str, Any]], number: int) -> None:
    """Neither before it was read, nor at home, nor by another pod of this name; each act once from each address."""
    findings = found(*events)
    assert len(findings) == number
    for finding in findings:
        record = next(event for event in events if event["auditID"] == finding.event.audit_id)
        assert [one.user for one in finding.related] == ["mallory"]
        assert all(item.value == resolve(item.path, record) for item in finding.evidence)


def test_what_it_did_decides_how_bad_it_is() -> None:
    """A privileged act that was served is critical; one that was refused still shows that the token is out."""
    before = (use(0, HOME), read(1))
    acts = [
        use(2, ELSEWHERE, verb="list", resource="secrets"),
        use(2, ELSEWHERE, verb="list", resource="secrets", code=403),
        use(2, ELSEWHERE),
    ]
    assert [found(*before, act)[0].severity for act in acts] == [Severity.CRITICAL, Severity.HIGH, Severity.HIGH]


def test_the_reader_is_told_from_others() -> None:
    """The summary says which address it is."""
    (by_reader, by_other) = found(use(0, HOME), read(1), use(2, READER), use(3, ELSEWHERE))
    assert f"from {READER}, the address of the one who read it" in by_reader.summary
    assert f"from {ELSEWHERE}, not an address of the pod" in by_other.summary
    assert found(read(1), use(2, READER))[0].caveats
