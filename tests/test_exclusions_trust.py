# SPDX-License-Identifier: Apache-2.0
"""Which accounts a component mints for, names that only look like its own, and what an exclusion hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Finding, Severity, Tally, detect
from k8stokendetect.detectors.powerful import POWERFUL
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Exclusion
from k8stokendetect.exclusions.controllers import CONTROLLERS
from k8stokendetect.exclusions.folding import fold, odd_characters
from k8stokendetect.exclusions.verdict import is_public
from test_exclusions import example

CASES = Path(__file__).parent / "data" / "trust"
LOOKALIKE = "token-request-lookalike"


def found(case: str, **options: Any) -> list[Finding]:
    """Return what is reported about a case."""
    return list(detect(CASES / case, **options))


def test_the_controller_manager_mints_for_its_controllers_only() -> None:
    """With its own certificate, for four other accounts of kube-system: each is a look-alike, and its own are not."""
    alike = [finding for finding in found("a5-kcm-cert-other-account.log") if finding.rule.id == LOOKALIKE]
    assert [finding.event.name for finding in alike] == [
        "aws-node",
        "cluster-autoscaler",
        "ebs-csi-controller-sa",
        "tiller",
    ]
    assert {finding.severity for finding in alike} == {Severity.HIGH}


def test_every_controller_is_known_to_be_powerful() -> None:
    """One list serves the exclusion, the rule about URIs and the value of a target."""
    assert {one.name for one in POWERFUL if one.namespace == "kube-system"} >= CONTROLLERS


@pytest.mark.parametrize("case", ["b1", "b2", "b7"])
def test_a_name_that_only_looks_like_a_components_is_high(case: str) -> None:
    """The finding says which characters are odd."""
    (finding,) = [one for one in found(f"{case}-lookalike.log") if one.rule.id == LOOKALIKE]
    assert finding.severity == Severity.HIGH
    assert "U+00" in finding.summary


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("EKS:cloud-controller-manager", "eks-cloud-controller-manager"),
        ("aksservice", "aks-service"),
        ("system:kube\u200b-controller-manager", "kube-controller-manager"),
        ("system\uff1akube-controller-manager", "kube-controller-manager"),
        ("syst\u0435m:kube-controller-manager", "kube-controller-manager"),
        ("system:n\u043ede:worker-1", "kubelet"),
        ("system:serviceaccount:kube-system:calic\u03bf-node", "calico-node"),
    ],
)
def test_case_invisible_and_confusable_characters_are_seen_through(name: str, like: str) -> None:
    """Whatever the platform."""
    alike = [one for one in detect([token_request(name, "kube-system/x")]) if one.rule.id == LOOKALIKE]
    assert [one.severity for one in alike] == [Severity.HIGH]
    assert f"named like {like}, but written with other characters" in alike[0].summary


@pytest.mark.parametrize("name", ["alice", "Alice Müller", "arn:aws:iam::1:role/Admin", "система", "user@example.com"])
def test_names_of_people_look_like_nobody(name: str) -> None:
    """Case and other scripts are no fault of their own."""
    assert not [one for one in detect([token_request(name)]) if one.rule.id == LOOKALIKE]


def test_folding_keeps_what_is_plain() -> None:
    """A plain name is its own fold, and has no odd character."""
    assert fold("system:kube-controller-manager") == "system:kube-controller-manager"
    assert odd_characters("system:node:n1") == ""
    assert odd_characters("a\u0456") == "U+0456 in place 2"


@pytest.mark.parametrize("case", ["f2-canal.log", "f2b-canal-cni.log", "g5-gke-calico.json"])
def test_the_cluster_networks_own_mints_are_excluded(case: str) -> None:
    """And so are the uses that follow; they are counted."""
    tally = Tally()
    assert found(case, platform="gke" if case.startswith("g") else None, tally=tally) == []
    assert tally.excluded


def test_the_controller_managers_name_from_outside_is_high_on_gke() -> None:
    """Little else is logged there than the address and what the client calls itself."""
    assert max(one.severity for one in found("g1-gke-csr-kcm.json")) == Severity.HIGH
    assert [is_public(address) for address in ("203.0.113.9", "10.1.2.3", "2001:db8::1", "::1", "private", "")] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]


def test_an_operator_that_is_switched_on_is_silent() -> None:
    """Its mints, and the uses of its tokens."""
    assert found("f1-eso-enabled.log")
    assert found("f1-eso-enabled.log", exclusions=[*DEFAULT_EXCLUSIONS, "external-secrets"]) == []


SEEN = [
    (exclusion, level)
    for exclusion in (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)
    for level in ("Metadata", "Request")
    if level == "Request" or exclusion.component.if_unseen == "exclude"
]
"""Each at the levels at which it can be proven: level Metadata logs no body, which is the only proof of some."""


@pytest.mark.parametrize(("exclusion", "level"), SEEN, ids=[f"{one.id}-{level}" for one, level in SEEN])
def test_an_exclusion_silences_the_mint_and_its_uses(exclusion: Exclusion, level: str) -> None:
    """Every rule about it, whatever it asked for within its shape."""
    mint = example(exclusion)
    if level == "Metadata":
        del mint["requestObject"]
    mint["level"] = level
    name = f"system:serviceaccount:{mint['objectRef']['namespace']}:{mint['objectRef']['name']}"
    token = mint["annotations"]["authentication.kubernetes.io/issued-credential-id"]
    use = token_request("x", issued=None, auditID="use", requestURI="/api/v1/secrets", verb="list") | {
        "user": {"username": name, "extra": {"authentication.kubernetes.io/credential-id": [token]}},
        "objectRef": {"resource": "secrets", "apiVersion": "v1"},
        "sourceIPs": ["198.51.100.7"],
    }
    platform = next(iter(exclusion.component.platforms), None)
    assert list(detect([mint, use], exclusions=[exclusion], platform=platform)) == []
