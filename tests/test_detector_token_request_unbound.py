# SPDX-License-Identifier: Apache-2.0
"""token-request-unbound: workloads that mint for other accounts, or for their own without a binding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import body, token_request
from k8stokendetect import Finding, Severity, detect
from k8stokendetect.detectors.token_request_unbound import TokenRequestUnbound
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, labelled_token_requests, records

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
POD = {"kind": "Pod", "name": "web-1"}
CALICO = "kube-system:calico-node"


def account(name: str, **fields: Any) -> dict[str, Any]:
    """Return the user that a service account's token authenticates."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{name.partition(':')[0]}", "system:authenticated"]
    return {"username": f"system:serviceaccount:{name}", "groups": groups} | fields


def mint(name: str = "prod:web", target: str = "prod/web", **fields: Any) -> dict[str, Any]:
    """Return a mint by a service account."""
    return token_request(target=target, **{"user": account(name)} | fields)


def found(*source: dict[str, Any], exclusions: Any = DEFAULT_EXCLUSIONS) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), detectors=[TokenRequestUnbound()], exclusions=exclusions))


@LABELLED
def test_every_workload_that_minted_for_another_account(path: Path) -> None:
    """All of the recording but calico-node, which a default exclusion excuses; operators that are off are reported."""
    expected = [
        request
        for request, label in labelled_token_requests(path).items()
        if label["kind"] == "mint-ok"
        and label["user"].startswith("system:serviceaccount:")
        and label["user"].removeprefix("system:serviceaccount:").replace(":", "/") != label["target"]
        and not label["user"].endswith(CALICO)
    ]
    findings = found(*records(path))

    assert expected
    assert sorted(map(repr, expected)) == sorted(repr(Request.of(finding)) for finding in findings)
    assert {finding.severity for finding in findings} == {Severity.LOW}


@LABELLED
def test_operators_that_are_switched_on_are_excused(path: Path) -> None:
    """With the optional exclusions nothing benign is left."""
    requests = labelled_token_requests(path)
    findings = found(*records(path), exclusions=[*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS])

    assert findings
    assert all(requests[Request.of(finding)]["malicious"] for finding in findings)


@pytest.mark.parametrize(
    ("fields", "fires"),
    [
        ({"level": "Request", "requestObject": body()}, True),
        ({"level": "Request", "requestObject": body(bound={})}, True),
        ({"level": "Request", "requestObject": body(bound=POD)}, False),
        ({"level": "Request", "requestObject": body(bound={"kind": "Secret", "name": "s"})}, False),
        ({"level": "Metadata"}, False),
        ({"level": "Request"}, True),
        ({"level": "Request", "annotations": {"audit.k8s.io/truncated": "true"}}, True),
        ({"level": "Request", "requestObject": {"kind": "Other"}}, True),
    ],
    ids=repr,
)
def test_a_mint_for_itself_needs_a_binding(fields: dict[str, Any], *, fires: bool) -> None:
    """Metadata does not tell; a body that was cut away or is none is not taken for a binding."""
    assert fires is bool(found(mint(**fields)))


@pytest.mark.parametrize("target", ["prod/other", "dev/web"])
@pytest.mark.parametrize("fields", [{}, {"level": "Request", "requestObject": body(bound=POD)}], ids=repr)
def test_a_mint_for_another_account_is_reported_bound_or_not(target: str, fields: dict[str, Any]) -> None:
    """Another name or another namespace; only what is known is said."""
    (finding,) = found(mint(target=target, **fields))

    assert finding.summary.endswith(f"for {target}, another service account than its own")
    assert ("requestObject.spec.boundObjectRef" in [item.path for item in finding.evidence]) is bool(fields)
    assert any("binding are not known" in caveat for caveat in finding.caveats) is not bool(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"user": {"username": "alice", "groups": ["system:authenticated"]}},
        {"user": {"username": "system:serviceaccount:prod", "groups": []}},
        {"impersonatedUser": {"username": "bob"}},
        {"code": 403, "issued": None},
        {"stage": "RequestReceived", "responseStatus": None, "annotations": None},
        {"objectRef": {"resource": "serviceaccounts", "subresource": "token"}},
    ],
    ids=repr,
)
def test_nothing_but_a_workloads_own_mint(fields: dict[str, Any]) -> None:
    """No user, no malformed name, no impersonation, no refusal, no request before its answer, no unknown target."""
    assert found(mint(target="prod/other"))
    assert not found(mint(target="prod/other", **fields))


def test_a_known_minters_name_without_its_proofs_excuses_nothing() -> None:
    """calico-node in its pod is silent; with a token made by hand, or for another account, it is not."""
    in_pod = account(CALICO, extra={"authentication.kubernetes.io/pod-name": ["calico-node-x"]})

    assert not found(mint(user=in_pod, target="kube-system/calico-cni-plugin"))
    assert found(mint(CALICO, "kube-system/calico-cni-plugin"))
    assert found(mint(user=in_pod, target="kube-system/node-controller"))
    assert found(mint(user=in_pod, target="kube-system/calico-cni-plugin"), exclusions=())


def test_it_fires_where_bodies_are_logged() -> None:
    """In the excerpt at level RequestResponse."""
    assert found(*records(REQUEST_RESPONSE))
