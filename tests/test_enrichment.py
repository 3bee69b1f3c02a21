# SPDX-License-Identifier: Apache-2.0
"""enrichment: findings on accounts with an identity in a cloud are high and say what to rotate and where to look."""

from __future__ import annotations

from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import Finding, Severity, detect
from k8stokendetect.cluster import CloudKind, Cluster
from k8stokendetect.enrichment import enriched
from k8stokendetect.outputs.native import finding_of, to_line
from k8stokendetect.testing import use_of
from rbac_objects import given, listed, made, recorded, rule
from strategies import JWT

ROLE = "arn:aws:iam::111122223333:role/payments"
POD_IDENTITY = {
    "association": {
        "clusterName": "acme",
        "namespace": "prod",
        "serviceAccount": "payments-sa",
        "roleArn": ROLE,
        "associationId": "a-1",
        "associationArn": "arn:aws:eks:eu-west-1:111122223333:podidentityassociation/acme/a-1",
    }
}


def of(annotations: dict[str, str] | None = None, *more: Any) -> Cluster:
    """Load a cluster in which `prod/payments-sa` has these annotations."""
    account = made("ServiceAccount", "payments-sa", "prod", metadata={"annotations": annotations or {}})
    bot = {"kind": "ServiceAccount", "namespace": "prod", "name": "payments-sa"}
    return Cluster.load(listed(account, given("view", bot, rule("list", "pods"))), *more)


EKS = of({"eks.amazonaws.com/role-arn": ROLE})


def mint(cluster: Cluster | None, *, rules: tuple[str, ...] = ("token-request",), **fields: Any) -> list[Finding]:
    """Return what is found about a mint for the account."""
    return list(detect([token_request(**fields)], detectors=rules, cluster=cluster, keep_excluded=True))


@pytest.mark.parametrize(
    ("cluster", "identity", "wanted"),
    [
        (
            EKS,
            ROLE,
            f"userIdentity.userName system:serviceaccount:prod:payments-sa, requestParameters.roleArn {ROLE}",
        ),
        (of({}, POD_IDENTITY), ROLE, "eventName AssumeRole, userIdentity.invokedBy pods.eks.amazonaws.com"),
        (
            of({"azure.workload.identity/client-id": "6f1d2c3b", "azure.workload.identity/tenant-id": "77aa"}),
            "6f1d2c3b",
            "tenant 77aa, AADManagedIdentitySignInLogs and AADServicePrincipalSignInLogs, AppId 6f1d2c3b",
        ),
        (
            of({"iam.gke.io/gcp-service-account": "pay@acme.iam.gserviceaccount.com"}),
            "pay@acme.iam.gserviceaccount.com",
            "Cloud Audit Logs of project acme, methodName GenerateAccessToken of iamcredentials.googleapis.com",
        ),
    ],
    ids=["irsa", "pod-identity", "azure", "google"],
)
def test_a_mint_for_an_identity_in_a_cloud_is_high(cluster: Cluster, identity: str, wanted: str) -> None:
    """Medium without the snapshot; the evidence says where the identity stands, which it is, and where to look."""
    (before,) = mint(None)
    (after,) = mint(cluster)
    (new,) = (item for item in after.evidence if item not in before.evidence)

    assert (before.severity, after.severity) == (Severity.MEDIUM, Severity.HIGH)
    assert new.path.startswith("cluster: ")
    assert new.value == identity
    assert wanted in new.why
    assert "rotate" in new.why
    assert after.fingerprint == before.fingerprint


def test_every_cloud_identity_of_the_recorded_cluster_is_one_more_fact() -> None:
    """By its annotations, read here anew; no other account's finding changes but for the snapshot's own words."""
    cluster, _ = recorded()
    for account in cluster.accounts:
        (finding,) = mint(cluster, target=str(account))
        told = [item for item in finding.evidence if item.path.startswith("cluster: ")]
        wanted = [
            value
            for key, value in account.annotations.items()
            if key.endswith(("/role-arn", "/client-id", "/gcp-service-account"))
        ]
        assert [item.value for item in told] == wanted
        assert finding.severity is (Severity.HIGH if wanted else Severity.MEDIUM)


def test_every_rule_about_the_mint_and_about_the_uses_of_its_token() -> None:
    """Look-alikes, odd URIs, uses: what was lower is high, what was critical stays."""
    event = token_request("system:node:x", query="?watch=1")
    log = [event, use_of(event, "create", "pods"), use_of(event, "list", "secrets", namespace="kube-system")]
    plain = {finding.fingerprint: finding for finding in detect(log)}
    found = {finding.fingerprint: finding for finding in detect(log, cluster=EKS)}

    assert {"token-request", "token-request-uri", "token-request-lookalike", "minted-token-used"} <= {
        finding.rule.id for finding in found.values()
    }
    assert set(found) == set(plain)
    for fingerprint, finding in found.items():
        assert finding.severity is max(plain[fingerprint].severity, Severity.HIGH)
        assert [item.value for item in finding.evidence if item.path.startswith("cluster: ")] == [ROLE]
    assert Severity.CRITICAL in {finding.severity for finding in found.values()}


def test_what_is_no_issued_token_or_set_aside_stays_as_it_is() -> None:
    """A refused request, and a kubelet's own mint."""
    (refused,) = mint(EKS, rules=("token-request-denied",), code=403, issued=None)
    groups = ("system:nodes", "system:authenticated")
    (kubelet,) = mint(EKS, username="system:node:worker-1", groups=groups, userAgent="kubelet/v1.36.2 (linux/amd64)")

    assert refused.severity < Severity.HIGH
    assert kubelet.excluded_by == "kubelet"
    for finding in (refused, kubelet):
        assert not [item for item in finding.evidence if item.path.startswith("cluster: ")]


def test_an_account_that_the_snapshot_does_not_have() -> None:
    """The finding says that nothing is known, and keeps its severity."""
    (finding,) = mint(EKS, target="prod/newer")

    assert finding.severity is Severity.MEDIUM
    assert [caveat for caveat in finding.caveats if caveat.startswith("prod/newer is not in the snapshot")]
    assert not [caveat for caveat in mint(EKS)[0].caveats if "not in the snapshot" in caveat]


@pytest.mark.parametrize(
    ("audiences", "told"), [(("https://kubernetes.default.svc",), True), (("sts.amazonaws.com",), False), (None, False)]
)
def test_a_token_for_another_audience(audiences: tuple[str, ...] | None, *, told: bool) -> None:
    """The role's own audience stands in the snapshot; whoever mints one token may mint the other, so it stays high."""
    (finding,) = mint(EKS, level="Request", requestObject=body(audiences=audiences))

    assert finding.severity is Severity.HIGH
    assert any("the cloud accepts tokens for sts.amazonaws.com" in caveat for caveat in finding.caveats) is told


def test_it_is_done_once_and_also_to_a_finding_that_was_read_back() -> None:
    """The same finding, the same facts, not twice."""
    (finding,) = mint(EKS)
    (plain,) = mint(None)

    (unknown,) = mint(EKS, target="prod/newer")

    assert enriched(finding, EKS) == finding
    assert enriched(unknown, EKS) == unknown
    assert enriched(finding_of(to_line(plain)), EKS).evidence[-1] == finding.evidence[-1]


@pytest.mark.parametrize("key", ["eks.amazonaws.com/role-arn", "azure.workload.identity/client-id"])
def test_no_token_out_of_an_annotation(key: str) -> None:
    """A token pasted where a role belongs never leaves."""
    (finding,) = mint(of({key: f"x {JWT}"}))

    assert JWT.split(".")[2] not in to_line(finding)


def test_every_kind_of_identity_is_told_of() -> None:
    """The four of the table above are all that there are."""
    assert {kind.value for kind in CloudKind} == {
        "eks-role",
        "eks-pod-identity",
        "azure-workload-identity",
        "gke-service-account",
    }
