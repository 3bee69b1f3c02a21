# SPDX-License-Identifier: Apache-2.0
"""audit-annotation-forged, and that nothing is believed that such a policy can write."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import detect
from k8stokendetect.engine import Memory
from k8stokendetect.testing import request

CASE = Path(__file__).parent / "data" / "trust" / "o1-vap-forges-annotations.log.gz"
NAME = "authentication.k8s.io"
LEGACY = {"authentication.k8s.io/legacy-token": "system:serviceaccount:x:y"}


def policy(verb: str = "create", name: str = NAME, code: int = 201, minute: int = 0) -> dict[str, Any]:
    """Return a request about an admission policy."""
    made = request(verb, "validatingadmissionpolicies", namespace=None, name=name, code=code)
    return made | {"auditID": f"{verb} {minute}", "requestReceivedTimestamp": f"2026-11-23T12:{minute:02}:00Z"}


def marked(minute: int) -> dict[str, Any]:
    """Return a request that an annotation says was made with an old token."""
    made = request() | {"annotations": LEGACY, "auditID": f"use {minute}"}
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
    memory = Memory()
    rules([policy()], memory=memory)
    assert rules([marked(1)], memory=Memory.from_dict(memory.to_dict())) == []


def test_a_mint_is_a_mint_without_its_annotation() -> None:
    """The answer says so; what it issued is not known."""
    mint = token_request(requestReceivedTimestamp="2026-11-23T12:01:00Z")
    name = "authentication.kubernetes.io"
    (finding,) = [one for one in detect([policy(name=name), mint]) if one.rule.id == "token-request"]
    assert finding.event.minted_credential is None
