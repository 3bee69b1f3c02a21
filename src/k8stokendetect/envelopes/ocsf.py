# SPDX-License-Identifier: Apache-2.0
"""OCSF API Activity, as Amazon Security Lake and others keep the audit log of EKS; other OCSF classes are skipped.

Source: github.com/ocsf/examples, mappings/markdown/AWS (v1.1.0, v1.5.0: EKS Audit Logs), mappings/bloblang/AWS/eks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from k8stokendetect.convert.redaction import shown
from k8stokendetect.convert.times import format_time
from k8stokendetect.envelopes.base import Context, Inner, text_of
from k8stokendetect.envelopes.lines import object_ref
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole

_API_ACTIVITY: Final = 6003
_STAGES: Final = frozenset({"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"})
_OBJECT: Final = (Mapping, type(None))
_OBJECTS: Final = (
    "actor actor.user api api.request api.response api.group http_request http_request.url src_endpoint metadata policy"
).split()
"""What must be an object where it is not null, for an event to be read out of it."""

_EXTRA: Final = {
    "arn": "cloud.account.uid",
    "canonicalArn": "actor.session.issuer",
    "sessionName": "actor.session.uid",
    "accessKeyId": "actor.session.credential_uid",
    "principalId": "actor.user.uid_alt",
}
"""Where the mapping puts the first value of each key of `user.extra` that EKS writes."""

_STATUS: Final = {"code": "code", "reason": "error", "message": "message", "status": "error_message"}
_KUBERNETES: Final = re.compile(r"kube|k8s|\b(?:[ae]ks|gke)\b", re.IGNORECASE)
_API_PATH: Final = re.compile(r"/*apis?(?:/|\Z)")
_MICROSECONDS_FROM: Final = 10**14
"""Times are milliseconds (Security Lake) or, in the bloblang mapping, microseconds: no audit log is of before 1973."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def recognises(record: Any, /) -> bool:
    """Tell an OCSF record by its class."""
    if not isinstance(record, Mapping) or "auditID" in record:
        return False
    other_class = type(record.get("class_uid")) is int and {"category_uid", "metadata"} <= record.keys()
    return _is_api_activity(record) or other_class


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the audit event of a record, or why there is none."""
    if not recognises(record):
        return
    if not (_is_api_activity(record) or _is_audit(record)):
        yield Inner(record, skipped="OCSF class other than API activity")
    elif _is_of_another_product(record):
        yield Inner(record, skipped="API activity of another product")
    else:
        yield _read(record)


def _is_api_activity(record: Mapping[str, Any]) -> bool:
    return record.get("class_uid") == _API_ACTIVITY or (
        record.get("class_name") == "API Activity" and isinstance(record.get("api"), Mapping)
    )


def _is_eks(record: Mapping[str, Any]) -> bool:
    product = _at(record, "metadata", "product")
    names = (text_of(product, "name"), text_of(product, "feature", "name"))
    return "Amazon EKS" in names or "Elastic Kubernetes Service" in names


def _is_audit(record: Mapping[str, Any]) -> bool:
    version = text_of(record, "metadata", "product", "version") or text_of(record, "metadata", "log_version") or ""
    return version.startswith("audit.k8s.io") or _is_eks(record)


def _is_of_another_product(record: Mapping[str, Any]) -> bool:
    """Tell only where one is named and nothing at all speaks of Kubernetes; no value here is a caller's but the path.

    The path may be percent-encoded or begin with several slashes; the API server serves it all the same.
    """
    product = _at(record, "metadata", "product")
    name = text_of(product, "name")
    if name is None or _is_audit(record):
        return False
    path = unquote(text_of(record, "http_request", "url", "path") or "")
    return not (_KUBERNETES.search(f"{name} {text_of(product, 'feature', 'name')}") or _API_PATH.match(path))


def _read(record: Mapping[str, Any]) -> Inner:
    unmapped = _unmapped(record.get("unmapped"))
    uri = _uri(record)
    event = {
        "level": _at(record, "metadata", "log_level"),
        "auditID": _at(record, "api", "request", "uid"),
        "stage": _stage(record.get("message")),
        "requestURI": uri,
        "verb": _at(record, "api", "operation"),
        "user": _user(record, unmapped or {}),
    }
    wrong = next((path for path in _OBJECTS if not isinstance(_at(record, *path.split(".")), _OBJECT)), "unmapped")
    if unmapped is None or wrong != "unmapped":
        return Inner(_error("an OCSF record with another value where an object was expected", event, f"$.{wrong}"))
    from_uri = object_ref(f"/{uri.lstrip('/')}") if isinstance(uri, str) else None
    ref = _object_ref(record, uri, from_uri)
    only_type = from_uri is None and _at(ref, "subresource") is None  # which may be a token's, unmarked
    if only_type and event["verb"] == "create" and str(_at(ref, "resource")).startswith("serviceaccounts"):
        return Inner(_error("an OCSF record of a create on serviceaccounts, or on their tokens", event))
    event |= {
        "impersonatedUser": _impersonated(unmapped),
        "sourceIPs": _source_ips(record, unmapped),
        "userAgent": _at(record, "http_request", "user_agent"),
        "objectRef": ref,
        "responseStatus": _given({name: _at(record, "api", "response", key) for name, key in _STATUS.items()}) or None,
        "requestObject": _body(record, unmapped, "request"),
        "responseObject": _body(record, unmapped, "response"),
        "requestReceivedTimestamp": _moment(record, "start_time"),
        "stageTimestamp": _moment(record, "time"),
        "annotations": _annotations(record, unmapped),
        "authenticationMetadata": _left_over(unmapped, "authenticationMetadata"),
    }
    event = _given(event)
    return Inner(event, context=_context(record, unmapped, event), is_event=True)


def _at(record: Any, *path: str) -> Any:
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _error(reason: str, event: Mapping[str, Any], path: str | None = None) -> ReadError:
    """Make an error that tells what the record still shows of the call."""
    return ReadError(reason, path=path, revealed=shown({"username": _at(event, "user", "username"), **event}))


def _unmapped(value: Any) -> Mapping[Any, Any] | None:
    """Return what the mapping left over; pyarrow makes pairs of a Parquet map. None where it is something else."""
    if isinstance(value, list) and all(isinstance(item, list) and list(map(type, item))[:1] == [str] for item in value):
        return {item[0]: item[-1] for item in value}
    return {} if value is None else value if isinstance(value, Mapping) else None


def _left_over(unmapped: Mapping[Any, Any], *path: str) -> Any:
    """Return an object left unmapped: nested (bloblang), as JSON text, or from flat keys (v1.1.0); None without."""
    nested = _decoded(_at(unmapped, *path))
    return nested if nested is not None else _flat(unmapped, f"{'.'.join(path)}.") or None


def _flat(unmapped: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Return what stands under flat keys: `user.extra.x[]` is a list, whose values are joined by commas."""
    found = {}
    for key, value in unmapped.items():
        if isinstance(key, str) and key.startswith(prefix) and value is not None:
            is_list = key.endswith("[]") and isinstance(value, str)
            found[key[len(prefix) :].removesuffix("[]")] = value.split(",") if is_list else value
    return found


def _decoded(value: Any) -> Any:
    """Decode JSON text; any other text stays, an empty one is nothing."""
    if not isinstance(value, str):
        return value
    try:
        return decode_whole(value)
    except NotJSONError:
        return value or None


def _stage(message: Any) -> Any:
    """Return the stage; OCSF's message may be another text, and most records are of a finished request."""
    told = message in _STAGES if isinstance(message, str) else message is not None
    return message if told else "ResponseComplete"


def _uri(record: Mapping[str, Any]) -> Any:
    """Return the URI: the mapping puts all of it into the path, OCSF's schema keeps the query in a field of its own."""
    path, query = _at(record, "http_request", "url", "path"), text_of(record, "http_request", "url", "query_string")
    return f"{path}?{query}" if query and isinstance(path, str) and "?" not in path else path


def _user(record: Mapping[str, Any], unmapped: Mapping[Any, Any]) -> dict[str, Any]:
    user = _at(record, "actor", "user")
    groups = _at(user, "groups")
    if isinstance(groups, list):
        groups = [group["name"] if isinstance(group, Mapping) and "name" in group else group for group in groups]
    extra = _left_over(unmapped, "user", "extra")
    if isinstance(extra, _OBJECT):
        mapped = {key: [text] for key, path in _EXTRA.items() if (text := text_of(record, *path.split(".")))}
        extra = {**mapped, **(extra or {})} or None
    return _given({"username": _at(user, "name"), "uid": _at(user, "uid"), "groups": groups, "extra": extra})


def _impersonated(unmapped: Mapping[Any, Any]) -> Any:
    """Return whom the caller impersonated; any flat key about it tells that there was somebody."""
    nested = _decoded(unmapped.get("impersonatedUser"))
    if nested is not None:
        return nested if not isinstance(nested, Mapping) or _given(nested) else None
    flat = {name.lstrip("."): value for name, value in _flat(unmapped, "impersonatedUser").items() if name}
    return {**flat, "extra": _flat(flat, "extra.")} if flat else None


def _source_ips(record: Mapping[str, Any], unmapped: Mapping[Any, Any]) -> Any:
    """Return the addresses, the client's claim first; Security Lake may leave all of them unmapped as well."""
    first, others = _at(record, "src_endpoint", "ip"), _at(record, "src_endpoint", "intermediate_ips")
    every = unmapped.get("sourceIPs[]")
    if isinstance(every, str) and every.partition(",")[0] == first:
        return every.split(",")
    others = others if isinstance(others, list) else [others]  # bloblang has one text
    return [address for address in (first, *others) if address is not None] or None


def _object_ref(record: Mapping[str, Any], uri: Any, from_uri: Mapping[str, Any] | None) -> Any:
    """Take the object from the URI, because `type` may have lost the subresource."""
    listed = _at(record, "resources")
    if listed is not None and not (isinstance(listed, list) and all(isinstance(item, _OBJECT) for item in listed[:1])):
        return from_uri or listed
    resource = (listed[0] if listed else None) or {}
    ref = _given({key: resource.get(key) for key in ("namespace", "name", "uid")})
    ref |= _given({"resourceVersion": resource.get("version")})
    kind = resource.get("type")
    kind, _, subresource = kind.partition("/") if isinstance(kind, str) else (kind, None, None)
    if from_uri is not None:
        return {**ref, **from_uri} if kind == from_uri.get("resource") else from_uri
    ref |= _given({"resource": kind, "subresource": subresource or _subresource(uri, kind, resource.get("name"))})
    api = {"apiGroup": _at(record, "api", "group", "name"), "apiVersion": _at(record, "api", "version")}
    return {**ref, **_given(api)} if ref else None


def _subresource(uri: Any, resource: Any, name: Any) -> str | None:
    """Return what follows resource and name in a path that does not belong to an object, or None."""
    parts = unquote(uri.partition("?")[0]).split("/") if isinstance(uri, str) else []
    ends = [index + 2 for index in range(len(parts)) if parts[index : index + 2] == [resource, name]]
    return "".join(parts[ends[-1] : ends[-1] + 1]) if ends else None


def _body(record: Mapping[str, Any], unmapped: Mapping[Any, Any], which: str) -> Any:
    """Return a body: mapped from v1.5.0 on, left over before; flat keys are not a body any more."""
    body = _decoded(_at(record, "api", which, "data"))
    return body if body is not None else _decoded(unmapped.get(f"{which}Object"))


def _moment(record: Mapping[str, Any], name: str) -> Any:
    """Return a time, from the text next to the number if there is one."""
    value = record.get(f"{name}_dt")
    value = record.get(name) if value is None else value
    if type(value) is not int:
        return value
    try:
        return format_time(_EPOCH + value * timedelta(microseconds=1 if abs(value) >= _MICROSECONDS_FROM else 1000))
    except OverflowError:
        return value


def _annotations(record: Mapping[str, Any], unmapped: Mapping[Any, Any]) -> Any:
    found, reason = _left_over(unmapped, "annotations"), _at(record, "policy", "name")
    alone = reason is None or not isinstance(found, _OBJECT)
    return found if alone else {"authorization.k8s.io/reason": reason, **(found or {})}


def _context(record: Mapping[str, Any], unmapped: Mapping[Any, Any], event: Mapping[str, Any]) -> Context:
    """Tell where it comes from; the account of an ARN in `cloud.account.uid` is the caller's, not the cluster's."""
    account = text_of(record, "cloud", "account", "uid")
    return Context(
        platform="eks" if _is_eks(record) else None,
        cluster=text_of(unmapped, "eks_cluster_name"),
        account=account if account and re.fullmatch("[0-9]{12}", account) else None,
        region=text_of(record, "cloud", "region"),
        lost=frozenset(_lost(record, unmapped, event)),
    )


def _lost(record: Mapping[str, Any], unmapped: Mapping[Any, Any], event: Mapping[str, Any]) -> Iterator[str]:
    """Name what this record does not carry."""
    if "kind" not in unmapped:  # up to v1.2.0 all that has no place is left there, with `kind`; not in v1.5.0's sample
        whole = {
            "annotations": ("annotations",),
            "extra, but for EKS's": ("user", "extra"),
            "impersonation": ("impersonatedUser",),
        }
        yield from (word for word, path in whole.items() if _left_over(unmapped, *path) is None)
    flat_bodies = _flat(unmapped, "requestObject.") or _flat(unmapped, "responseObject.")
    if flat_bodies and not {"requestObject", "responseObject"} & event.keys():
        yield "bodies"
    if isinstance(_at(record, "src_endpoint", "intermediate_ips"), str):  # bloblang: the second and no more
        yield "source IPs"
    if record.get("message") != event["stage"]:
        yield "stage"
