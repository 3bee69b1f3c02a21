# SPDX-License-Identifier: Apache-2.0
"""Which accounts a component mints for, names that only look like its own, and what an exclusion hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import Finding, Severity, Tally, detect
from k8stokendetect.detectors.powerful import POWERFUL
from k8stokendetect.detectors.token_request_uri import STANDARD_SERVICE_ACCOUNTS
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, Exclusion, TokenShape, find_exclusion
from k8stokendetect.exclusions.controllers import IN_KUBE_SYSTEM
from k8stokendetect.exclusions.cost import also_hides
from k8stokendetect.exclusions.folding import fold, odd_characters
from k8stokendetect.exclusions.kubernetes import CONTROLLER_TOKEN
from k8stokendetect.exclusions.load import load_exclusions
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
        ("\u0405\u03a5S\u0422\u0415\u041c:N\u041eDE:worker-1", "kubelet"),
        ("system:\u3164kube-controller-manager", "kube-controller-manager"),
        ("sys\u0442em:\u043aube-controller-manager", "kube-controller-manager"),
        ("a\u039aSService", "aks-service"),
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


@pytest.mark.parametrize(
    "case", ["f2-canal.log", "f2b-canal-cni.log", "12-rke2-canal.log", "12-calico-3.25.log", "g5-gke-calico.json"]
)
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


EVERY = (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)


def with_a_use(mint: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a mint and a use of its token, elsewhere, that would be critical."""
    name = f"system:serviceaccount:{mint['objectRef']['namespace']}:{mint['objectRef']['name']}"
    token = mint["annotations"]["authentication.kubernetes.io/issued-credential-id"]
    use = token_request("x", issued=None, auditID="use", requestURI="/api/v1/secrets", verb="list") | {
        "user": {"username": name, "extra": {"authentication.kubernetes.io/credential-id": [token]}},
        "objectRef": {"resource": "secrets", "apiVersion": "v1"},
        "sourceIPs": ["198.51.100.7"],
    }
    return [mint, use]


def at_the_limit(exclusion: Exclusion) -> dict[str, Any]:
    """Return the mint that an exclusion's shape allows and that most rules would report."""
    mint, shape = example(exclusion), exclusion.component.token or TokenShape()
    spec = mint["requestObject"]["spec"]
    spec["expirationSeconds"] = 366 * 86400 if shape.longest is None else shape.longest
    if shape.audiences is None:
        spec["audiences"] = ["sts.amazonaws.com"]
    return mint


def at_metadata(mint: dict[str, Any]) -> dict[str, Any]:
    """Return a mint as level Metadata logs it."""
    return {key: value for key, value in mint.items() if key != "requestObject"} | {"level": "Metadata"}


def reported(events: list[dict[str, Any]], *exclusions: Exclusion) -> list[Finding]:
    """Return what is reported about events on the platform of an exclusion, with those alone."""
    platform = next(iter(exclusions[0].component.platforms), None)
    return list(detect(events, exclusions=exclusions, platform=platform))


@pytest.mark.parametrize("exclusion", EVERY, ids=lambda one: one.id)
def test_an_exclusion_silences_the_mint_and_its_uses(exclusion: Exclusion) -> None:
    """Every rule about it, whatever it asked for within its shape: for clouds, for long, bound to nothing."""
    assert reported(with_a_use(example(exclusion)), exclusion) == []
    assert reported(with_a_use(at_the_limit(exclusion)), exclusion) == []


@pytest.mark.parametrize("exclusion", EVERY, ids=lambda one: one.id)
def test_an_exclusion_is_silent_at_level_metadata_too(exclusion: Exclusion) -> None:
    """One waits for its second part, since its body is its only proof."""
    events = with_a_use(at_metadata(example(exclusion)))
    if exclusion.id == "openshift-pull-secrets":
        assert reported(events, exclusion)
        assert reported(events, exclusion, find_exclusion("openshift-pull-secrets-unseen")) == []
    else:
        assert reported(events, exclusion) == []


def test_without_its_exclusion_the_use_is_critical() -> None:
    """So the tests above can fail."""
    mint = example(find_exclusion("external-secrets"))
    assert max(one.severity for one in detect(with_a_use(mint), exclusions=())) == Severity.CRITICAL


OWN = """
[[exclusion]]
id = "acme-backup"
actor = { username = "system:serviceaccount:backup:acme", in_pod = true }
namespaces = ["*"]
if_unseen = "exclude"
because = "It logs in elsewhere."
hides = "Its pods."
provenance = [{ source = "https://wiki.example", checked = 2026-11-24 }]
"""


@pytest.mark.parametrize("change", [dict, at_metadata], ids=["Request", "Metadata"])
def test_an_exclusion_of_your_own_is_as_silent(change: Any, tmp_path: Path) -> None:
    """Its mint and the uses."""
    file = tmp_path / "own.toml"
    file.write_text(OWN, encoding="utf-8")
    (own,) = load_exclusions(file)
    assert reported(with_a_use(change(at_the_limit(own))), own) == []


def test_an_operator_that_is_not_switched_on_is_named() -> None:
    """With the name to switch on, and with that it is silent."""
    case = "20-secrets-store-aws-provider.log"
    (mint,) = [one for one in found(case) if one.rule.id == "token-request"]
    assert any("--enable aws-secrets-store" in caveat for caveat in mint.caveats)
    assert found(case, exclusions=[*DEFAULT_EXCLUSIONS, "aws-secrets-store"]) == []
    assert found("14-enabled-operator.log", exclusions=[*DEFAULT_EXCLUSIONS, "external-secrets"]) == []


def test_nobody_else_is_named() -> None:
    """A person, or the operator's account without its pod, has not its proofs."""
    mint = example(find_exclusion("external-secrets"))
    del mint["user"]["extra"]["authentication.kubernetes.io/pod-name"]
    for event in (mint, token_request("alice")):
        assert not any("--enable" in caveat for one in detect([event]) for caveat in one.caveats)


def test_what_an_exclusion_hides_is_said() -> None:
    """From its shape, in words; nothing where only some rules are off."""
    eso = find_exclusion("external-secrets")
    assert also_hides(eso).startswith(
        "tokens for clouds and every other audience, tokens of up to 86400 s, tokens bound"
    )
    assert also_hides(eso).endswith("and whatever such a token does afterwards.")
    assert "tokens for pods.eks.amazonaws.com, " in also_hides(find_exclusion("aws-secrets-store-pod-identity"))
    assert "lifetime" in also_hides(find_exclusion("kubelet"))
    assert "every shape" not in also_hides(find_exclusion("openshift-pull-secrets"))
    assert also_hides(attrs.evolve(eso, rules=("token-request",))) == ""


@pytest.mark.parametrize(
    ("target", "platform", "silent"),
    [
        ("openshift-infra/namespace-security-allocation-controller", "openshift", True),
        ("openshift-infra/privileged-namespaces-psa-label-syncer", "openshift", True),
        ("openshift-infra/namespace-security-allocation-controller", None, False),
        ("openshift-infra/node-bootstrapper", "openshift", False),
        ("kube-system/azure-cloud-provider", None, True),
        ("kube-system/aws-node", None, False),
    ],
)
def test_a_controller_manager_mints_for_what_runs_under_its_name(target: str, platform: Any, *, silent: bool) -> None:
    """On OpenShift also for cluster-policy-controller's accounts, up to 1.30 for its cloud provider's."""
    mint = token_request("system:kube-controller-manager", target, groups=("system:authenticated",))
    assert (list(detect([mint], platform=platform)) == []) is silent


def test_image_credential_providers_and_csi_drivers_ask_for_audiences_of_their_own() -> None:
    """Their kubelet is excluded whatever the audience, as long as the token is bound to a pod."""
    mint = example(find_exclusion("kubelet"))
    spec = mint["requestObject"]["spec"]
    mint["requestObject"]["metadata"] = {"uid": "u"}
    for audience in ("registry.example", "sts.amazonaws.com", "api://AzureADTokenExchange", "vault"):
        spec["audiences"] = [audience]
        assert list(detect([mint])) == []
    spec["boundObjectRef"] = None
    assert list(detect([mint]))


def test_one_list_serves_exclusions_uris_and_targets() -> None:
    """Of kube-system and of openshift-infra, on every platform."""
    powerful = {(one.namespace, one.name) for one in POWERFUL}
    for exclusion in DEFAULT_EXCLUSIONS:
        component = exclusion.component
        for namespace in {"kube-system", "openshift-infra"} & {*component.namespaces}:
            if component.token == CONTROLLER_TOKEN:
                assert powerful >= {(namespace, name) for name in component.names}, exclusion.id
    assert STANDARD_SERVICE_ACCOUNTS >= IN_KUBE_SYSTEM


def test_no_optional_exclusion_has_a_pattern_for_a_name() -> None:
    """`token-request` looks for exact names."""
    assert not [one.id for one in OPTIONAL_EXCLUSIONS if any("*" in name for name in one.component.actor.username)]
