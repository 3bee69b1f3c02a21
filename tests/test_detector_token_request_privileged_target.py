# SPDX-License-Identifier: Apache-2.0
"""token-request-privileged-target: mints for accounts worth a cluster, but by those who mint for them by design."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from builders import token_request
from k8stokendetect import ConfigError, Finding, ReadError, Severity, detect, parse_event
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.powerful import POWERFUL, PowerfulAccount
from k8stokendetect.detectors.token_request_privileged_target import TokenRequestPrivilegedTarget
from k8stokendetect.detectors.token_request_uri import STANDARD_SERVICE_ACCOUNTS
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Provenance
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, labelled_token_requests, records
from strategies import audit_events, damaged_events

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
TARGET = "kube-system/clusterrole-aggregation-controller"
MANAGER = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}
SITE = PowerfulAccount(
    namespace="ops*", name="root", power="may do all", provenance=Provenance(source="us", checked=date(2026, 11, 25))
)


def found(*source: dict[str, Any], exclusions: Any = DEFAULT_EXCLUSIONS, **options: Any) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), detectors=[TokenRequestPrivilegedTarget(**options)], exclusions=exclusions))


@LABELLED
def test_every_attack_on_a_controller_is_reported_and_nothing_benign(path: Path) -> None:
    """The targets are those for which the recorded controller manager mints; its own mints are not reported."""
    requests = labelled_token_requests(path)
    controllers = {label["target"] for label in requests.values() if label["scenario"].startswith("02")}
    expected = [
        request
        for request, label in requests.items()
        if label["malicious"] and label["kind"] == "mint-ok" and label["target"] in controllers
    ]
    findings = found(*records(path))

    assert len(controllers) > 20
    assert expected
    assert sorted(map(repr, expected)) == sorted(repr(Request.of(finding)) for finding in findings)
    assert {finding.severity for finding in findings} == {Severity.HIGH}


def test_every_controller_of_kubernetes_is_known() -> None:
    """The same names that the URI rule takes for Kubernetes' own, but for `default`, which may do nothing."""
    known = {account.name for account in POWERFUL if account.namespace == "kube-system"}

    assert known == STANDARD_SERVICE_ACCOUNTS - {"default"}


@pytest.mark.parametrize(
    ("target", "fires"),
    [
        (TARGET, True),
        ("kube-system/ttl-controller", True),
        ("gitops/argocd-application-controller", True),
        ("flux-system/kustomize-controller", True),
        ("cattle-system/cattle", True),
        ("kube-system/tiller", True),
        ("prod/clusterrole-aggregation-controller", False),
        ("prod/kustomize-controller", False),
        ("kube-system/default", False),
        ("kube-system/some-addon", False),
        ("prod/payments-sa", False),
    ],
)
def test_which_targets(target: str, *, fires: bool) -> None:
    """Namespace and name both count."""
    assert fires is bool(found(token_request(target=target)))


@pytest.mark.parametrize(
    "fields",
    [
        {"code": 403, "issued": None},
        {"stage": "RequestReceived", "responseStatus": None, "annotations": None},
        {"verb": "get", "issued": None},
        {"objectRef": {"resource": "serviceaccounts", "subresource": "token"}},
    ],
    ids=repr,
)
def test_nothing_without_a_mint_or_a_target(fields: dict[str, Any]) -> None:
    """One condition each."""
    assert not found(token_request(target=TARGET, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"user": MANAGER | {"groups": ["devs", "system:authenticated"]}},
        {"user": MANAGER | {"uid": "u-1"}},
        {"user": MANAGER | {"extra": {"arn": ["x"]}}},
        {"user": MANAGER | {"groups": ["system:masters", "system:authenticated"]}},
        {"user": MANAGER, "impersonatedUser": {"username": "system:masters"}},
        {"user": {"username": "alice", "groups": ["system:authenticated"]}, "userAgent": "kube-controller-manager/v1"},
    ],
    ids=repr,
)
def test_the_controller_managers_name_alone_excuses_nothing(fields: dict[str, Any]) -> None:
    """The real one is silent; the same name without one of its proofs is not, nor its user agent."""
    assert not found(token_request(target=TARGET, user=MANAGER))
    assert found(token_request(target=TARGET, **fields))


def test_an_account_that_mints_for_itself_is_medium() -> None:
    """It gains no right that it has not; without the groups of its own tokens it is not itself."""
    user = {
        "username": "system:serviceaccount:cert-manager:cert-manager",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:cert-manager", "system:authenticated"],
    }
    (itself,) = found(token_request(target="cert-manager/cert-manager", user=user))
    (other,) = found(token_request(target="cert-manager/cert-manager", user=user | {"groups": []}))

    assert (itself.severity, other.severity) == (Severity.MEDIUM, Severity.HIGH)


def test_an_account_that_mints_for_itself_while_it_impersonates_is_high() -> None:
    """The right to mint is then somebody else's, whoever that is."""
    user = {
        "username": "system:serviceaccount:cert-manager:cert-manager",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:cert-manager", "system:authenticated"],
    }
    for assumed in ({"username": "system:admin"}, user):
        (finding,) = found(token_request(target="cert-manager/cert-manager", user=user, impersonatedUser=assumed))

        assert finding.severity == Severity.HIGH


def test_a_site_has_its_own_accounts_and_minters() -> None:
    """The accounts are an argument of the detector, the minters are exclusions."""
    flux = {
        "username": "system:serviceaccount:flux-system:kustomize-controller",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:flux-system", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["kustomize-controller-1"]},
    }
    mint = token_request(target="flux-system/helm-controller", user=flux)

    assert [bool(found(token_request(target=target), accounts=[SITE])) for target in ("ops-1/root", TARGET)] == [1, 0]
    assert found(mint)
    assert not found(mint, exclusions=OPTIONAL_EXCLUSIONS)
    assert found(token_request(target=TARGET, user=MANAGER), exclusions=())


def test_nonsense_is_refused() -> None:
    """When it is made."""
    names: Any = ["prod/x"]
    with pytest.raises(ConfigError, match="token-request-privileged-target: accounts takes"):
        TokenRequestPrivilegedTarget(accounts=names)
    with pytest.raises(ConfigError, match="powerful account: namespace is '', not a text"):
        PowerfulAccount(namespace="", name="x", power="y", provenance=SITE.provenance)


def test_it_says_what_the_account_may_do() -> None:
    """In the summary and at the evidence for its name."""
    (finding,) = found(token_request(target=TARGET))

    assert "may add any right to any cluster role" in finding.summary
    assert [item.value for item in finding.evidence if "cluster role" in item.why] == [TARGET.partition("/")[2]]


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE], ids=lambda path: path.name)
def test_its_evidence_resolves(path: Path) -> None:
    """Each path leads to just that value in the event as logged."""
    for record in records(path):
        for finding in TokenRequestPrivilegedTarget().inspect(parse_event(record)):
            for item in finding.evidence:
                assert plain(item.value) == resolve(item.path, record)


@given(record=audit_events | damaged_events())
def test_hostile_values_do_not_raise(record: dict[str, Any]) -> None:
    """Whatever an event holds, also where every account is powerful."""
    try:
        event = parse_event(record)
    except ReadError:
        return
    every = PowerfulAccount(namespace="*", name="*", power="may do all", provenance=SITE.provenance)
    for finding in TokenRequestPrivilegedTarget(accounts=[every]).inspect(event):
        for item in finding.evidence:
            assert plain(item.value) == resolve(item.path, record)
