# SPDX-License-Identifier: Apache-2.0
"""cluster: the ways to a service account's token, and what a service account is worth."""

from __future__ import annotations

from typing import Any

import pytest

from k8stokendetect import ConfigError
from k8stokendetect.cluster import CloudIdentity, CloudKind, Cluster, RightKind, Way, WayKind
from k8stokendetect.identity import ServiceAccount
from rbac_objects import EVE, GROUP, given, listed, made, recorded, rule

MINT = rule("create", "serviceaccounts/token")
API = ServiceAccount("prod", "api")
AUTHN = "authentication.k8s.io"
CERTS = "certificates.k8s.io"


def pod(name: str, namespace: str, account: str, *, token: bool = True, node: str = "n1") -> dict[str, Any]:
    """Make a pod as the API server stores it."""
    source = {"serviceAccountToken": {"path": "token"}}
    volumes = [{"name": "kube-api-access-x", "projected": {"sources": [source]}}] if token else None
    spec = {"serviceAccountName": account, "nodeName": node, "volumes": volumes, "containers": []}
    return made("Pod", name, namespace, metadata={"uid": f"u-{name}"}, spec=spec)


def opened(*rules: dict[str, Any], namespace: str = "", more: Any = ()) -> tuple[Way, ...]:
    """Return eve's ways when she is given these rules."""
    return Cluster.load(listed(given("r", EVE, *rules, namespace=namespace), *more)).ways("eve", [])


def reach(*rules: dict[str, Any], namespace: str = "", more: Any = ()) -> set[tuple[str, str, tuple[str, ...]]]:
    """Return kind, namespace and accounts of each way."""
    return {(str(way.kind), way.namespace, way.accounts) for way in opened(*rules, namespace=namespace, more=more)}


ALONE = [
    (MINT, "token-request"),
    (rule("impersonate", "serviceaccounts"), "impersonate-service-account"),
    (rule("create", "pods"), "create-pod"),
    *(
        (rule(verb, name, group), "write-workload")
        for verb in ("create", "update", "patch")
        for group, names in (
            ("apps", "deployments daemonsets statefulsets replicasets"),
            ("batch", "jobs cronjobs"),
            ("", "replicationcontrollers"),
        )
        for name in names.split()
    ),
    (rule("create", "pods/exec"), "run-in-pod"),
    (rule("get", "pods/exec"), "run-in-pod"),
    (rule("create", "pods/attach"), "run-in-pod"),
    (rule("patch", "pods/ephemeralcontainers"), "run-in-pod"),
    (rule("update", "pods"), "run-in-pod"),
    (rule("get", "secrets"), "read-token-secret"),
    (rule("list", "secrets"), "read-token-secret"),
    (rule("watch", "secrets"), "read-token-secret"),
]
EVERYWHERE = [
    (rule("get", "nodes/proxy"), "nodes-proxy"),
    (rule("create", "nodes/proxy"), "nodes-proxy"),
    (rule("impersonate", "users"), "impersonate-user"),
    (rule("patch", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"), "mutating-webhook"),
]


@pytest.mark.parametrize(("given_rule", "kind"), ALONE, ids=str)
def test_one_rule_opens_a_way_where_it_is_bound(given_rule: dict[str, Any], kind: str) -> None:
    """In a namespace through a RoleBinding, everywhere through a ClusterRoleBinding."""
    assert reach(given_rule, namespace="prod") == {(kind, "prod", ())}
    assert reach(given_rule) == {(kind, "", ())}


@pytest.mark.parametrize(("given_rule", "kind"), EVERYWHERE, ids=str)
def test_what_is_in_no_namespace_is_not_given_by_a_rolebinding(given_rule: dict[str, Any], kind: str) -> None:
    """Nodes, users and webhook configurations are cluster-scoped."""
    assert reach(given_rule) == {(kind, "", ())}
    assert reach(given_rule, namespace="prod") == set()


@pytest.mark.parametrize(
    "given_rule",
    [
        rule("get list watch", "serviceaccounts pods configmaps pods/log"),
        rule("create", "serviceaccounts"),
        rule("update patch", "serviceaccounts"),
        rule("create", "serviceaccounts/*"),
        rule("create", "serviceaccounts/token", AUTHN),
        rule("create", "pods", "", "named"),
        rule("create", "serviceaccounts/token", "", ""),
        rule("impersonate", "userextras/scopes uids", AUTHN),
        rule("impersonate", "groups"),
        rule("sign", "signers", CERTS),
        rule("create", "secrets"),
        rule("escalate", "clusterroles roles", GROUP),
        rule("bind", "clusterroles roles", GROUP),
        rule("create", "rolebindings clusterrolebindings roles clusterroles", GROUP),
        rule("create", "deployments", ""),
        rule("create get", "pods/portforward"),
    ],
    ids=str,
)
def test_what_gives_no_token_is_no_way(given_rule: dict[str, Any]) -> None:
    """Near misses, and halves of a pair: RBAC looks at neither extras nor uids; a create carries no name."""
    assert reach(given_rule) == set()


PAIRS = [
    (rule("create", "secrets"), rule("get", "secrets", "", "mine"), "create-token-secret"),
    (rule("escalate", "roles", GROUP), rule("patch", "roles", GROUP), "escalate"),
    (rule("bind", "clusterroles", GROUP), rule("create", "rolebindings", GROUP), "bind"),
    (rule("bind", "roles", GROUP), rule("update", "rolebindings", GROUP), "bind"),
    (
        rule("impersonate:serviceaccount", "serviceaccounts", AUTHN),
        rule("impersonate-on:serviceaccount:create", "serviceaccounts/token"),
        "impersonate-service-account",
    ),
]


@pytest.mark.parametrize(("first", "second", "kind"), PAIRS, ids=str)
def test_a_pair_opens_a_way_where_both_hold(first: dict[str, Any], second: dict[str, Any], kind: str) -> None:
    """One may hold everywhere and the other in a namespace; two namespaces give nothing, nor does one half."""
    one = given("one", EVE, first, namespace="prod")
    everywhere = [*one, *given("two", EVE, second)]
    apart = [*one, *given("two", EVE, second, namespace="dev")]
    (way,) = (way for way in Cluster.load(listed(everywhere)).ways("eve", []) if way.kind == kind)

    assert (way.namespace, way.direct) == ("prod", False)
    assert [grant.role.name for grant in way.grants] == ["one", "two"]
    assert kind not in {way.kind for way in Cluster.load(listed(apart)).ways("eve", [])}
    assert kind not in {way.kind for way in Cluster.load(listed(one)).ways("eve", [])}


def test_cluster_roles_are_bound_and_escalated_everywhere_with_cluster_wide_rights() -> None:
    """`bind` is asked in the namespace of the new binding (escalation_check.go, BindingAuthorized)."""
    bind, write = rule("bind", "clusterroles", GROUP), rule("create", "clusterrolebindings", GROUP)
    escalate = rule("escalate update", "clusterroles", GROUP)

    assert reach(bind, write) == {("bind", "", ())}
    assert reach(bind, write, namespace="prod") == set()
    assert reach(write, more=given("one", EVE, bind, namespace="prod")) == set()
    assert reach(escalate) == {("escalate", "", ())}
    assert reach(escalate, namespace="prod") == set()
    assert reach(rule("escalate", "roles", GROUP, "a"), rule("update", "roles", GROUP, "b"), namespace="prod") == set()


def test_a_role_that_may_be_bound_must_lead_somewhere() -> None:
    """`bind` on a role without any power, such as one that reads pods, is no way."""
    write = rule("create", "rolebindings", GROUP)
    roles = [made("ClusterRole", "minter", rules=[MINT]), made("ClusterRole", "viewer", rules=[rule("get", "pods")])]

    assert reach(rule("bind", "clusterroles", GROUP, "minter"), write, more=roles) == {("bind", "", ())}
    assert reach(rule("bind", "clusterroles", GROUP, "viewer"), write, more=roles) == set()
    assert reach(rule("bind", "roles", GROUP, "minter"), write, more=roles) == set()


def test_names_narrow_a_way_to_accounts() -> None:
    """Of the account itself; of a pod, a node or a Secret to the accounts that those lead to."""
    more = [
        pod("api-1", "prod", "api"),
        pod("web-1", "prod", "web", token=False),
        pod("api-1", "dev", "dev-api", node="n2"),
        made("ServiceAccount", "old", "prod", secrets=[{"name": "old-token"}]),
    ]

    assert reach(rule("create", "serviceaccounts/token", "", "api", ""), more=more) == {("token-request", "", ("api",))}
    assert reach(rule("create", "pods/exec", "", "api-1"), more=more) == {
        ("run-in-pod", "prod", ("api",)),
        ("run-in-pod", "dev", ("dev-api",)),
    }
    assert reach(rule("create", "pods/exec", "", "api-1", "web-1"), namespace="prod", more=more) == {
        ("run-in-pod", "prod", ("api",))
    }
    assert reach(rule("get", "nodes/proxy", "", "n2"), more=more) == {("nodes-proxy", "dev", ("dev-api",))}
    assert reach(rule("get", "secrets", "", "old-token"), more=more) == {("read-token-secret", "prod", ("old",))}
    assert reach(rule("get", "secrets", "", "database"), more=more) == set()


def test_a_way_through_a_pod_needs_one_with_a_token() -> None:
    """Where pods were loaded and an account is asked about; without pods nothing is known, and nothing left out."""
    execs = given("r", EVE, rule("create", "pods/exec"))
    without = Cluster.load(listed(execs))
    with_pods = Cluster.load(listed(execs, pod("api-1", "prod", "api"), pod("web-1", "prod", "web", token=False)))

    assert [way.kind for way in without.ways("eve", [], API)] == [WayKind.RUN_IN_POD]
    assert [way.kind for way in with_pods.ways("eve", [], "prod/api")] == [WayKind.RUN_IN_POD]
    assert with_pods.ways("eve", [], "prod/web") == with_pods.ways("eve", [], "prod/none") == ()


def test_who_may_be_impersonated_decides_what_it_gives() -> None:
    """A named user or group gives what that one may mint; groups are assumed beside a user or account only."""
    more = [
        *given("minter", {"kind": "User", "name": "robot"}, rule("create", "serviceaccounts/token", "", "api")),
        *given("group-minter", {"kind": "Group", "name": "ops"}, MINT, namespace="prod"),
    ]
    users = rule("impersonate", "users", "", "robot")

    assert reach(users, more=more) == {("impersonate-user", "", ("api",))}
    assert reach(rule("impersonate", "users", "", "nobody"), more=more) == set()
    assert reach(users, rule("impersonate", "groups", "", "ops"), more=more) == {
        ("impersonate-user", "", ("api",)),
        ("impersonate-group", "prod", ()),
    }
    assert reach(rule("impersonate", "groups", "", "ops"), more=more) == set()
    nobody = rule("impersonate", "users", "", "nobody")
    assert reach(nobody, rule("impersonate", "groups", "", "system:masters")) == {("impersonate-group", "", ())}


def test_a_certificate_takes_three_rights() -> None:
    """Create the request, approve it, approve for a signer whose certificates the API server takes for a client's."""
    create = rule("create", "certificatesigningrequests", CERTS)
    approve = rule("update", "certificatesigningrequests/approval", CERTS)
    signer = rule("approve", "signers", CERTS, "kubernetes.io/kube-apiserver-client")

    assert reach(create, approve, signer) == {("certificate", "", ())}
    assert reach(create, approve, rule("approve", "signers", CERTS, "kubernetes.io/*")) == {("certificate", "", ())}
    assert reach(create, approve, rule("approve", "signers", CERTS, "kubernetes.io/kubelet-serving")) == set()
    for two in ((create, approve), (create, signer), (approve, signer)):
        assert reach(*two) == set()


def test_a_way_says_what_opens_it() -> None:
    """Binding, role and rule; direct or not; members of system:masters need none."""
    (way,) = opened(rule("get create", "serviceaccounts/token"), namespace="prod")

    assert way.direct
    assert way.binding
    assert way.role
    assert way.rule
    assert (str(way.binding), str(way.role), way.rule.verbs) == (
        "RoleBinding prod/r-prod",
        "ClusterRole r",
        ("get", "create"),
    )
    assert way.reaches(API)
    assert not way.reaches(ServiceAccount("dev", "api"))
    (masters,) = Cluster().ways("x", ["system:masters"], API)
    assert (masters.kind, masters.direct, masters.binding, masters.role, masters.rule) == (
        WayKind.MASTERS,
        True,
        None,
        None,
        None,
    )
    everything = [way.kind for way in opened(rule("*", "*", "*"))]
    assert sorted(everything) == sorted(set(WayKind) - {WayKind.MASTERS, WayKind.KUBELET})  # each once


def test_the_ways_of_a_subject_are_those_of_its_own_bindings() -> None:
    """What an account has through a group is the group's."""
    cluster = Cluster.load(
        listed(
            given("a", {"kind": "ServiceAccount", "name": "api", "namespace": "prod"}, rule("create", "pods")),
            given("b", {"kind": "Group", "name": "system:serviceaccounts:prod"}, MINT, namespace="prod"),
        )
    )

    assert [[way.kind for way in cluster.ways_of(one)] for one in cluster.subjects] == [
        [WayKind.CREATE_POD],
        [WayKind.TOKEN_REQUEST],
    ]


def test_the_worth_of_recorded_accounts() -> None:
    """The recording's own objects: annotations, pods and the rights that its answers prove."""
    cluster, _ = recorded()
    api, deployer = cluster.service_account("prod/api"), cluster.service_account("ci/deployer")
    controller = cluster.service_account("kube-system/clusterrole-aggregation-controller")

    assert api
    assert deployer
    assert controller
    role = "arn:aws:iam::111122223333:role/prod-api"
    assert api.cloud == (
        CloudIdentity(CloudKind.EKS_ROLE, role, "111122223333", "sts.amazonaws.com", "eks.amazonaws.com/role-arn"),
    )
    assert [str(one) for one in api.pods] == ["prod/api-1", "prod/api-2"]
    assert api.pods[0].audiences == ("sts.amazonaws.com", "")
    assert {right.grant.binding.name for right in deployer.of(RightKind.EXEC)} == {"edit-global"}
    assert not deployer.is_cluster_admin
    assert {right.kind for right in controller.escalation_paths} == {RightKind.ESCALATE}
    assert cluster.service_account("prod/ghost") is None


def test_an_admin_by_any_name_is_one() -> None:
    """Every verb on every resource everywhere; in one namespace it is none."""
    account = {"kind": "ServiceAccount", "name": "api", "namespace": "prod"}
    everything = rule("*", "*", "*")
    for namespace, expected in (("", True), ("dev", False)):
        cluster = Cluster.load(
            listed(made("ServiceAccount", "api", "prod"), given("harmless", account, everything, namespace=namespace))
        )
        worth = cluster.service_account(API)

        assert worth
        assert worth.is_cluster_admin is expected
        assert {right.namespace for right in worth.of(RightKind.READ_SECRETS)} == {namespace}
        assert len(worth.of(RightKind.READ_SECRETS, RightKind.EXEC, RightKind.CREATE_PODS, RightKind.ESCALATE)) == 4
        assert {right.kind for right in worth.rights} >= {RightKind.ADMIN, RightKind.MINT, RightKind.EXEC}


def test_rights_through_the_groups_that_the_api_server_implies_count() -> None:
    """A token of the account is a member of three groups."""
    for group in ("system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated"):
        subject = {"kind": "Group", "name": group}
        cluster = Cluster.load(listed(made("ServiceAccount", "api", "prod"), given("r", subject, MINT)))
        worth = cluster.service_account("prod/api")

        assert worth
        assert [(right.kind, right.grant.subject.name) for right in worth.rights] == [(RightKind.MINT, group)]


def test_cloud_identities_and_their_owners() -> None:
    """Annotations and associations, with what a token must be for."""
    notes = {
        "eks.amazonaws.com/role-arn": "arn:aws-cn:iam::111122223333:role/path/x",
        "eks.amazonaws.com/audience": "my-audience",
        "azure.workload.identity/client-id": "c",
        "azure.workload.identity/tenant-id": "t",
        "iam.gke.io/gcp-service-account": "x@acme-prod.iam.gserviceaccount.com",
    }
    account = made("ServiceAccount", "api", "prod", metadata={"annotations": notes})
    association = {"namespace": "prod", "serviceAccount": "api", "associationId": "a-1"}
    other = {"namespace": "dev", "serviceAccount": "api", "associationId": "a-2"}
    worth = Cluster.load(account, {"associations": [association, other]}).service_account("prod/api")

    assert worth
    assert [(str(one.kind), one.identity, one.owner, one.audience) for one in worth.cloud] == [
        ("eks-role", "arn:aws-cn:iam::111122223333:role/path/x", "111122223333", "my-audience"),
        ("eks-pod-identity", "", "", "pods.eks.amazonaws.com"),
        ("azure-workload-identity", "c", "t", "api://AzureADTokenExchange"),
        ("gke-service-account", "x@acme-prod.iam.gserviceaccount.com", "acme-prod", ""),
    ]


@pytest.mark.parametrize("name", ["api", "", "/api", "prod/", "a/b/c", "system:serviceaccount:prod:api", None])
def test_an_account_is_named_by_namespace_and_name(name: Any) -> None:
    """Anything else is refused, so that no typing error reads as `does not exist`."""
    with pytest.raises(ConfigError):
        Cluster().service_account(name)
