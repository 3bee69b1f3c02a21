# SPDX-License-Identifier: Apache-2.0
"""cluster: objects of the official Python client and dumps of them are read as what the API server writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8stokendetect.cluster import Cluster
from listing_server import official
from rbac_objects import GROUP, listed, made, rule

LABELS = {"match_labels": {"acme.io/to_top": "true"}}
SUBJECT = {"kind": "ServiceAccount", "name": "api", "namespace": "prod"}


def meta(name: str, namespace: str | None = None, **more: Any) -> Any:
    """Make the metadata of an object."""
    return official().V1ObjectMeta(name=name, namespace=namespace, **more)


def made_by_client() -> list[Any]:
    """Return one object of each kind, as the client makes them: without a kind, as in the lists that it returns."""
    subject = official().RbacV1Subject
    token = official().V1ServiceAccountTokenProjection(path="token", audience="vault")
    projected = official().V1ProjectedVolumeSource(sources=[official().V1VolumeProjection(service_account_token=token)])
    return [
        official().V1ServiceAccount(metadata=meta("api", "prod", annotations={"a_b": "c"})),
        official().V1ClusterRole(
            metadata=meta("top"),
            aggregation_rule=official().V1AggregationRule(
                cluster_role_selectors=[official().V1LabelSelector(**LABELS)]
            ),
        ),
        official().V1ClusterRole(
            metadata=meta("base", labels={"acme.io/to_top": "true"}),
            rules=[official().V1PolicyRule(api_groups=[""], resources=["serviceaccounts/token"], verbs=["create"])],
        ),
        official().V1Role(metadata=meta("r", "prod"), rules=[]),
        official().V1ClusterRoleBinding(
            metadata=meta("b"),
            role_ref=official().V1RoleRef(api_group=GROUP, kind="ClusterRole", name="top"),
            subjects=[subject(**SUBJECT)],
        ),
        official().V1RoleBinding(
            metadata=meta("b", "prod"), role_ref=official().V1RoleRef(api_group=GROUP, kind="Role", name="r")
        ),
        official().V1Pod(
            metadata=meta("p", "prod", uid="u"),
            spec=official().V1PodSpec(
                service_account_name="api",
                node_name="n1",
                containers=[official().V1Container(name="c")],
                volumes=[official().V1Volume(name="v", projected=projected)],
            ),
        ),
    ]


EXPECTED = Cluster.load(
    listed(
        made("ServiceAccount", "api", "prod", metadata={"annotations": {"a_b": "c"}}),
        made(
            "ClusterRole",
            "top",
            aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"acme.io/to_top": "true"}}]},
        ),
        made(
            "ClusterRole",
            "base",
            metadata={"labels": {"acme.io/to_top": "true"}},
            rules=[rule("create", "serviceaccounts/token")],
        ),
        made("Role", "r", "prod", rules=[]),
        made("ClusterRoleBinding", "b", roleRef={"kind": "ClusterRole", "name": "top"}, subjects=[SUBJECT]),
        made("RoleBinding", "b", "prod", roleRef={"kind": "Role", "name": "r"}),
        made(
            "Pod",
            "p",
            "prod",
            metadata={"uid": "u"},
            spec={
                "serviceAccountName": "api",
                "nodeName": "n1",
                "containers": [],
                "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}],
            },
        ),
    )
)


@pytest.mark.parametrize(
    "form",
    [
        lambda objects: objects,
        tuple,
        lambda objects: [one.to_dict() for one in objects],
        lambda objects: json.dumps([one.to_dict() for one in objects], default=str).encode(),
        lambda objects: {"api_version": "v1", "kind": "List", "items": [one.to_dict() for one in objects]},
        lambda objects: {"apiVersion": "v1", "kind": "List", "items": objects},
    ],
    ids=["objects", "tuple", "dumps", "file", "dumped list", "list of objects"],
)
def test_every_form_of_the_clients_objects_is_read(form: Any) -> None:
    """The same cluster as of the API server's JSON, each kind by its class or its fields."""
    cluster = Cluster.load(form(made_by_client()))

    assert cluster == EXPECTED
    assert cluster.allows(
        "system:serviceaccount:prod:api", [], "create", "serviceaccounts/token", namespace="x", name="y"
    )


def test_lists_of_the_client_are_read_one_after_the_other() -> None:
    """As `list_cluster_role()` returns them; a single object is a source, too."""
    account, top, base, role, cluster_binding, binding, pod = made_by_client()
    lists = [
        official().V1ServiceAccountList(items=[account]),
        official().V1ClusterRoleList(items=[top, base]),
        official().V1RoleList(items=[role]),
        official().V1ClusterRoleBindingList(items=[cluster_binding]),
        official().V1RoleBindingList(items=[binding]),
    ]

    assert Cluster.load(*lists, pod) == EXPECTED


def test_dumps_under_the_names_of_the_api_are_read_by_their_fields() -> None:
    """`sanitize_for_serialization` leaves out what is empty: what then tells no kind is told, the rest is read."""
    dumps = official().ApiClient().sanitize_for_serialization(made_by_client())
    errors: list[Exception] = []
    cluster = Cluster.load(dumps, on_error=errors.append)

    assert [str(error) for error in errors[:2]] == ["it has no kind @ $[0].kind", "it has no kind @ $[1].kind"]
    assert [role.name for role in cluster.roles] == ["base", "r"]
    assert cluster.pods == EXPECTED.pods


def test_another_kind_of_the_client_is_told() -> None:
    """By its class; and what only looks like an object of it is refused."""
    errors: list[Exception] = []
    Cluster.load([official().V1Secret(metadata=meta("s", "prod"))], on_error=errors.append)

    assert [str(error) for error in errors] == ["kind Secret is not supported @ $[0].kind"]
