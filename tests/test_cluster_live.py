# SPDX-License-Identifier: Apache-2.0
"""cluster.live: every page of every kind from an API server, and what could not be read is told."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from k8stokendetect import ConfigError
from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.live import RULES, load_live
from listing_server import SECRET, Answer, ListingServer, kubeconfig, refusal, serving
from rbac_objects import EVE, OBJECTS, given, listed, made, recorded, rule

MINT = rule("create", "serviceaccounts/token")
SMALL = listed(
    made("ServiceAccount", "api", "prod"),
    made("ServiceAccount", "web", "dev"),
    given("minter", EVE, MINT, namespace="prod"),
)["items"]


def read(folder: Path, server: ListingServer, **options: Any) -> tuple[Cluster, list[str]]:
    """Read from a server, and return what was told as well."""
    errors: list[str] = []
    with serving(server) as address:
        path = kubeconfig(folder, address)
        cluster = load_live("prod", kubeconfig=path, on_error=lambda one: errors.append(str(one)), **options)
    assert not [one for one in errors if SECRET in one]
    return cluster, errors


def test_all_pages_of_all_kinds_are_read(tmp_path: Path) -> None:
    """The recorded cluster in pages of 20 is the one that kubectl printed, and only lists were asked for."""
    with gzip.open(OBJECTS) as file:
        server = ListingServer(json.load(file)["items"])
    cluster, errors = read(tmp_path, server, page=20)
    asked = [one.partition("?")[0] for one in server.asked]

    assert set(cluster.roles) == set(recorded()[0].roles)
    assert {str(one) for one in cluster.bindings} == {str(one) for one in recorded()[0].bindings}
    assert len(cluster.accounts) == len(recorded()[0].accounts)
    assert cluster.pods == recorded()[0].pods
    assert len(errors) == 3  # the bindings to no role, as from a file
    assert len(set(asked)) == 6
    assert asked.count("/apis/rbac.authorization.k8s.io/v1/clusterroles") == 6


@pytest.mark.parametrize("resource", ["pods", "clusterrolebindings"])
def test_a_kind_that_may_not_be_listed_is_told_and_the_rest_is_read(tmp_path: Path, resource: str) -> None:
    """With the server's own words, without what looks like a token in them."""

    def special(asked: str, *_: object) -> Answer | None:
        return refusal(403, f'{resource} is forbidden: User "x" cannot list {SECRET}') if asked == resource else None

    cluster, errors = read(tmp_path, ListingServer(SMALL, special))

    assert cluster.roles
    assert len(errors) == 1
    assert errors[0].startswith(f"context prod: {resource} cannot be listed: 403 {resource} is forbidden")


def test_with_a_namespace_its_own_objects_are_enough(tmp_path: Path) -> None:
    """Who may list in one namespace only still gets an answer about it, which says what it lacks."""

    def special(resource: str, namespace: str, _: Mapping[str, str]) -> Answer | None:
        return refusal(403, "no") if not namespace and not resource.startswith("cluster") else None

    cluster, errors = read(tmp_path, ListingServer(SMALL, special), namespace="prod")

    assert [str(one) for one in cluster.accounts] == ["prod/api"]
    assert [str(one) for one in cluster.bindings] == ["RoleBinding prod/minter-prod"]
    assert len(errors) == 4
    assert all("only those of prod may be listed" in error for error in errors)


def test_a_list_that_the_server_forgot_is_read_from_the_start(tmp_path: Path) -> None:
    """410 on the second page: then the whole list at once, and nothing twice."""

    def special(resource: str, _: str, query: Mapping[str, str]) -> Answer | None:
        return refusal(410, "too old") if resource == "serviceaccounts" and "continue" in query else None

    cluster, errors = read(tmp_path, ListingServer(SMALL, special), page=1)

    assert errors == []
    assert [str(one) for one in cluster.accounts] == ["prod/api", "dev/web"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(500, "etcd is gone"), "clusterroles cannot be listed: 500 etcd is gone"),
        ((502, b"<html>bad gateway"), "clusterroles cannot be listed: 502 Bad Gateway"),
        ((200, b"<html>a portal"), "clusterroles cannot be listed: the answer is not JSON"),
        ((200, b"[]"), "clusterroles cannot be listed: the answer is not a list"),
        (
            refusal(410, "too old"),
            "clusterroles cannot be listed: 410: the server ends each list early",
        ),
        (
            (200, {"kind": "ClusterRoleList", "metadata": {"continue": "x"}, "items": []}),
            "clusterroles cannot be listed: the server repeated a page of clusterroles",
        ),
    ],
    ids=["500", "proxy", "html", "array", "gone", "circle"],
)
def test_an_answer_that_is_no_list_is_told(tmp_path: Path, answer: Answer, error: str) -> None:
    """And the other kinds are read."""
    cluster, errors = read(
        tmp_path, ListingServer(SMALL, lambda resource, *_: answer if resource == "clusterroles" else None)
    )

    assert errors[0] == f"context prod: {error}"
    assert len(cluster.accounts) == 2


def test_a_refused_credential_and_a_dead_server_are_told_once(tmp_path: Path) -> None:
    """Not once for each kind: nothing more is asked, and what was not read is named."""
    kinds = "clusterrolebindings, clusterroles, rolebindings, roles, serviceaccounts, pods"
    unauthorized = ListingServer(SMALL, lambda *_: refusal(401, "Unauthorized"))
    cluster, errors = read(tmp_path, unauthorized)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}")
    dead: list[str] = []
    load_live("prod", kubeconfig=path, on_error=lambda one: dead.append(str(one)))

    assert cluster == Cluster()
    assert len(unauthorized.asked) == 1
    assert errors == [f"context prod: the API server does not accept the credential (401); not read: {kinds}"]
    assert dead == [f"context prod: the API server cannot be reached: connection refused; not read: {kinds}"]


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """After the time that was asked for; what came before is kept."""
    ended = threading.Event()

    def special(resource: str, *_: object) -> Answer | None:
        return refusal(500, "late") if resource == "rolebindings" and ended.wait(5) else None

    errors: list[str] = []
    with serving(ListingServer(SMALL, special)) as address:
        path = kubeconfig(tmp_path, address)
        cluster = load_live(kubeconfig=path, timeout=0.05, on_error=lambda one: errors.append(str(one)))
        ended.set()

    assert [role.name for role in cluster.roles] == ["minter"]
    left = "rolebindings, roles, serviceaccounts, pods"
    assert errors == [f"the current context: the API server does not answer within 0.05 s; not read: {left}"]


def test_a_kubeconfig_that_cannot_be_used_is_an_error_of_configuration(tmp_path: Path) -> None:
    """No file, no such context, no kubeconfig at all: in a line."""
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    broken = tmp_path / "broken"
    broken.write_text("{", encoding="utf-8")
    for context, file in (("prod", tmp_path / "none"), ("other", path), ("prod", broken)):
        with pytest.raises(ConfigError, match="the kubeconfig cannot be used") as raised:
            load_live(context, kubeconfig=file)
        assert len(str(raised.value).splitlines()) == 1
        assert SECRET not in str(raised.value)


def test_the_rights_that_it_needs_are_those_that_the_page_prints() -> None:
    """docs/who-can-mint.md has a ClusterRole: it allows what is asked, and nothing else."""
    text = (Path(__file__).parents[1] / "docs/who-can-mint.md").read_text(encoding="utf-8")
    block = text.partition("```yaml\n")[2].partition("```")[0]
    (role,) = Cluster.load(block.encode()).roles

    assert set(role.rules) == set(RULES)
