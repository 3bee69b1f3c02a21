# SPDX-License-Identifier: Apache-2.0
"""Audit policies: read and matched as the API server does, and judged by what each detector needs."""

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
from k8stokendetect.audit_policy import (
    CLOUD_LOGS,
    AuditPolicy,
    Change,
    Level,
    PolicyRule,
    changed,
    hints,
    merged,
    review,
)
from k8stokendetect.audit_policy.needs import NEEDS
from k8stokendetect.cli.app import audit_policy
from k8stokendetect.clouds import CLOUDS
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
        ("rules: [{levl: None}]", "required field missing @ $.rules[0].level"),
        ("rules: [{}]", "required field missing @ $.rules[0].level"),
        ("rules: []", "no rules"),
        ("rules: [{level: None, users: bob}]", "expected a list of strings, got a string @ $.rules[0].users"),
        ("rules: [{level: None, omitStages: [Done]}]", "stage 'Done' is not one of"),
        ("rules: [{level: None, resources: [{group: apps/v1}]}]", "'apps/v1' is not an API group"),
        ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "resourceNames without resources"),
        ("rules: [{level: None, nonResourceURLs: [/x], namespaces: [a]}]", "not both @ $.rules[0]"),
        ("rules: [{level: None, nonResourceURLs: [x]}]", "'x' does not begin with '/'"),
        ("rules: [{level: None, resources: [{group: '*'}]}]", "'*' is not an API group"),
        (f"rules: [{{level: None, resources: [{{group: {'a' * 254}}}]}}]", "is not an API group"),
        ("rules: [{level: None", "not YAML"),
        ("rules: [{level: None, users: [y]}]", "expected a list of strings, got a boolean @ $.rules[0].users"),
        ("rules: [{level: None, users: [1e3]}]", "expected a list of strings, got a number @ $.rules[0].users"),
        ("rules: [{level: None, users: [08]}]", "expected a list of strings, got a number @ $.rules[0].users"),
        ("rules: [{level: None, omitManagedFields: 'true'}]", "expected a boolean, got a string"),
        ("rules: [~]", "required field missing @ $.rules[0].level"),
        ("rules: [{level: None, omitStages: [~]}]", "stage '' is not one of"),
        ("rules: [{level: ~}]", "required field missing @ $.rules[0].level"),
        ("rules: ~", "required field missing @ $.rules"),
        (
            "rules: [{level: None}]\nmetadata: {name: 1}",
            "has the wrong type, so the API server refuses it @ $.metadata.name",
        ),
        ("rules: [{level: None}]\nmetadata: {creationTimestamp: today}", "@ $.metadata.creationTimestamp"),
        ("rules: [{level: None}]\nmetadata: []", "has the wrong type, so the API server refuses it @ $.metadata"),
        ("rules: [{level: None}]\nKIND: 1", "expected a string @ $.kind"),
        ("rules: [{level: None}]\nx: {~: 1}", "a key is not a string, line 4"),
        ("rules: [{level: None}]\nx: .inf", "a number that JSON does not have, line 4"),
        ("rules: &r [*r]", "an alias within what it stands for"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(yaml: str, said: str) -> None:
    """What the API server refuses is an error."""
    with pytest.raises(ConfigError) as caught:
        AuditPolicy.load(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{yaml}".encode())

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"kind": "Policy"}, "apiVersion is missing, expected"),
        (HEAD | {"kind": "Event"}, "kind is 'Event', expected 'Policy'"),
        (HEAD | {"kind": "policy"}, "kind is 'policy', expected 'Policy'"),
        (HEAD | {"apiVersion": "audit.k8s.io/v1beta1"}, "refuse this version since Kubernetes 1.24"),
        (HEAD | {"apiVersion": "audit.k8s.io/v1alpha1"}, "refuse this version since Kubernetes 1.24"),
    ],
)
def test_another_kind_or_version(head: dict[str, str], reason: str) -> None:
    """It is no audit policy to an API server of today."""
    with pytest.raises(ConfigError, match=reason):
        AuditPolicy.load(orjson.dumps(head | {"rules": [{"level": "None"}]}))


@pytest.mark.parametrize("head", ["apiversion: audit.k8s.io/v1", "apiVersion: audit.k8s.io/v1\nKind: Policy"])
def test_the_head_is_found_whatever_its_case(head: str) -> None:
    """As Go's encoding/json does; a kind that is missing is supplied."""
    assert AuditPolicy.load(f"{head}\nrules: [{{level: Metadata}}]".encode()).level_for().level is Level.METADATA


def loaded(yaml: str) -> AuditPolicy:
    """Load a policy of this text below its head."""
    return AuditPolicy.load(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{yaml}".encode())


@pytest.mark.parametrize(
    ("yaml", "path", "warned"),
    [
        (
            "rules: [{level: None, verbs: [get, list, watch], resources: [{username: bob}]}]",
            "rules[0].resources[0].username",
            (
                "What is left of this element is the whole core API group: rules[0] decides get, list, watch by "
                "anybody on it, at level None. Not logged, among other requests: get secrets, list secrets, get "
                "configmaps"
            ),
        ),
        (
            "rules: [{level: Metadata, resources: [{group: x.io, resource: [a]}]}]",
            "rules[0].resources[0].resource",
            (
                "ignores the unknown key 'resource' (did you mean 'resources'?). What is left of this element is the "
                "whole API group x.io: rules[0] decides every verb by anybody on it, at level Metadata"
            ),
        ),
        (
            "rules: [{level: None, resources: [{group: x.io, resources: [a], verbs: [get]}]}]",
            "rules[0].resources[0].verbs",
            (
                "'verbs' (it belongs to the rule, next to 'resources'). What is left of this element is a in the API "
                "group x.io: rules[0] decides every verb by anybody on it, at level None"
            ),
        ),
        (
            "rules: [{level: None, Users: [bob]}, {level: Metadata}]",
            "rules[0].Users",
            (
                "rules[0]: the API server ignores the unknown key 'Users' (did you mean 'users'?). rules[0] decides "
                "every request that reaches it, at level None, so rules[1] and what follows are never used. Not "
                "logged, among other requests: get secrets"
            ),
        ),
        (
            "rules: [{level: Metadata, users: [amy], namespace: [x]}]",
            "rules[0].namespace",
            "rules[0] decides every verb by users amy on everything, at level Metadata",
        ),
        ("creationTimestamp: ~\nrules: [{level: None}]", "creationTimestamp", "the policy: the API server ignores"),
        ("omitStage: [Panic]\nrules: [{level: None}]", "omitStage", "no effect (did you mean 'omitStages'?)"),
        ("metadata: {nam: x}\nrules: [{level: None}]", "metadata.nam", "metadata: the API server ignores"),
        ("omitStages: [Done]\nrules: [{level: None}]", "omitStages[0]", "is not a stage, so it omits nothing"),
        (
            "rules: [{level: None}]\nrules: [{level: Metadata}]",
            "rules",
            "rules appears twice: the API server uses the last",
        ),
        (
            "rules: [{level: None, users: [a], users: [b]}]",
            "rules[0].users",
            "rules[0] decides every verb by users b on",
        ),
        ("rules: [{level: None}]\n---\n[", "", "the file holds several YAML documents"),
        (
            "rules: [{level: None, resources: [~]}]",
            "rules[0].resources[0]",
            "as an empty element. What is left of this",
        ),
        (
            "rules: [{level: None, namespaces: [~]}]",
            "rules[0].namespaces[0]",
            "as an empty text. rules[0] decides every",
        ),
        ("x.y: &u [bob]\nrules: [{level: None, users: *u}]", "x.y", "ignores the unknown key 'x.y'; it has no effect"),
    ],
)
def test_what_the_api_server_ignores_is_a_warning_that_says_what_it_causes(yaml: str, path: str, warned: str) -> None:
    """The policy is judged as it runs; the warning comes before all others."""
    found = loaded(yaml)

    assert [item.path for item in found.ignored] == [path]
    assert warned in hints(found)[0]
    assert not hints(changed(found, ()))[:1] or warned not in hints(changed(found, ()))[0]


def test_an_ignored_condition_hides_what_it_seemed_to_spare() -> None:
    """The rule was to spare the log one controller's reads; without it, everybody's reads of Secrets are gone."""
    meant = "rules: [{level: None, verbs: [get], users: [bob], resources: [{group: ''}]}, {level: Metadata}]"
    written = "rules: [{level: None, verbs: [get], resources: [{username: bob}]}, {level: Metadata}]"

    assert loaded(meant).level_for(user="amy", verb="get", resource="secrets").level is Level.METADATA
    assert loaded(written).level_for(user="amy", verb="get", resource="secrets").level is Level.NONE
    assert verdicts(loaded(written))["minted-token-used"] == "works in part"


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("x: &a {users: [a]}\nrules: [{level: None, users: [b], <<: *a}]", ("a",)),
        ("x: &a {users: [a]}\nrules: [{level: None, <<: *a, users: [b]}]", ("b",)),
        ("x: &a {users: [a]}\ny: &b {users: [b]}\nrules: [{level: None, <<: [*a, *b]}]", ("a",)),
        ("x: &a [a]\ny: &a [b]\nrules: [{level: None, users: *a}]", ("b",)),
        (
            "rules: [{level: None, users: [!name bob, !!str 1, ! 2, 2026-11-25, '~']}]",
            ("bob", "1", "2", "2026-11-25", "~"),
        ),
    ],
)
def test_yaml_is_read_as_go_reads_it(text: str, users: tuple[str, ...]) -> None:
    """Merged keys override what stands above them, an anchor may be set again, unknown tags count for nothing."""
    assert loaded(text).rules[0].users == users


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{apiVersion: audit.k8s.io/v1}", "begins with a brace, and is not JSON, line 1"),
        ('{"rules": [{"users": ["a"]}], "rules": [{"verbs": ["b"]}]}', "appears twice, which some API servers merge"),
        ('{"x": NaN}', "not JSON"),
        ('{"x": ' + "[" * 100_000, "nested too deeply"),
        ("x: &a [*b]\n---\n", "not YAML, line 1"),
        (
            f"a: &a [{'x,' * 9}]\nb: &b [{'*a,' * 99}]\nc: &c [{'*b,' * 99}]\nd: [{'*c,' * 99}]",
            "too many values or aliases",
        ),
        (f"a: &a {{{'<<: {x: y}, ' * 9}}}\nb: {{<<: b}}", "'<<' does not stand for an object, line 2"),
        ("x: !!int y", "not what its tag says, line 1"),
        ("x: !!binary '*'", "expected an audit policy|apiVersion is missing|not base64"),
    ],
)
def test_what_cannot_be_read(text: str, reason: str) -> None:
    """JSON begins with a brace, and is never YAML."""
    with pytest.raises(ConfigError, match=reason):
        AuditPolicy.load(text.encode())


def test_the_last_of_equal_keys_counts_in_json_too() -> None:
    """Of texts and lists of texts; half of a surrogate pair is no character."""
    text = (
        b'{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","level":"Metadata","users":["\\ud800"]}],"n":1e999}'
    )
    found = AuditPolicy.load(text)

    assert found.rules == (PolicyRule(Level.METADATA, users=("\ufffd",)),)
    assert [item.path for item in found.ignored] == ["n", "rules[0].level"]


PUBLISHED = """
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: policy}
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:authenticated", "system:unauthenticated"]
  nonResourceURLs: ["/api*", /version]
- level: None
  users: ["system:apiserver"]
  resources: [{group: apiserver.example.io, resources: [counts, counts/*]}]
  namespaces: [""]
- level: Metadata
  resources:
  - {group: route.example.io, resources: [routes, routes/status]}
  - resources: [secrets, serviceaccounts/token]
  - {group: authentication.k8s.io, resources: [tokenreviews]}
  - {group: machines.example.io, resource: [configs]}
- level: RequestResponse
"""
"""In the shape of OpenShift's profile AllRequestBodies, library-go pkg/operator/apiserver/audit/testdata."""


def test_a_published_policy_with_a_misspelt_key_is_judged() -> None:
    """OpenShift ships it; nobody who runs it can change it."""
    found = AuditPolicy.load(PUBLISHED.encode())

    assert verdicts(found)["token-request"] == "works"
    assert found.level_for(user="system:apiserver", resource="counts", group="apiserver.example.io").level is Level.NONE
    assert [item.path for item in found.ignored] == ["rules[2].resources[3].resource"]


def test_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that is missing is named."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ConfigError, match=r"k8stokendetect\[cli\]"):
        AuditPolicy.load(b"kind: Policy")
    assert AuditPolicy.load(orjson.dumps(HEAD | {"rules": [{"level": "None"}]})).rules, "JSON needs none"


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


def test_the_command_writes_json(tmp_path: Path) -> None:
    """A line for each rule, one for each warning; what is ignored says where it stands."""
    file = tmp_path / "policy.yaml"
    file.write_text(PUBLISHED)
    result = CliRunner().invoke(audit_policy, [str(file), "--format", "json"])
    lines = [orjson.loads(line) for line in result.output.splitlines()]
    warnings = [line for line in lines if "warning" in line]

    assert {line["rule_id"]: line["verdict"] for line in lines if "rule_id" in line} == verdicts(
        AuditPolicy.load(PUBLISHED.encode())
    )
    assert [line["ignored"] for line in warnings][:1] == ["rules[2].resources[3].resource"]
    assert [line["warning"] for line in warnings] == list(hints(AuditPolicy.load(PUBLISHED.encode())))
    changes = next(line["changes"] for line in lines if line.get("rule_id") == "token-request-long-lived")
    assert [change["before"] for change in changes] == [0]
    assert "serviceaccounts/token" in changes[0]["yaml"]
    unseen = next(line["unseen"] for line in lines if line.get("rule_id") == "token-request-long-lived")
    assert unseen[0]["level"] == "Metadata"
    assert unseen[0]["policy_rule"] == 2


def test_the_command_says_what_each_cloud_has_to_log(tmp_path: Path) -> None:
    """Alone or after a policy's verdicts, whose exit status it leaves alone; something must be asked for."""
    file = tmp_path / "policy.yaml"
    file.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n")
    alone = CliRunner().invoke(audit_policy, ["--clouds"])
    judged = CliRunner().invoke(audit_policy, [str(file)])
    both = CliRunner().invoke(audit_policy, [str(file), "--clouds"])

    assert alone.exit_code == 0
    assert both.exit_code == judged.exit_code == 1
    assert both.output == f"{judged.output}\n{alone.output}"
    for needed in ("read-only", "every Region", "AADIAM/diagnosticSettings", "sts.googleapis.com with ADMIN_READ"):
        assert needed.casefold() in alone.output.casefold()
    for refused in ([], [str(file), "--clouds", "--format", "sarif"]):
        result = CliRunner().invoke(audit_policy, refused)
        assert result.exit_code == 2
        assert "--clouds" in result.output


def test_the_command_writes_what_each_cloud_has_to_log_as_json() -> None:
    """A line for each log with all that the text says; every log has a source, a way to have it and one to check."""
    lines = CliRunner().invoke(audit_policy, ["--clouds", "--format", "json"]).output.splitlines()
    logs = [orjson.loads(line) for line in lines]

    assert [log["name"] for log in logs] == [log.name for log in CLOUD_LOGS]
    assert {log["cloud"] for log in logs} == set(CLOUDS)
    for log in logs:
        assert log["enable"]
        assert log["check"].partition(" ")[0] in {"aws", "az", "gcloud"}
        assert all(source.startswith("https://") for source in log["sources"])
        assert log["sources"]
