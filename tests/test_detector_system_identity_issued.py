# SPDX-License-Identifier: Apache-2.0
"""system-identity-issued: for whom a signing request is approved, and by whom."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import Finding, Severity, detect
from k8stokendetect.detectors.signing_request import subject_of
from k8stokendetect.testing import request

RULE = "system-identity-issued"
K7 = Path(__file__).parent / "data" / "trust" / "k7-csr.log"
CLIENT = "kubernetes.io/kube-apiserver-client"
LATER = "2026-11-23T21:43:50Z"
CONTROLLER = "system:serviceaccount:kube-system:certificate-controller"
BY_OPENSSL = (
    "MIIBFDCBuwIBADBZMRcwFQYDVQQKDA5zeXN0ZW06bWFzdGVyczEVMBMGA1UECgwMc3lzdGVtOm5vZGVzMScwJQYDVQQDDB5zeXN0ZW06a3ViZS1j"
    "b250cm9sbGVyLW1hbmFnZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQBw5oNrHxMICKS+133/8xKI4fmuV22wA6Nvgr0DgNu1LfvjmAoDc4h"
    "UTDjCQK0nTM7764Q2GWVf1ysqllKiyF5oAAwCgYIKoZIzj0EAwIDSAAwRQIhAJIwVXPvZlciXU2LEgK+lq9fnJ3kgYJka5gEqs5zngeaAiBEIJ6o"
    "ZZMtErpaYSwVaP/Pwa1QTUOqqoVIIWDzt4vVpw=="
)
"""openssl req -new -subj "/O=system:masters/O=system:nodes/CN=system:kube-controller-manager"; no key was kept."""


def pem(content: str) -> str:
    """Return `spec.request` for the base64 of a signing request."""
    block = f"-----BEGIN CERTIFICATE REQUEST-----\n{content}\n-----END CERTIFICATE REQUEST-----\n"
    return base64.b64encode(block.encode()).decode()


def subject(name: str, group: str = "", kind: int = 0x0C) -> str:
    """Return `spec.request` with a common name and an organization, and nothing else."""
    texts = ((3, name.encode("utf-16-be" if kind == 0x1E else "utf-8")), (10, group.encode()))
    parts = [b"\x06\x03\x55\x04" + bytes([part, kind, len(text)]) + text for part, text in texts if text]
    return pem(base64.b64encode(b"".join(parts)).decode())


def asked(user: str = "mallory", *, name: str | None = "x", **fields: Any) -> dict[str, Any]:
    """Return the event of a signing request that was made."""
    options: dict[str, Any] = {"namespace": None, "name": name, "api_group": "certificates.k8s.io"}
    return request("create", "certificatesigningrequests", user=user, **(options | fields))


def approved(user: str = "mallory", *, verb: str = "update", **fields: Any) -> dict[str, Any]:
    """Return the event of its approval."""
    options: dict[str, Any] = {"namespace": None, "name": "x", "api_group": "certificates.k8s.io", "time": LATER}
    return request(verb, "certificatesigningrequests/approval", user=user, **(options | fields))


def body(
    text: str, user: str = "mallory", signer: str = CLIENT, groups: tuple[str, ...] = (), decision: str = "Approved"
) -> dict[str, Any]:
    """Return what level Request logs of an approval."""
    spec = {"request": text, "signerName": signer, "username": user, "groups": list(groups)}
    written = {"spec": spec, "status": {"conditions": [{"type": decision}]}}
    return {"level": "Request", "requestObject": written}


def found(*events: dict[str, Any]) -> list[Finding]:
    """Return what the rule reports."""
    return list(detect(events, detectors=[RULE]))


def test_a_self_approved_request_whose_subject_was_not_logged_is_low() -> None:
    """The file has the making, the approval and a read, which is ordinary."""
    (finding,) = [finding for finding in detect(K7) if finding.severity >= Severity.LOW]
    assert (finding.rule.id, finding.severity) == (RULE, Severity.LOW)
    assert "self-approved signing request, subject not logged: mallory" in finding.summary
    assert [one.user for one in finding.related] == ["mallory"]
    assert finding.caveats


def test_who_approves_what_another_made_is_not_reported_for_that() -> None:
    """Nor a request that was refused, or that the log does not have."""
    assert found(asked("bob"), approved()) == []
    assert found(approved()) == []
    assert found(asked(), approved(code=403)) == []
    assert found(asked(code=403), approved()) == []
    assert found(asked(name="y"), approved()) == []


def test_impersonation_does_not_make_it_two_people() -> None:
    """The caller counts, and so does whom it acts as."""
    other = {"username": "approver", "groups": ["system:authenticated"]}
    assert len(found(asked(), approved(impersonatedUser=other))) == 1
    assert len(found(asked("bob", impersonatedUser=other), approved("approver"))) == 1


def test_a_name_that_the_api_server_made_up_stands_in_its_answer() -> None:
    """As kubelets' do; without the answer nothing joins."""
    answer: dict[str, Any] = {"level": "RequestResponse", "responseObject": {"metadata": {"name": "x"}, "spec": {}}}
    assert len(found(asked(name=None, **answer), approved())) == 1
    assert found(asked(name=None), approved()) == []


@pytest.mark.parametrize(
    "text",
    [
        subject("system:kube-controller-manager"),
        subject("System:kube-scheduler"),
        subject("system:kube-scheduler", kind=0x13),
        subject("system:kube-scheduler", kind=0x1E),
        subject("bob", "system:masters"),
        pem(BY_OPENSSL),
    ],
)
@pytest.mark.parametrize("verb", ["update", "patch"])
def test_a_control_plane_identity_is_critical(text: str, verb: str) -> None:
    """Where the body was logged with the approval, or with the making of the request."""
    for events in ([approved("bob", verb=verb, **body(text))], [asked(**body(text)), approved("bob", verb=verb)]):
        (finding,) = found(*events)
        assert finding.severity == Severity.CRITICAL


@pytest.mark.parametrize(
    ("user", "groups", "severity"),
    [
        ("mallory", (), [Severity.HIGH]),
        ("system:node:other", ("system:nodes",), [Severity.HIGH]),
        ("system:node:worker-9", ("system:nodes",), []),
        ("system:bootstrap:abcdef", ("system:bootstrappers",), []),
    ],
)
def test_a_node_needs_a_bootstrap_or_its_own_certificate(
    user: str, groups: tuple[str, ...], severity: list[Severity]
) -> None:
    """Also when the controller approves: it asks for a right, not for the name."""
    text = subject("system:node:worker-9", "system:nodes")
    assert [one.severity for one in found(approved(CONTROLLER, **body(text, user, groups=groups)))] == severity


def test_what_gives_no_identity_is_not_reported() -> None:
    """Another signer, a refusal, an ordinary name."""
    text = subject("system:kube-scheduler")
    assert found(approved(**body(text, signer="kubernetes.io/kubelet-serving"))) == []
    assert found(approved(**body(text, decision="Denied"))) == []
    assert found(asked(**body(subject("bob"))), approved(**body(subject("bob")))) == []


def test_a_request_by_openssl_is_read() -> None:
    """Its common name and both organizations."""
    assert subject_of(pem(BY_OPENSSL)) == (("system:kube-controller-manager",), ("system:masters", "system:nodes"))


@pytest.mark.parametrize("text", [None, 7, "", "%%%", "bm8gUEVN", pem("%%%"), pem(BY_OPENSSL[:9])])
def test_a_damaged_request_has_no_subject(text: object) -> None:
    """It is then as if it had not been logged."""
    assert subject_of(text) == ((), ())
