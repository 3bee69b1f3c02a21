# SPDX-License-Identifier: Apache-2.0
"""SARIF of who-can-mint and audit-policy: valid by OASIS' own schema, with places and fingerprints that stay."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from k8stokendetect.cli import main
from k8stokendetect.cluster import Cluster, who_can_mint
from k8stokendetect.cluster.places import places_of
from k8stokendetect.convert.lines import line_at
from k8stokendetect.detectors import OPTIONAL
from k8stokendetect.outputs.sarif import SCHEMA, minters_to_sarif
from rbac_objects import given, listed, rule
from recordings import DATA

EXAMPLES = DATA.parents[1] / "examples"
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  # no controllers
  - level: None
    users: ["system:kube-controller-manager"]
    verb: ["create"]
  - level: None
    resources:
      - group: ""
        resources: ["serviceaccounts/token"]
  - level: Metadata
"""
MANIFESTS = """\
# alice
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: minter, namespace: prod}
rules: [{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}]
---

apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: alice
  namespace: prod
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: minter}
subjects: [{kind: User, name: alice}]
"""


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Validator:
    """Return the schema of a log."""
    text = gzip.decompress((DATA / "schemas/sarif-2.1.0.json.gz").read_bytes())
    return jsonschema_rs.validator_for(json.loads(text))


def run(*words: str, stdin: str | None = None) -> tuple[dict[str, Any], int]:
    """Run a command, and return its log and its exit status."""
    result = CliRunner().invoke(main, [*words, "--format", "sarif"], input=stdin)
    (line,) = result.stdout.splitlines()
    assert all(" " <= char <= "~" for char in line)
    document: dict[str, Any] = json.loads(line)
    return document, result.exit_code


def results(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of its one run."""
    (one,) = document["runs"]
    found: list[dict[str, Any]] = one["results"]
    assert {result["ruleId"] for result in found} <= {rule["id"] for rule in one["tool"]["driver"]["rules"]}
    return found


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_log_of_who_can_mint(schema: jsonschema_rs.Validator) -> None:
    """A result for each binding and subject, at the line of the binding; the exit status is that of text."""
    Path("rbac").mkdir()
    Path("rbac/alice 1.yaml").write_text(MANIFESTS, encoding="utf-8")
    document, status = run("who-can-mint", "rbac/alice 1.yaml")
    (alice,) = (one for one in results(document) if one["properties"]["subject"] == "User alice")

    assert [*schema.iter_errors(document)] == []
    assert (document["$schema"], document["version"], status) == (SCHEMA, "2.1.0", 0)
    assert (alice["ruleId"], alice["properties"]["kinds"]) == ("can-mint-token", ["token-request"])
    assert alice["message"]["text"].startswith(
        "User alice may create tokens of every service account of prod, by RoleB"
    )
    place = {"artifactLocation": {"uri": "rbac/alice%201.yaml"}, "region": {"startLine": 8}}
    assert alice["locations"][0]["physicalLocation"] == place
    assert alice["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "RoleBinding prod/alice"
    assert alice["relatedLocations"][0]["physicalLocation"]["region"] == {"startLine": 2}
    assert alice["properties"]["command"].startswith("kubectl ")


def test_a_result_is_the_same_where_it_moves(tmp_path: Path) -> None:
    """Another file, another line, an object more: code scanning keeps its state by the fingerprint."""
    (tmp_path / "a.yaml").write_text(MANIFESTS, encoding="utf-8")
    (tmp_path / "b.yml").write_text(f"# moved\n---\n{MANIFESTS}", encoding="utf-8")
    before, after = (results(run("who-can-mint", str(tmp_path / name))[0]) for name in ("a.yaml", "b.yml"))
    lines = [one["locations"][0]["physicalLocation"].get("region") for one in (before[-1], after[-1])]

    assert [one["partialFingerprints"] for one in before] == [one["partialFingerprints"] for one in after]
    assert len({str(one["partialFingerprints"]) for one in before}) == len(before)
    assert lines == [{"startLine": 8}, {"startLine": 10}]


def test_every_object_of_a_dump_has_its_line(schema: jsonschema_rs.Validator, tmp_path: Path) -> None:
    """As kubectl prints it, indented or in a line each; packed, too. What no object grants has the file alone."""
    path = EXAMPLES / "attack-cluster.json"
    lines = path.read_text(encoding="utf-8").splitlines()
    with gzip.open(tmp_path / "dump.json.gz", "wb") as packed, path.open("rb") as file:
        shutil.copyfileobj(file, packed)
    found = places_of([str(path)])
    assert len(found) > 10
    for (kind, _, name), place in found.items():
        assert place.line is not None
        assert {"kind": kind, "name": name}.items() <= {
            "kind": json.loads(lines[place.line - 1].strip().rstrip(","))["kind"],
            "name": json.loads(lines[place.line - 1].strip().rstrip(","))["metadata"]["name"],
        }.items()
    document, _ = run("who-can-mint", "--all", str(tmp_path / "dump.json.gz"))
    assert [*schema.iter_errors(document)] == []
    masters, *others = results(document)
    assert all("startLine" in one["locations"][0]["physicalLocation"]["region"] for one in others)
    assert "region" not in masters["locations"][0]["physicalLocation"]


@pytest.mark.parametrize("indent", [None, 4])
def test_a_list_of_roles_and_several_values_in_a_file(indent: int | None, tmp_path: Path) -> None:
    """A RoleList does not repeat the kind; `kubectl … >> file` writes one value after the other."""
    role = {"metadata": {"name": "a", "namespace": "x"}, "rules": []}
    texts = [
        json.dumps({"kind": "RoleList", "metadata": {"items": "[1]"}, "items": [role]}, indent=indent),
        json.dumps({"kind": "ClusterRole", "metadata": {"name": "b"}}, indent=indent),
    ]
    path = tmp_path / "objects.json"
    path.write_text("\n".join(texts), encoding="utf-8")
    path_2 = tmp_path / "objects.yaml"
    path_2.write_text("---\n".join(yaml.safe_dump(json.loads(text)) for text in texts), encoding="utf-8")
    expected = {("Role", "x", "a"), ("ClusterRole", "", "b")}

    assert places_of([str(path)]).keys() == places_of([str(path_2)]).keys() == expected
    assert places_of([str(path)])["ClusterRole", "", "b"].line == texts[0].count("\n") + 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[[[[", b"a: [", b"\xff\xfe", b"- 1\n- 2", b"x", b'{"items": {}}', b"[1]"]
)
def test_what_is_no_manifest_has_no_places(content: bytes, tmp_path: Path) -> None:
    """Loading it says so; looking for lines does not fail."""
    (tmp_path / "x.yaml").write_bytes(content)
    assert places_of([str(tmp_path / "x.yaml"), str(tmp_path / "none")]) == {}
    assert line_at(content, "rules[0].x") is None


def test_standard_input_has_no_file() -> None:
    """Its results name the objects."""
    document, _ = run("who-can-mint", "-", stdin=MANIFESTS)
    (alice,) = (one for one in results(document) if one["properties"]["subject"] == "User alice")
    assert alice["locations"] == [
        {"logicalLocations": [{"name": "alice", "fullyQualifiedName": "RoleBinding prod/alice", "kind": "object"}]}
    ]


def test_a_file_that_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    """The log says so, too."""
    document, status = run("who-can-mint", str(EXAMPLES / "attack-cluster.json"), str(tmp_path / "none.json"))
    assert (document["runs"][0]["invocations"], status) == ([{"executionSuccessful": False}], 2)


MINT = rule("create", "serviceaccounts/token")


def test_what_is_by_design_is_suppressed_with_its_reason() -> None:
    """And only that: where a component may mint for more, it is not."""
    controllers = {"kind": "User", "name": "system:kube-controller-manager"}
    cluster = Cluster.load(
        listed(
            given("inside", controllers, MINT, namespace="kube-system"),
            given("more", controllers, MINT, namespace="prod"),
            given("eve", {"kind": "User", "name": "eve"}, MINT, namespace="kube-system"),
        )
    )
    found = json.loads(minters_to_sarif(who_can_mint(cluster), {}))["runs"][0]["results"]
    states = {one["locations"][0]["logicalLocations"][0]["name"]: one for one in found if "locations" in one}
    suppressed = {name for name, one in states.items() if "suppressions" in one}

    assert {"inside-kube-system", "more-prod", "eve-kube-system"} <= states.keys()
    assert suppressed == {"inside-kube-system"}
    (reason,) = states["inside-kube-system"]["suppressions"]
    assert reason["justification"].startswith("exclusion kube-controller-manager: ")


def texts(value: Any) -> Iterator[str]:
    """Yield the texts of all messages."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "message":
                yield item["text"]
            else:
                yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_no_name_becomes_a_link_or_a_placeholder(schema: jsonschema_rs.Validator) -> None:
    """A user may be called anything."""
    odd = "[here](https://evil.example) {0} \x1b[2J\u202e\n"
    cluster = Cluster.load(listed(given("odd", {"kind": "User", "name": odd}, MINT)))
    document = json.loads(minters_to_sarif(who_can_mint(cluster), {}))

    assert [*schema.iter_errors(document)] == []
    messages = [text for text in texts(document) if "evil" in text]
    assert messages
    for text in messages:
        assert "](" not in text
        assert "{{0}}" in text
        assert text.isprintable()


def test_the_log_of_an_audit_policy(schema: jsonschema_rs.Validator) -> None:
    """A result for each rule of ours and rule of the policy that hides something, at its line; warnings as well."""
    Path("policy.yaml").write_text(POLICY, encoding="utf-8")
    document, status = run("audit-policy", "policy.yaml")
    found = results(document)
    blind = [one for one in found if one["ruleId"] == "token-request"]

    assert [*schema.iter_errors(document)] == []
    assert status == 1
    assert {one["level"] for one in blind} == {"error"}
    assert [one["locations"][0]["physicalLocation"]["region"]["startLine"] for one in blind] == [8, 5]
    assert {one["level"] for one in found if one["ruleId"] in {cls.rule.id for cls in OPTIONAL}} == {"note"}
    (warning,) = (one for one in found if "unknown key 'verb'" in one["message"]["text"])
    assert warning["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "policy.yaml"},
        "region": {"startLine": 7},
    }
    assert "serviceaccounts/token" in blind[0]["properties"]["changes"][0]
    assert len({str(one["partialFingerprints"]) + one["ruleId"] for one in found}) == len(found)


def test_a_rule_that_moves_keeps_its_fingerprint(tmp_path: Path) -> None:
    """A rule before it changes its number, and nothing else."""
    path = tmp_path / "policy.yaml"
    prints = []
    for text in (POLICY, POLICY.replace("rules:", "rules:\n  - {level: Metadata, verbs: [bind]}")):
        path.write_text(text, encoding="utf-8")
        prints.append({str(one["partialFingerprints"]) for one in results(run("audit-policy", str(path))[0])})
    assert prints[0] == prints[1]


def test_a_policy_on_standard_input_or_in_json_has_no_lines(tmp_path: Path) -> None:
    """The rules are named by their place in the list."""
    document, _ = run("audit-policy", "-", stdin=POLICY)
    (first, *_) = results(document)
    assert first["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "rules[1]", "kind": "object"}]}]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(yaml.safe_load(POLICY)), encoding="utf-8")
    (first, *_) = results(run("audit-policy", str(path))[0])
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == path.as_uri()
