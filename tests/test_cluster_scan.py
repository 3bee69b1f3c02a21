# SPDX-License-Identifier: Apache-2.0
"""`scan --cluster` and incidents with a snapshot: the bindings behind the mints, what takes them away, the clouds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders import token_request
from k8stokendetect import ConfigError, detect
from k8stokendetect.cli import main
from k8stokendetect.cli.screen import NO_TERMINAL
from k8stokendetect.cli.shared import SHOWN_ERRORS
from k8stokendetect.cluster import Cluster
from k8stokendetect.identity import REASON
from k8stokendetect.incidents import Incident, Incidents, incidents
from k8stokendetect.incidents.access import Access
from k8stokendetect.outputs.native import to_incident_line
from k8stokendetect.outputs.tree import to_tree
from rbac_objects import EVE, OBJECTS, given, listed, made, rule

EXAMPLES = Path(__file__).parents[1] / "examples"
ATTACK, SNAPSHOT = EXAMPLES / "attack.log", EXAMPLES / "attack-cluster.json"
MINT = rule("create", "serviceaccounts/token")
API = made("ServiceAccount", "api", "prod")
ALICE = {"kind": "User", "name": "alice"}


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["scan", *(str(argument) for argument in arguments)], input=stdin)


def one(objects: Any, *mints: dict[str, Any]) -> tuple[Incident, Cluster]:
    """Return the only incident of some mints, and the cluster of these objects."""
    cluster = Cluster.load(listed(API, objects))
    (incident,) = incidents(detect(list(mints), detectors=["token-request"], exclusions=()), cluster=cluster)
    return incident, cluster


def after(incident: Incident, objects: Any) -> Cluster:
    """Return the cluster in which the bindings of the incident's rights are without their subjects."""
    gone = {(access.grant.binding.name, access.grant.subject.name) for access in incident.access}
    items = json.loads(json.dumps(listed(API, objects)))
    for item in items["items"]:
        if "subjects" in item:
            name = item["metadata"]["name"]
            item["subjects"] = [one for one in item["subjects"] if (name, one["name"]) not in gone]
    return Cluster.load(items)


def test_an_incident_carries_the_binding_and_the_patch_that_removes_it() -> None:
    """As values and as advice; without it the caller may no longer mint, as the evaluator says."""
    objects = [*given("minters", ALICE, MINT, namespace="prod"), *given("other", EVE, MINT)]
    incident, cluster = one(objects, token_request("alice", "prod/api"))
    (access,) = incident.access

    assert (access.caller, access.accounts) == ("alice", ("prod/api",))
    assert str(access.grant.binding) == "RoleBinding prod/minters-prod"
    assert incident.advice[0].command == access.change.command
    assert "rolebinding/minters-prod --namespace=prod" in access.change.command
    question = ("alice", ["system:authenticated"], "create", "serviceaccounts/token")
    assert cluster.allows(*question, namespace="prod", name="api")
    assert not after(incident, objects).allows(*question, namespace="prod", name="api")


def test_all_of_the_ways_have_to_go() -> None:
    """By name and by group, twice in one binding: each is a right of its own."""
    team = {"kind": "Group", "name": "team"}
    both = given("both", ALICE, MINT)
    both[1]["subjects"] = [ALICE, team]
    objects = [*both, *given("group", team, MINT, namespace="prod"), *given("elsewhere", ALICE, MINT, namespace="dev")]
    incident, _ = one(objects, token_request("alice", "prod/api", groups=("team", "system:authenticated")))
    found = [(str(access.grant.binding), str(access.grant.subject)) for access in incident.access]

    assert found == [
        ("ClusterRoleBinding both-", "User alice"),
        ("ClusterRoleBinding both-", "Group team"),
        ("RoleBinding prod/group-prod", "Group team"),
    ]
    assert [access.change.command.count('"name":"team"') > 0 for access in incident.access] == [False, True, True]
    assert ["everybody in the group" in step.text for step in incident.advice[:3]] == [False, True, True]


def test_what_the_snapshot_does_not_show_is_said() -> None:
    """A binding that is gone, and a member of system:masters; the log's own words about a binding stay."""
    reason = 'RBAC: allowed by RoleBinding "old/prod" of Role "minter" to User "alice"'
    gone, _ = one(given("m", EVE, MINT), token_request("alice", "prod/api", annotations={REASON: reason}))
    master, _ = one(given("m", EVE, MINT), token_request("root", "prod/api", groups=("system:masters",)))

    assert not gone.access
    assert "alice had the right through RoleBinding prod/old, which is not in the snapshot." in str(gone.advice[0])
    assert any("kubectl -n prod delete rolebinding old" in str(step) for step in gone.advice)
    assert "root is a member of system:masters, which no binding limits: take away the credential." in map(
        str, master.advice
    )


def test_a_binding_is_not_named_twice() -> None:
    """The API server's reason names what the snapshot has a patch for."""
    reason = 'RBAC: allowed by RoleBinding "minters-prod/prod" of ClusterRole "minters" to User "alice"'
    mint = token_request("alice", "prod/api", annotations={REASON: reason})
    incident, _ = one(given("minters", ALICE, MINT, namespace="prod"), mint)

    assert [step for step in incident.advice if "minters-prod" in str(step)] == [incident.advice[0]]


def test_who_impersonates_loses_the_right_to_impersonate() -> None:
    """Not the victim the right to mint."""
    mallory = {"kind": "User", "name": "mallory"}
    objects = [*given("m", ALICE, MINT), *given("act-as", mallory, rule("impersonate", "users", "", "alice"))]
    objects += given("pods", mallory, rule("create", "pods"))
    incident, _ = one(objects, token_request("mallory", "prod/api", impersonatedUser={"username": "alice"}))

    assert [str(access.grant.binding) for access in incident.access] == ["ClusterRoleBinding act-as-"]


def test_the_json_of_an_incident_has_the_command() -> None:
    """Names that are stable; nothing without a snapshot."""
    objects = given("minters", ALICE, MINT, namespace="prod")
    incident, _ = one(objects, token_request("alice", "prod/api"))
    (written,) = json.loads(to_incident_line(incident))["access"]
    (plain,) = incidents(detect([token_request("alice", "prod/api")]))

    assert written == {
        "caller": "alice",
        "service_accounts": ["prod/api"],
        "binding": "RoleBinding prod/minters-prod",
        "role": "ClusterRole minters",
        "subject": "User alice",
        "change": "delete-binding",
        "command": incident.access[0].change.command,
        "also_loses": 0,
        "warnings": [],
    }
    assert json.loads(to_incident_line(plain))["access"] == []


def test_one_finding_after_another_gives_the_same() -> None:
    """A stream of findings ends with what all of them together give."""
    cluster = Cluster.load(SNAPSHOT)
    findings = list(detect(ATTACK, cluster=cluster))
    story = Incidents(cluster=cluster)
    for finding in findings:
        story.fold(finding)

    assert story.all() == incidents(findings, cluster=cluster)
    assert all(isinstance(access, Access) for incident in story.all() for access in incident.access)
    with pytest.raises(ConfigError, match=r"Cluster\.load"):
        Incidents(cluster="objects.json")  # type: ignore[arg-type]  # the mistake


def test_scan_uses_the_snapshot_for_all_of_it() -> None:
    """Targets, clouds, bindings: what the library says with the same snapshot."""
    cluster = Cluster.load(SNAPSHOT)
    findings = list(detect(ATTACK, cluster=cluster))
    found = incidents(findings, cluster=cluster)
    trees = run("--cluster", SNAPSHOT, ATTACK)
    lines = run("--cluster", SNAPSHOT, "--format", "json", "--findings", ATTACK).stdout.splitlines()

    assert trees.exit_code == 1
    printed = trees.stdout.splitlines()
    for incident in found:
        tree = to_tree(incident, width=NO_TERMINAL).splitlines()
        assert set(tree[tree.index("what to do:") :]) <= set(printed)
    assert "kubectl patch rolebinding/alice-minter --namespace=prod" in trees.stdout
    assert "AssumeRoleWithWebIdentity" in trees.stdout
    assert "AssumeRoleWithWebIdentity" not in run(ATTACK).stdout
    assert {json.loads(line)["fingerprint"] for line in lines} == {finding.fingerprint for finding in findings}
    assert [json.loads(line)["severity"] for line in lines] == [str(finding.severity) for finding in findings]


def test_several_files_and_standard_input(tmp_path: Path) -> None:
    """Accounts in one file, bindings in another; gzip; `-` for the cluster or for the log, not for both."""
    items = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["items"]
    paths = [tmp_path / "accounts.json", tmp_path / "rest.json.gz"]
    accounts = [item for item in items if item["kind"] == "ServiceAccount"]
    paths[0].write_bytes(json.dumps(listed(accounts)).encode())
    paths[1].write_bytes(gzip.compress(json.dumps(listed([one for one in items if one not in accounts])).encode()))
    whole = run("--cluster", SNAPSHOT, ATTACK).stdout

    assert run("--cluster", paths[0], "--cluster", paths[1], ATTACK).stdout == whole
    assert run("--cluster", "-", ATTACK, stdin=SNAPSHOT.read_bytes()).stdout == whole
    assert "AssumeRoleWithWebIdentity" in run("--cluster", SNAPSHOT, "-", stdin=ATTACK.read_bytes()).stdout
    both = run("--cluster", "-", "-", stdin=ATTACK.read_bytes())
    assert (both.exit_code, "the log or the cluster, not both" in both.stderr) == (2, True)


def test_what_grants_nothing_is_a_warning(tmp_path: Path) -> None:
    """Bindings to roles that do not exist are common and no reason to fail; all are counted."""
    result = run("--cluster", OBJECTS, "--fail-on", "critical", "--rule", "token-request-uri", ATTACK)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]

    assert result.exit_code == 0
    assert len(warnings) == 3
    assert all("does not exist" in line for line in warnings)
    many = tmp_path / "many.json"
    many.write_text(
        json.dumps(listed(API, [{"kind": "Role"}] * (SHOWN_ERRORS + 5), [{"kind": "Thing"}] * 9)), encoding="utf-8"
    )
    result = run("--cluster", many, "--fail-on", "critical", "--rule", "token-request-uri", ATTACK)
    assert result.exit_code == 0
    assert f"warning: {SHOWN_ERRORS + 6} about the objects of the cluster in all" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"{", "not YAML"),
        (b"", "it is empty"),
        (b'{"kind": "List", "items": []}', "could be read"),
    ],
)
def test_a_file_that_is_no_snapshot_is_2(tmp_path: Path, content: bytes | None, message: str) -> None:
    """And nothing is printed as if it had been one."""
    path = tmp_path / "cluster.json"
    if content is not None:
        path.write_bytes(content)
    result = run("--cluster", path, ATTACK)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_one_bad_file_among_good_ones_is_2_and_the_rest_is_used(tmp_path: Path) -> None:
    """As with logs: everything that can be read is used in any case."""
    result = run("--cluster", SNAPSHOT, "--cluster", tmp_path / "missing.json", ATTACK)

    assert result.exit_code == 2
    assert "missing.json" in result.stderr
    assert "AssumeRoleWithWebIdentity" in result.stdout
