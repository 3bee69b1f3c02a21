# SPDX-License-Identifier: Apache-2.0
"""cluster: the objects of a cluster, read strictly, and RBAC as the API server itself decides."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8stokendetect import ConfigError, ReadError
from k8stokendetect.cluster import Cluster, Grant, PodIdentity, Subject
from k8stokendetect.cluster.incomplete import IncompleteError
from rbac_objects import EVE, GROUP, OBJECTS, answers, asked, given, listed, made, recorded, rule

MINT = rule("create", "serviceaccounts/token")
REASON = re.compile(r'RBAC: allowed by (\w+) "([^"]+)" of (\w+) "([^"]+)" to (\w+) "([^"]+)"')


def loaded(*sources: Any) -> tuple[Cluster, list[str]]:
    """Load, and return what was told as well."""
    errors: list[ReadError] = []

    def tell(error: Exception) -> None:
        assert isinstance(error, ReadError)
        errors.append(error)

    return Cluster.load(*sources, on_error=tell), [str(error) for error in errors]


def test_it_agrees_with_the_api_server() -> None:
    """On all 6,880 recorded answers but the 11 of the Node authorizer, which have an empty reason."""
    cluster, _ = recorded()
    differing = [one for one in answers() if asked(cluster, one) is not one["allowed"]]
    of_nodes = [one for one in answers() if one["allowed"] and not one["reason"] and "system:nodes" in one["groups"]]

    assert len(answers()) == 6880
    assert len(of_nodes) == 11
    assert differing == of_nodes


def test_it_names_the_binding_that_the_api_server_names() -> None:
    """For every allowed answer with a reason the binding, the role and the subject in it are among the grants."""
    cluster, _ = recorded()
    reasons = [one for one in answers() if one["allowed"] and one["reason"]]

    assert len(reasons) == 474
    for one in reasons:
        found = REASON.fullmatch(one["reason"])
        grants = cluster.grants(
            one["user"],
            one["groups"],
            one["verb"],
            one["resource"],
            namespace=one["namespace"],
            name=one["name"],
            api_group=one["group"],
        )
        assert found
        assert found.groups() in {as_the_server_writes(grant) for grant in grants}


def as_the_server_writes(grant: Grant) -> tuple[str, ...]:
    """Name a grant as `status.reason` does: namespaces after names."""
    subject, binding = grant.subject, grant.binding
    return (
        binding.kind,
        f"{binding.name}/{binding.namespace}".rstrip("/"),
        grant.role.kind,
        grant.role.name,
        subject.kind,
        f"{subject.name}/{subject.namespace}".rstrip("/"),
    )


def test_the_direct_ways_agree_with_the_api_server() -> None:
    """For every recorded question about one service account's token: there is a direct way where it was allowed."""
    cluster, _ = recorded()
    questions = [
        one
        for one in answers()
        if (one["verb"], one["group"], one["resource"]) == ("create", "", "serviceaccounts/token")
        and one["namespace"]
        and one["name"]
        and ("system:nodes" not in one["groups"] or one["reason"])
    ]

    assert len(questions) > 800
    for one in questions:
        ways = cluster.ways(one["user"], one["groups"], f"{one['namespace']}/{one['name']}")
        assert any(way.direct for way in ways) is one["allowed"], one


def test_what_gives_nothing_in_the_recording_is_told() -> None:
    """Three bindings to roles that do not exist, which the API server passes over without a word."""
    _, errors = recorded()

    assert [error.partition(": ")[2] for error in errors] == [
        "RoleBinding ci/minter-missing-role: its Role minter does not exist @ $.items[99].roleRef",
        (
            "RoleBinding prod/missing-cluster-role: its ClusterRole does-not-exist-either does not exist"
            " @ $.items[125].roleRef"
        ),
        "ClusterRoleBinding missing-cluster-role: its ClusterRole does-not-exist does not exist @ $.items[271].roleRef",
    ]


def test_an_error_is_raised_unless_told_otherwise() -> None:
    """The default on_error raises, as everywhere."""
    with pytest.raises(ReadError, match="minter does not exist"):
        Cluster.load(OBJECTS)


def test_members_of_system_masters_may_everything_without_any_binding() -> None:
    """The API server asks no authorizer about them (recorded: an empty reason)."""
    assert Cluster().allows("x", ["system:masters"], "create", "serviceaccounts/token", namespace="prod", name="api")
    assert Cluster().allows_url("x", ["system:masters"], "get", "/metrics")
    assert not Cluster().allows("system:masters", [], "get", "pods")


@pytest.mark.parametrize(
    ("urls", "asked_for", "expected"),
    [
        (["/metrics"], "/metrics", True),
        (["/metrics"], "/metrics/cadvisor", False),
        (["/metrics/*"], "/metrics/cadvisor", True),
        (["/metrics/*"], "/metrics", False),
        (["*"], "/healthz", True),
        (["/a*b"], "/axb", False),
        (["/a**"], "/ab", True),
    ],
)
def test_urls_match_by_a_star_at_their_end(urls: list[str], asked_for: str, *, expected: bool) -> None:
    """evaluation_helpers.go, NonResourceURLMatches; only cluster-wide bindings count."""
    allowed = {"nonResourceURLs": urls, "verbs": ["get"]}
    everywhere, _ = loaded(listed(given("r", EVE, allowed)))
    in_one, _ = loaded(listed(given("r", EVE, allowed, namespace="dev")))

    assert everywhere.allows_url("eve", [], "get", asked_for) is expected
    assert not everywhere.allows_url("eve", [], "post", asked_for)
    assert not everywhere.allows("eve", [], "get", asked_for)
    assert not in_one.allows_url("eve", [], "get", asked_for)


def documents() -> list[dict[str, Any]]:
    """Return two lists as two files would hold them."""
    return [
        listed(made("ServiceAccount", "api", "prod"), made("Pod", "api-1", "prod", spec={"serviceAccountName": "api"})),
        listed(given("minter", EVE, MINT)),
    ]


def test_every_source_gives_the_same_cluster(tmp_path: Path) -> None:
    """Paths, gzip, bytes, open files, mappings; JSON, JSON one after the other, YAML, UTF-16; one file or several."""
    first, second = documents()
    expected = Cluster.load(first, second)
    path = tmp_path / "one.json"
    path.write_text(json.dumps(first))
    packed = tmp_path / "two.gz"
    packed.write_bytes(gzip.compress(json.dumps(second).encode()))
    appended = f"{json.dumps(first, indent=1)}\n\n{json.dumps(second)}\n".encode()
    in_yaml = yaml.safe_dump_all([first, None, second]).encode()

    assert len(expected.accounts) == len(expected.pods) == len(expected.roles) == len(expected.bindings) == 1
    for sources in (
        (path, packed),
        (str(path), json.dumps(second).encode()),
        (io.BytesIO(json.dumps(first).encode()), bytearray(json.dumps(second), "utf-8")),
        (appended,),
        (in_yaml,),
        (b"# a comment\n---\n" + in_yaml,),
        (json.dumps(first).encode("utf-8-sig"), json.dumps(second).encode("utf-16")),
        (*first["items"], *second["items"]),
    ):
        assert Cluster.load(*sources) == expected


def test_lists_of_one_kind_do_not_repeat_it_in_their_items() -> None:
    """As `kubectl get --raw` prints them."""
    role = made("Role", "r", "dev", rules=[MINT])
    del role["kind"], role["apiVersion"]
    cluster = Cluster.load({"kind": "RoleList", "apiVersion": f"{GROUP}/v1", "items": [role]})

    assert [str(one) for one in cluster.roles] == ["Role dev/r"]


def test_the_values_are_frozen_and_compared_by_value() -> None:
    """A cluster survives pickle, also after it has answered."""
    cluster = Cluster.load(*documents())
    assert cluster.allows("eve", [], "create", "serviceaccounts/token", namespace="prod", name="api")
    cluster.ways("eve", [])
    copy = pickle.loads(pickle.dumps(cluster))  # noqa: S301 - our own

    assert copy == cluster
    assert copy.ways("eve", []) == cluster.ways("eve", [])
    with pytest.raises(AttributeError):
        cluster.pods = ()  # type: ignore[misc]  # what is tested


ROLE = made("ClusterRole", "r", rules=[MINT])
BAD = [
    (made("ConfigMap", "c", "dev"), "kind ConfigMap is not supported @ $.items[0].kind"),
    (made("eyJhbGciOi.x", "c"), "kind ? is not supported @ $.items[0].kind"),
    (["x"], "expected a Kubernetes object @ $.items[0]"),
    ({"apiVersion": "v1"}, "it has no kind @ $.items[0].kind"),
    (listed(), "kind List is not supported @ $.items[0].kind"),
    (
        made("ClusterRole", "a", rules=[]) | {"apiVersion": "authorization.openshift.io/v1"},
        f"ClusterRole: its apiVersion is not one of {GROUP}/v1, {GROUP}/v1beta1 @ $.items[0].apiVersion",
    ),
    (made("Role", "a", rules=[]), "Role a: it has no namespace @ $.items[0].metadata.namespace"),
    (made("ServiceAccount", "", "dev"), "ServiceAccount dev: it has no name @ $.items[0].metadata.name"),
    (made("RoleBinding", "b", "dev"), "RoleBinding dev/b: required field missing @ $.items[0].roleRef"),
    (made("RoleBinding", "b", "dev", roleRef=None), "RoleBinding dev/b: required field missing @ $.items[0].roleRef"),
    (
        made("ClusterRole", "a", rules=[{"apiGroups": [""], "resources": ["pods"]}]),
        "ClusterRole a: required field missing @ $.items[0].rules[0].verbs",
    ),
    (
        made("ClusterRole", "a", rules=[{"verbs": "create"}]),
        "ClusterRole a: expected a list of strings, got a string @ $.items[0].rules[0].verbs",
    ),
    (made("ClusterRole", "a", rules={}), "ClusterRole a: expected a list, got an object @ $.items[0].rules"),
    (
        made("ClusterRole", "a", rules=[{"verbs": [], "nonResourceURLs": [1]}]),
        "ClusterRole a: expected a list of strings, got a number @ $.items[0].rules[0].nonResourceURLs",
    ),
    (
        made("ClusterRole", "a", metadata={"labels": {"x": 1}}),
        "ClusterRole a: expected an object of strings, got a number @ $.items[0].metadata.labels",
    ),
    (made("Pod", "p", "dev", spec=[]), "Pod dev/p: expected an object, got a list @ $.items[0].spec"),
    (
        made("ClusterRole", "a", aggregationRule={"clusterRoleSelectors": [{"matchExpressions": [{"key": "x"}]}]}),
        (
            "ClusterRole a: required field missing"
            " @ $.items[0].aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator"
        ),
    ),
    (
        made("RoleBinding", "b", "dev", roleRef={"kind": "Role", "name": "r"}),
        "RoleBinding dev/b: its Role r does not exist @ $.items[0].roleRef",
    ),
    (
        made("ClusterRoleBinding", "b", roleRef={"kind": "Role", "name": "r"}),
        "ClusterRoleBinding b: a ClusterRoleBinding cannot give a Role @ $.items[0].roleRef.kind",
    ),
    (
        made(
            "ClusterRoleBinding",
            "b",
            roleRef={"kind": "ClusterRole", "name": "r"},
            subjects=[{"kind": "Robot", "name": "x"}],
        ),
        "ClusterRoleBinding b: Robot is not a kind of subject @ $.items[0].subjects[0].kind",
    ),
    (
        made(
            "ClusterRoleBinding",
            "b",
            roleRef={"kind": "ClusterRole", "name": "r"},
            subjects=[{"kind": "ServiceAccount", "name": "x"}],
        ),
        "ClusterRoleBinding b: a service account needs a namespace @ $.items[0].subjects[0].namespace",
    ),
    (
        made("ClusterRole", "r", rules=[]),
        "ClusterRole r differs from the one @ $.items[0]; both count @ $.items[1]",
    ),
]


@pytest.mark.parametrize(("item", "error"), BAD, ids=[error for _, error in BAD])
def test_a_bad_object_is_told_and_the_rest_is_answered(item: Any, error: str) -> None:
    """Each with the JSON path; nothing is coerced, nothing passed over."""
    good = [ROLE, *given("minter", EVE, MINT)]
    cluster, errors = loaded({"apiVersion": "v1", "kind": "List", "items": [item, *good]})

    assert errors == [error]
    assert cluster.allows("eve", [], "create", "serviceaccounts/token", namespace="dev", name="x")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "it is empty"),
        (b'{"kind": "List"', "not JSON, in the value that begins in line 1"),
        (b'{"kind": "List", "items": []}\n{"kind"', "not JSON, in the value that begins in line 2"),
        (b"kind: List\nitems: [", "not YAML, line 3"),
        (b"kind: Role\nkind: Role", "duplicate key, line 2"),
        (b"a: &a [1]\nb: [" + b"*a," * 200 + b"]", "too many aliases"),
        (b"\x1f\x8b\x08broken", "its gzip is damaged"),
        (b"\xff\xfea", "neither UTF-8 nor UTF-16"),
        (b"42", "expected a Kubernetes object @ $"),
        (b'{"kind": "List"}', "expected a list @ $.items"),
        (b"[1]", "expected a Kubernetes object @ $[0]"),
        (b"[[[]]]", "expected a Kubernetes object @ $[0]"),
        (b"[" * 100_000, "not JSON, in the value that begins in line 1"),
        (b"- " * 100_000, "not YAML, line 1"),
    ],
)
def test_content_that_is_none_is_told(content: bytes, error: str) -> None:
    """And the other sources are read."""
    cluster, errors = loaded(content, *documents())

    assert errors == [error]
    assert cluster == Cluster.load(*documents())


def test_a_source_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file by its name."""
    cluster, errors = loaded(tmp_path / "none.json", *documents())

    assert errors == [f"{tmp_path / 'none.json'}: cannot be read: No such file or directory"]
    assert cluster.roles


@pytest.mark.parametrize("source", ['{"kind": "List"}', "", 3, None, io.StringIO("x"), {1}])
def test_what_is_no_source_is_refused_at_once(source: Any) -> None:
    """A str is a path; a file in text mode would have been decoded by a guess."""
    with pytest.raises(ConfigError):
        Cluster.load(source, on_error=print)
    with pytest.raises(ConfigError):
        Cluster.load()


def test_documents_and_files_are_named_in_errors() -> None:
    """The second document of a YAML stream says so."""
    content = b"apiVersion: v1\nkind: List\nitems: []\n---\napiVersion: v1\nkind: Secret\n"

    assert loaded(content)[1] == ["document 2: kind Secret is not supported @ $.kind"]


def test_yaml_dates_are_strings_as_kubectl_has_them() -> None:
    """YAML 1.1 would make a time of an annotation that looks like one."""
    text = (
        b"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: dev, annotations: {x: 2026-01-01},"
        b" creationTimestamp: 2026-01-01T00:00:00Z}"
    )

    assert Cluster.load(text).accounts[0].annotations == {"x": "2026-01-01"}


def test_no_token_stands_in_an_error() -> None:
    """Names are shown, a token in their place is not, and no line is broken."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"  # noqa: S105 - none that works
    item = made("ClusterRoleBinding", f"{token}\n\x1b[31m", roleRef={"kind": "ClusterRole", "name": token})
    _, errors = loaded(item)

    assert len(errors) == 1
    assert "eyJpc3MiOiJrdWJlcm5ldGVzIn0" not in errors[0]
    assert errors[0].isprintable()


def aggregated(name: str, label: str = "", wants: Any = None, rules: Any = None, uid: str = "") -> dict[str, Any]:
    """Make a ClusterRole that carries a label and collects those with another."""
    metadata = {"labels": {label: "true"} if label else {}} | ({"uid": uid} if uid else {})
    selectors = {"clusterRoleSelectors": [{"matchLabels": {wants: "true"}}]} if isinstance(wants, str) else wants
    return made("ClusterRole", name, metadata=metadata, rules=rules) | ({"aggregationRule": selectors} if wants else {})


def bound(name: str) -> dict[str, Any]:
    """Give eve a ClusterRole."""
    return made("ClusterRoleBinding", f"b-{name}", roleRef={"kind": "ClusterRole", "name": name}, subjects=[EVE])


def mints(cluster: Cluster) -> bool:
    """Tell whether eve may mint."""
    return cluster.allows("eve", [], "create", "serviceaccounts/token", namespace="dev", name="x")


@pytest.mark.parametrize(
    ("rules", "uid", "expected"),
    [(None, "u", True), (None, "", True), ([], "", True), ([], "u", False), ([rule("get", "pods")], "", False)],
)
def test_rules_left_to_the_controller_are_computed_and_others_read_as_recorded(
    rules: Any, uid: str, *, expected: bool
) -> None:
    """Null is not filled; `[]` is how a manifest writes it, and with a uid it is what the cluster had."""
    cluster, errors = loaded(
        listed(
            aggregated("top", wants="to-top", rules=rules, uid=uid),
            aggregated("mid", "to-top", wants="to-mid"),
            aggregated("base", "to-mid", rules=[MINT]),
            bound("top"),
        )
    )

    assert errors == []
    assert mints(cluster) is expected


def test_aggregation_over_many_steps_is_followed_to_its_end() -> None:
    """The controller fills the upper roles again when the lower ones have changed."""
    steps = [aggregated(f"step-{number}", f"to-{number}", wants=f"to-{number + 1}") for number in range(5)]
    cluster, _ = loaded(listed(steps, aggregated("step-5", "to-5", rules=[MINT]), bound("step-0")))

    assert mints(cluster)


def test_a_role_is_looked_up_by_kind_and_in_the_namespace_of_its_binding() -> None:
    """A ClusterRole of the same name is another role, and so is a Role elsewhere."""
    ref = {"kind": "Role", "name": "r"}
    binding = made("RoleBinding", "b", "dev", roleRef=ref, subjects=[EVE])
    for other in (made("ClusterRole", "r", rules=[MINT]), made("Role", "r", "prod", rules=[MINT])):
        cluster, errors = loaded(listed(binding, other))
        assert not mints(cluster)
        assert len(errors) == 1
    assert mints(loaded(listed(binding, made("Role", "r", "dev", rules=[MINT])))[0])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "DoesNotExist"}, False),
        ({"key": "a", "operator": "In", "values": ["true", "x"]}, True),
        ({"key": "a", "operator": "In", "values": ["x"]}, False),
        ({"key": "a", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "b", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["true"]}, False),
    ],
)
def test_label_expressions_match_as_in_kubernetes(expression: dict[str, Any], *, expected: bool) -> None:
    """NotIn fits what has no such label (apimachinery pkg/labels/selector.go)."""
    wants = {"clusterRoleSelectors": [{"matchExpressions": [expression]}]}
    cluster, _ = loaded(listed(aggregated("top", wants=wants), aggregated("base", "a", rules=[MINT]), bound("top")))

    assert mints(cluster) is expected


def test_a_circle_of_aggregation_is_told_once_and_answered_as_the_controller_would() -> None:
    """It goes on until nothing changes; a role that selects itself is no circle."""
    cluster, errors = loaded(
        listed(
            aggregated("one", "to-two", wants="to-one"),
            aggregated("two", "to-one", wants="to-two"),
            aggregated("base", "to-two", rules=[MINT]),
            aggregated("self", "to-self", wants="to-self", rules=[MINT]),
            bound("one"),
        )
    )

    assert errors == ["cyclic aggregation of ClusterRoles: one, two @ $.items[0]"]
    assert mints(cluster)


def test_groups_given_as_one_string_are_refused() -> None:
    """It would be taken letter by letter."""
    for groups in ("system:masters", None, [1]):
        with pytest.raises(ConfigError):
            Cluster().allows("x", groups, "get", "pods")  # type: ignore[arg-type]  # what is tested


def test_pod_identity_associations_are_read_from_both_commands() -> None:
    """`list-pod-identity-associations` has no role; `describe-pod-identity-association` completes it."""
    summary = {"clusterName": "c", "namespace": "prod", "serviceAccount": "api", "associationId": "a-1"}
    whole = summary | {"roleArn": "arn:aws:iam::111122223333:role/api", "tags": {}, "createdAt": 1.5}
    expected = PodIdentity("prod", "api", "a-1", "arn:aws:iam::111122223333:role/api")

    listing: dict[str, Any] = {"associations": [summary]}
    for sources in ((listing, {"association": whole}), ({"association": whole}, listing)):
        assert Cluster.load(*sources).pod_identities == (expected,)
    assert loaded({"associations": {}})[1] == ["expected a list @ $.associations"]
    assert loaded({"associations": [{"namespace": "prod"}]})[1] == [
        "PodIdentityAssociation: required field missing @ $.associations[0].serviceAccount"
    ]


def test_the_subjects_of_all_bindings_are_listed_once() -> None:
    """A service account without namespace in a RoleBinding is the namespace's (rule.go, appliesToUser)."""
    local = {"kind": "ServiceAccount", "name": "x"}
    cluster, _ = loaded(
        listed(given("a", local, MINT, namespace="dev"), given("b", local | {"namespace": "dev"}, MINT))
    )

    assert cluster.subjects == (Subject("ServiceAccount", "x", "dev"),)
    assert cluster.allows("system:serviceaccount:dev:x", [], "create", "serviceaccounts/token")


READ_PODS = rule("get", "pods")
BOB = {"kind": "User", "name": "bob"}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("field", "harmless", "real"),
    [
        ("subjects", [BOB], [EVE]),
        ("roleRef", {"kind": "ClusterRole", "name": "reader"}, {"kind": "ClusterRole", "name": "minter"}),
        ("rules", [READ_PODS], [MINT]),
        ("rules", None, [MINT]),
    ],
)
def test_of_two_objects_of_a_name_none_hides_the_other(order: int, field: str, harmless: Any, real: Any) -> None:
    """In either order the rights of both count, and it is said once; the same object again is nothing new."""
    role, binding = given("minter", EVE, MINT)
    reader = made("ClusterRole", "reader", rules=[READ_PODS])
    selectors = {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}
    aggregated = {"aggregationRule": selectors if harmless is None else None}
    one = (role | aggregated if field == "rules" else binding) | {field: harmless}
    other = (role if field == "rules" else binding) | {field: real}
    pair = [one, other][::order]
    rest = [reader, binding if field == "rules" else role]
    cluster, errors = loaded(listed(*rest, *pair), listed(*pair[:1], reader, *([pair[1]] if field != "rules" else [])))

    assert cluster.allows("eve", [], "create", "serviceaccounts/token", namespace="dev", name="x")
    assert len([error for error in errors if "; both count" in error]) == len(errors) > 0


def test_a_role_that_another_of_its_name_hides_from_aggregation_is_told_apart() -> None:
    """With other labels its rules may be somebody else's as well: the answer is incomplete."""
    labels = {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
    told: list[Exception] = []
    Cluster.load(
        listed(made("ClusterRole", "r", rules=[MINT]), made("ClusterRole", "r", rules=[MINT], metadata=labels)),
        on_error=told.append,
    )

    assert [type(error) for error in told] == [IncompleteError]


def test_an_account_without_annotations_does_not_hide_a_cloud_identity() -> None:
    """The same for what accounts are worth, and for pods."""
    plain = made("ServiceAccount", "a", "prod")
    cloud = made(
        "ServiceAccount",
        "a",
        "prod",
        metadata={"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"}},
    )
    pods = [made("Pod", "p", "prod", spec={"serviceAccountName": name, "containers": []}) for name in ("b", "a")]
    cluster, errors = loaded(listed(plain, cloud, *pods))
    profile = cluster.service_account("prod/a")

    assert profile is not None
    assert (len(profile.cloud), len(profile.pods), len(errors)) == (1, 1, 2)
