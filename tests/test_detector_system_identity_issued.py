# SPDX-License-Identifier: Apache-2.0
"""system-identity-issued: for whom a signing request is approved, and by whom."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from k8stokendetect import Finding, Severity, detect, parse_event
from k8stokendetect.detectors.nodes_seen import DAY, MOST_NODES, NodesSeen
from k8stokendetect.detectors.signing_request import subject_of
from k8stokendetect.detectors.system_identity_issued import SystemIdentityIssued
from k8stokendetect.testing import START, request, token_request
from recordings import METADATA, METADATA_1_27

RULE = "system-identity-issued"
CASES = Path(__file__).parent / "data" / "trust"
K7 = CASES / "k7-csr.log"
M4 = CASES / "m4-rogue-node.log"
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


def node_mint(name: str, hours: float, **fields: Any) -> dict[str, Any]:
    """Return a mint by a node, so long after the first."""
    node = {"username": f"system:node:{name}", "groups": ["system:nodes", "system:authenticated"]}
    time = START + timedelta(hours=hours)
    return token_request(node, "kube-system/kube-proxy", time=time, userAgent="kubelet/v1.36.2 (linux/amd64)", **fields)


def warm(hours: float = 1.0, number: int = 20) -> list[dict[str, Any]]:
    """Return mints by two nodes, the last one so many hours after the first."""
    return [node_mint(f"worker-{n % 2}", hours * n / (number - 1)) for n in range(number)]


def rogue(*events: dict[str, Any]) -> list[Severity]:
    """Return the severities of what is found by default."""
    found = [finding for finding in detect(events) if finding.rule.id == RULE]
    assert all("a node never seen before" in finding.summary for finding in found)
    return [finding.severity for finding in found]


def test_a_new_node_in_a_log_that_has_seen_others_mint_for_an_hour_is_low() -> None:
    """Once, at its first mint, though the exclusion of kubelets covers it; as in the file of a real rogue node."""
    assert rogue(*warm(), node_mint("evil-1", 1.01), node_mint("evil-1", 1.02)) == [Severity.LOW]
    real = [json.loads(line) for line in M4.read_text(encoding="utf-8").splitlines()]
    times = [f"2026-11-27T{n // 60:02}:{n % 60:02}:00Z" for n in range(0, 105, 5)]
    earlier = [node_mint("worker-1", 0) | {"auditID": time, "requestReceivedTimestamp": time} for time in times]
    assert rogue(*earlier, *real) == [Severity.LOW]
    assert list(detect(M4)) == []


@pytest.mark.parametrize(
    "events",
    [
        [*warm(0.9), node_mint("new", 0.95)],
        [*warm(1, 19), node_mint("new", 1.1)],
        [*warm(), node_mint("worker-0", 700)],
        [*warm(), node_mint("new", 1.1, code=403)],
        [*warm(), node_mint("new", 1.1) | {"user": {"username": "system:node:new", "groups": ["devs"]}}],
        [*warm(), node_mint("new", 1.1) | {"requestReceivedTimestamp": None, "stageTimestamp": None}],
    ],
    ids=["too early", "too few", "long silent", "refused", "only named so", "no time"],
)
def test_that_is_no_new_node(events: list[dict[str, Any]]) -> None:
    """What else is wrong with it is for other rules to say."""
    assert [one for one in detect(events, detectors=[RULE]) if one.rule.id == RULE] == []


def test_where_new_nodes_keep_coming_they_are_informational() -> None:
    """Three within a week; a week without any makes the next one news again."""
    later = [node_mint(f"auto-{n}", 2 + n) for n in range(5)]
    low, info = Severity.LOW, Severity.INFORMATIONAL
    assert rogue(*warm(), *later, node_mint("auto-5", 200)) == [low, low, low, info, info, low]


def test_another_clusters_nodes_are_other_nodes() -> None:
    """Each cluster has a warm-up of its own."""
    detector, new = SystemIdentityIssued(), node_mint("evil-1", 1.1)
    parts = [("a", event) for event in warm()] + [("b", new), ("a", new)]
    found = [list(detector.take(attrs.evolve(parse_event(event), cluster=name), ())) for name, event in parts]
    assert [len(findings) for findings in found] == [0] * 21 + [1]


def test_what_is_known_of_nodes_is_bounded() -> None:
    """The node that was silent for longest is forgotten first, and most mints change nothing."""
    start = datetime.fromisoformat("2026-11-23T12:00:00Z")
    nodes = NodesSeen(start)
    for number in range(MOST_NODES + 1):
        nodes, _ = nodes.after(f"node-{number}", start)
        nodes, _ = nodes.after("node-0", start + DAY) if number == 1 else (nodes, False)
    assert len(nodes.names) == MOST_NODES
    assert "node-0" in nodes.names
    assert "node-1" not in nodes.names
    assert nodes.after("node-2", start)[0] is nodes


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_on_the_recordings(path: Path) -> None:
    """They are too short for a new node, and nobody got a certificate."""
    assert list(detect(path, detectors=[RULE])) == []
