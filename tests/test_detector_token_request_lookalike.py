# SPDX-License-Identifier: Apache-2.0
"""token-request-lookalike: names of system components without their proofs, and reserved names of nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from builders import body, token_request
from k8stokendetect import ConfigError, Finding, ReadError, Severity, detect, parse_event
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_request_lookalike import TokenRequestLookalike
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, Request, few, labelled_token_requests, records
from strategies import audit_events, damaged_events

LABELLED = pytest.mark.parametrize("path", [METADATA, METADATA_1_27], ids=["1.36", "1.27"])
ID = "authentication.kubernetes.io/credential-id"
POD = "authentication.kubernetes.io/pod-name"
REASON = "authorization.k8s.io/reason"
EVERYBODY = "system:authenticated"
KUBELET = "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"
CALICO = "system:serviceaccount:kube-system:calico-node"
CALICO_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", EVERYBODY)


def user(username: str, *groups: str, **fields: Any) -> dict[str, Any]:
    """Return a user of these groups and of system:authenticated."""
    return {"username": username, "groups": [*groups, EVERYBODY]} | fields


NODE = user("system:node:n1", "system:nodes")
MANAGER = user("system:kube-controller-manager")
CERTIFICATE = {"extra": {ID: ["X509SHA256=ab"]}}


def found(*source: dict[str, Any], platform: Any = None, **options: Any) -> list[Finding]:
    """Return what the detector reports."""
    return list(detect(list(source), platform=platform, detectors=[TokenRequestLookalike(**options)]))


@LABELLED
def test_every_look_alike_of_the_recording_is_reported_and_nothing_benign(path: Path) -> None:
    """Scenario 13's four, and a node's stolen certificate where it was used with curl."""
    expected = [
        request
        for request, label in labelled_token_requests(path).items()
        if label["kind"] == "mint-ok"
        and (
            label["scenario"].startswith("13")
            or (label["scenario"].startswith("08") and not label["event"]["userAgent"].startswith("kubelet/"))
        )
    ]
    findings = found(*records(path))

    assert sum(finding.event.user.startswith("system:node:") for finding in findings) == len(expected) - 3
    assert sorted(map(repr, expected)) == sorted(repr(Request.of(finding)) for finding in findings)
    assert {finding.severity for finding in findings} == {Severity.HIGH}


@pytest.mark.parametrize(
    "fields",
    [
        {"user": NODE, "userAgent": KUBELET},
        {"user": NODE | CERTIFICATE, "userAgent": KUBELET, "annotations": {REASON: ""}},
        {"user": MANAGER, "target": "kube-system/node-controller"},
        {"user": MANAGER | CERTIFICATE, "target": "kube-system/node-controller"},
        {"user": user(CALICO, *CALICO_GROUPS[:2], extra={POD: ["x"]}), "target": "kube-system/calico-cni-plugin"},
        {"user": user("aksService", "system:masters"), "target": "kube-system/node-controller"},
        {"user": user("alice", "devs")},
        {"user": user("kubernetes-admin", "system:masters")},
        {"user": user("system:serviceaccount:prod:web", "system:serviceaccounts", "system:serviceaccounts:prod")},
        {"user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]}},
        {"user": {}},
    ],
    ids=repr,
)
def test_the_real_ones_and_plain_people_are_no_look_alikes(fields: dict[str, Any]) -> None:
    """Every proof holds, or the name is nobody's."""
    assert not found(token_request(**fields))


@pytest.mark.parametrize(
    ("fields", "like", "path"),
    [
        ({"user": user("system:node:n1")}, "kubelet", "user.groups"),
        ({"user": NODE, "userAgent": "curl/8"}, "kubelet", "userAgent"),
        ({"user": NODE | {"extra": {ID: ["JTI=1"]}}}, "kubelet", f"user.extra['{ID}'][0]"),
        ({"user": NODE, "annotations": {REASON: "RBAC: allowed by x"}}, "kubelet", f"annotations['{REASON}']"),
        ({"user": user("system:node:n1", "system:nodes", "system:masters")}, "kubelet", "user.groups"),
        ({"user": MANAGER, "target": "prod/payments-sa"}, "kube-controller-manager", "objectRef.namespace"),
        ({"user": user(MANAGER["username"], "devs")}, "kube-controller-manager", "user.groups"),
        ({"user": MANAGER | {"uid": "u"}}, "kube-controller-manager", "user.uid"),
        ({"user": MANAGER | {"extra": {"arn": ["x"]}}}, "kube-controller-manager", "user.extra"),
        ({"user": MANAGER | {"extra": {ID: ["JTI=1"]}}}, "kube-controller-manager", f"user.extra['{ID}'][0]"),
        ({"user": user("aksService")}, "aks-service", "user.groups"),
        ({"user": user("eks:cloud-controller-manager", "devs")}, "eks-cloud-controller-manager", "user.groups"),
        ({"user": user(CALICO, *CALICO_GROUPS[:2], extra={"x": ["y"]})}, "calico-node", "user.extra"),
        ({"user": user(CALICO, extra={POD: ["x"]})}, "calico-node", "user.groups"),
    ],
    ids=repr,
)
def test_each_missing_proof_is_reported_with_where_it_stands(fields: dict[str, Any], like: str, path: str) -> None:
    """Take one from the real component: it says whom the caller resembles, and what shows that it is not that."""
    whole = {"userAgent": KUBELET, "target": "kube-system/calico-cni-plugin"} | fields
    record = token_request(**whole)
    (finding,) = found(record)

    assert f"named like {like}, but " in finding.summary
    assert finding.severity == Severity.HIGH
    (item,) = [item for item in finding.evidence if item.path == path]
    assert plain(item.value) == resolve(path, record)
    assert item.why in finding.summary


@pytest.mark.parametrize(
    "fields",
    [
        {"user": NODE, "requestObject": body(), "level": "Request"},
        {"user": NODE, "query": "?dryRun=All"},
        {"user": NODE, "impersonatedUser": {"username": "bob"}},
        {
            "user": MANAGER,
            "target": "kube-system/job-controller",
            "requestObject": body(seconds=86400),
            "level": "Request",
        },
    ],
    ids=repr,
)
def test_an_odd_request_of_a_proven_caller_is_no_look_alike(fields: dict[str, Any]) -> None:
    """Its body, its URI, and impersonation are other rules' business."""
    assert not found(token_request(**{"userAgent": KUBELET} | fields))


def test_one_exclusion_that_knows_the_caller_is_enough() -> None:
    """OpenShift's pull secrets controller has two: in prod the first proves it, though the second asks for default."""
    name = "system:serviceaccount:openshift-infra:serviceaccount-pull-secrets-controller"
    groups = ("system:serviceaccounts", "system:serviceaccounts:openshift-infra")

    for platform in ("openshift", None):
        assert not found(token_request(user=user(name, *groups)), platform=platform)
        assert found(token_request(user=user(name)), platform=platform)


@pytest.mark.parametrize(
    "username",
    [
        "eks:evil",
        "eks:addon-manager",
        "system:kube-controller-managerX",
        "system:kube-scheduler",
        "system:node:",
        "system:serviceaccount:kube-system",
        "system:serviceaccount:a:b:c",
    ],
)
def test_a_reserved_name_of_no_known_minter_is_reported(username: str) -> None:
    """With words of its own; for a member of system:masters it is medium, since k3s' admin is called system:admin."""
    (finding,) = found(token_request(user=user(username)))
    (admin,) = found(token_request(user=user(username, "system:masters")))

    assert finding.summary.endswith("named like a part of the system, but no component known to mint is called so")
    assert (finding.severity, admin.severity) == (Severity.HIGH, Severity.MEDIUM)


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"groups": [EVERYBODY]}, "user.groups"), ({"extra": {ID: ["X509SHA256=ab"]}}, f"user.extra['{ID}'][0]")],
    ids=repr,
)
def test_a_certificate_named_like_a_service_account(fields: dict[str, Any], path: str) -> None:
    """Only its tokens have its two groups, and they are no certificates."""
    record = token_request(
        user=user("system:serviceaccount:prod:web", "system:serviceaccounts", "system:serviceaccounts:prod") | fields
    )
    (finding,) = found(record)

    assert finding.severity == Severity.HIGH
    assert path in [item.path for item in finding.evidence]


@pytest.mark.parametrize(
    ("who", "fires"),
    [
        (user("system:node:n1"), True),
        (user("system:serviceaccount:prod:web"), True),
        (user("aksService"), True),
        (NODE, False),
        (MANAGER, False),
        (user("eks:evil"), False),
        (user("alice"), False),
        ({"username": "system:node:n1"}, False),
    ],
    ids=repr,
)
def test_a_refused_call_is_reported_only_where_the_groups_tell(who: dict[str, Any], *, fires: bool) -> None:
    """Medium: nothing was minted. A real kubelet is refused often."""
    findings = found(token_request(user=who, code=403, issued=None, userAgent="curl/8"))

    assert [finding.severity for finding in findings] == [Severity.MEDIUM] * fires


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": "RequestReceived", "responseStatus": None, "annotations": None},
        {"code": 404, "issued": None},
        {"verb": "get", "code": 403, "issued": None},
    ],
    ids=repr,
)
def test_nothing_where_nothing_is_minted_or_refused(fields: dict[str, Any]) -> None:
    """Not before the answer, not where there is no such account, not for another verb."""
    assert not found(token_request(user=user("system:node:n1"), **fields))


def test_groups_that_were_not_logged_make_it_medium() -> None:
    """It may be the real one: the caveat says so."""
    (finding,) = found(token_request(user={"username": "system:node:n1"}, userAgent=KUBELET))

    assert finding.severity == Severity.MEDIUM
    assert "the caller's groups are not known: they were not logged" in finding.caveats


@pytest.mark.parametrize(
    ("username", "target", "agent", "fires"),
    [
        ("system:node:n1", "prod/x", KUBELET, False),
        ("system:node:n1", "prod/x", "curl/8", True),
        ("system:kube-controller-manager", "kube-system/job-controller", "kube-controller-manager/v1", False),
        ("system:kube-controller-manager", "kube-system/job-controller", "curl/8", True),
        ("system:kube-controller-manager", "kube-system/tiller", "kube-controller-manager/v1", True),
        ("system:kube-controller-manager", "prod/x", "kube-controller-manager/v1", True),
        ("system:serviceaccount:prod:web", "prod/x", "", False),
    ],
)
def test_where_the_log_has_no_groups_their_absence_says_nothing(
    username: str, target: str, agent: str, *, fires: bool
) -> None:
    """GKE's entries carry neither groups nor extra; client, address and target still tell."""
    namespace, _, name = target.partition("/")
    entry = {
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
        "insertId": "1",
        "resource": {"type": "k8s_cluster", "labels": {"project_id": "p", "cluster_name": "c", "location": "l"}},
        "timestamp": "2026-11-23T21:43:45.581827Z",
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "k8s.io",
            "methodName": "io.k8s.core.v1.serviceaccounts.token.create",
            "resourceName": f"core/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            "authenticationInfo": {"principalEmail": username},
            "requestMetadata": {"callerIp": "10.0.0.7", "callerSuppliedUserAgent": agent},
            "status": {},
        },
    }

    assert fires is bool(found(entry))


def test_the_known_minters_are_an_argument() -> None:
    """RKE2's agents mint by design: its exclusion makes them known, with their proofs."""
    agent = token_request(user=user("system:rke2-controller"), target="calico-system/calico-node")
    stranger = token_request(user=user("system:rke2-controller", "devs"), target="calico-system/calico-node")
    known = [one.component for one in (*DEFAULT_EXCLUSIONS, *OPTIONAL_EXCLUSIONS)]

    assert found(agent)
    assert not found(agent, components=known)
    assert found(stranger, components=known)
    names: Any = ["kubelet"]
    with pytest.raises(ConfigError, match="token-request-lookalike: components takes Components"):
        TokenRequestLookalike(components=names)


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE], ids=lambda path: path.name)
def test_its_evidence_resolves(path: Path) -> None:
    """Each path leads to just that value in the event as logged; without known minters every component is odd."""
    for record in few(path, 5):
        for detector in (TokenRequestLookalike(), TokenRequestLookalike(components=())):
            for finding in detector.inspect(parse_event(record)):
                for item in finding.evidence:
                    assert plain(item.value) == resolve(item.path, record)


@given(record=audit_events | damaged_events())
def test_hostile_values_do_not_raise(record: dict[str, Any]) -> None:
    """Whatever an event holds, also where no minter is known; the evidence of whatever is said resolves."""
    try:
        event = parse_event(record)
    except ReadError:
        return
    for finding in TokenRequestLookalike(components=()).inspect(event):
        for item in finding.evidence:
            assert plain(item.value) == resolve(item.path, record)
