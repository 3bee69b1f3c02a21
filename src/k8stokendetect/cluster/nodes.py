# SPDX-License-Identifier: Apache-2.0
"""Nodes: the kubelet of each may mint for the accounts of the pods on it.

The Node authorizer allows that, and RBAC says nothing of it: k8s.io/kubernetes
plugin/pkg/auth/authorizer/node/graph.go, AddPod (mirror pods have no account). NodeRestriction makes it bind the token
to the pod (plugin/pkg/admission/noderestriction/admission.go, admitServiceAccount). What the API server of our
recording answered agrees: tests/data/rbac/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8stokendetect.cluster.attack_paths import AttackPath, AttackPathKind
from k8stokendetect.cluster.objects import Pod
from k8stokendetect.identity import ServiceAccount


def nodes_of(pods: Iterable[Pod], /) -> Mapping[str, tuple[ServiceAccount, ...]]:
    """Return the accounts of the pods of each node, each once."""
    found: dict[str, dict[ServiceAccount, None]] = {}
    for pod in pods:
        if pod.node and pod.service_account:
            found.setdefault(pod.node, {})[pod.ref] = None
    return {node: tuple(accounts) for node, accounts in found.items()}


def kubelet_paths(accounts: Iterable[ServiceAccount], /) -> tuple[AttackPath, ...]:
    """Return the paths of a kubelet to the accounts of its pods, one for each namespace."""
    found: dict[str, set[str]] = {}
    for account in accounts:
        found.setdefault(account.namespace, set()).add(account.name)
    return tuple(
        AttackPath(AttackPathKind.KUBELET, namespace, tuple(sorted(found[namespace]))) for namespace in sorted(found)
    )
