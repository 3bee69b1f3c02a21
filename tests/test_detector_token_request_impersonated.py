# SPDX-License-Identifier: Apache-2.0
"""token-request-impersonated: every mint under an assumed identity, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import Finding, Severity, detect
from k8stokendetect.detectors.token_request_impersonated import TokenRequestImpersonated
from recordings import METADATA, METADATA_1_27, Request, labelled_token_requests, records

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
MASTERS = {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}
BOB = {"username": "bob", "groups": ["devs", "system:authenticated"]}


def found(*source: dict[str, Any]) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), detectors=[TokenRequestImpersonated()]))


@LABELLED
def test_every_impersonated_mint_of_the_recording_is_reported_once(path: Path) -> None:
    """Scenario 07's issued tokens: the attacks high, the administrator's trial with --as=alice medium."""
    expected = {
        request: Severity.HIGH if label["malicious"] else Severity.MEDIUM
        for request, label in labelled_token_requests(path).items()
        if label["scenario"].startswith("07") and label["kind"] == "mint-ok"
    }
    findings = found(*records(path))

    assert {Request.of(finding): finding.severity for finding in findings} == expected
    assert len(findings) == len(expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"impersonatedUser": None},
        {"stage": "RequestReceived", "responseStatus": None, "annotations": None},
        {"code": 403, "issued": None},
        {"code": 404, "issued": None},
        {"verb": "get", "issued": None},
        {"objectRef": {"resource": "pods", "namespace": "prod", "name": "x"}, "issued": None},
    ],
    ids=repr,
)
def test_nothing_where_nobody_is_impersonated_or_nothing_is_minted(fields: dict[str, Any]) -> None:
    """One condition each; the decision `allow` is no success."""
    assert found(token_request(impersonatedUser=BOB))
    assert not found(token_request(**{"impersonatedUser": BOB} | fields))


@pytest.mark.parametrize(
    ("caller", "assumed", "severity"),
    [
        ({"username": "alice", "groups": ["system:authenticated"]}, BOB, Severity.HIGH),
        (MASTERS, BOB, Severity.MEDIUM),
        (MASTERS, {"username": "system:kube-controller-manager"}, Severity.HIGH),
        (MASTERS, {"username": "bob", "groups": ["system:nodes", "system:authenticated"]}, Severity.HIGH),
        (MASTERS, {"username": "system:serviceaccount:kube-system:x"}, Severity.HIGH),
    ],
    ids=repr,
)
def test_only_an_administrator_as_a_lesser_person_is_medium(
    caller: dict[str, Any], assumed: dict[str, Any], severity: Severity
) -> None:
    """Who has all rights gains none as somebody else, unless it is a component's name or group."""
    (finding,) = found(token_request(user=caller, impersonatedUser=assumed))

    assert finding.severity == severity


def test_an_assumed_group_of_masters_does_not_lower_the_severity() -> None:
    """The groups of the caller count, not those it chose."""
    assumed = {"username": "bob", "groups": ["system:masters"]}
    (finding,) = found(token_request(impersonatedUser=assumed))

    assert finding.severity == Severity.HIGH


def test_it_names_the_caller_and_the_assumed_identity() -> None:
    """The caller first; a name that a component has excuses nothing."""
    assumed = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}
    (finding,) = found(token_request(target="kube-system/node-controller", impersonatedUser=assumed))

    assert finding.summary.startswith(
        "alice, impersonating system:kube-controller-manager, minted a token for kube-system/node-controller from"
    )
    assert (finding.event.user, finding.event.impersonating) == ("alice", "system:kube-controller-manager")


def test_a_forged_credential_id_is_no_evidence() -> None:
    """Whatever stands in impersonatedUser.extra the caller wrote; the caveat says so."""
    forged = BOB | {"extra": {"authentication.kubernetes.io/credential-id": ["JTI=forged"]}}
    (finding,) = found(token_request(impersonatedUser=forged))

    assert "JTI=forged" not in repr(finding.evidence)
    assert finding.event.used_credential is None
    assert "impersonatedUser.extra proves nothing" in finding.caveats[-1]


def test_the_constraint_of_constrained_impersonation_is_evidence() -> None:
    """As 1.36 logs it."""
    constraint = {"impersonationConstraint": "impersonate:serviceaccount"}
    (finding,) = found(token_request(impersonatedUser=BOB, authenticationMetadata=constraint))

    assert "impersonate:serviceaccount" in [item.value for item in finding.evidence]
