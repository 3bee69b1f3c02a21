# SPDX-License-Identifier: Apache-2.0
"""cluster: laws over random clusters, against an evaluator written for this test alone, and over damaged objects."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from k8stokendetect import ReadError
from k8stokendetect.cluster import Cluster, Subject
from rbac_objects import GROUP, OBJECTS, listed, made
from strategies import json_values

NAMESPACES = ("dev", "prod")
NAMES = ("a", "b", "*")
USERS = ("a", "b", "*", "system:serviceaccount:dev:a", "system:serviceaccount:prod:b")
GROUPS = ("a", "*", "system:masters", "system:serviceaccounts")
VERBS = ("create", "get", "*", "impersonate")
RESOURCES = ("serviceaccounts", "serviceaccounts/token", "serviceaccounts/*", "*/token", "*", "*/*", "pods", "token")
API_GROUPS = ("", "*", "apps")

rules = st.fixed_dictionaries(
    {"verbs": st.lists(st.sampled_from(VERBS), max_size=2)},
    optional={
        "apiGroups": st.lists(st.sampled_from(API_GROUPS), max_size=2),
        "resources": st.lists(st.sampled_from(RESOURCES), max_size=2),
        "resourceNames": st.lists(st.sampled_from((*NAMES, "")), max_size=2),
    },
)
subjects = st.one_of(
    st.fixed_dictionaries({"kind": st.just("User"), "name": st.sampled_from(USERS)}),
    st.fixed_dictionaries({"kind": st.just("Group"), "name": st.sampled_from(GROUPS)}),
    st.fixed_dictionaries(
        {"kind": st.just("ServiceAccount"), "name": st.sampled_from(NAMES)},
        optional={"namespace": st.sampled_from(NAMESPACES)},
    ),
)


@st.composite
def clusters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw roles of few names, and bindings of which some lead nowhere."""
    found = []
    for name in NAMES:
        for namespace in ("", *NAMESPACES):
            if draw(st.booleans()):
                kind = "Role" if namespace else "ClusterRole"
                found.append(made(kind, name, namespace, rules=draw(st.lists(rules, max_size=2) | st.none())))
    for number in range(draw(st.integers(0, 5))):
        namespace = draw(st.sampled_from(("", *NAMESPACES)))
        ref = {"kind": draw(st.sampled_from(("Role", "ClusterRole"))), "name": draw(st.sampled_from(NAMES))}
        kind = "RoleBinding" if namespace else "ClusterRoleBinding"
        who = draw(st.lists(subjects, max_size=3) | st.none())
        found.append(made(kind, f"b{number}", namespace, roleRef={"apiGroup": GROUP, **ref}, subjects=who))
    return found


questions = st.fixed_dictionaries(
    {
        "user": st.sampled_from(USERS),
        "groups": st.lists(st.sampled_from(GROUPS), max_size=2),
        "verb": st.sampled_from(("create", "get", "impersonate")),
        "resource": st.sampled_from(RESOURCES),
        "namespace": st.sampled_from(("", *NAMESPACES)),
        "name": st.sampled_from(("", *NAMES)),
        "api_group": st.sampled_from(("", "apps")),
    }
)


def naive(items: list[dict[str, Any]], question: dict[str, Any]) -> bool:
    """Look at everything, as rule.go and evaluation_helpers.go read; slowly, and on the JSON itself."""
    if "system:masters" in question["groups"]:
        return True
    for item in items:
        if not item["kind"].endswith("Binding"):
            continue
        namespace = item["metadata"].get("namespace", "")
        if namespace and namespace != question["namespace"]:
            continue
        if not any(is_subject(one, namespace, question) for one in item.get("subjects") or []):
            continue
        ref = item["roleRef"]
        place = namespace if ref["kind"] == "Role" else ""
        for role in items:
            same = (role["kind"], role["metadata"]["name"]) == (ref["kind"], ref["name"])
            if (
                same
                and role["metadata"].get("namespace", "") == place
                and any(fits(one, question) for one in role.get("rules") or [])
            ):
                return True
    return False


def is_subject(subject: dict[str, str], namespace: str, question: dict[str, Any]) -> bool:
    """Tell whether the question is the subject's."""
    if subject["kind"] == "Group":
        return subject["name"] in question["groups"]
    if subject["kind"] == "User":
        return bool(subject["name"] == question["user"])
    home = subject.get("namespace") or namespace
    return bool(home) and question["user"] == f"system:serviceaccount:{home}:{subject['name']}"


def fits(rule: dict[str, Any], question: dict[str, Any]) -> bool:
    """Tell whether one rule allows it."""
    resource, slash, subresource = question["resource"].partition("/")
    wanted = {"*", f"{resource}{slash}{subresource}"} | ({f"*/{subresource}"} if subresource else set())
    return (
        bool({"*", question["verb"]} & set(rule["verbs"]))
        and bool({"*", question["api_group"]} & set(rule.get("apiGroups", [])))
        and bool(wanted & set(rule.get("resources", [])))
        and (not rule.get("resourceNames") or question["name"] in rule["resourceNames"])
    )


@given(clusters(), st.lists(questions, min_size=1, max_size=8))
def test_every_answer_is_that_of_a_naive_evaluator(items: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    """Whatever the cluster and the question; and there is a grant wherever it is not for system:masters."""
    cluster = Cluster.load(listed(items), on_error=lambda _: None)

    for question in asked:
        answer = cluster.allows(**question)
        assert answer is naive(items, question)
        assert "system:masters" in question["groups"] or bool(cluster.grants(**question)) is answer


@given(clusters(), st.sampled_from(USERS), st.lists(st.sampled_from(GROUPS), max_size=2))
def test_a_way_is_direct_where_the_token_request_is_allowed(
    items: list[dict[str, Any]], user: str, groups: list[str]
) -> None:
    """For every account, whether it exists or not; and each way's grants are the subject's own or assumed."""
    cluster = Cluster.load(listed(items), on_error=lambda _: None)

    for namespace in NAMESPACES:
        for name in NAMES:
            ways = cluster.ways(user, groups, f"{namespace}/{name}")
            question = {"user": user, "groups": groups, "verb": "create", "resource": "serviceaccounts/token"}
            expected = naive(items, question | {"namespace": namespace, "name": name, "api_group": ""})
            assert any(way.direct for way in ways) is expected
    for way in cluster.ways(user, groups):
        first = way.grants[0] if way.grants else None
        assert first is None or first.subject.name in {*groups, user, user.rpartition(":")[2]}


@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(items: list[dict[str, Any]], chance: Any) -> None:
    """For who may do what; only the order of what is listed follows the file."""
    shuffled = list(items)
    chance.shuffle(shuffled)
    one = Cluster.load(listed(items), on_error=lambda _: None)
    other = Cluster.load(*shuffled, on_error=lambda _: None) if shuffled else one

    assert set(one.bindings) == set(other.bindings)
    for user in USERS:
        assert set(one.ways(user, GROUPS[:2])) == set(other.ways(user, GROUPS[:2]))


with gzip.open(OBJECTS, "rt", encoding="utf-8") as _lines:
    ITEMS = json.load(_lines)["items"]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a recorded object in which something was replaced by any JSON, or left out."""
    item: Any = copy.deepcopy(draw(st.sampled_from(ITEMS)))
    spot: Any = item
    while True:
        key = draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot))))
        inside = spot[key]
        if isinstance(inside, dict | list) and inside and draw(st.booleans()):
            spot = inside
            continue
        if draw(st.booleans()):
            spot[key] = draw(json_values)
        else:
            del spot[key]
        return dict(item)


@settings(max_examples=200)
@given(st.lists(damaged() | json_values, max_size=3))
def test_any_json_gives_objects_or_read_errors_and_nothing_else(items: list[Any]) -> None:
    """And whatever was read can be asked."""
    errors: list[Exception] = []
    account = made("ServiceAccount", "sound", "dev")
    cluster = Cluster.load({"apiVersion": "v1", "kind": "List", "items": [*items, account]}, on_error=errors.append)

    assert all(isinstance(error, ReadError) for error in errors)
    assert cluster.service_account("dev/sound") is not None
    for subject in (*cluster.subjects, Subject("User", "x")):
        cluster.ways_of(subject)
    for one in cluster.accounts:
        cluster.service_account(one.ref)


@given(st.binary(max_size=60) | st.text(alphabet="{}[]:- \n\"'&*!|>%@`#,akind", max_size=40).map(str.encode))
def test_any_bytes_give_objects_or_read_errors_and_nothing_else(content: bytes) -> None:
    """JSON, YAML, gzip or none of them."""
    errors: list[Exception] = []
    Cluster.load(content, on_error=errors.append)

    assert all(isinstance(error, ReadError) for error in errors)
