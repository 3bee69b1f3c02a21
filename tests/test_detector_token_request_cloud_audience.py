# SPDX-License-Identifier: Apache-2.0
"""token-request-cloud-audience: clouds and secret stores are high, strangers medium, the API server is silent."""

from __future__ import annotations

from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import ConfigError, Finding, Severity, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_request_cloud_audience import TokenRequestCloudAudience
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records

API = "https://kubernetes.default.svc"
EKS = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
KUBELET: dict[str, Any] = {
    "user": {"username": "system:node:worker-1", "groups": ["system:nodes", "system:authenticated"]},
    "userAgent": "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519",
}


def found(*audiences: str, known: Any = (), **fields: Any) -> list[Finding]:
    """Return what the detector reports about a mint for these audiences."""
    record = token_request(level="Request", requestObject=body(audiences=audiences)) | fields
    return list(detect([record], detectors=[TokenRequestCloudAudience(api_audiences=known)]))


@pytest.mark.parametrize(
    "audience",
    [
        "sts.amazonaws.com",
        "STS.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com",
        "sts.cn-north-1.amazonaws.com.cn",
        "pods.eks.amazonaws.com",
        "api://AzureADTokenExchange",
        "api://azureadtokenexchange/",
        "api://AzureADTokenExchangeUSGov",
        "acme-prod.svc.id.goog",
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
        "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
        "sts.aliyuncs.com",
        "vault",
        "Vault",
        "vault://prod/issuer",
        "https://vault.example.com:8200",
    ],
)
def test_the_audience_of_a_cloud_or_secret_store_is_high(audience: str) -> None:
    """Also in another case, with a trailing slash, and beside the API server's own."""
    assert [finding.severity for finding in found(audience)] == [Severity.HIGH]
    assert [finding.severity for finding in found(API, audience)] == [Severity.HIGH]


@pytest.mark.parametrize(
    "audience",
    [
        "acme",
        "istio-ca",
        "evil-sts.amazonaws.com.example",
        "https://not-vault.example.com",
        "https://kubernetes.default.svc/",
        "API",
        EKS + "/x",
        "",
    ],
)
def test_an_unknown_audience_is_medium(audience: str) -> None:
    """The API server compares its own letter by letter: a slash more is no audience of its."""
    (finding,) = found(audience)

    assert finding.severity == Severity.MEDIUM
    assert finding.caveats == ("whose audience it is, is not known; it may be this API server's own",)


@pytest.mark.parametrize(
    "audience",
    [API, f"{API}.cluster.local", "kubernetes", "api", "k3s", EKS],
)
def test_the_api_servers_own_audience_is_silent(audience: str) -> None:
    """Kubernetes' defaults, the issuer of an EKS cluster, and what the constructor says."""
    assert not found(audience)
    assert not found()
    assert found("https://api.example")
    assert not found("https://api.example", known={"https://api.example"})


@pytest.mark.parametrize("known", ["https://api.example", [""], [1], None])
def test_nonsense_is_refused(known: Any) -> None:
    """A lone string would be read letter by letter."""
    with pytest.raises(ConfigError, match="api_audiences"):
        TokenRequestCloudAudience(api_audiences=known)


def test_a_proven_kubelet_is_silent_and_a_lookalike_is_not() -> None:
    """Pods get such tokens from their kubelet, bound to the pod."""
    bound = body(audiences=("sts.amazonaws.com",), bound={"kind": "Pod", "name": "web-1"})

    assert not found(requestObject=bound, **KUBELET)
    assert found("sts.amazonaws.com", **KUBELET)
    assert found(requestObject=bound, **(KUBELET | {"user": {"username": "system:node:worker-1"}}))
    assert found(requestObject=bound, **KUBELET, impersonatedUser={"username": "bob"})


@pytest.mark.parametrize(
    "fields",
    [
        {"responseStatus": {"code": 403}, "annotations": {}},
        {"stage": "RequestReceived", "annotations": {}, "responseStatus": {}},
        {"verb": "get", "annotations": {}},
        {"requestObject": None},
        {"requestObject": None, "responseObject": body(audiences=("https://api.example",))},
    ],
)
def test_nothing_is_said_without_a_mint_or_its_body(fields: dict[str, Any]) -> None:
    """In an answer the API server's own audience stands where none was asked for."""
    assert not found("sts.amazonaws.com", **fields)


def test_on_the_recordings() -> None:
    """The mint of alice for vault, not the kubelet's; at level Metadata no audience is logged."""
    asked = [
        record["user"]["username"]
        for record in records(REQUEST_RESPONSE)
        if "vault" in (record.get("requestObject", {}).get("spec", {}).get("audiences") or ())
    ]
    findings = list(detect(records(REQUEST_RESPONSE), detectors=[TokenRequestCloudAudience()]))

    assert sorted(asked) == ["alice", "system:node:worker-1"]
    assert [(f.event.user, f.event.target, f.severity) for f in findings] == [("alice", "prod/reporter", Severity.HIGH)]
    for path in (METADATA, METADATA_1_27):
        assert not list(detect(records(path), detectors=[TokenRequestCloudAudience()]))


def test_the_summary_names_who_accepts_it_and_the_evidence_resolves() -> None:
    """With the page that says so; a flood of audiences is cut."""
    record = token_request(level="Request", requestObject=body(audiences=("sts.amazonaws.com", "acme")))
    (finding,) = detect([record], detectors=[TokenRequestCloudAudience()])

    assert "sts.amazonaws.com (AWS (roles for service accounts)), acme accept" in finding.summary
    assert "docs.aws.amazon.com" in finding.evidence[-1].why
    assert all(plain(item.value) == resolve(item.path, record) for item in finding.evidence)
    assert "and 95 more" in found(*map(str, range(100)))[0].summary
