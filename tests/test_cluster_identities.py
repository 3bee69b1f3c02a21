# SPDX-License-Identifier: Apache-2.0
"""cluster: the ways through another identity: impersonated users, groups, accounts and nodes; certificates of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from k8stokendetect.cluster import AttackPath, Cluster, RightKind, who_can_mint
from rbac_objects import EVE, GROUP, given, listed, made, rule

MINT = rule("create", "serviceaccounts/token")
AUTHN = "authentication.k8s.io"
CERTS = "certificates.k8s.io"
ADMISSION = "admissionregistration.k8s.io"


def user(name: str) -> dict[str, str]:
    """Name a user."""
    return {"kind": "User", "name": name}


def group(name: str) -> dict[str, str]:
    """Name a group."""
    return {"kind": "Group", "name": name}


def account(name: str, namespace: str) -> dict[str, str]:
    """Name a service account."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def pod(name: str, namespace: str, runs_as: str, node: str) -> dict[str, Any]:
    """Make a pod on a node."""
    return made("Pod", name, namespace, spec={"serviceAccountName": runs_as, "nodeName": node, "containers": []})


def opened(*rules: dict[str, Any], more: Any = (), namespace: str = "") -> list[AttackPath]:
    """Return eve's ways when she is given these rules."""
    return list(Cluster.load(listed(given("r", EVE, *rules, namespace=namespace), *more)).ways("eve", []))


def reach(*rules: dict[str, Any], more: Any = (), namespace: str = "") -> set[tuple[str, str, tuple[str, ...]]]:
    """Return kind, namespace and accounts of each."""
    found = opened(*rules, more=more, namespace=namespace)
    return {(str(way.kind), way.namespace, way.accounts) for way in found}


AS = rule("impersonate", "users", "", "jane")


@pytest.mark.parametrize(
    "theirs",
    [
        rule("create", "pods"),
        rule("patch", "deployments", "apps"),
        rule("get", "secrets"),
        rule("create", "pods/exec"),
        rule("impersonate", "serviceaccounts"),
    ],
    ids=str,
)
def test_whoever_may_be_impersonated_gives_each_of_his_ways(theirs: dict[str, Any]) -> None:
    """Not only the right to mint: creating a pod as jane is as good."""
    more = given("jane", user("jane"), theirs, namespace="prod")

    assert reach(AS, more=more) == {("impersonate-user", "prod", ())}
    assert reach(AS) == set()


def test_impersonation_is_followed_from_one_to_the_next_and_around() -> None:
    """Eve as jane as joe as jane; group ops on the way; each once, also where they lead back."""
    more = [
        *given("jane", user("jane"), rule("impersonate", "users", "", "joe")),
        *given(
            "joe",
            user("joe"),
            rule("impersonate", "users", "", "jane"),
            rule("impersonate", "groups", "", "ops", "jane"),
        ),
        *given("ops", group("ops"), rule("create", "pods"), namespace="prod"),
    ]
    (way,) = opened(AS, more=more)

    assert (str(way.kind), way.namespace) == ("impersonate-user", "prod")
    assert [grant.role.name for grant in way.grants] == ["r", "jane", "joe", "joe", "ops"]


def test_the_name_of_a_service_account_is_asked_about_as_an_account() -> None:
    """mode.go, authorizeUsername: `impersonate` on users does not let anybody be prod/api."""
    more = given("api", account("api", "prod"), MINT)

    assert reach(rule("impersonate", "users", "", "system:serviceaccount:prod:api"), more=more) == set()


def test_a_node_may_be_impersonated_with_its_group() -> None:
    """The Node authorizer looks at both; it allows what RBAC does not."""
    more = [pod("p", "prod", "api", "n1"), pod("q", "dev", "web", "n2")]
    users, nodes = rule("impersonate", "users", "", "system:node:n1"), rule("impersonate", "groups", "", "system:nodes")

    assert reach(users, nodes, more=more) == {("impersonate-node", "prod", ("api",))}
    assert reach(users, more=more) == set()
    assert reach(users, nodes) == {("impersonate-node", "", ())}


ON = "impersonate-on:serviceaccount"
ACT = rule("impersonate:serviceaccount", "serviceaccounts", AUTHN, "api")


@pytest.mark.parametrize(
    ("on", "theirs", "expected"),
    [
        (rule(f"{ON}:create", "pods"), rule("create", "pods"), True),
        (rule(f"{ON}:create", "pods"), rule("get", "pods"), False),
        (rule(f"{ON}:get", "pods"), rule("create", "pods"), False),
        (rule(f"{ON}:list", "secrets"), rule("list get", "secrets"), True),
        (rule(f"{ON}:patch", "deployments", "apps"), rule("*", "*", "*"), True),
        (rule(f"{ON}:create", "pods/exec"), rule("create", "pods/exec"), True),
        (rule(f"{ON}:*", "pods"), rule("create", "pods"), False),  # a verb has no wildcard within it
    ],
    ids=str,
)
def test_constrained_impersonation_gives_what_both_may(
    on: dict[str, Any], theirs: dict[str, Any], *, expected: bool
) -> None:
    """KEP-5284: the account's own right, and impersonate-on with its verb for who acts as it."""
    more = [
        made("ServiceAccount", "api", "prod"),
        *given("api", account("api", "prod"), theirs, namespace="prod"),
    ]
    rights = {("impersonate-service-account", "prod", ())} if expected else set()

    assert reach(ACT, on, more=more) == rights
    assert reach(on, more=more) == set()


def test_a_token_that_an_impersonated_account_may_create_is_reached() -> None:
    """The account mints for another one: for that one, and, in case of other authorizers, for itself."""
    more = [
        made("ServiceAccount", "api", "prod"),
        *given("api", account("api", "prod"), rule("create", "serviceaccounts/token", "", "db"), namespace="dev"),
    ]
    on = rule(f"{ON}:create", "serviceaccounts/token")

    assert reach(ACT, on, more=more) == {
        ("impersonate-service-account", "", ("api",)),
        ("impersonate-service-account", "dev", ("db",)),
    }


def test_a_user_is_impersonated_within_bounds() -> None:
    """Mode user-info: by name what that one may do, without names anything, of groups with a user only."""
    more = [
        *given("jane", user("jane"), rule("create", "pods"), namespace="prod"),
        *given("ops", group("ops"), rule("get", "secrets"), namespace="dev"),
    ]
    jane = rule("impersonate:user-info", "users", AUTHN, "jane")
    ops = rule("impersonate:user-info", "groups", AUTHN, "ops")
    pods = rule("impersonate-on:user-info:create", "pods")
    secrets = rule("impersonate-on:user-info:get", "secrets")

    assert reach(jane, pods, more=more) == {("impersonate-user", "prod", ())}
    assert reach(jane, secrets, more=more) == set()
    assert reach(jane, ops, secrets, more=more) == {("impersonate-user", "dev", ())}
    assert reach(ops, secrets, more=more) == set()
    assert reach(rule("impersonate:user-info", "users", AUTHN), pods) == {("impersonate-user", "", ())}


def test_nodes_are_impersonated_within_bounds() -> None:
    """Any node by name, or a service account the node that it runs on; both mint as that node does."""
    more = [pod("p", "prod", "api", "n1"), pod("q", "dev", "web", "n2"), pod("a", "ops", "agent", "n2")]
    anyone = rule("impersonate:arbitrary-node", "nodes", AUTHN, "n1")
    own = rule("impersonate:associated-node", "nodes", AUTHN)
    named = rule("impersonate:associated-node", "nodes", AUTHN, "n2")
    on = [
        rule(f"impersonate-on:{mode}:create", "serviceaccounts/token") for mode in ("arbitrary-node", "associated-node")
    ]
    agent = "system:serviceaccount:ops:agent"

    def of_agent(*rules: dict[str, Any]) -> set[tuple[str, tuple[str, ...]]]:
        cluster = Cluster.load(listed(given("r", account("agent", "ops"), *rules), *more))
        return {(way.namespace, way.accounts) for way in cluster.ways(agent, []) if way.kind == "impersonate-node"}

    assert reach(anyone, on[0], more=more) == {("impersonate-node", "prod", ("api",))}
    assert reach(anyone, on[1], more=more) == set()
    assert reach(own, on[1], more=more) == set()  # a user runs on no node
    assert of_agent(own, on[1]) == {("dev", ("web",)), ("ops", ("agent",))}
    assert of_agent(named, on[1]) == set()  # the API server asks about the name `*`


def test_a_certificate_of_a_node_takes_two_rights() -> None:
    """The controller manager approves it for who may create certificatesigningrequests/nodeclient."""
    create = rule("create", "certificatesigningrequests", CERTS)
    client = rule("create", "certificatesigningrequests/nodeclient", CERTS)

    assert reach(create, client) == {("node-certificate", "", ())}
    assert reach(create, rule("create", "certificatesigningrequests/selfnodeclient", CERTS)) == set()
    assert reach(client) == set()
    assert reach(create, client, namespace="prod") == set()


def test_a_bootstrap_token_is_as_good_where_bootstrappers_become_nodes() -> None:
    """Who may create Secrets in kube-system writes one in any group of system:bootstrappers."""
    nodes = given(
        "join",
        group("system:bootstrappers:kubeadm:default-node-token"),
        rule("create", "certificatesigningrequests", CERTS),
        rule("create", "certificatesigningrequests/nodeclient", CERTS),
    )
    secrets = rule("create", "secrets")

    assert reach(secrets, more=nodes, namespace="kube-system") == {("node-certificate", "", ())}
    assert reach(secrets, more=nodes) == {("node-certificate", "", ())}
    assert reach(secrets, more=nodes, namespace="prod") == set()
    assert reach(secrets, namespace="kube-system") == set()


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (rule("create", "mutatingadmissionpolicies", ADMISSION), None, "mutating-webhook"),
        (rule("patch", "mutatingadmissionpolicies", ADMISSION, "p"), None, "mutating-webhook"),
        (
            rule("create", "secrets"),
            rule("create", "validatingwebhookconfigurations", ADMISSION),
            "create-token-secret",
        ),
        (rule("create", "workflows", "argoproj.io"), None, "write-workload"),
        (rule("update", "prometheuses", "monitoring.coreos.com"), None, "write-workload"),
        (rule("create", "pipelineruns", "tekton.dev"), None, "write-workload"),
        (rule("create", "taskruns", "*"), None, "write-workload"),
    ],
    ids=str,
)
def test_policies_webhooks_and_custom_workloads_are_ways(
    first: dict[str, Any], second: dict[str, Any] | None, kind: str
) -> None:
    """What makes or changes pods in other words, and what is sent every Secret."""
    assert {one[0] for one in reach(first, *filter(None, [second]))} == {kind}


@pytest.mark.parametrize(
    "one",
    [
        rule("create", "validatingwebhookconfigurations", ADMISSION),
        rule("create", "validatingadmissionpolicies", ADMISSION),
        rule("create", "mutatingadmissionpolicybindings", ADMISSION),
        rule("create", "workflows", "example.com"),
        rule("impersonate:serviceaccount", "serviceaccounts", ""),
        rule("attest", "admissionReviewAPIGroups", AUTHN),
    ],
    ids=str,
)
def test_what_is_near_is_no_way(one: dict[str, Any]) -> None:
    """Half of a pair, another API group, the wrong one."""
    assert reach(one) == set()


def test_an_account_that_attests_is_told_with_those_who_mint_for_it() -> None:
    """KEP-6060 (1.37): a token of the account authenticates the API server to webhooks; the account needs the right."""
    attest = rule("attest", "admissionReviewAPIGroups", AUTHN, "apps")
    objects = [
        made("ServiceAccount", "webhook-auth", "kube-system"),
        made("ServiceAccount", "other", "kube-system"),
        *given("attest", account("webhook-auth", "kube-system"), attest),
        *given("mint", EVE, MINT, namespace="kube-system"),
    ]
    cluster = Cluster.load(listed(*objects))
    profile = cluster.service_account("kube-system/webhook-auth")
    minter = next(one for one in who_can_mint(cluster) if one.subject.name == "eve")
    in_one = Cluster.load(
        listed(objects[:2], given("r", account("webhook-auth", "kube-system"), attest, namespace="x"))
    )

    assert profile
    assert [right.kind for right in profile.rights] == [RightKind.ATTEST]
    assert (minter.reach.accounts, minter.reach.attesting) == (2, 1)
    assert not in_one.service_account("kube-system/webhook-auth").rights  # type: ignore[union-attr]  # it is there


def test_roles_that_may_be_bound_are_weighed_by_the_new_powers_too() -> None:
    """`bind` on a role that only impersonates a node leads somewhere."""
    role = made("ClusterRole", "nodes", rules=[rule("impersonate:arbitrary-node", "nodes", AUTHN)])
    rights = rule("bind", "clusterroles", GROUP, "nodes"), rule("create", "clusterrolebindings", GROUP)

    assert reach(*rights, more=[role]) == {("bind", "", ())}


def test_halves_of_a_pair_are_joined_through_the_groups_that_everybody_is_in() -> None:
    """Everybody may ask for a certificate, eve approves it: that is eve's way, and nobody else's."""
    everybody = {"kind": "Group", "name": "system:authenticated"}
    create = rule("create", "certificatesigningrequests", CERTS)
    approve = rule("update", "certificatesigningrequests/approval", CERTS)
    signer = rule("approve", "signers", CERTS, "kubernetes.io/kube-apiserver-client")
    ours = Cluster.load(listed(given("all", everybody, create), given("r", EVE, approve, signer)))
    secrets = given("all", everybody, rule("get", "secrets")), given("r", EVE, rule("create", "secrets"))
    halves = Cluster.load(
        listed(
            given("all", {"kind": "Group", "name": "system:serviceaccounts"}, create),
            given("r", account("api", "prod"), approve, signer),
            given("s", {"kind": "User", "name": "joe"}, approve, signer),
        )
    )

    def found(cluster: Cluster) -> dict[str, list[str]]:
        return {str(one): [str(way.kind) for way in cluster.ways_of(one)] for one in cluster.subjects}

    assert found(ours) == {"Group system:authenticated": [], "User eve": ["certificate"]}
    assert found(halves)["ServiceAccount prod/api"] == ["certificate"]
    assert found(halves)["User joe"] == []
    assert found(Cluster.load(listed(*secrets)))["User eve"] == []  # everybody reads them without eve
