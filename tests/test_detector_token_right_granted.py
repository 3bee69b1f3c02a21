# SPDX-License-Identifier: Apache-2.0
"""token-right-granted: roles that grant the right, as RBAC matches, and whoever is bound to one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect import Finding, ReadError, Severity, detect, parse_event
from k8stokendetect.convert.redaction import redact
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.token_right_granted import TokenRightGranted
from paths import resolve
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records
from strategies import audit_events, damaged_events, json_values

NUMBERS = itertools.count()
MINT: dict[str, Any] = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
READ: dict[str, Any] = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
ALICE = {"kind": "User", "name": "alice"}
BOB = {"kind": "User", "name": "bob"}
APISERVER = {
    "username": "system:apiserver",
    "uid": "306a2c5f-8ae7-4bf0-97fc-7804362c8bf6",
    "groups": ["system:authenticated", "system:masters"],
}
AGGREGATOR = {
    "username": "system:serviceaccount:kube-system:clusterrole-aggregation-controller",
    "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
}


def found(*source: dict[str, Any]) -> list[Finding]:
    """Return what the detector reports of events a second apart; its evidence resolves."""
    stamped = [
        {**record, "requestReceivedTimestamp": f"2026-11-23T21:43:{index:02}.000000Z"} if len(source) < 60 else record
        for index, record in enumerate(source)
    ]
    findings = list(detect(stamped, detectors=[TokenRightGranted()]))
    by_id = {record["auditID"]: redact(record)[0] for record in source}
    for finding in findings:
        assert finding.evidence
        for item in finding.evidence:
            assert plain(item.value) == resolve(item.path, by_id[finding.event.audit_id]), item.path
    return findings


def write(resource: str, body: Any, verb: str = "create", *, name: str = "minter", **fields: Any) -> dict[str, Any]:
    """Return a written RBAC object; those without `cluster` in their name are in namespace prod."""
    namespace = {} if resource.startswith("cluster") else {"namespace": "prod"}
    return {
        "kind": "Event",
        "level": "Request",
        "auditID": f"rbac-{next(NUMBERS)}",
        "stage": "ResponseComplete",
        "requestURI": "/apis/rbac.authorization.k8s.io/v1/x",
        "verb": verb,
        "user": {"username": "carol", "groups": ["system:authenticated"]},
        "sourceIPs": ["192.0.2.7"],
        "objectRef": {"resource": resource, "name": name, "apiGroup": "rbac.authorization.k8s.io", **namespace},
        "responseStatus": {"metadata": {}, "code": 201 if verb == "create" else 200},
        "requestObject": body,
        "requestReceivedTimestamp": "2026-11-23T21:43:45.000000Z",
    } | fields


def role(*rules: Any, resource: str = "roles", **options: Any) -> dict[str, Any]:
    """Return a written role."""
    return write(resource, {"kind": "Role", "rules": list(rules)}, **options)


def bind(kind: str, bound: str, /, *subjects: Any, resource: str = "rolebindings", **options: Any) -> dict[str, Any]:
    """Return a written binding."""
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": bound}
    return write(resource, {"roleRef": ref, "subjects": list(subjects)}, **{"name": "b"} | options)


@pytest.mark.parametrize(
    ("change", "accounts"),
    [
        ({}, "every service account"),
        ({"resources": ["*"]}, "every service account"),
        ({"resources": ["*/token"]}, "every service account"),
        ({"resources": ["pods", "serviceaccounts/token"], "verbs": ["get", "create"]}, "every service account"),
        ({"verbs": ["*"]}, "every service account"),
        ({"apiGroups": ["apps", "*"]}, "every service account"),
        ({"resourceNames": []}, "every service account"),
        ({"resourceNames": ["web", "api"]}, "only api, web"),
        ({"resourceNames": ["", "app"]}, "only app"),
        ({"resourceNames": [""]}, None),
        ({"resources": ["serviceaccounts/*"]}, None),
        ({"resources": ["*/*"]}, None),
        ({"resources": ["serviceaccounts"], "verbs": ["*"]}, None),
        ({"resources": ["ServiceAccounts/token"]}, None),
        ({"apiGroups": ["core"]}, None),
        ({"apiGroups": ["authentication.k8s.io"]}, None),
        ({"apiGroups": []}, None),
        ({"verbs": ["Create"]}, None),
        ({"verbs": ["creat*"]}, None),
        ({"verbs": ["get", "update"]}, None),
    ],
)
def test_a_role_is_read_as_rbac_does(change: dict[str, Any], accounts: str | None) -> None:
    """Each case as the API server 1.36.2 answered it: letter by letter, within one rule."""
    findings = found(role(READ, MINT | change))

    assert [finding.severity for finding in findings] == [Severity.MEDIUM] * (accounts is not None)
    assert all(f"may mint tokens of {accounts} in prod" in finding.summary for finding in findings)
    if accounts:
        assert "requestObject.rules[1]" in {item.path for item in findings[0].evidence}


def test_verb_and_resource_in_two_rules_grant_nothing() -> None:
    """A rule grants alone."""
    assert not found(role(MINT | {"verbs": ["get"]}, READ | {"verbs": ["create"]}))


@pytest.mark.parametrize(
    ("patch", "answer", "fires"),
    [
        ({"rules": [MINT]}, None, True),
        ([{"op": "add", "path": "/rules/-", "value": MINT}], None, True),
        ([{"op": "add", "path": "/rules/0/resources/-", "value": "serviceaccounts/token"}], None, True),
        ([{"op": "replace", "path": "/rules/0/resources", "value": ["*"]}], None, True),
        ([{"op": "test", "path": "/rules/0", "value": MINT}], None, False),
        ([{"op": "add", "path": "/rules/0/verbs/-", "value": "create"}], None, False),
        ([{"op": "add", "path": "/rules/0/verbs/-", "value": "create"}], {"rules": [MINT]}, True),
        ([{"op": "add", "path": "/rules/0/resources/-", "value": "*"}], {"rules": [READ]}, False),
        ({"metadata": {"labels": {"a": "b"}}}, {"rules": [MINT]}, False),
        ({"rules": [READ]}, None, False),
        ("no patch", None, False),
    ],
)
def test_a_patch_is_searched_and_the_answer_decides(patch: Any, answer: Any, *, fires: bool) -> None:
    """A part of a rule is enough, unless the answer shows the role whole."""
    findings = found(role(verb="patch") | {"requestObject": patch, "responseObject": answer})

    assert len(findings) == fires
    if fires and answer is None and "resources" in str(patch[0].get("path") if isinstance(patch, list) else ""):
        assert findings[0].caveats == (
            "the patch shows only a part of the rule: whether that covers `create` is not known",
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"responseStatus": {"code": 403}},
        {"stage": "RequestReceived"},
        {"verb": "get"},
        {"verb": "delete"},
        {"requestObject": None},
        {"objectRef": {"resource": "roles", "apiGroup": "iam.example.com", "name": "minter"}},
        {"objectRef": {"resource": "pods", "name": "minter"}},
    ],
)
def test_what_was_not_written_is_silent(fields: dict[str, Any]) -> None:
    """Refused, not answered, only read, deleted, not shown, or no role of RBAC."""
    assert not found(role(MINT) | fields)


def test_a_role_written_again_as_it_was_is_no_news() -> None:
    """More is; so is a role that was deleted, or lost the right, and came back."""
    assert len(found(role(MINT), role(MINT, verb="update"))) == 1
    assert len(found(role(MINT | {"resourceNames": ["web"]}), role(MINT, verb="update"))) == 2
    assert len(found(role(MINT), role(verb="delete"), role(MINT))) == 2
    assert len(found(role(MINT), role(READ, verb="update"), role(MINT, verb="update"))) == 2
    assert len(found(role(MINT), role(MINT, name="other"))) == 2


def test_a_create_is_news_though_nothing_seems_to_have_changed() -> None:
    """What can be created did not exist: it was deleted where this log does not show it, and the right came back."""
    wide = role(MINT, resource="clusterroles")
    assert len(found(role(MINT), role(MINT))) == 2
    assert len(found(bind("ClusterRole", "edit", ALICE), bind("ClusterRole", "edit", ALICE))) == 2
    assert len(found(wide, bind("ClusterRole", "minter", ALICE), bind("ClusterRole", "minter", ALICE))) == 3


def test_a_dry_run_changes_nothing() -> None:
    """It is reported with a caveat, and does not make the real change old news; an invented parameter is none."""
    dry, real = found(role(MINT, requestURI="/apis/x?dry%52un=All"), role(MINT, verb="update"))
    assert dry.caveats == ("requested as a dry run: nothing was stored",)
    assert real.caveats == ()
    assert found(role(MINT, requestURI="/apis/x?x=dryRun=All"))[0].caveats == ()


@pytest.mark.parametrize(
    ("binding", "fires"),
    [
        (bind("ClusterRole", "edit", ALICE), True),
        (bind("ClusterRole", "admin", ALICE), True),
        (bind("ClusterRole", "cluster-admin", ALICE, resource="clusterrolebindings"), True),
        (bind("ClusterRole", "system:node", ALICE, resource="clusterrolebindings"), True),
        (bind("ClusterRole", "edit", ALICE, verb="update"), True),
        (bind("ClusterRole", "edit"), False),
        (bind("ClusterRole", "view", ALICE), False),
        (bind("Role", "edit", ALICE), False),
        (bind("ClusterRole", "edit", ALICE, responseStatus={"code": 403}), False),
        (write("clusterrolebindings", {"subjects": [ALICE]}, "patch", name="cluster-admin"), True),
        (write("clusterrolebindings", {"subjects": [ALICE]}, "patch", name="other"), False),
        (write("rolebindings", {"subjects": [ALICE]}, "patch", name="cluster-admin"), False),
    ],
)
def test_a_binding_to_a_built_in_role_is_reported(binding: dict[str, Any], *, fires: bool) -> None:
    """By what the role is, not by its name: a Role called edit is somebody's own."""
    findings = found(binding)

    assert [finding.severity for finding in findings] == [Severity.MEDIUM] * fires
    assert all("User alice may mint tokens of every service account" in finding.summary for finding in findings)


def test_a_binding_to_a_role_that_was_seen_is_reported() -> None:
    """In the binding's namespace, or a ClusterRole from any; with what it is narrowed to."""
    own = role(MINT | {"resourceNames": ["web"]})
    wide = role(MINT, resource="clusterroles")
    elsewhere = role(MINT)
    elsewhere["objectRef"]["namespace"] = "dev"

    assert "User alice may mint tokens of only web" in found(own, bind("Role", "minter", ALICE))[1].summary
    assert len(found(wide, bind("ClusterRole", "minter", ALICE))) == 2
    assert len(found(elsewhere, bind("Role", "minter", ALICE))) == 1
    assert len(found(wide, bind("Role", "minter", ALICE))) == 1
    assert len(found(own, role(READ, verb="update"), bind("Role", "minter", ALICE))) == 1


def test_each_subject_is_reported_once_also_when_a_patch_adds_it() -> None:
    """A patch need not name the role: it is remembered from the binding."""
    first = bind("ClusterRole", "edit", ALICE)
    again = bind("ClusterRole", "edit", ALICE, verb="update")
    merge = write("rolebindings", {"subjects": [ALICE, BOB]}, "patch", name="b")
    json_patch = write("rolebindings", [{"op": "add", "path": "/subjects/-", "value": BOB}], "patch", name="b")
    labels = write("rolebindings", {"metadata": {"labels": {}}}, "patch", name="b")

    assert len(found(first, again, labels)) == 1
    for patch in (merge, json_patch):
        assert "User bob may mint" in found(first, patch)[1].summary
        assert "alice" not in found(first, patch)[1].summary
    assert len(found(first, write("rolebindings", None, "delete", name="b"), again)) == 2


@pytest.mark.parametrize(
    ("fields", "fires"),
    [
        ({}, False),
        ({"user": APISERVER | {"groups": ["system:authenticated"]}}, True),
        ({"user": APISERVER | {"uid": ""}}, True),
        ({"user": APISERVER | {"extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=a"]}}}, True),
        ({"sourceIPs": ["127.0.0.1", "192.0.2.7"]}, True),
        ({"impersonatedUser": {"username": "x"}}, True),
        ({"objectRef": {"resource": "clusterroles", "name": "mine"}}, True),
        ({"user": AGGREGATOR}, False),
        ({"user": AGGREGATOR | {"groups": ["system:authenticated"]}}, True),
        ({"user": AGGREGATOR, "annotations": {"authentication.k8s.io/legacy-token": AGGREGATOR["username"]}}, True),
        ({"user": AGGREGATOR, "objectRef": {"resource": "clusterroles", "name": "view"}}, True),
    ],
)
def test_the_clusters_own_bootstrap_is_silent(fields: dict[str, Any], *, fires: bool) -> None:
    """The API server's loopback client and the aggregation controller, on roles that hold the right anyway."""
    mine: dict[str, Any] = {"user": APISERVER, "sourceIPs": ["127.0.0.1"]} | fields

    assert len(found(role(MINT, resource="clusterroles", name="edit", **mine))) == fires


def test_the_bootstrap_binding_is_silent() -> None:
    """cluster-admin to system:masters, by the API server itself; not by anybody else."""
    masters = {"kind": "Group", "name": "system:masters"}
    binding = bind("ClusterRole", "cluster-admin", masters, resource="clusterrolebindings", name="cluster-admin")

    assert not found(binding | {"user": APISERVER, "sourceIPs": ["127.0.0.1"]})
    assert found(binding)


@pytest.mark.parametrize(
    "value",
    [r'"\ud800"', "1e999", "9" * 5000, "[" * 120 + "]" * 120, "[" * 2000 + "]" * 2000],
    ids=lambda value: value[:9],
)
@pytest.mark.parametrize(
    "record",
    [role(MINT), role(MINT, verb="patch", resource="clusterroles"), bind("ClusterRole", "edit", ALICE)],
    ids=["role", "patch", "binding"],
)
def test_a_field_that_nobody_knows_hides_nothing(record: dict[str, Any], value: str) -> None:
    """Read all the same; where it nests too deeply, reported as hidden."""
    text = json.dumps(record | {"requestObject": record["requestObject"] | {"x": "@"}}).replace('"@"', value)
    findings = list(detect(text.encode(), detectors=[TokenRightGranted()]))

    assert [finding.severity for finding in findings] == [Severity.MEDIUM]
    assert ("hides what it grants" in findings[0].summary) == value.startswith("[")


def test_a_hidden_body_of_something_else_is_silent() -> None:
    """A read, a delete, what failed, another resource; in an answer that is hidden, the request says all."""
    deep = json.loads("[" * 120 + "]" * 120)
    for fields in ({"verb": "delete"}, {"responseStatus": {"code": 403}}, {"verb": "get"}):
        assert not list(detect([role(MINT) | {"requestObject": deep} | fields], detectors=[TokenRightGranted()]))
    assert not list(detect([write("secrets", deep)], detectors=[TokenRightGranted()]))
    shown = list(detect([role(MINT) | {"responseObject": deep}], detectors=[TokenRightGranted()]))
    assert ["hides" in finding.summary for finding in shown] == [False]


def test_a_role_that_was_hidden_is_remembered() -> None:
    """Who is bound to it is reported."""
    hidden = role() | {"requestObject": json.loads("[" * 120 + "]" * 120)}
    findings = list(detect([hidden, bind("Role", "minter", BOB)], detectors=[TokenRightGranted()]))

    assert ["hides" in finding.summary for finding in findings] == [True, False]
    assert "User bob may mint tokens of unknown service accounts" in findings[1].summary


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE])
def test_on_the_recordings(path: Path) -> None:
    """RBAC objects were written at level Metadata there: no rule was logged, nothing can be said."""
    assert not found(*records(path))


@given(
    record=audit_events | damaged_events(),
    resource=st.sampled_from(["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    verb=st.sampled_from(["create", "update", "patch", "delete"]),
    body=json_values | st.builds(lambda item: {"rules": [MINT, item], "subjects": [ALICE, item]}, json_values),
)
def test_it_never_raises(record: dict[str, Any], resource: str, verb: str, body: Any) -> None:
    """Whatever an event or a body holds."""
    ours = write(resource, body, verb, responseObject=body)
    for source in (record, ours, ours | {"requestObject": {"roleRef": body, "subjects": [body]}}):
        try:
            event = parse_event(source)
        except ReadError:
            continue
        for finding in TokenRightGranted().take(event, ()):
            for item in finding.evidence:
                assert plain(item.value) == resolve(item.path, redact(source)[0])
