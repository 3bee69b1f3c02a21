# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic audit log of a busy cluster, the same for the same arguments.

    python benchmarks/generate.py --size 1GiB --share 0.02 --level Metadata --wrapper native --out audit.log

Token requests are minted by kubelets, the controller manager and, one in fifty, by people; the rest is what a cluster
does all day: leases, watches, lists, status updates, by nodes, controllers and service accounts with token ids.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

START: Final = datetime(2026, 11, 23, 8, tzinfo=UTC)
UNITS: Final = {"MiB": 1 << 20, "GiB": 1 << 30}
RESOURCE_ID: Final = "/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C"
NODES: Final = 60
ACCOUNTS: Final = 400
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

    """

    def __init__(self, seed: int, share: float, level: str) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._share = share
        self._level = level
        self._number = 0
        self._ids = [f"JTI={self._uuid()}" for _ in range(ACCOUNTS)]

    def _uuid(self) -> str:
        bits = f"{self._chance.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"

    def event(self) -> dict[str, Any]:
        """Return the next event."""
        self._number += 1
        if self._chance.random() < self._share:
            return self._token_request()
        verb, resource, group, version = self._chance.choice(RESOURCES)
        number = self._chance.randrange(ACCOUNTS)
        namespace, name = f"team-{number % 40}", f"app-{number}"
        prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
        query = "?allowWatch=true&timeoutSeconds=412&resourceVersion=81723" if verb in ("watch", "list") else ""
        path = f"{prefix}/namespaces/{namespace}/{resource}/{name}{query}"
        if self._chance.random() < 0.4:  # noqa: PLR2004 - a node's share
            user = self._node()
            agent = "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"
        else:
            user = self._account(number)
            agent = f"app-{number}/v0.0.0 (linux/amd64) kubernetes/$Format"
        ref = {"resource": resource, "namespace": namespace, "name": name, "apiGroup": group, "apiVersion": version}
        return self._event(verb, path, user, agent, {key: value for key, value in ref.items() if value}, 200)

    def _token_request(self) -> dict[str, Any]:
        number = self._chance.randrange(ACCOUNTS)
        namespace, name = f"team-{number % 40}", f"app-{number}"
        kind = self._chance.random()
        if kind < 0.9:  # noqa: PLR2004 - most are the kubelets'
            user, agent = self._node(), "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519"
        elif kind < 0.98:  # noqa: PLR2004
            user = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}
            agent = "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519/kube-controller-manager"
            namespace, name = "kube-system", "generic-garbage-collector"
        else:
            user = {"username": f"user-{number}@example.com", "groups": ["devs", "system:authenticated"]}
            agent = "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519"
        ref = {
            "resource": "serviceaccounts",
            "namespace": namespace,
            "name": name,
            "apiVersion": "v1",
            "subresource": "token",
        }
        event = self._event(
            "create", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", user, agent, ref, 201
        )
        event["annotations"]["authentication.kubernetes.io/issued-credential-id"] = f"JTI={self._uuid()}"
        if user["username"].startswith("system:node:"):
            event["annotations"]["authorization.k8s.io/reason"] = ""
        return event

    def _node(self) -> dict[str, Any]:
        return {
            "username": f"system:node:worker-{self._chance.randrange(NODES)}",
            "groups": ["system:nodes", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=" + "8a15dffca5c202d4" * 4]},
        }

    def _account(self, number: int) -> dict[str, Any]:
        namespace = f"team-{number % 40}"
        return {
            "username": f"system:serviceaccount:{namespace}:app-{number}",
            "uid": "4f0d1f0e-7c6b-4b53-a3c3-0d3a1b6a7c11",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": [self._ids[number]],
                "authentication.kubernetes.io/node-name": [f"worker-{number % NODES}"],
                "authentication.kubernetes.io/node-uid": ["c1f0a2de-55aa-4f6c-9c62-5b1f8f7f3a10"],
                "authentication.kubernetes.io/pod-name": [f"app-{number}-7c9d8b6f5-x2x4z"],
                "authentication.kubernetes.io/pod-uid": ["aa0f2b6e-11bb-4f0c-8c62-1b1f8f7f3a10"],
            },
        }

    def _event(
        self, verb: str, uri: str, user: dict[str, Any], agent: str, ref: dict[str, Any], code: int
    ) -> dict[str, Any]:
        time = START + timedelta(milliseconds=5 * self._number)
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self._level,
            "auditID": self._uuid(),
            "stage": "ResponseComplete",
            "requestURI": uri,
            "verb": verb,
            "user": user,
            "sourceIPs": [f"10.0.{self._chance.randrange(4)}.{self._chance.randrange(200)}"],
            "userAgent": agent,
            "objectRef": ref,
            "responseStatus": {"metadata": {}, "code": code},
            "requestReceivedTimestamp": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "stageTimestamp": (time + timedelta(milliseconds=4))
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": 'RBAC: allowed by ClusterRoleBinding "app" of ClusterRole "app"',
            },
        }
        if self._level != "Metadata" and verb != "watch":
            event["responseObject"] = {
                "kind": "Thing",
                "metadata": {"name": ref.get("name"), "labels": {"app": "x" * 900}},
            }
        return event


def native(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Write what the API server writes."""
    for event in events:
        yield _compact(event) + b"\n"


def event_hub(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Write Azure's messages, fifty records each."""
    while batch := [event for event, _ in zip(events, range(50), strict=False)]:
        records = [
            {
                "category": "kube-audit",
                "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
                "properties": {"log": _compact(event).decode() + "\n", "stream": "stdout", "pod": "kube-apiserver-7d"},
                "resourceId": RESOURCE_ID,
                "time": event["stageTimestamp"],
            }
            for event in batch
        ]
        yield _compact({"records": records}) + b"\n"


def cloudwatch(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Write CloudWatch log events, one a line."""
    for event in events:
        log = {"timestamp": 1, "message": _compact(event).decode(), "logStreamName": "kube-apiserver-audit-0a1b"}
        yield _compact(log) + b"\n"


def subscription(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Write what a CloudWatch subscription hands to a Lambda function."""
    while batch := [event for event, _ in zip(events, range(100), strict=False)]:
        payload = {
            "messageType": "DATA_MESSAGE",
            "owner": "123456789012",
            "logGroup": "/aws/eks/prod/cluster",
            "logStream": "kube-apiserver-audit-0a1b",
            "logEvents": [{"id": "1", "timestamp": 1, "message": _compact(event).decode()} for event in batch],
        }
        data = base64.b64encode(gzip.compress(_compact(payload))).decode()
        yield _compact({"awslogs": {"data": data}}) + b"\n"


WRAPPERS: Final[dict[str, Callable[[Iterator[dict[str, Any]]], Iterator[bytes]]]] = {
    "native": native,
    "event-hub": event_hub,
    "cloudwatch": cloudwatch,
    "subscription": subscription,
}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def events(seed: int, share: float, level: str) -> Iterator[dict[str, Any]]:
    """Yield events without end."""
    generator = Generator(seed, share, level)
    while True:
        yield generator.event()


def write(
    path: Path, size: int, *, seed: int = 7, share: float = 0.02, level: str = "Metadata", wrapper: str = "native"
) -> int:
    """Write a log of at least so many bytes; return how many."""
    written = 0
    with path.open("wb", buffering=1 << 20) as file:
        for line in WRAPPERS[wrapper](events(seed, share, level)):
            written += file.write(line)
            if written >= size:
                break
    return written


def size_of(text: str) -> int:
    """Parse `300MiB` or `1GiB`."""
    return int(float(text[:-3]) * UNITS[text[-3:]])


def main() -> None:
    """Write one log."""
    parser = argparse.ArgumentParser(description="Write a synthetic audit log.")
    parser.add_argument("--size", default="64MiB")
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--level", default="Metadata", choices=["Metadata", "Request", "RequestResponse"])
    parser.add_argument("--wrapper", default="native", choices=list(WRAPPERS))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("audit.log"))
    arguments = parser.parse_args()
    write(
        arguments.out,
        size_of(arguments.size),
        seed=arguments.seed,
        share=arguments.share,
        level=arguments.level,
        wrapper=arguments.wrapper,
    )


if __name__ == "__main__":
    main()
