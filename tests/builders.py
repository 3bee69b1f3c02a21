# SPDX-License-Identifier: Apache-2.0
"""The author's kit's token request, with fixed ids and times and no more annotations than a test asks for."""

from __future__ import annotations

from typing import Any

import attrs

from k8stokendetect import Component, Exclusion, testing

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
    event = testing.token_request(username, target, groups=groups, query=query, auditID=AUDIT_ID)
    fixed = {
        "responseStatus": {"metadata": {}, "code": code},
        "stageTimestamp": "2026-11-23T21:43:45.590000Z",
        "annotations": {"authentication.kubernetes.io/issued-credential-id": issued} if issued else {},
    }
    return {key: value for key, value in (event | fixed | fields).items() if value is not None}


def body(
    *, seconds: int | None = 3600, audiences: tuple[str, ...] | None = None, bound: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the `requestObject` of a TokenRequest."""
    return testing.token_request_body(seconds, audiences, bound)


def about(target: str | None) -> dict[str, Any]:
    """Return the fields of an EventRef whose `target` reads like this: `prod/sa`, `secrets prod`, `pods prod/web-1`."""
    if target is None:
        return {}
    resource, space, path = target.partition(" ")
    if not space and "/" in resource:
        resource, path = "serviceaccounts/token", resource
    namespace, _, name = path.partition("/")
    return {"resource": resource, "namespace": namespace, "name": name}


def exclusion_of(**fields: Any) -> Exclusion:
    """Make an exclusion from the fields of both parts."""
    own = {field.name for field in attrs.fields(Exclusion)} - {"id"}
    component = Component(**{name: value for name, value in fields.items() if name not in own})
    return Exclusion(component=component, **{name: value for name, value in fields.items() if name in own})


def changed(exclusion: Exclusion, **fields: Any) -> Exclusion:
    """Return an exclusion of which fields, of either part, have other values."""
    own = {field.name for field in attrs.fields(Exclusion)}
    component = attrs.evolve(exclusion.component, **{name: value for name, value in fields.items() if name not in own})
    return attrs.evolve(
        exclusion, component=component, **{name: value for name, value in fields.items() if name in own}
    )
