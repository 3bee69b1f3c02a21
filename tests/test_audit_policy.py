# SPDX-License-Identifier: Apache-2.0
"""Audit policies: read strictly, matched as the API server does, and judged by what each detector needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from k8stokendetect import ConfigError
from k8stokendetect.audit_policy import AuditPolicy, Change, Level, PolicyRule, changed, hints, merged, review
from k8stokendetect.audit_policy.needs import NEEDS
from k8stokendetect.cli.app import audit_policy
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from recordings import METADATA, REQUEST_RESPONSE, records

RBAC = "rbac.authorization.k8s.io"
HEAD = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
TOKENS = {"group": "", "resources": ["serviceaccounts/token"]}


def policy(*rules: dict[str, Any], **fields: Any) -> AuditPolicy:
    """Load a policy of these rules; JSON is YAML."""
    return AuditPolicy.load(orjson.dumps(HEAD | fields | {"rules": list(rules)}))


MINIMAL = policy({"level": "Metadata"})
"""What the Kubernetes documentation gives as the least one."""

GCE = policy(
    {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"], "resources": [{"resources": ["services"]}]},
    {"level": "None", "userGroups": ["system:nodes"], "verbs": ["get"], "resources": [{"resources": ["nodes"]}]},
    {"level": "None", "nonResourceURLs": ["/healthz*", "/version"]},
    {"level": "None", "resources": [{"resources": ["events"]}]},
    {
        "level": "Metadata",
        "resources": [
            {"resources": ["secrets", "configmaps", "serviceaccounts/token"]},
            {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
        ],
    },
    {"level": "Request", "verbs": ["get", "list", "watch"], "resources": [{"group": ""}, {"group": RBAC}]},
    {"level": "RequestResponse", "resources": [{"group": ""}, {"group": RBAC}]},
    {"level": "Metadata"},
    omitStages=["RequestReceived"],
)
"""In the shape of cluster/gce/gci/configure-helper.sh, from which GKE's is derived."""

EKS = policy(
    {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"], "resources": [{"resources": ["endpoints"]}]},
    {"level": "Request", "resources": [{"resources": ["serviceaccounts/token"]}]},
    {"level": "Metadata", "resources": [{"resources": ["secrets", "configmaps"]}]},
    {"level": "RequestResponse", "resources": [{"group": ""}, {"group": RBAC}]},
    {"level": "Metadata"},
)
"""In the shape of the EKS best practices guide: token requests at Request, at both stages."""


def verdicts(of: AuditPolicy) -> dict[str, str]:
    """Return the verdict by rule id."""
    return {found.rule_id: found.verdict for found in review(of)}


def not_working(of: AuditPolicy) -> dict[str, str]:
    """Return only those that do not work."""
    return {rule_id: verdict for rule_id, verdict in verdicts(of).items() if verdict != "works"}


def unseen(of: AuditPolicy, rule_id: str = "token-request") -> list[str]:
    """Return who is unseen by a rule."""
    return [item.who for found in review(of) if found.rule_id == rule_id for item in found.unseen]


def test_every_detector_says_what_it_needs() -> None:
    """Those that ship, and no others."""
    assert set(NEEDS) == {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)}


def test_what_a_detector_needs_is_what_it_finds_something_with() -> None:
    """Over Metadata is needed by those rules, and only by those, whose own page names level Metadata a blind spot."""
    higher = {rule_id for rule_id, needs in NEEDS.items() if any(need.level > Level.METADATA for need in needs)}
    blind = {cls.rule.id for cls in BUILTIN if any("level Metadata" in spot for spot in cls.rule.blind_spots)}

    assert higher | {"legacy-token-secret", "system-identity-issued"} == blind | {"token-request-unbound"}


def test_the_minimal_policy() -> None:
    """Level Metadata for everything: all but what needs a body."""
    assert not_working(MINIMAL) == {
        "token-request-cloud-audience": "blind",
        "token-request-long-lived": "blind",
        "token-request-unbound": "works in part",
        "token-right-granted": "blind",
    }
    assert [hint for hint in hints(MINIMAL) if "twice" in hint]


def test_the_policy_of_gce() -> None:
    """Token requests at Metadata, roles with their bodies; tokens are not written down."""
    assert set(not_working(GCE)) == {
        "token-request-cloud-audience",
        "token-request-long-lived",
        "token-request-unbound",
    }
    assert GCE.level_for().level is Level.METADATA
    assert not hints(GCE)


def test_the_policy_of_eks() -> None:
    """Everything works; each request is logged at two stages, and TokenReviews at Metadata."""
    assert not not_working(EKS)
    assert EKS.level_for().level is Level.REQUEST
    assert [hint.partition(":")[0] for hint in hints(EKS)] == [
        "rules[1] logs token requests twice, at RequestReceived and at ResponseComplete"
    ]


@pytest.mark.parametrize(
    ("rule", "who"),
    [
        ({"userGroups": ["system:nodes"]}, "kubelets (group system:nodes)"),
        ({"userGroups": ["system:serviceaccounts:kube-system"]}, "service accounts of kube-system"),
        ({"userGroups": ["system:serviceaccounts:ci"]}, "service accounts of ci"),
        ({"users": ["system:serviceaccount:ci:deployer"]}, "service account ci/deployer"),
        ({"users": ["eks:evil"]}, "anyone called eks:evil"),
        ({"userGroups": ["devs"]}, "members of devs"),
        ({"users": ["bob"], "userGroups": ["devs"]}, "anyone called bob in group devs"),
        ({"namespaces": ["kube-system"], "users": ["bob"]}, "anyone called bob"),
        ({"users": ["system:anonymous"]}, "system:anonymous"),
    ],
)
def test_who_is_dropped_is_named(rule: dict[str, Any], who: str) -> None:
    """A rule of level None hides them, and nobody else: the detector works in part."""
    dropping = policy({"level": "None", **rule}, {"level": "Metadata"})

    assert verdicts(dropping)["token-request"] == "works in part"
    assert any(who in label for label in unseen(dropping))
    assert not any("everybody" in label for label in unseen(dropping))


def test_a_name_without_its_groups_is_tried_too() -> None:
    """A certificate may carry a service account's name: then the rule about its group does not fit."""
    tricky = policy(
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None", "users": ["system:serviceaccount:ci:deployer"]},
        {"level": "Metadata"},
    )

    assert unseen(tricky) == ["anyone called system:serviceaccount:ci:deployer"]


def test_where_and_by_which_rule() -> None:
    """Namespace, object's name and the index of the rule that decides."""
    narrow = policy(
        {"level": "None", "namespaces": ["dev"], "resources": [TOKENS | {"resourceNames": ["app"]}]},
        {"level": "Metadata"},
    )
    (found,) = [item for result in review(narrow) if result.rule_id == "token-request" for item in result.unseen]

    assert str(found) == "everybody: create serviceaccounts/token in dev for app: level None (rules[0])"


def test_serviceaccounts_is_not_its_subresource() -> None:
    """The usual mistake: the token subresource has to be named."""
    mistaken = policy({"level": "Metadata", "resources": [{"group": "", "resources": ["serviceaccounts"]}]})

    assert verdicts(mistaken)["token-request"] == "blind"
    assert any("does not include the subresource" in hint for hint in hints(mistaken))


@pytest.mark.parametrize(
    ("resource", "matches"),
    [
        ("serviceaccounts/token", True),
        ("serviceaccounts/*", True),
        ("*/token", True),
        ("*", True),
        ("serviceaccounts", False),
        ("*/*", False),
        ("*/scale", False),
        ("pods/*", False),
    ],
)
def test_forms_of_resources(resource: str, matches: bool) -> None:  # noqa: FBT001 - a table
    """As checker.go compares them."""
    found = policy({"level": "Metadata", "resources": [{"group": "", "resources": [resource]}]}).level_for()

    assert (found.level is Level.METADATA) == matches


def test_all_subresources_form_includes_the_resource_itself() -> None:
    """`serviceaccounts/*` fits `serviceaccounts`, too: checker.go looks at no subresource there."""
    found = policy({"level": "Metadata", "resources": [{"group": "", "resources": ["serviceaccounts/*"]}]})

    assert found.level_for(resource="serviceaccounts").level is Level.METADATA


def test_one_group_of_several_is_enough() -> None:
    """On either side; nobody is a member of them all."""
    dropping = policy({"level": "None", "userGroups": ["system:nodes", "devs"]}, {"level": "Metadata"})

    assert dropping.level_for(groups=("devs", "system:authenticated")).level is Level.NONE
    assert dropping.level_for(groups=("system:authenticated",)).level is Level.METADATA
    assert dropping.level_for(user=None, groups=()).level is Level.METADATA


def test_no_change_lowers_a_level() -> None:
    """What mends the one rule does not blind another: 401s at Metadata would have cost the bodies."""
    without = policy({"level": "Request"}, omitStages=["ResponseStarted"])
    (change,) = merged(change for found in review(without) for change in found.changes)

    assert change.rule.level is Level.REQUEST
    assert not not_working(changed(without, [change]))


def test_stages() -> None:
    """Omitted at either place; what is not logged at ResponseComplete cannot be judged."""
    without = policy({"level": "Request"}, omitStages=["ResponseComplete"])
    change = next(found.changes for found in review(without) if found.rule_id == "token-request")

    assert verdicts(without)["token-request"] == "blind"
    assert change[0].keep_stages == ("ResponseComplete",)
    assert policy(
        {"level": "Request", "omitStages": ["Panic"]}, omitStages=["RequestReceived"]
    ).level_for().omit_stages == {
        "Panic",
        "RequestReceived",
    }


def test_a_401_is_logged_at_response_started() -> None:
    """Measured: without that stage `token-request-denied` works in part, and nothing else suffers."""
    assert not_working(policy({"level": "Request"}, omitStages=["ResponseStarted"])) == {
        "token-request-denied": "works in part"
    }


@pytest.mark.parametrize(
    ("resource", "level"),
    [
        ({"group": "", "resources": ["serviceaccounts/token"]}, "RequestResponse"),
        ({"group": "authentication.k8s.io", "resources": ["tokenreviews"]}, "Request"),
        ({"group": "", "resources": ["secrets"]}, "Request"),
    ],
)
def test_credentials_in_the_log(resource: dict[str, Any], level: str) -> None:
    """A level that writes them down is warned about, one below it is not."""
    lower = {"RequestResponse": "Request", "Request": "Metadata"}[level]
    catch_all = {"level": "Metadata", "omitStages": ["RequestReceived"]}

    def warned(at: str) -> list[str]:
        rule = {"level": at, "resources": [resource], "omitStages": ["RequestReceived"]}
        return [hint for hint in hints(policy(rule, catch_all)) if resource["resources"][0] in hint]

    assert len(warned(level)) == 1
    assert not warned(lower)


def test_words_that_match_nothing() -> None:
    """Names are compared by letter; a pattern that looks like one is told."""
    told = hints(
        policy(
            {"level": "None", "users": ["system:node:*"], "resources": [{"group": "", "resources": ["*/*"]}]},
            {"level": "Metadata", "omitStages": ["RequestReceived"]},
        )
    )

    assert [hint.partition(" matches")[0] for hint in told] == [
        "rules[0]: 'system:node:*' in users",
        "rules[0]: '*/*' in resources",
    ]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        (
            "rules: [{level: metadata}]",
            "level 'metadata' is not one of None, Metadata, Request, RequestResponse @ $.rules[0].level",
        ),
        ("rules: [{levl: None}]", "unknown key 'levl'; did you mean 'level'? @ $.rules[0]"),
        ("rules: [{}]", "required field missing @ $.rules[0].level"),
        ("rules: []", "no rules"),
        ("rules: [{level: None, users: bob}]", "expected a list of strings, got a string @ $.rules[0].users"),
        ("rules: [{level: None, omitStages: [Done]}]", "stage 'Done' is not one of"),
        ("rules: [{level: None, resources: [{group: apps/v1}]}]", "'apps/v1' is not an API group"),
        ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "resourceNames without resources"),
        ("rules: [{level: None, nonResourceURLs: [/x], namespaces: [a]}]", "not both @ $.rules[0]"),
        ("rules: [{level: None, nonResourceURLs: [x]}]", "'x' does not begin with '/'"),
        ("rules: [{level: None}]\nrules: [{level: Metadata}]", "duplicate key, line 4"),
        ("rules: [{level: None", "not YAML"),
        ("rules: [{level: None}]\n---\n{}", "several YAML documents"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(yaml: str, said: str) -> None:
    """Nothing is passed over: what the API server ignores or refuses is an error."""
    with pytest.raises(ConfigError) as caught:
        AuditPolicy.load(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{yaml}".encode())

    assert said in str(caught.value)


@pytest.mark.parametrize(
    "head", [{"kind": "Policy"}, HEAD | {"kind": "Event"}, HEAD | {"apiVersion": "audit.k8s.io/v1beta1"}]
)
def test_another_kind_or_version(head: dict[str, str]) -> None:
    """It is no audit policy that is known here."""
    with pytest.raises(ConfigError, match="expected"):
        AuditPolicy.load(orjson.dumps(head | {"rules": [{"level": "None"}]}))


def test_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that is missing is named."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ConfigError, match=r"k8stokendetect\[cli\]"):
        AuditPolicy.load(b"{}")


WORDS = st.sampled_from(
    ["a", "b", "system:nodes", "secrets", "serviceaccounts", "serviceaccounts/token", "*", "create"]
)
SOME = st.lists(WORDS, max_size=2)
RESOURCES = st.lists(
    st.sampled_from(["serviceaccounts", "serviceaccounts/token", "serviceaccounts/*", "*/token", "*", "*/*", "pods"]),
    max_size=2,
)
GROUPED = st.lists(st.fixed_dictionaries({"group": st.sampled_from(["", "apps"]), "resources": RESOURCES}), max_size=2)
RULES = st.fixed_dictionaries(
    {"level": st.sampled_from(["None", "Metadata", "Request", "RequestResponse"])},
    optional={
        "users": SOME,
        "userGroups": SOME,
        "verbs": SOME,
        "namespaces": SOME,
        "resources": GROUPED,
        "omitStages": st.lists(st.sampled_from(["RequestReceived", "ResponseStarted", "ResponseComplete"]), max_size=1),
    },
)
POLICIES = st.lists(RULES, min_size=1, max_size=5)


def reference(rules: list[dict[str, Any]], asked: dict[str, Any]) -> str:
    """Say the level as the documentation words it: in order, the first whose every condition holds."""

    def resource_fits(entry: dict[str, Any]) -> bool:
        parent, sub = (asked["resource"] + "/").split("/")[:2]
        names = entry.get("resources") or ["*"]
        return entry["group"] == asked["group"] and any(
            name == "*" or name == asked["resource"] or name == f"{parent}/*" or (sub != "" and name == f"*/{sub}")
            for name in names
        )

    for rule in rules:
        conditions = [
            not rule.get("users") or asked["user"] in rule["users"],
            not rule.get("userGroups") or any(group in rule["userGroups"] for group in asked["groups"]),
            not rule.get("verbs") or asked["verb"] in rule["verbs"],
            not rule.get("namespaces") or asked["namespace"] in rule["namespaces"],
            not rule.get("resources") or any(map(resource_fits, rule["resources"])),
        ]
        if all(conditions):
            return str(rule["level"])
    return "None"


@given(
    rules=POLICIES,
    asked=st.fixed_dictionaries(
        {
            "user": WORDS,
            "groups": st.lists(WORDS, max_size=3),
            "verb": st.sampled_from(["create", "get"]),
            "resource": st.sampled_from(["serviceaccounts", "serviceaccounts/token", "secrets", "pods/log"]),
            "group": st.sampled_from(["", "apps"]),
            "namespace": WORDS,
        }
    ),
)
def test_the_level_is_that_of_the_reference(rules: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    """For any policy and request."""
    assert str(policy(*rules).level_for(**asked).level) == reference(rules, asked)


@settings(max_examples=25)
@given(
    rules=POLICIES,
    omitted=st.lists(st.sampled_from(["RequestReceived", "ResponseStarted", "ResponseComplete"]), max_size=1),
)
def test_the_changes_mend_any_policy(rules: list[dict[str, Any]], omitted: list[str]) -> None:
    """With them every detector works."""
    broken = policy(*rules, omitStages=omitted)

    assert not not_working(changed(broken, [change for found in review(broken) for change in found.changes]))


@settings(max_examples=25)
@given(
    rules=POLICIES,
    user=st.sampled_from(["a", "b", "system:serviceaccount:x:y", "zed"]),
    groups=st.lists(WORDS, max_size=3),
    namespace=WORDS,
)
def test_where_it_works_nobody_is_unseen(
    rules: list[dict[str, Any]], user: str, groups: list[str], namespace: str
) -> None:
    """No caller, whatever groups he has, escapes a policy that is said to work."""
    tried = policy(*rules)
    logged = tried.level_for(user=user, groups=(*groups, "system:authenticated"), namespace=namespace)

    assert verdicts(tried)["token-request"] != "works" or logged.at("ResponseComplete") >= Level.METADATA


@settings(max_examples=25)
@given(rules=POLICIES)
def test_a_change_is_yaml_of_the_rule_that_it_is(rules: list[dict[str, Any]]) -> None:
    """What is printed is what `changed` adds."""
    for change in merged(change for found in review(policy(*rules)) for change in found.changes):
        text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + change.to_yaml()
        assert AuditPolicy.load(text.encode()).rules == (change.rule,)


def test_of_two_changes_the_one_that_logs_more_stays() -> None:
    """Both are not needed."""
    low, high = (Change(PolicyRule(level), 0) for level in (Level.METADATA, Level.REQUEST))

    assert merged([low, high]) == merged([high, low]) == (high,)


@pytest.mark.parametrize(("path", "level"), [(METADATA, Level.METADATA), (REQUEST_RESPONSE, Level.REQUEST_RESPONSE)])
def test_the_recordings_were_made_under_such_policies(path: Path, level: Level) -> None:
    """Every recorded token request has the level that a policy of that level gives it."""
    recorded = policy({"level": str(level), "resources": [TOKENS]}, {"level": "Metadata"})
    calls = [record for record in records(path) if record.get("objectRef", {}).get("subresource") == "token"]

    assert calls
    for call in calls:
        user, ref = call["user"], call["objectRef"]
        found = recorded.level_for(
            user=user.get("username"),
            groups=user.get("groups", []),
            verb=call["verb"],
            resource="serviceaccounts/token",
            namespace=ref["namespace"],
            name=ref.get("name", ""),
        )
        assert str(found.level) == call["level"]


def test_the_command(tmp_path: Path) -> None:
    """It says verdicts, who is unseen and the change; exit status 1, 0 once changed, 2 for what is no policy."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n"
        "- {level: None, userGroups: [system:nodes]}\n- {level: Request, resources: [{group: ''}, "
        f"{{group: {RBAC}}}]}}\n- level: Metadata\n"
    )
    result = CliRunner().invoke(audit_policy, [str(file)])

    assert result.exit_code == 1
    assert "token-request                    works in part" in result.output
    assert "kubelets (group system:nodes): create serviceaccounts/token in every namespace" in result.output
    assert "to change: add before rules[0]" in result.output
    file.write_text(file.read_text().replace("- {level: None, userGroups: [system:nodes]}\n", ""))
    assert CliRunner().invoke(audit_policy, [str(file)]).exit_code == 0
    file.write_text("kind: Policy\n")
    assert CliRunner().invoke(audit_policy, [str(file)]).exit_code == 2
    assert (
        CliRunner().invoke(audit_policy, ["-"], input=orjson.dumps(HEAD | {"rules": [{"level": "Metadata"}]})).exit_code
        == 1
    )
