# SPDX-License-Identifier: Apache-2.0
"""Which requests are privileged: they read secrets, run code, mint tokens, or change who may do what. Data only."""

from __future__ import annotations

from typing import Final

from k8stokendetect.events import TOKEN_SUBRESOURCE, Event

_READ: Final = frozenset({"get", "list", "watch"})
_WRITE: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_MAKE: Final = frozenset({"create", "update", "patch"})
_ANY: Final = _READ | _WRITE | {"proxy", "connect"}

# kubernetes.io/docs/concepts/security/rbac-good-practices: privilege escalation risks
_PRIVILEGED: Final = (
    (_READ | _WRITE, "secrets", "reads or changes secrets"),
    (_ANY, "pods/exec pods/attach pods/portforward pods/ephemeralcontainers", "enters a running pod"),
    (_ANY, "nodes/proxy pods/proxy services/proxy", "reaches through the API server"),
    (_MAKE | {"bind", "escalate", "delete"}, "roles clusterroles rolebindings clusterrolebindings", "changes RBAC"),
    (frozenset({"create"}), TOKEN_SUBRESOURCE, "mints another token"),
    (
        _MAKE,
        "pods deployments daemonsets statefulsets replicasets replicationcontrollers jobs cronjobs podtemplates",
        "starts a workload",
    ),
    (
        _MAKE,
        "validatingwebhookconfigurations mutatingwebhookconfigurations apiservices customresourcedefinitions",
        "changes how the API server works",
    ),
    (_MAKE, "certificatesigningrequests certificatesigningrequests/approval", "asks for a certificate"),
)
_WHY: Final = {
    (verb, resource): why for verbs, resources, why in _PRIVILEGED for resource in resources.split() for verb in verbs
}


def privileged_act(event: Event, /) -> str | None:
    """Say why a request is privileged, as a verb phrase; None for any other."""
    if event.assumed is not None:
        return "impersonates somebody"
    return _WHY.get((event.verb, event.resource))
