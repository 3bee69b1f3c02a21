# SPDX-License-Identifier: Apache-2.0
"""What a busy cluster logs all day, as audit events, the same for the same seed.

Token requests are made by kubelets, by kube-controller-manager and, one in fifty, by people; one in a thousand of the
other requests is made with a token that a person minted. The rest are leases, watches, lists and patches by nodes and
by service accounts with token ids.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

START: Final = datetime(2026, 11, 23, 8, tzinfo=UTC)
STEP: Final = timedelta(milliseconds=5)
"""From one event to the next."""

ANSWER: Final = timedelta(milliseconds=4)
"""From the request to its answer."""

ISSUED: Final = "authentication.kubernetes.io/issued-credential-id"
CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"
NODES: Final = 60
ACCOUNTS: Final = 400
USES: Final = 0.001
"""Which part of the other requests is made with the token that a person minted last."""

KUBELET: Final = "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"
KUBECTL: Final = "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519"
RESOURCES: Final = (
    ("get", "configmaps", "", "v1"),
    ("list", "pods", "", "v1"),
    ("watch", "pods", "", "v1"),
    ("patch", "pods", "", "v1"),
    ("update", "leases", "coordination.k8s.io", "v1"),
    ("get", "leases", "coordination.k8s.io", "v1"),
    ("watch", "endpointslices", "discovery.k8s.io", "v1"),
    ("patch", "events", "events.k8s.io", "v1"),
    ("list", "deployments", "apps", "v1"),
    ("get", "secrets", "", "v1"),
)


class Generator:
    """Makes audit events one after the other.

    Arguments:
        seed: the same seed gives the same log.
        share: which part of all, from 0 to 1, are token requests.
        level: of the audit policy.

    Attributes:
        chance: where all that is drawn by lot comes from.
        minted: number of the service account and id of the token that a person minted last; None before the first.

    """

    minted: tuple[int, str] | None

    def __init__(self, seed: int, share: float, level: str) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self._share = share
        self._level = level
        self._number = 0
        self.minted = None
        self._ids = [f"JTI={self._uuid()}" for _ in range(ACCOUNTS)]

    def _uuid(self) -> str:
        bits = f"{self.chance.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"

    def event(self) -> dict[str, Any]:
        """Return the next event."""
        self._number += 1
        if self.chance.random() < self._share:
            return self._token_request()
        return self.other()

    def other(self) -> dict[str, Any]:
        """Return the next event that is not a token request."""
        verb, resource, group, version = self.chance.choice(RESOURCES)
        number = self.chance.randrange(ACCOUNTS)
        namespace, name = f"team-{number % 40}", f"app-{number}"
        prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
        query = "?allowWatch=true&timeoutSeconds=412&resourceVersion=81723" if verb in ("watch", "list") else ""
        path = f"{prefix}/namespaces/{namespace}/{resource}/{name}{query}"
        who = self.chance.random()
        if self.minted and who < USES:
            number, token = self.minted
            user, agent = self.account(number), KUBECTL
            user["extra"] = {CREDENTIAL: [token]}
        elif who < 0.4:  # noqa: PLR2004 - a node's share
            user, agent = self._node(), KUBELET
        else:
            user = self.account(number)
            agent = f"app-{number}/v0.0.0 (linux/amd64) kubernetes/$Format"
        ref = {"resource": resource, "namespace": namespace, "name": name, "apiGroup": group, "apiVersion": version}
        event = self.request(verb, path, user, agent, {key: value for key, value in ref.items() if value}, 200)
        if self._level == "RequestResponse" and verb != "watch":
            event["responseObject"] = {"kind": "Thing", "metadata": {"name": name, "labels": {"app": "x" * 900}}}
        return event

    def _token_request(self) -> dict[str, Any]:
        number = self.chance.randrange(ACCOUNTS)
        namespace, name = f"team-{number % 40}", f"app-{number}"
        kind = self.chance.random()
        bound = None
        if kind < 0.9:  # noqa: PLR2004 - most are the kubelets'
            user, agent = self._node(), KUBELET
            bound = {"kind": "Pod", "apiVersion": "v1", "name": f"{name}-7c9d8b6f5-x2x4z", "uid": self._uuid()}
        elif kind < 0.98:  # noqa: PLR2004
            user = {
                "username": "system:kube-controller-manager",
                "groups": ["system:authenticated"],
                "extra": {CREDENTIAL: ["X509SHA256=" + "5ec8ac1f31ae9d70" * 4]},
            }
            agent = "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519/kube-controller-manager"
            namespace, name = "kube-system", "generic-garbage-collector"
        else:
            user = {"username": f"user-{number}@example.com", "groups": ["devs", "system:authenticated"]}
            agent = KUBECTL
        ref = {
            "resource": "serviceaccounts",
            "namespace": namespace,
            "name": name,
            "apiVersion": "v1",
            "subresource": "token",
        }
        event = self.request(
            "create", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", user, agent, ref, 201
        )
        token = event["annotations"][ISSUED] = f"JTI={self._uuid()}"
        if bound:
            event["annotations"]["authorization.k8s.io/reason"] = ""
        if agent == KUBECTL:
            self.minted = number, token
        if self._level != "Metadata":
            spec = {"audiences": None, "expirationSeconds": 3607 if bound else 3600, "boundObjectRef": bound}
            event["requestObject"] = {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"creationTimestamp": None},
                "spec": spec,
                "status": {"token": "", "expirationTimestamp": None},
            }
        if self._level == "RequestResponse":
            event["responseObject"] = {
                **event["requestObject"],
                "metadata": {"name": name, "namespace": namespace},
                "status": {"token": "", "expirationTimestamp": "2026-11-25T08:00:00Z"},
            }
        return event

    def _node(self) -> dict[str, Any]:
        return {
            "username": f"system:node:worker-{self.chance.randrange(NODES)}",
            "groups": ["system:nodes", "system:authenticated"],
            "extra": {CREDENTIAL: ["X509SHA256=" + "8a15dffca5c202d4" * 4]},
        }

    def account(self, number: int) -> dict[str, Any]:
        """Return a service account with the id of its token, as the user of a request."""
        namespace = f"team-{number % 40}"
        return {
            "username": f"system:serviceaccount:{namespace}:app-{number}",
            "uid": "4f0d1f0e-7c6b-4b53-a3c3-0d3a1b6a7c11",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "extra": {
                CREDENTIAL: [self._ids[number]],
                "authentication.kubernetes.io/node-name": [f"worker-{number % NODES}"],
                "authentication.kubernetes.io/node-uid": ["c1f0a2de-55aa-4f6c-9c62-5b1f8f7f3a10"],
                "authentication.kubernetes.io/pod-name": [f"app-{number}-7c9d8b6f5-x2x4z"],
                "authentication.kubernetes.io/pod-uid": ["aa0f2b6e-11bb-4f0c-8c62-1b1f8f7f3a10"],
            },
        }

    def request(
        self, verb: str, uri: str, user: dict[str, Any], agent: str, ref: dict[str, Any], code: int
    ) -> dict[str, Any]:
        """Return an event of the level, its time following on the one before."""
        time = START + STEP * self._number
        return {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self._level,
            "auditID": self._uuid(),
            "stage": "ResponseComplete",
            "requestURI": uri,
            "verb": verb,
            "user": user,
            "sourceIPs": [f"10.0.{self.chance.randrange(4)}.{self.chance.randrange(200)}"],
            "userAgent": agent,
            "objectRef": ref,
            "responseStatus": {"metadata": {}, "code": code},
            "requestReceivedTimestamp": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "stageTimestamp": (time + ANSWER).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": 'RBAC: allowed by ClusterRoleBinding "app" of ClusterRole "app"',
            },
        }
