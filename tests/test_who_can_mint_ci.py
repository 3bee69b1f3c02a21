# SPDX-License-Identifier: Apache-2.0
"""who-can-mint in CI: its exit status, what changed since the last run, a namespace, a live cluster, nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from k8stokendetect.cli.app import who_can_mint as command
from k8stokendetect.cluster import Cluster, Status, who_can_mint
from k8stokendetect.outputs.minter_changes import MOST_LINES
from k8stokendetect.outputs.minters import MOST_NODES
from listing_server import SECRET, ListingServer, kubeconfig, refusal, serving
from rbac_objects import EVE, answers, given, listed, made, recorded, rule

MINT = rule("create", "serviceaccounts/token")
BOB = {"kind": "User", "name": "bob"}
CALICO = {"kind": "ServiceAccount", "name": "calico-node", "namespace": "kube-system"}
CLOUD = {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"}}
ACCOUNTS = [
    made("ServiceAccount", "web", "prod"),
    made("ServiceAccount", "db", "prod", metadata=CLOUD),
    made("ServiceAccount", "job", "dev"),
]


def run(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def saved(folder: Path, *objects: Any, name: str = "cluster.json") -> Path:
    """Write objects as a file."""
    path = folder / name
    path.write_text(json.dumps(listed(ACCOUNTS, *objects)), encoding="utf-8")
    return path


def pod(name: str, namespace: str, account: str, node: str) -> dict[str, Any]:
    """Make a pod on a node."""
    return made("Pod", name, namespace, spec={"serviceAccountName": account, "nodeName": node, "containers": []})


WHO = [
    ("direct", True),
    ("token-request", True),
    ("account", True),
    ("cloud", True),
    ("Cloud/Direct", True),
    ("escalation", False),
    ("indirect", False),
    ("create-pod", False),
    ("cluster-admin/direct", False),
]


@pytest.mark.parametrize(("named", "expected"), WHO)
def test_it_fails_on_what_is_named_and_on_nothing_else(tmp_path: Path, named: str, *, expected: bool) -> None:
    """A level or more, a kind of path, both; without --fail-on an answer is 0."""
    path = saved(tmp_path, given("r", EVE, MINT, namespace="prod"))

    assert run(path).exit_code == 0
    assert run(path, "--fail-on", named).exit_code == int(expected)
    assert run(path, "--fail-on", "cluster-admin", "--fail-on", named).exit_code == int(expected)


def test_the_level_of_a_kind_is_that_of_its_own_targets(tmp_path: Path) -> None:
    """Eve mints for a plain account, and only runs code in the pods of one with a cloud identity."""
    objects = [
        *given("mint", EVE, rule("create", "serviceaccounts/token", "", "web"), namespace="prod"),
        *given("exec", EVE, rule("create", "pods/exec"), namespace="prod"),
    ]
    path = saved(tmp_path, objects)

    assert run(path, "--fail-on", "cloud/direct").exit_code == 0
    assert run(path, "--fail-on", "cloud/run-in-pod").exit_code == 1
    assert run(path, "--fail-on", "account/direct").exit_code == 1


def test_what_is_by_design_is_quiet_in_ci(tmp_path: Path) -> None:
    """A component within its exclusion, nodes, and Kubernetes' own; beyond the exclusion it is named."""
    cni = rule("create", "serviceaccounts/token", "", "calico-cni-plugin")
    pods = [pod("p", "prod", "db", "n1")]
    by_design = saved(tmp_path, given("calico", CALICO, cni, namespace="kube-system"), pods)
    beyond = saved(tmp_path, given("calico", CALICO, MINT), name="beyond.json")
    besides = saved(
        tmp_path,
        given("calico", CALICO, cni, namespace="kube-system"),
        given("more", CALICO, rule("create", "pods")),
        name="besides.json",
    )

    assert run(by_design, "--fail-on", "direct", "--fail-on", "indirect").exit_code == 0
    assert run(beyond, "--fail-on", "direct").exit_code == 1
    assert run(besides, "--fail-on", "direct").exit_code == 0
    assert run(besides, "--fail-on", "create-pod").exit_code == 1


def test_without_service_accounts_the_value_is_not_nothing(tmp_path: Path) -> None:
    """Manifests in a repository bind cluster-admin and hold no accounts: CI must not be silent about that."""
    binding = made("ClusterRoleBinding", "b", roleRef={"kind": "ClusterRole", "name": "cluster-admin"}, subjects=[EVE])
    local = made("RoleBinding", "b", "prod", roleRef={"kind": "ClusterRole", "name": "edit"}, subjects=[EVE])
    for one, level in ((binding, "escalation"), (local, "account")):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(one), encoding="utf-8")
        (line,) = map(json.loads, run(path, "--format", "json").stdout.splitlines())

        assert (line["level"], line["reach"]["at_least"]) == (level, level)
        assert run(path, "--fail-on", level).exit_code == 1
        assert "service accounts that the snapshot does not have" in run(path).stdout


def changed(old: Path, new: Path, *more: object) -> tuple[int, list[str]]:
    """Return the exit status and the changes."""
    result = run("--diff", old, new, *more)
    return result.exit_code, result.stdout.splitlines()


def test_the_difference_of_two_runs(tmp_path: Path) -> None:
    """What became reachable, what ceased; OLD is what a run printed, or objects: both say the same."""
    before = saved(tmp_path, given("a", EVE, MINT, namespace="prod"), given("b", BOB, rule("create", "pods")))
    after = saved(
        tmp_path,
        given("a", EVE, rule("create", "serviceaccounts/token", "", "web"), namespace="prod"),
        given("c", BOB, MINT, namespace="dev"),
        name="after.json",
    )
    old = tmp_path / "old.json"
    old.write_text(run(before, "--format", "json").stdout, encoding="utf-8")
    expected = [
        "became reachable: 1; changed in value: 1; ceased: 2",
        "+ ACCOUNT  User bob: can now obtain tokens of every service account of dev (token-request)",
        "~ ACCOUNT  User eve: reaches account now, cloud before, by the same rights",
        "- CLOUD  User bob: can no longer obtain tokens of every service account (create-pod)",
        "- CLOUD  User eve: can no longer obtain tokens of every service account of prod (token-request)",
    ]

    assert changed(old, after) == (0, expected)
    assert changed(before, after) == (0, expected)
    assert changed(after, after)[1] == ["became reachable: 0; changed in value: 0; ceased: 0"]
    assert changed(old, after, "--fail-on", "direct")[0] == 1
    assert changed(old, after, "--fail-on", "cloud")[0] == 0
    assert changed(after, after, "--fail-on", "direct")[0] == 0
    lines = [json.loads(line) for line in changed(old, after, "--format", "json")[1]]
    assert [(one["change"], one["subject"]["name"], one["level"], one["level_before"]) for one in lines] == [
        ("gained", "bob", "account", "cloud"),
        ("level", "eve", "account", "cloud"),
        ("lost", "bob", "cloud", "cloud"),
        ("lost", "eve", "cloud", "cloud"),
    ]
    assert list(lines[0]) == ["change", "subject", "level", "level_before", "kind", "complete", "accounts"]
    assert lines[0]["accounts"] == [{"namespace": "dev", "name": None}]


def test_an_account_that_became_worth_more_is_a_change(tmp_path: Path) -> None:
    """Nobody's rights changed, but dev/job received a cloud identity."""
    rights = given("a", EVE, MINT, namespace="dev")
    before = saved(tmp_path, rights)
    after = tmp_path / "after.json"
    after.write_text(json.dumps(listed(made("ServiceAccount", "job", "dev", metadata=CLOUD), rights)), encoding="utf-8")

    status, lines = changed(before, after, "--fail-on", "cloud")
    assert (status, lines[1]) == (1, "~ CLOUD  User eve: reaches cloud now, account before, by the same rights")
    assert changed(after, before, "--fail-on", "account")[0] == 0


def test_pods_that_move_are_no_change(tmp_path: Path) -> None:
    """A node is in every run and in no difference."""
    before = saved(tmp_path, pod("p", "prod", "web", "n1"))
    after = saved(tmp_path, pod("p", "prod", "db", "n2"), name="after.json")

    assert changed(before, after, "--fail-on", "account") == (
        0,
        ["became reachable: 0; changed in value: 0; ceased: 0"],
    )


def test_an_earlier_run_that_is_broken_or_was_incomplete_is_told(tmp_path: Path) -> None:
    """A line that is none is an error; an empty file was a run in which nobody could mint."""
    path = saved(tmp_path, given("a", EVE, MINT, namespace="prod"))
    line = run(path, "--format", "json").stdout
    old = tmp_path / "old.json"
    for content, status, told in (
        (line + '{"subject": 1}\n', 2, "line 2 is not one of who-can-mint --format json"),
        (line.replace('"complete":true', '"complete":false'), 2, "that run was incomplete"),
        ("{", 2, "not YAML"),
        ("", 0, "service accounts: 3"),
    ):
        old.write_text(content, encoding="utf-8")
        result = run("--diff", old, path)
        assert (result.exit_code, told in result.stderr) == (status, True), result.stderr
    assert "became reachable: 1" in result.stdout


@pytest.mark.parametrize(
    "part", [{"metadata": {"continue": "abc"}}, {"items": [given("x", EVE)[1] | {"subjects": "eve"}]}, {"items": None}]
)
@pytest.mark.parametrize("old", [True, False])
def test_a_difference_is_incomplete_where_either_side_is(tmp_path: Path, part: dict[str, Any], *, old: bool) -> None:
    """Objects of then are no better than those of now: what they lack looks as if it became reachable."""
    whole, cut = listed(given("r", EVE, MINT)), tmp_path / "cut.json"
    cut.write_text(json.dumps([whole, listed() | part]), encoding="utf-8")
    path = saved(tmp_path, given("r", BOB, MINT))
    sides = (cut, path) if old else (path, cut)

    status, lines = changed(*sides)
    assert (status, lines[0].partition(":")[0]) == (2, "INCOMPLETE")
    status, lines = changed(*sides, "--format", "json")
    assert (status, {json.loads(line)["complete"] for line in lines}) == (2, {False})


def test_many_changes_are_counted(tmp_path: Path) -> None:
    """The text stays short; JSON has them all."""
    users = [one for number in range(MOST_LINES + 3) for one in given(f"r{number}", EVE | {"name": f"u{number}"}, MINT)]
    path, empty = saved(tmp_path, users), saved(tmp_path, name="empty.json")

    assert changed(empty, path)[1][-1] == "… and 3 more changes: see --format json"
    assert len(changed(empty, path, "--format", "json")[1]) == MOST_LINES + 3


def test_a_namespace_asks_about_its_accounts_alone(tmp_path: Path) -> None:
    """By rights there and everywhere; what reaches other namespaces is not printed and not counted."""
    objects = [
        *given("here", EVE, MINT, namespace="prod"),
        *given("there", EVE, rule("create", "pods"), namespace="dev"),
        *given("all", BOB, rule("get", "secrets")),
        *given("other", {"kind": "User", "name": "joe"}, MINT, namespace="dev"),
        *given("run", {"kind": "User", "name": "ann"}, rule("create", "pods/exec")),
        pod("p", "dev", "job", "n1"),
        pod("q", "prod", "web", "n2") | {"metadata": {"name": "q", "namespace": "prod", "uid": "u"}},
    ]
    path = saved(tmp_path, objects)
    lines = [json.loads(line) for line in run(path, "--namespace", "prod", "--format", "json").stdout.splitlines()]
    found = {one["subject"]["name"]: one for one in lines}

    assert set(found) == {"eve", "bob", "system:node:n2"}  # ann: no pod there mounts a token
    assert [way["namespace"] for way in found["eve"]["ways"]] == ["prod"]
    assert found["bob"]["reach"]["accounts"] == 2
    assert run(path, "--namespace", "dev", "--fail-on", "cloud").exit_code == 0


def test_nodes_are_told_with_what_their_kubelets_reach(tmp_path: Path) -> None:
    """The worst first, by design, with anything that the name was given besides as a finding."""
    pods = [pod(f"p{number}", "prod", "web", f"n{number}") for number in range(MOST_NODES + 1)]
    path = saved(tmp_path, pods, pod("x", "prod", "db", "n7"), pod("y", "dev", "job", "n7"))
    text = run(path).stdout.splitlines()
    (line,) = (
        one
        for one in map(json.loads, run(path, "--format", "json").stdout.splitlines())
        if one["subject"]["name"] == "system:node:n7"
    )
    named = given("r", {"kind": "User", "name": "system:node:n7"}, MINT)
    more = saved(tmp_path, pod("x", "prod", "db", "n7"), named, name="more.json")

    assert f"{MOST_NODES + 1} nodes, by design: a kubelet can mint tokens of the accounts of its pods" in "\n".join(
        text
    )
    assert next(one for one in text if one.startswith("  CLOUD  n7")).startswith("  CLOUD  n7: 3 service accounts")
    assert text[-1] == "  … and 1 more nodes: see --format json"
    assert (line["status"], [(way["kind"], way["namespace"], way["accounts"]) for way in line["ways"]]) == (
        "expected",
        [("kubelet", "dev", ["job"]), ("kubelet", "prod", ["db", "web"])],
    )
    assert run(path, "--fail-on", "direct").exit_code == 0
    assert run(more, "--fail-on", "direct").exit_code == 1


def test_the_kubelets_agree_with_the_recorded_node_authorizer() -> None:
    """Of the questions about one account's token: allowed without a reason just where a pod of it is on that node."""
    cluster, _ = recorded()
    nodes = {one.subject.name: one for one in who_can_mint(cluster) if one.is_kubelet}
    asked = [
        one
        for one in answers()
        if one["user"] in nodes
        and "system:nodes" in one["groups"]
        and (one["verb"], one["group"], one["resource"]) == ("create", "", "serviceaccounts/token")
        and one["namespace"]
        and one["name"]
        and not one["reason"].startswith("RBAC")
    ]

    assert (len(nodes), len(asked), sum(one["allowed"] for one in asked)) == (3, 12, 4)
    assert all(nodes[name].status is Status.EXPECTED for name in nodes)
    for one in asked:
        ways = [way for way in nodes[one["user"]].ways if way.kind == "kubelet"]
        reached = any(way.namespace == one["namespace"] and one["name"] in way.accounts for way in ways)
        assert reached is one["allowed"], one


def test_a_live_cluster_is_read_by_its_context(tmp_path: Path) -> None:
    """The same answer as from the file; a kind that may not be listed makes it incomplete, and the status 2."""
    objects = [*ACCOUNTS, *given("r", EVE, MINT, namespace="prod")]
    path = saved(tmp_path, objects[3:])
    refused = ListingServer(objects, lambda resource, *_: refusal(403, "no") if resource == "pods" else None)
    with serving(ListingServer(objects)) as address:
        config = kubeconfig(tmp_path, address)
        whole = run("--context", "prod", "--kubeconfig", config)
    with serving(refused) as address:
        config = kubeconfig(tmp_path, address)
        partly = run("--context", "prod", "--kubeconfig", config, "--format", "json", "--fail-on", "direct")
        text = run("--context", "prod", "--kubeconfig", config)

    assert (whole.exit_code, whole.stdout) == (0, run(path).stdout)
    assert partly.exit_code == 2
    assert json.loads(partly.stdout)["complete"] is False
    assert text.stdout.startswith("INCOMPLETE: context prod: pods cannot be listed: 403 no\n")
    assert "errors: 1; the answer is incomplete" in text.stderr
    assert SECRET not in whole.output + partly.output + text.output


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"metadata": {"continue": "abc", "remainingItemCount": 1500}}, "the server has 1,500 more objects"),
        ({"metadata": {"continue": "abc"}}, "the server has more objects"),
        ({"kind": "RoleList", "metadata": {"continue": "abc"}}, "the server has more objects"),
        (
            {"kind": None, "api_version": None, "metadata": {"_continue": "abc", "remaining_item_count": 2}},
            "has 2 more",
        ),
        ({"kind": None, "associations": [], "nextToken": "abc"}, "the server has more objects"),
        ({"items": None}, "expected a list @ $[1].items"),
    ],
)
def test_a_list_of_which_a_part_is_missing_is_an_incomplete_answer(
    tmp_path: Path, part: dict[str, Any], told: str
) -> None:
    """The first page of more, a client's dump of one, Pod Identity's; what is there is evaluated."""
    path = tmp_path / "cut.json"
    path.write_text(json.dumps([listed(given("r", EVE, MINT)), listed() | part]), encoding="utf-8")
    result = run(path, "--format", "json")

    assert (result.exit_code, json.loads(result.stdout)["complete"]) == (2, False)
    assert told in result.stderr
    assert "errors: 1; the answer is incomplete" in result.stderr


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (given("x", EVE)[1] | {"subjects": "eve"}, "subjects"),
        (given("x", EVE)[0] | {"rules": "x"}, "rules"),
        (given("x", EVE)[1] | {"roleRef": None}, "roleRef"),
        (given("x", EVE)[1] | {"apiVersion": "rbac.authorization.k8s.io/v1alpha1"}, "its apiVersion is not one of"),
        (given("x", EVE)[1] | {"kind": "ClusterRolebinding"}, "kind ClusterRolebinding is not supported"),
        (made("RoleBinding", "x", roleRef={"kind": "ClusterRole", "name": "r"}), "it has no namespace"),
        ("x", "expected a Kubernetes object"),
        (made("ServiceAccount", "x"), "it has no namespace"),
        (made("Pod", "x", "prod") | {"spec": "x"}, "spec"),
        ({"metadata": {"name": "x"}}, "it has no kind"),
    ],
)
def test_an_object_that_cannot_be_read_is_an_incomplete_answer(tmp_path: Path, broken: Any, told: str) -> None:
    """It may grant anything, or be worth anything; what is there is evaluated."""
    result = run(saved(tmp_path, given("r", EVE, MINT), broken), "--format", "json", "--fail-on", "direct")

    assert (result.exit_code, json.loads(result.stdout)["complete"]) == (2, False)
    assert told in result.stderr
    assert "errors: 1; the answer is incomplete" in result.stderr


def test_a_role_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    """A manifest leaves to others what installs its role; in a cluster that was read whole, it is a leftover."""
    objects = [*ACCOUNTS, made("ClusterRoleBinding", "b", roleRef={"kind": "ClusterRole", "name": "r"}, subjects=[EVE])]
    manifest = run(saved(tmp_path, objects[3:]))
    with serving(ListingServer(objects)) as address:
        live = run("--context", "prod", "--kubeconfig", kubeconfig(tmp_path, address))

    assert (manifest.exit_code, live.exit_code) == (0, 0)
    for result in (manifest, live):
        assert "its ClusterRole r does not exist" in result.stderr
        assert "INCOMPLETE" not in result.stdout


def test_a_list_that_is_whole_is_complete(tmp_path: Path) -> None:
    """As kubectl writes it: an empty `continue`, nothing remaining."""
    path = tmp_path / "whole.json"
    meta = {"metadata": {"continue": "", "remainingItemCount": 0, "resourceVersion": ""}}
    path.write_text(json.dumps(listed(given("r", EVE, MINT)) | meta), encoding="utf-8")

    assert run(path).exit_code == 0


def test_the_help_explains_its_terms() -> None:
    """Each kind of path that --fail-on takes, each level."""
    text = run("--help").stdout

    for term in (
        "mint",
        "directly",
        "indirectly",
        "by design",
        "CLUSTER-ADMIN",
        "ESCALATION",
        "CLOUD",
        "node-certificate",
    ):
        assert term in text


def test_dumps_of_the_client_are_read_from_a_file(tmp_path: Path) -> None:
    """A JSON array of to_dict() dumps, without a kind: by their fields."""
    dump = [
        {
            "api_version": None,
            "kind": None,
            "metadata": {"name": "r", "creation_timestamp": None, "labels": {"a_b": "c"}},
            "aggregation_rule": None,
            "rules": [{"api_groups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}],
        },
        {
            "api_version": None,
            "kind": None,
            "metadata": {"name": "b", "namespace": "prod"},
            "role_ref": {"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            "subjects": [{"api_group": None, "kind": "User", "name": "eve", "namespace": None}],
        },
    ]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(dump), encoding="utf-8")

    assert "User eve" in run(path, "--fail-on", "direct").stdout
    assert Cluster.load(path).roles[0].labels == {"a_b": "c"}
