# SPDX-License-Identifier: Apache-2.0
"""token-request-privileged-target with a snapshot of the cluster: what the target may really do, and why."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from builders import token_request
from k8stokendetect import ConfigError, Finding, Severity, detect, parse_event
from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors.escalation import EscalationPaths
from k8stokendetect.detectors.powerful import _CONTROLLERS, POWERFUL
from k8stokendetect.detectors.token_request_privileged_target import TokenRequestPrivilegedTarget
from k8stokendetect.exclusions.controllers import CONTROLLERS
from k8stokendetect.identity import ServiceAccount
from rbac_objects import GROUP, answers, given, listed, made, recorded, rule
from recordings import METADATA, Request, labelled_token_requests, records

BOT = {"kind": "ServiceAccount", "namespace": "ci", "name": "bot"}
ALL = rule("*", "*", "*")
MINT = rule("create", "serviceaccounts/token")
PODS = rule("create", "pods")
STRONG = {
    ("create", "serviceaccounts/token"),
    ("create", "pods"),
    ("create", "deployments"),
    ("get", "nodes/proxy"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("update", "mutatingwebhookconfigurations"),
}
WITHOUT_POWER = CONTROLLERS - frozenset(" ".join(_CONTROLLERS.values()).split())
"""Kubernetes' own controllers for which only a controller manager mints, and that is all."""


def account(name: str = "bot", namespace: str = "ci", **fields: Any) -> dict[str, Any]:
    """Make a service account."""
    return made("ServiceAccount", name, namespace, **fields)


def of(*items: Any) -> Cluster:
    """Load a cluster of these objects and two service accounts, of which `prod/api` may do nothing."""
    return Cluster.load(listed(account(), account("api", "prod"), *items))


def found(cluster: Cluster, target: str = "ci/bot", user: str = "alice", **fields: Any) -> list[Finding]:
    """Return what the detector reports about a mint."""
    event = token_request(user, target, **fields)
    return list(detect([event], detectors=[TokenRequestPrivilegedTarget()], cluster=cluster))


def power(cluster: Cluster | EscalationPaths, target: str = "ci/bot") -> str | None:
    """Return what a target's token is worth; None when the snapshot cannot tell."""
    namespace, _, name = target.partition("/")
    known = cluster if isinstance(cluster, EscalationPaths) else EscalationPaths(cluster)
    worth = known.of(ServiceAccount(namespace, name))
    return worth.power if worth else None


def test_the_snapshot_agrees_with_the_list_of_kubernetes_own_controllers() -> None:
    """Read from the bootstrap policy by hand: the same have power, but for one that lost it before 1.36."""
    cluster, _ = recorded()
    own = {one.name for one in POWERFUL if one.namespace == "kube-system"}
    there = {one.name for one in cluster.accounts if one.namespace == "kube-system" and one.name in own}
    known = EscalationPaths(cluster)
    powerful = {name for name in there if power(known, f"kube-system/{name}")}

    assert len(there) > 30
    assert powerful == there - WITHOUT_POWER - {"expand-controller"}


def test_whom_the_api_server_lets_do_such_things_everywhere_is_powerful() -> None:
    """By its own answers to what the lab's service accounts may do cluster-wide."""
    known = EscalationPaths(recorded()[0])
    strong = {
        one["user"]
        for one in answers()
        if one["allowed"]
        and not (one["namespace"] or one["name"])
        and (one["verb"], one["resource"]) in STRONG
        and "system:serviceaccounts" in one["groups"]
        and one["user"].count(":") == 3
        and "system:authenticated" not in one["reason"]
    }
    targets = {str(ServiceAccount.of_username(user)) for user in strong}

    assert len(targets) > 4
    assert all(power(known, target) for target in targets)


def test_who_may_mint_for_the_powerful_is_powerful() -> None:
    """No account that is called harmless is allowed by the API server to mint for one that is not, but as everybody."""
    known = EscalationPaths(recorded()[0])
    checked = 0
    for one in answers():
        caller = ServiceAccount.of_username(one["user"])
        if one["allowed"] and caller and one["resource"] == "serviceaccounts/token" and one["name"]:
            target = f"{one['namespace']}/{one['name']}"
            if power(known, str(caller)) == "" and "system:authenticated" not in one["reason"]:
                checked += 1
                assert not power(known, target), f"{caller} may mint for {target}"
    assert checked > 5


def test_the_recorded_attacks_on_controllers() -> None:
    """Of the recorded malicious mints for controllers those are left that gave somebody power; by name it was all.

    The recording is of another cluster of the same version: its controllers are the snapshot's.
    """
    cluster, _ = recorded()
    there = {str(one.ref) for one in cluster.accounts}
    attacks = [
        (request, label["target"])
        for request, label in labelled_token_requests(METADATA).items()
        if label["malicious"] and label["kind"] == "mint-ok" and label["target"].startswith("kube-system/")
    ]
    expected = {
        repr(request)
        for request, target in attacks
        if target in there and target.partition("/")[2] not in WITHOUT_POWER | {"default", "expand-controller"}
    }
    by_name = {
        repr(request)
        for request, target in attacks
        if target not in there and target.partition("/")[2] in {one.name for one in POWERFUL}
    }
    findings = detect(records(METADATA), detectors=["token-request-privileged-target"], cluster=cluster)
    reported = {
        repr(Request.of(finding))
        for finding in findings
        if (finding.event.target or "").startswith("kube-system/") and finding.severity is Severity.HIGH
    }

    assert expected
    assert reported == expected | by_name


def test_cluster_admin_under_another_name() -> None:
    """Whatever the role is called; binding and role are evidence, the caveat says where it is from."""
    (finding,) = found(of(given("helpers", BOT, ALL)))

    assert finding.severity is Severity.HIGH
    assert finding.summary.endswith("; it may do everything in the cluster")
    assert [(item.path, item.value) for item in finding.evidence if item.path.startswith("cluster: ")] == [
        ("cluster: ClusterRoleBinding helpers-", "ClusterRole helpers")
    ]
    assert [caveat for caveat in finding.caveats if "snapshot" in caveat]


def test_detect_gives_the_snapshot_to_every_detector() -> None:
    """By default, by rule id, and to instances."""
    cluster, event = of(given("helpers", BOT, ALL)), token_request(target="ci/bot")
    rule_id = TokenRequestPrivilegedTarget.rule.id

    for detectors in (None, [rule_id], [TokenRequestPrivilegedTarget()]):
        assert rule_id in {finding.rule.id for finding in detect([event], detectors=detectors, cluster=cluster)}


def test_a_powerful_name_without_power_is_not_reported() -> None:
    """The snapshot has it and knows it to be harmless; without the snapshot the name counts."""
    target = "gitops/argocd-application-controller"
    cluster = of(account("argocd-application-controller", "gitops"), given("view", BOT, rule("list", "pods")))

    assert not found(cluster, target)
    assert list(detect([token_request(target=target)], detectors=["token-request-privileged-target"]))


@pytest.mark.parametrize(
    "cluster",
    [of(given("view", BOT, rule("list", "pods"))), of(account("argocd-application-controller", "gitops"))],
    ids=["unknown", "no-bindings"],
)
def test_what_the_snapshot_cannot_tell_falls_back_to_the_name(cluster: Cluster) -> None:
    """An account that it does not have, and a snapshot without any binding; the finding says so."""
    (finding,) = found(cluster, "gitops/argocd-application-controller")

    assert "may do everything" in finding.summary
    assert [caveat for caveat in finding.caveats if caveat.startswith("the snapshot of the cluster does not have")]
    assert not found(cluster, "prod/api")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([MINT], "may create tokens of every service account"),
        ([rule("create", "pods")], "may create pods that run as every service account"),
        ([rule("list", "secrets")], "may read the Secrets of every namespace"),
        ([rule("get", "secrets")], "may read the Secrets of every namespace"),
        ([rule("create", "serviceaccounts/token", "", "calico")], ""),
        ([rule("get", "secrets", "", "one")], ""),
        ([rule("get list watch", "pods")], ""),
        ([rule("approve", "signers", "certificates.k8s.io", "kubernetes.io/kubelet-serving")], ""),
        (
            [rule("approve", "signers", "certificates.k8s.io", "kubernetes.io/kube-apiserver-client")],
            "may approve certificates of clients for anyone",
        ),
    ],
)
def test_what_is_worth_a_cluster(rules: list[dict[str, Any]], expected: str) -> None:
    """A right for every namespace and every name, or one that leads there; in one namespace it is not."""
    assert power(of(given("role", BOT, *rules))) == expected
    assert power(of(given("role", BOT, *rules, namespace="prod"))) == ""


def test_step_by_step() -> None:
    """A right over one namespace is worth a cluster when an account lives there that is; each step is evidence."""
    admin = {"kind": "ServiceAccount", "namespace": "prod", "name": "api"}
    cluster = of(given("deployers", BOT, rule("create", "pods"), namespace="prod"), given("admins", admin, ALL))
    (finding,) = found(cluster)

    assert finding.summary.endswith("may create pods that run as prod/api, which may do everything in the cluster")
    assert [item.path for item in finding.evidence if item.path.startswith("cluster: ")] == [
        "cluster: RoleBinding prod/deployers-prod",
        "cluster: ClusterRoleBinding admins-",
    ]


def test_a_step_needs_a_pod_or_a_secret_that_is_there() -> None:
    """Where pods were loaded one must run as the account; a Secret with its token must be listed."""
    admin = {"kind": "ServiceAccount", "namespace": "prod", "name": "root"}
    pod = made("Pod", "web-1", "prod", spec={"serviceAccountName": "api", "containers": []})
    may = [
        given("run", BOT, rule("create", "pods/exec"), rule("get", "secrets"), namespace="prod"),
        given("a", admin, ALL),
    ]

    assert power(of(account("root", "prod"), pod, *may)) == ""
    assert power(of(account("root", "prod"), *may)) != ""
    assert power(of(account("root", "prod", secrets=[{"name": "root-token"}]), pod, *may)) != ""


def test_what_everybody_may_do_makes_nobody_powerful() -> None:
    """Whoever mints can do that without the token; what every service account may do is the token's."""
    everybody = {"kind": "Group", "name": "system:authenticated"}
    accounts = {"kind": "Group", "name": "system:serviceaccounts"}

    assert power(of(given("open", everybody, ALL))) == ""
    assert power(of(given("open", accounts, ALL))) == "may do everything in the cluster"


def test_the_secrets_of_kube_system() -> None:
    """Where Kubernetes keeps its own, bootstrap tokens among them; not those of any other namespace."""
    assert power(of(given("s", BOT, rule("list", "secrets"), namespace="kube-system"))) == (
        "may read the Secrets of kube-system"
    )


def test_the_shortest_way_is_told() -> None:
    """Straight to `prod/root`, not by way of `prod/api`, which may mint for it as well."""
    api, root = ({"kind": "ServiceAccount", "namespace": "prod", "name": name} for name in ("api", "root"))
    may = [*given("to", BOT, MINT, namespace="prod"), *given("on", api, PODS, namespace="prod"), *given("r", root, ALL)]

    assert power(of(account("root", "prod"), may)) == (
        "may create tokens of prod/root, which may do everything in the cluster"
    )


def test_circles_end() -> None:
    """Two accounts that may mint for each other, and for nobody else."""
    api = {"kind": "ServiceAccount", "namespace": "prod", "name": "api"}
    assert power(of(given("there", BOT, MINT, namespace="prod"), given("back", api, MINT, namespace="ci"))) == ""


def test_who_mints_for_it_by_design_is_not_reported() -> None:
    """A kubelet for a pod of its own node: the same proofs as without a snapshot."""
    groups = ("system:nodes", "system:authenticated")
    cluster = of(given("helpers", BOT, ALL))
    kubelet = "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"

    assert not found(cluster, user="system:node:worker-1", groups=groups, userAgent=kubelet)
    assert found(cluster, user="system:node:worker-1", userAgent=kubelet)


def test_a_detector_with_a_cluster_travels() -> None:
    """To Spark's executors and other processes, before and after its first answer."""
    detector = TokenRequestPrivilegedTarget()
    detector.cluster = of(given("helpers", BOT, ALL))
    event = parse_event(token_request(target="ci/bot"))
    for _ in range(2):
        detector = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own
        assert [finding.rule.id for finding in detector.inspect(event)] == ["token-request-privileged-target"]


@pytest.mark.parametrize("cluster", ["objects.json", {"kind": "List"}, GROUP.encode()])
def test_what_is_no_cluster_is_refused(cluster: Any) -> None:
    """At once."""
    with pytest.raises(ConfigError, match=r"Cluster\.load"):
        detect([], cluster=cluster)
