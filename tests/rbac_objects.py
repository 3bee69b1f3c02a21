# SPDX-License-Identifier: Apache-2.0
"""The recorded RBAC decisions, and RBAC objects in short."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

from k8stokendetect.cluster import Cluster

FOLDER = Path(__file__).parent / "data" / "rbac"
OBJECTS = FOLDER / "objects.json.gz"
GROUP = "rbac.authorization.k8s.io"


@functools.cache
def recorded() -> tuple[Cluster, tuple[str, ...]]:
    """Return the recorded cluster, and what is unsound in it."""
    errors: list[Exception] = []
    return Cluster.load(OBJECTS, on_error=errors.append), tuple(map(str, errors))


@functools.cache
def answers() -> tuple[dict[str, Any], ...]:
    """Return the API server's own answers; `resource` is put into RBAC notation."""
    with gzip.open(FOLDER / "answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return tuple(one | {"resource": f"{one['resource']}/{one['subresource']}".rstrip("/")} for one in found)


def asked(cluster: Cluster, question: dict[str, Any]) -> bool:
    """Put a recorded question."""
    return cluster.allows(
        question["user"],
        question["groups"],
        question["verb"],
        question["resource"],
        namespace=question["namespace"],
        name=question["name"],
        api_group=question["group"],
    )


def rule(verbs: str, resources: str, group: str = "", *names: str) -> dict[str, Any]:
    """Make a rule; verbs and resources are separated by spaces."""
    made = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return made | ({"resourceNames": list(names)} if names else {})


def made(kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    """Make an object."""
    version = "v1" if kind in {"ServiceAccount", "Pod"} else f"{GROUP}/v1"
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata | fields.pop("metadata", {})} | fields


def given(name: str, subject: dict[str, str], *rules: dict[str, Any], namespace: str = "") -> list[dict[str, Any]]:
    """Make a ClusterRole with rules and the binding that gives it, in a namespace or everywhere."""
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return [
        made("ClusterRole", name, rules=list(rules)),
        made(kind, f"{name}-{namespace}", namespace, roleRef=ref, subjects=[subject]),
    ]


def listed(*items: Any) -> dict[str, Any]:
    """Make a List; lists of objects are laid out."""
    flat = [one for item in items for one in (item if isinstance(item, list) else [item])]
    return {"apiVersion": "v1", "kind": "List", "items": flat}


EVE = {"kind": "User", "name": "eve"}
