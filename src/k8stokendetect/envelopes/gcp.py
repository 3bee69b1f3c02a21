# SPDX-License-Identifier: Apache-2.0
"""Google GKE: Cloud Logging's entries, alone or in Pub/Sub messages; an audit entry is made an audit event again.

An entry of a self-managed cluster may hold the audit event itself, in jsonPayload or textPayload: it is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8stokendetect.convert.marks import speaks_of_event
from k8stokendetect.convert.redaction import shown
from k8stokendetect.envelopes import native
from k8stokendetect.envelopes.base import Claims, Context, Inner, from_base64, is_json, text_of
from k8stokendetect.envelopes.pods import named
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Platform

_SERVICE: Final = "k8s.io"
_METHODS: Final = "io.k8s."
"""Google's clusters outside of its cloud log the same methods under another service, anthosgke.googleapis.com."""

_CLOUD: Final = re.compile(r"google\.|Generate(?:Access|Id)Token\Z|Sign(?:Blob|Jwt)\Z")
"""Methods of other Google services, where an entry does not name its service."""

_ENTRY: Final = frozenset({"logName", "insertId", "resource"})
_PAYLOADS: Final = ("jsonPayload", "textPayload")
_MESSAGE: Final = ("messageId", "message_id", "publishTime", "publish_time")
_ATTRIBUTE: Final = "logging.googleapis.com/"
_POD_RESOURCES: Final = ("k8s_container", "k8s_pod", "container")
"""Resource types of what pods print, the last until 2021 (cloud.google.com/logging/docs/api/v2/resource-list)."""

_OBJECTS: Final = ("authenticationInfo", "requestMetadata", "status")
_HTTP: Final = {3: 400, 5: 404, 6: 409, 7: 403, 16: 401}
"""HTTP codes of gRPC codes where one Kubernetes answer is meant (googleapis google/rpc/code.proto)."""
_METHOD: Final = re.compile(r"\.v\d{1,9}(?:(?:alpha|beta)\d{1,9})?\.([^.]+)\.(?:([^.]+)\.)?\Z")
_LOST: Final = frozenset({"groups", "extra", "impersonation", "source IPs"})


def recognises(record: Any, /) -> bool:
    """Tell whether this is a LogEntry, a Pub/Sub message, pushed or pulled, or a list of pulled ones."""
    return isinstance(record, dict) and "auditID" not in record and (_is_entry(record) or _is_delivery(record))


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the audit event of an entry, or what a message or another entry holds, to be asked again."""
    if not isinstance(record, dict):
        return
    if _is_entry(record):
        yield _entry(record)
    elif "receivedMessages" in record:
        yield from _received(record["receivedMessages"])
    elif isinstance(record.get("message"), dict):
        yield _data(record["message"], ".message.data")
    else:
        yield _data(record, ".data")


def _is_entry(record: dict[str, Any]) -> bool:
    """Tell an entry by its payload; what Elastic kept of one has no logName. One without any payload has all marks."""
    if "protoPayload" in record or record.keys() >= _ENTRY:
        return True
    return not _ENTRY.isdisjoint(record) and any(payload in record for payload in _PAYLOADS)


def _is_delivery(record: dict[str, Any]) -> bool:
    message = record.get("message")
    return "receivedMessages" in record or _is_message(record) or (isinstance(message, dict) and _is_message(message))


def _is_message(record: dict[str, Any]) -> bool:
    """Tell a PubsubMessage; Firehose, Loki and Datadog have `data` without an id or time of this spelling."""
    attributes = record.get("attributes")
    named = isinstance(attributes, dict) and any(str(key).startswith(_ATTRIBUTE) for key in attributes)
    return ("data" in record or named) and "auditID" not in record and (named or any(key in record for key in _MESSAGE))


def _received(messages: Any) -> Iterator[Inner]:
    """Yield what a pull received; with nothing to receive, there is rightly nothing."""
    if not isinstance(messages, list):
        yield Inner(ReadError("a Pub/Sub pull without a list of messages"), ".receivedMessages")
    elif not messages:
        yield Inner(None, ".receivedMessages", skipped="a Pub/Sub pull without messages")
    else:
        for index, message in enumerate(messages):
            told = (
                message if isinstance(message, dict) else ReadError("a received Pub/Sub message that is not an object")
            )
            yield Inner(told, f".receivedMessages[{index}]")


def _data(message: dict[str, Any], place: str) -> Inner:
    """Decode the data, unless a client library or a person has done so already."""
    data = message.get("data")
    if isinstance(data, dict) or (isinstance(data, str) and is_json(data)):
        return Inner(data, place)
    if not isinstance(data, str):
        return Inner(ReadError("a Pub/Sub message without data"), place)
    return Inner(from_base64(data, "a Pub/Sub message"), place)


def _entry(entry: dict[str, Any]) -> Inner:
    payload = entry.get("protoPayload")
    if isinstance(payload, dict):
        return _audit(entry, payload)
    if payload is not None:
        return Inner(ReadError("a log entry whose protoPayload is not an object"), ".protoPayload")
    for key in _PAYLOADS:
        if _may_hold_event(entry.get(key)):
            return Inner(entry[key], f".{key}", _context(entry))
    return Inner(entry, context=_context(entry), skipped="not an audit log entry")


def _may_hold_event(payload: Any) -> bool:
    """Tell what may be an audit event, or a shipper's record around one, from all else that Cloud Logging collects."""
    if isinstance(payload, str):
        return is_json(payload) or speaks_of_event(payload)
    if not isinstance(payload, dict):
        return False
    return any(map(_is_event, (payload, *payload.values()))) or any(
        speaks_of_event(value) for value in payload.values() if isinstance(value, str)
    )


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and ("auditID" in value or native.recognises(value))


def _audit(entry: dict[str, Any], payload: dict[str, Any]) -> Inner:
    service, method = payload.get("serviceName"), payload.get("methodName")
    is_other = isinstance(service, str) and service not in ("", _SERVICE)  # without one, the method will tell
    is_cluster = isinstance(method, str) and method.startswith(_METHODS)
    if isinstance(method, str) and not is_cluster and (is_other or _CLOUD.match(method)):
        return Inner(entry, context=_context(entry), cloud="google")
    if is_other and not is_cluster:
        return Inner(payload, ".protoPayload", _context(entry), skipped="another service's Cloud Audit Log")
    wrong = _misshapen(payload)
    if wrong:
        error = ReadError("a part of a Cloud Audit Log of another form", path=f"$.{wrong}", revealed=_shown(payload))
        return Inner(error, ".protoPayload", _context(entry, "gke", _LOST))
    event = _event(entry, payload)
    platform: Platform | None = None if is_other else "gke"
    lost = _LOST
    if "requestObject" not in event and "responseObject" not in event:
        lost |= {"bodies"}
    if "code" not in event.get("responseStatus", {}):
        lost |= {"code"}
    return Inner(event, context=_context(entry, platform, lost), is_event=True)


def _misshapen(payload: dict[str, Any]) -> str | None:
    """Name the part that cannot be looked into; without this, a refusal or a mint could be overlooked."""
    for key in _OBJECTS:
        if not isinstance(payload.get(key, {}), dict | None):
            return key
    infos = payload.get("authorizationInfo")
    if infos is None:
        return None
    if not (isinstance(infos, list) and all(isinstance(info, dict) for info in infos)):
        return "authorizationInfo"
    fits = all(isinstance(info.get("granted"), bool | None) for info in infos)
    return None if fits else "authorizationInfo[*].granted"


def _shown(payload: dict[str, Any]) -> dict[str, str]:
    """Say what can be seen of the call; resourceName stands for the URI, which is not logged."""
    named = {
        "verb": _verb(payload.get("methodName")),
        "username": text_of(payload, "authenticationInfo", "principalEmail"),
        "requestURI": payload.get("resourceName"),
    }
    return shown(named)


def _event(entry: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
    """Rename back; null and what is empty were not told. A value of a wrong type stays, for the reader to refuse."""
    who, where = payload.get("authenticationInfo") or {}, payload.get("requestMetadata") or {}
    operation, method = entry.get("operation"), payload.get("methodName")
    identity = operation.get("id") if isinstance(operation, dict) else None
    # A Google identity from another provider has a principalSubject only (AuditLog's AuthenticationInfo).
    user = _told({"username": _first(who.get("principalEmail"), who.get("principalSubject"))})
    address = _first(where.get("callerIp"), where.get("callerIP"))  # the second: Panther
    event = {
        "auditID": _first(identity, entry.get("insertId")),
        "stage": "ResponseComplete",  # one entry a call, written when it is done: operation.first and .last are true
        "user": user,
        "sourceIPs": None if address is None else [address],
        "userAgent": where.get("callerSuppliedUserAgent"),
        "objectRef": _object_ref(method, payload.get("resourceName")),
        "responseStatus": _response_status(payload),
        "requestObject": _body(payload.get("request")),
        "responseObject": _body(payload.get("response")),
        "requestReceivedTimestamp": entry.get("timestamp"),
        "annotations": entry.get("labels"),
    }
    told = _told(event)
    return told if method is None else told | {"verb": _verb(method)}


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value not in ("", {})}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None and value != ""), None)


def _body(body: Any) -> Any:
    return {key: value for key, value in body.items() if key != "@type"} if isinstance(body, dict) else body


def _verb(method: Any) -> Any:
    return method.rpartition(".")[2] if isinstance(method, str) else method


def _object_ref(method: Any, name: Any) -> dict[str, Any] | None:
    """Read `core/v1/namespaces/NS/serviceaccounts/SA/token` where the method is about that, else the method alone.

    A path of no resource has a method of no resource, `io.k8s.post`, whatever it looks like.
    """
    if not isinstance(name, str | None):
        return {"resource": name}
    if not isinstance(method, str):
        return None
    called = f"{method.rpartition('.')[0]}."
    group, version, *path = f"{name or ''}/////".split("/")  # what is not there is empty
    for namespace, (resource, *rest) in _readings(path):
        _, found, after = called.rpartition(f".{version}.{resource}.")
        if found and version and resource:
            ref = {"resource": resource, "namespace": namespace, "apiVersion": version}
            ref |= {"name": rest[0], "subresource": rest[1] or after[:-1], "apiGroup": group}
            return _told({key: value for key, value in ref.items() if (key, value) != ("apiGroup", "core")})
    match = _METHOD.search(called)
    return _told({"resource": match[1], "subresource": match[2]}) if match else None


def _readings(path: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield namespace and rest: `namespaces/x/status` is a namespace's status, or, by its form, any status in it."""
    kind, name, *rest = path
    if kind == "namespaces" and rest[0]:
        yield name, rest
    yield (name if kind == "namespaces" else ""), path


def _response_status(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the answer; of a gRPC code without its one HTTP code there is a reason only."""
    status = payload.get("status") or {}
    grpc = 0 if status.get("code") is None else status["code"]  # proto3's JSON leaves out a zero
    code = _http_code(grpc, payload)
    reason = f"gRPC code {grpc}" if code is None and grpc else None
    answer = {"code": code, "reason": reason, "message": status.get("message")}
    return {key: value for key, value in answer.items() if value is not None} or None


def _http_code(grpc: Any, payload: dict[str, Any]) -> Any:
    """Tell the HTTP code: 2xx only where something says so and nothing refuses; None where it is not known.

    `granted` is false or absent where the call was not allowed (github.com/liggitt/audit2rbac/issues/18).
    """
    if type(grpc) is not int:
        return grpc
    response = payload.get("response")
    if isinstance(response, dict) and response.get("kind") == "Status" and response.get("status") == "Failure":
        return response.get("code", _HTTP.get(grpc))
    infos = payload.get("authorizationInfo") or []
    if grpc in _HTTP:
        return _HTTP[grpc]
    if not all(info.get("granted") for info in infos):
        return 403
    if grpc or (payload.get("status") is None and not infos):
        return None
    return 201 if _verb(payload.get("methodName")) == "create" else 200


def _context(entry: dict[str, Any], platform: Platform | None = None, lost: frozenset[str] = frozenset()) -> Context:
    cluster, account, region = (
        text_of(entry, "resource", "labels", key) for key in ("cluster_name", "project_id", "location")
    )
    return Context(platform, cluster, account, region, lost, claims=_claims(entry.get("resource")))


def _claims(resource: Any) -> Claims:
    """Tell whose output an entry is; GKE's own audit log is a `k8s_cluster`'s."""
    name, namespace = (
        text_of(resource, "labels", key) or text_of(resource, "labels", legacy)
        for key, legacy in (("pod_name", "pod_id"), ("namespace_name", "namespace_id"))
    )
    labels = resource.get("labels") if isinstance(resource, Mapping) else None
    return named(namespace, name, labels, printed=text_of(resource, "type") in _POD_RESOURCES)
