# SPDX-License-Identifier: Apache-2.0
"""Builds audit events of one TokenRequest, plain unless a test says otherwise."""

from __future__ import annotations

from typing import Any

AUDIT_ID = "6fd86033-3878-44b0-9228-3e55dcb01608"


def token_request(
    username: str = "alice",
    target: str = "prod/payments-sa",
    *,
    groups: tuple[str, ...] = ("system:authenticated",),
    code: int | None = 201,
    issued: str | None = "JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03",
    query: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """Return the ResponseComplete event of a mint at level Metadata; `fields` replace or, when None, remove."""
    namespace, _, name = target.partition("/")
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": AUDIT_ID,
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token{query}",
        "verb": "create",
        "user": {"username": username, "groups": list(groups)},
        "sourceIPs": ["192.0.2.7"],
        "userAgent": "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519",
        "objectRef": {
            "resource": "serviceaccounts",
            "namespace": namespace,
            "name": name,
            "apiVersion": "v1",
            "subresource": "token",
        },
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": "2026-11-23T21:43:45.581827Z",
        "stageTimestamp": "2026-11-23T21:43:45.590000Z",
        "annotations": {"authentication.kubernetes.io/issued-credential-id": issued} if issued else {},
    }
    return {key: value for key, value in (event | fields).items() if value is not None}


def body(
    *, seconds: int | None = 3600, audiences: tuple[str, ...] | None = None, bound: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the `requestObject` of a TokenRequest."""
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "spec": {
            "audiences": None if audiences is None else list(audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": bound,
        },
        "status": {"token": "", "expirationTimestamp": None},
    }
