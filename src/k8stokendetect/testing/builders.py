# SPDX-License-Identifier: Apache-2.0
"""Builds audit events exactly as an API server writes them: token requests, their uses, other requests.

Fields and their order are those that a kube-apiserver 1.36 was recorded to write.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from k8stokendetect.convert.times import format_time, parse_time
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID, SERVICE_ACCOUNT_PREFIX

_PARTS: Final = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ",  # {"alg":"RS256","kid":"a"}
    "eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6cHJvZDpwYXltZW50cy1zYSJ9",
    "c2lnbmF0dXJlLW9mLW5vLXVzZQ",
)
LIVE_TOKEN: Final = ".".join(_PARTS)
"""Looks like a token that works; made up, no key ever signed it."""

API_SERVER: Final = "https://kubernetes.default.svc"
"""The audience of a token that names none, unless the API server is told otherwise."""

START: Final = datetime(2026, 11, 23, 21, 43, 45, 581827, tzinfo=UTC)
"""When a request was received, unless `time` says otherwise."""

FIELDS: Final = (
    "kind apiVersion level auditID stage requestURI verb user impersonatedUser authenticationMetadata sourceIPs "
    "userAgent objectRef responseStatus requestObject responseObject requestReceivedTimestamp stageTimestamp "
    "annotations"
).split()
"""The fields of an audit event, in the order of the Go type."""

_MADE_HERE: Final = uuid.UUID("6fd86033-3878-44b0-9228-3e55dcb01608")
_TOOK: Final = timedelta(milliseconds=8)
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    422: "Invalid",
    500: "InternalError",
}
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_FIRST_FAILURE: Final = 400
_BODY_LEVELS: Final = ("Request", "RequestResponse")


def request(
    verb: str = "list",
    resource: str = "pods",
    *,
    user: str | Mapping[str, Any] = "alice",
    groups: Iterable[str] = ("system:authenticated",),
    namespace: str | None = "prod",
    name: str | None = None,
    api_group: str = "",
    api_version: str = "v1",
    code: int | None = None,
    credential: str | None = None,
    ip: str = "192.0.2.7",
    user_agent: str = "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519",
    time: datetime | str = START,
    level: str = "Metadata",
    **fields: Any,
) -> dict[str, Any]:
    """Return the audit event of a request at the end of which the API server had answered it.

    Arguments:
        verb: the API verb, such as `create`.
        resource: in RBAC notation, such as `secrets` or `pods/exec`.
        user: the caller's name; or the whole `user`, as `user_of` gives it.
        groups: the caller's groups, where `user` is a name.
        namespace: None for what has none.
        name: the object's name; None for a list or a create.
        api_group: such as `rbac.authorization.k8s.io`; empty for the core group.
        api_version: of that group.
        code: the HTTP status code; by default 201 for `create`, else 200.
        credential: the id of the credential that the request was made with, `JTI=…` or `X509SHA256=…`.
        ip: the peer's address.
        user_agent: the client, as it names itself.
        time: when the API server received the request.
        level: the audit level.
        fields: other fields by their Go names, such as `impersonatedUser`; None takes one away.

    """
    code = (201 if verb == "create" else 200) if code is None else code
    ref = _object_ref(resource, namespace, name, api_group, api_version)
    is_known = code != _UNAUTHORIZED
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": None,
        "stage": "ResponseComplete" if is_known else "ResponseStarted",
        "requestURI": _path(ref),
        "verb": verb,
        "user": _user(user, groups, credential) if is_known else {},
        "impersonatedUser": None,
        "sourceIPs": [ip],
        "userAgent": user_agent,
        "objectRef": ref,
        "responseStatus": _status(code),
        "requestObject": None,
        "responseObject": None,
        "annotations": _decision(code) if is_known else None,
    }
    return _finished(event | _timestamps(time) | fields)


def _timestamps(time: datetime | str) -> dict[str, str]:
    received = parse_time(time) if isinstance(time, str) else time
    return {"requestReceivedTimestamp": format_time(received), "stageTimestamp": format_time(received + _TOOK)}


def _object_ref(resource: str, *rest: str | None) -> dict[str, str]:
    kind, _, subresource = resource.partition("/")
    names = ("resource", "namespace", "name", "apiGroup", "apiVersion", "subresource")
    return {key: value for key, value in zip(names, (kind, *rest, subresource), strict=True) if value}


def _path(ref: Mapping[str, str]) -> str:
    group = ["apis", ref["apiGroup"]] if "apiGroup" in ref else ["api"]
    namespace = ["namespaces", ref["namespace"]] if "namespace" in ref else []
    steps = [ref[key] for key in ("resource", "name", "subresource") if key in ref]
    return "/".join(["", *group, ref["apiVersion"], *namespace, *steps])


def _finished(event: dict[str, Any]) -> dict[str, Any]:
    """Put the fields in their order, and give the event its id."""
    event = {name: event[name] for name in (*FIELDS, *event) if name in event}
    if event["auditID"] is None:  # the same request has the same id, another one another
        event["auditID"] = str(uuid.uuid5(_MADE_HERE, json.dumps(event, sort_keys=True, default=str)))
    return {key: value for key, value in event.items() if value is not None}


def token_request(
    user: str | Mapping[str, Any] = "alice",
    target: str = "prod/payments-sa",
    *,
    groups: Iterable[str] = ("system:authenticated",),
    code: int = 201,
    issued: str | None = "",
    audiences: Iterable[str] | None = None,
    expiration_seconds: int | None = None,
    bound: Mapping[str, str] | None = None,
    query: str = "",
    level: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the audit event of a request for a service account's token.

    Arguments:
        user: who asks: a name, or a whole `user`.
        target: namespace and name of the service account, joined by `/`.
        groups: the caller's groups, where `user` is a name.
        code: the HTTP status code; only 201 issues a token.
        issued: the id of the new token; by default one of its own, None as before Kubernetes 1.30.
        audiences: whom the token is for; the API server's own audience by default.
        expiration_seconds: the lifetime asked for; an hour by default.
        bound: the object whose end ends the token, such as `{"kind": "Pod", "name": "web-1", "uid": "…"}`.
        query: what follows the path, with its `?`.
        level: by default `Metadata`; `Request` where audiences, lifetime or binding are given, as Metadata has no body.
            At `RequestResponse` the token itself stands in the event, as it really does.
        more: what `request` takes (`credential`, `ip`, `time`, …), and fields by their Go names.

    Raises:
        ConfigError: when target is not a namespace and name.

    """
    namespace, _, name = target.partition("/")
    if not namespace or not name:
        raise ConfigError(f"target {target!r} is not NAMESPACE/NAME")
    asked = any(value is not None for value in (audiences, expiration_seconds, bound))
    level = level or ("Request" if asked else "Metadata")
    succeeded = code < _FIRST_FAILURE
    fields: dict[str, Any] = {"requestURI": f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token{query}"}
    if level in _BODY_LEVELS:
        fields["requestObject"] = token_request_body(expiration_seconds or 3600, audiences, bound)
    if level == "RequestResponse" and succeeded:
        granted = token_request_body(expiration_seconds or 3600, audiences or (API_SERVER,), bound)
        fields["responseObject"] = granted | _answer(namespace, name)
    given: dict[str, Any] = {"user": user, "groups": groups, "code": code, "level": level}
    given |= {"namespace": namespace, "name": name}
    event = request("create", TOKEN_SUBRESOURCE, **(given | fields | more))
    if succeeded and issued is not None and "annotations" not in more:
        credential = issued or f"JTI={uuid.uuid5(_MADE_HERE, event['auditID'])}"
        event["annotations"] = {ISSUED_CREDENTIAL_ID[0]: credential, **event["annotations"]}
    return event


def _answer(namespace: str, name: str) -> dict[str, Any]:
    status = {"token": LIVE_TOKEN, "expirationTimestamp": "2026-11-23T22:43:45Z"}
    return {"metadata": {"name": name, "namespace": namespace}, "status": status}


def token_request_body(
    expiration_seconds: int | None = 3600,
    audiences: Iterable[str] | None = None,
    bound: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the `requestObject` of a TokenRequest."""
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "spec": {
            "audiences": None if audiences is None else list(audiences),
            "expirationSeconds": expiration_seconds,
            "boundObjectRef": None if bound is None else dict(bound),
        },
        "status": {"token": "", "expirationTimestamp": None},
    }


def service_account_user(account: str, credential: str | None = None, *, pod: str | None = None) -> dict[str, Any]:
    """Return the `user` of a service account's request.

    Arguments:
        account: namespace and name, joined by `/`.
        credential: the id of its token, `JTI=…`.
        pod: the pod that the token is bound to.

    """
    namespace, _, name = account.partition("/")
    extra = {CREDENTIAL_ID: [credential]} if credential else {}
    if pod:
        extra |= {
            "authentication.kubernetes.io/pod-name": [pod],
            "authentication.kubernetes.io/pod-uid": [str(uuid.uuid5(_MADE_HERE, pod))],
        }
    return {
        "username": f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}",
        "uid": str(uuid.uuid5(_MADE_HERE, account)),
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        **({"extra": extra} if extra else {}),
    }


def user_of(mint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `user` of a request that is made with the token which this event issued."""
    ref = mint["objectRef"]
    spec = mint.get("requestObject", {}).get("spec", {})
    bound = spec.get("boundObjectRef") or {}
    issued = mint.get("annotations", {}).get(ISSUED_CREDENTIAL_ID[0])
    pod = bound.get("name") if bound.get("kind") == "Pod" else None
    return service_account_user(f"{ref['namespace']}/{ref['name']}", issued, pod=pod)


def use_of(mint: Mapping[str, Any], verb: str = "list", resource: str = "secrets", **more: Any) -> dict[str, Any]:
    """Return the event of a request made with the token which another one issued, a second later.

    Arguments:
        mint: the event of `token_request`.
        verb: the API verb.
        resource: in RBAC notation.
        more: what `request` takes; by default the address is that of the mint, the namespace its target's.

    """
    received = parse_time(mint["requestReceivedTimestamp"])
    given = {
        "namespace": mint["objectRef"]["namespace"],
        "ip": mint["sourceIPs"][-1],
        "time": received + timedelta(seconds=1),
    }
    return request(verb, resource, user=user_of(mint), **(given | more))


def _user(user: str | Mapping[str, Any], groups: Iterable[str], credential: str | None) -> dict[str, Any]:
    whole: dict[str, Any] = dict(user) if isinstance(user, Mapping) else {"username": user, "groups": list(groups)}
    if credential:
        whole["extra"] = {**whole.get("extra", {}), CREDENTIAL_ID: [credential]}
    return whole


def _status(code: int) -> dict[str, Any]:
    if code < _FIRST_FAILURE:
        return {"metadata": {}, "code": code}
    reason = _REASONS.get(code, "")
    return {"metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code}


def _decision(code: int) -> dict[str, str]:
    """Return the authorization's annotations: also a 404 or 422 was allowed."""
    allowed = code != _FORBIDDEN
    reason = 'RBAC: allowed by ClusterRoleBinding "team" of ClusterRole "edit" to Group "team"' if allowed else ""
    return {"authorization.k8s.io/decision": "allow" if allowed else "forbid", "authorization.k8s.io/reason": reason}
