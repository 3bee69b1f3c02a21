# SPDX-License-Identifier: Apache-2.0
"""docs/limits.md, "Ways around the mint": rows that claim a finding have one, and those that claim none have none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from builders import body, token_request
from k8stokendetect import Severity, detect
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.testing import request, service_account_user
from k8stokendetect.testing.builders import START

LIMITS = Path(__file__).parents[1] / "docs/limits.md"
TRUST = Path(__file__).parent / "data" / "trust"
NODE, KUBELET = "system:node:worker-1", "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"
HOME, THIEF = "10.0.0.7", "203.0.113.9"
REASON = "authorization.k8s.io/reason"
ISSUED = "authentication.kubernetes.io/issued-credential-id"
ID = "authentication.kubernetes.io/credential-id"
MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount/token"
CSRS: dict[str, Any] = {"namespace": None, "api_group": "certificates.k8s.io"}
MEDIUM, HIGH, CRITICAL, LOW = Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL, Severity.LOW


def at(minutes: float, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event so many minutes after the start."""
    time = (START + timedelta(minutes=minutes)).isoformat()
    return event | {"requestReceivedTimestamp": time, "stageTimestamp": time, "auditID": f"event {minutes}"}


def kubelet(minutes: float, target: str = "prod/web", *, ip: str = HOME, node: str = NODE, **fields: Any) -> Any:
    """Return a node's mint."""
    user = {"username": node, "groups": ["system:nodes", "system:authenticated"], "extra": {ID: [f"X509SHA256={node}"]}}
    notes = {REASON: "", ISSUED: f"JTI=n{minutes}"}
    given = {"user": user, "userAgent": KUBELET, "sourceIPs": [ip], "annotations": notes} | fields
    return at(minutes, token_request(target=target, **given))


def refused(minutes: float, number: int) -> Any:
    """Return a node's call for an account that has no pod on it."""
    notes = {REASON: "no relationship found between node 'worker-1' and this object"}
    fields: dict[str, Any] = {"code": 403, "issued": None, "annotations": notes}
    return kubelet(minutes, f"kube-system/sa-{number}", ip=THIEF, **fields)


def run(command: str) -> Any:
    """Return an exec into a pod."""
    uri = "/api/v1/namespaces/prod/pods/web-1/exec?" + urlencode([("command", word) for word in command.split(" ")])
    return at(5, request("get", "pods/exec", user="mallory", name="web-1", code=101, requestURI=uri))


def of_pod(minutes: float, ip: str, verb: str = "list", resource: str = "secrets") -> Any:
    """Return a request with a pod's token."""
    user = service_account_user("prod/web", "JTI=pod", pod="web-1")
    return at(minutes, request(verb, resource, user=user, ip=ip))


def by_name(minutes: float, extra: Any) -> Any:
    """Return a controller's mint by somebody with the controller manager's name."""
    user = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"], "extra": extra}
    return at(
        minutes,
        token_request(
            target="kube-system/job-controller", user=user, userAgent="kubectl/v1.36.2", issued=f"JTI=c{minutes}"
        ),
    )


USUAL = [kubelet(number) for number in range(21)]
CERTIFIED = {ID: ["X509SHA256=own"]}
MANAGER = "kube-controller-manager/v1.36.2"
CERTIFIED_MINTS = [by_name(number, CERTIFIED) | {"userAgent": MANAGER} for number in range(21)]
COVERED = [
    one
    for number in range(20)
    for one in (
        at(number, token_request(target="prod/ci", issued=f"JTI={number}")),
        at(number + 0.5, request(user=service_account_user("prod/ci", f"JTI={number}"))),
    )
]
AS_VICTIM = {"username": "system:serviceaccount:prod:payments-sa", "groups": ["system:serviceaccounts"]}
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {"serviceAccountName": "payments-sa"}}
WEB = {"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "u"}
LEGACY = {"authentication.k8s.io/legacy-token": "system:serviceaccount:prod:web"}
OF_SECRET = request(user=service_account_user("prod/web"), annotations=LEGACY)

ROWS: dict[str, tuple[list[Any], dict[str, Severity]]] = {
    "impersonation, and a mint": (
        [at(0, token_request("mallory", impersonatedUser=AS_VICTIM))],
        {"token-request-impersonated": HIGH},
    ),
    "impersonation, and no mint": ([at(0, request("list", "secrets", user="mallory", impersonatedUser=AS_VICTIM))], {}),
    "a pod that mounts the account": (
        [
            at(0, request("create", "pods", user="mallory", code=201, level="Request", requestObject=POD)),
            kubelet(1, "prod/payments-sa"),
            of_pod(2, HOME),
        ],
        {},
    ),
    "exec of a command that reads the token": ([run(f"cat {MOUNTED}")], {"token-read-by-exec": MEDIUM}),
    "exec of a shell": ([run("sh")], {}),
    "an ephemeral container": (
        [
            at(0, request("patch", "pods/ephemeralcontainers", user="mallory", name="web-1")),
            at(1, request("get", "pods/attach", user="mallory", name="web-1", code=101)),
        ],
        {},
    ),
    "nodes/proxy": (
        [
            at(
                0,
                request(
                    "create",
                    "nodes/proxy",
                    user="mallory",
                    namespace=None,
                    name="worker-1",
                    requestURI=f"/api/v1/nodes/worker-1/proxy/run/prod/web-1/app?cmd=cat%20{MOUNTED}",
                ),
            )
        ],
        {},
    ),
    "a projected token, or a CSI driver's, for another audience": (
        [kubelet(0, level="Request", requestObject=body(audiences=("sts.amazonaws.com",), bound=WEB))],
        {},
    ),
    "a node's certificate, at home, for its own pods": ([*USUAL, kubelet(30, "prod/other")], {}),
    "a node's certificate, elsewhere": ([*USUAL, kubelet(30, ip=THIEF)], {"unusual-origin": MEDIUM}),
    "a node's certificate, for the accounts of others": (
        [*USUAL, *(refused(30 + number / 100, number) for number in range(5))],
        {"token-request-denied": CRITICAL},
    ),
    "a node's certificate, with another client": (
        [kubelet(0, userAgent="curl/8.5")],
        {"token-request-lookalike": HIGH},
    ),
    "a node of one's own, by bootstrap": (
        [*(kubelet(3 * number) for number in range(21)), kubelet(70, node="system:node:rogue")],
        {"system-identity-issued": LOW},
    ),
    "a certificate that one approves for oneself": (
        [
            at(0, request("create", "certificatesigningrequests", user="mallory", name="x", code=201, **CSRS)),
            at(1, request("update", "certificatesigningrequests/approval", user="mallory", name="x", **CSRS)),
        ],
        {"system-identity-issued": LOW},
    ),
    "a component's name by OIDC or a static token": (
        [*CERTIFIED_MINTS, by_name(30, {})],
        {"token-request-lookalike": HIGH},
    ),
    "a component's name and extra by front-proxy": (
        [*CERTIFIED_MINTS, by_name(30, CERTIFIED) | {"userAgent": MANAGER}],
        {},
    ),
    "a service account's name by OIDC": (
        [*COVERED, at(60, request(user=service_account_user("prod/ci", "JTI=oidc")))],
        {"unknown-token-used": MEDIUM},
    ),
    "a Secret for a token, made": (
        [TRUST / "k2-secret-generateName.log"],
        {"legacy-token-secret": MEDIUM},
    ),
    "a Secret for a token, read": ([at(0, request("get", "secrets", user="mallory", name="old-token"))], {}),
    "a Secret's token, used": ([at(0, OF_SECRET)], {"legacy-token-secret": MEDIUM}),
    "a mint too large to be logged": (
        [*COVERED, at(60, request("list", "secrets", user=service_account_user("prod/ci", "JTI=dropped")))],
        {"unknown-token-used": HIGH},
    ),
    "the kubelet's own port": ([of_pod(0, HOME)], {}),
}
"""What each row does, by its name, and what comes of it above informational."""

ON_REQUEST: dict[str, tuple[list[Any], dict[str, Severity]]] = {
    "a pod's token, used elsewhere": (
        [of_pod(0, HOME), of_pod(1, THIEF), of_pod(2, HOME)],
        {"pod-token-moved": HIGH},
    ),
    "a token that a command read, used elsewhere": (
        [of_pod(0, HOME), run(f"cat {MOUNTED}"), of_pod(6, THIEF)],
        {"read-token-used": CRITICAL},
    ),
    "a token signed with the cluster's own key": (
        [
            at(0, request(user=service_account_user("kube-system/coredns", "JTI=1"))),
            at(1, request(user=service_account_user("prod/web"))),
        ],
        {"forged-token": CRITICAL},
    ),
}
"""The same of what `detect` does not run unless told."""


def found(source: list[Any], expected: dict[str, Severity], *, everything: bool = False) -> dict[str, Severity]:
    """Return the worst that each of the expected rules says, and all others that are more than low."""
    log = source[0] if isinstance(source[0], Path) else source
    detectors = [cls() for cls in (*BUILTIN, *(OPTIONAL if everything else ()))]
    worst: dict[str, Severity] = {}
    for finding in detect(log, detectors=detectors):
        if finding.event.user != "alice" and finding.severity > Severity.INFORMATIONAL:
            worst[finding.rule.id] = max(finding.severity, worst.get(finding.rule.id, finding.severity))
    return {rule: severity for rule, severity in worst.items() if rule in expected or not expected}


@pytest.mark.parametrize("row", ROWS)
def test_a_way_around_the_mint(row: str) -> None:
    """What gives a finding does, what gives none does not."""
    source, expected = ROWS[row]
    assert found(source, expected) == expected


@pytest.mark.parametrize("row", ON_REQUEST)
def test_a_way_around_the_mint_that_is_found_on_request(row: str) -> None:
    """With the detectors that look at every request of every service account."""
    source, expected = ON_REQUEST[row]
    assert found(source, expected, everything=True) == expected
    assert not found(source, expected)


def test_the_table_has_these_rows() -> None:
    """Each with the rule that it claims, and no other."""
    section = LIMITS.read_text(encoding="utf-8").partition("## Ways around the mint")[2].partition("\n## ")[0]
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1] for line in section.splitlines()[2:] if " | " in line
    }
    for name, (_, expected) in (ROWS | ON_REQUEST).items():
        assert name in rows, name
        assert bool(expected) == (not rows[name].startswith("none")), name
        for rule in expected:
            assert f"`{rule}`" in rows[name], name
    assert len(rows) == len(ROWS | ON_REQUEST) + 1, "and the head"
