# SPDX-License-Identifier: Apache-2.0
"""Elastic documents: `kubernetes.audit.*` and `aws.eks.audit.*`, as search hits, nested, dotted, or as `fields`.

Source: github.com/elastic/integrations, the ingest pipelines of kubernetes/audit_logs and aws/eks_audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from k8stokendetect.envelopes.base import Context, Inner, text_of
from k8stokendetect.envelopes.pods import named
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Platform

_KUBERNETES: Final = "kubernetes.audit"
_EKS: Final = "aws.eks.audit"
_DATASETS: Final = ("kubernetes.audit_logs", "aws.eks_audit")

_LISTS: Final = frozenset(
    {
        "sourceIPs",
        "user.groups",
        "impersonatedUser.groups",
        "responseStatus.details.causes",
        "requestObject.spec.audiences",
        "responseObject.spec.audiences",
    }
)
_FREE_KEYS: Final = ("annotations.", "user.extra.", "impersonatedUser.extra.")
"""What stands after these is one key, whose dots are its own."""
_MULTI_FIELDS: Final = (".keyword", ".text")
"""Second indexings of a field that Elasticsearch's dynamic mapping adds; `fields` lists them like fields."""
_DEEPEST: Final = 32

_CODE: Final = re.compile(r"[0-9]{1,3}")
_EKS_LOG_GROUP: Final = re.compile(r"/aws/eks/([^/]+)/cluster")
_AKS_RESOURCE: Final = re.compile(r"/subscriptions/([^/]+)/.*/managedclusters/([^/]+)", re.IGNORECASE)


def recognises(record: Any, /) -> bool:
    """Tell whether this is a search answer, one hit of it, or a document of one of the two integrations."""
    if not isinstance(record, dict) or "auditID" in record:
        return False
    return (
        _hits(record) is not None
        or _is_document(record)
        or _is_document(record.get("fields"))
        or bool(record.get("_source") and isinstance(record["_source"], dict))
    )


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the hits of an answer, the document of a hit, or the audit event of a document."""
    hits = _hits(record)
    if hits is not None:
        yield from (Inner(hit, f".hits.hits[{index}]") for index, hit in enumerate(hits))
        if not hits:
            yield Inner(None, ".hits.hits", skipped="a search without hits")
    elif _is_document(record):
        yield _event(record, "")
    elif _is_document(record.get("fields")) and not _is_document(record.get("_source")):
        yield _event(_unlisted(record["fields"]), ".fields")
    else:
        yield Inner(record["_source"], "._source")


def _hits(record: dict[str, Any]) -> list[Any] | None:
    outer = record.get("hits")
    inner = outer.get("hits") if isinstance(outer, dict) else None
    return inner if isinstance(inner, list) else None


def _is_document(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    found = next(_pairs(record, _EKS), None) or next(_pairs(record, _KUBERNETES), None)
    return found is not None or _dataset(record) in _DATASETS


def _dataset(document: dict[str, Any]) -> str | None:
    return _text(document, "data_stream.dataset") or _text(document, "event.dataset")


def _event(document: dict[str, Any], place: str) -> Inner:
    """Return the audit event of a document, or why there is none."""
    for prefix in (_EKS, _KUBERNETES):
        pairs = list(_pairs(document, prefix))
        if pairs:
            audit = _nested(pairs)
            if audit is None:
                return Inner(ReadError("an Elastic document whose audit fields do not form an object"), place)
            return _told(document, audit, f"{place}.{prefix}", eks=prefix == _EKS)
    original = _text(document, "event.original")
    if original:  # the pipelines leave nothing else of what they could not read (event.kind: pipeline_error)
        return Inner(
            original, f"{place}.event.original", _context(document, {}, eks=_dataset(document) == _DATASETS[1])
        )
    return Inner(ReadError("an Elastic audit document without audit fields or event.original"), place)


def _told(document: dict[str, Any], audit: dict[str, Any], place: str, *, eks: bool) -> Inner:
    context = _context(document, audit, eks=eks)
    audit.pop("aks_metadata", None)
    _restore(audit, eks=eks)
    if "protoPayload" in audit:
        return Inner(_log_entry(audit), place, context)
    if "auditID" in audit:
        audit.setdefault("verb", "")  # the pipelines drop what is empty, and OPTIONS is logged with an empty verb
    return Inner(audit, place, context, is_event=True)


def _pairs(mapping: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield path and value of every field below a prefix, whether its dots are nesting or stand in a key."""
    for key, value in mapping.items():
        if not isinstance(key, str):
            continue
        if key == prefix and isinstance(value, dict):
            yield from ((inner, item) for inner, item in value.items() if isinstance(inner, str))
        elif key == prefix:
            yield "", value
        elif key.startswith(f"{prefix}."):
            yield key[len(prefix) + 1 :], value
        elif isinstance(value, dict) and prefix.startswith(f"{key}."):
            yield from _pairs(value, prefix[len(key) + 1 :])


def _nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any] | None:
    """Make one mapping of paths, leaving the document's own ones alone; None where a path runs through a value."""
    root: dict[str, Any] = {}
    own = {id(root)}
    for path, value in pairs:
        *parents, last = _keys(path)
        node = root
        for key in parents:
            child = node.get(key, {})
            if not isinstance(child, dict):
                return None
            if id(child) not in own:
                child = node[key] = dict(child)
                own.add(id(child))
            node = child
        if last in node or not last:
            if not (isinstance(value, dict) and isinstance(node.get(last), dict)):
                return None
            value = {**node[last], **value}  # noqa: PLW2901 - the same field in both spellings
            own.add(id(value))
        node[last] = _number(value) if path == "responseStatus.code" else value
    return root


def _keys(path: str) -> list[str]:
    free = next((head for head in _FREE_KEYS if path.startswith(head)), "")
    return [*free.split(".")[:-1], path[len(free) :]] if free else path.split(".", _DEEPEST)


def _number(code: Any) -> Any:
    """Put back the number of a status code that a flattened field gives as text, as all its values."""
    return int(code) if isinstance(code, str) and _CODE.fullmatch(code) else code


def _unlisted(fields: dict[Any, Any]) -> dict[str, Any]:
    """Undo what the search API's `fields` does: every value in a list, and each indexing of a field by itself."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 and not _is_list(key) else value
        for key, value in fields.items()
        if isinstance(key, str) and not _is_multi_field(key, fields)
    }


def _is_list(key: str) -> bool:
    path = key.removeprefix(f"{_KUBERNETES}.").removeprefix(f"{_EKS}.")
    return path in _LISTS or path.startswith(_FREE_KEYS[1:])


def _is_multi_field(key: str, fields: dict[str, Any]) -> bool:
    return any(key.endswith(end) and key.removesuffix(end) in fields for end in _MULTI_FIELDS)


def _restore(audit: dict[str, Any], *, eks: bool) -> None:
    """Undo, in a mapping of ours, what the ingest pipelines did to keys and values."""
    if isinstance(audit.get("annotations"), dict):
        audit["annotations"] = {_dotted(key): value for key, value in audit["annotations"].items()}
    for key in ("user", "impersonatedUser"):
        if isinstance(audit.get(key), dict):
            audit[key] = _user(audit[key], eks=eks)
    for key in ("requestObject", "responseObject"):
        if text_of(audit, key, "spec", "audiences"):
            spec = audit[key]["spec"]
            audit[key] = {**audit[key], "spec": {**spec, "audiences": _listed(spec["audiences"])}}
    if "sourceIPs" in audit:
        audit["sourceIPs"] = _listed(audit["sourceIPs"])
    if text_of(audit, "objectRef", "apiGroup") == "core":  # eks_audit, normalize_core_api_groups
        audit["objectRef"] = {key: value for key, value in audit["objectRef"].items() if key != "apiGroup"}


def _user(user: dict[str, Any], *, eks: bool) -> dict[str, Any]:
    """Put back a user's lists and, on EKS, the names of its extra keys (eks_audit, normalize_dotted_map_keys)."""
    restored = dict(user)
    if "groups" in user:
        restored["groups"] = _listed(user["groups"])
    if isinstance(user.get("extra"), dict):
        restored["extra"] = {_dotted(key) if eks else key: _listed(value) for key, value in user["extra"].items()}
    return restored


def _listed(value: Any) -> Any:
    """Put a lone text back into its list: synthetic `_source` drops it (aws/eks_audit/sample_event.json)."""
    return [value] if isinstance(value, str) else value


def _dotted(key: Any) -> Any:
    """Put back the dots of a key's domain, which holds no underscore of its own; what follows the slash may."""
    domain, slash, name = key.partition("/") if isinstance(key, str) else ("", "", "")
    return f"{domain.replace('_', '.')}/{name}" if slash else key


def _log_entry(audit: dict[str, Any]) -> dict[str, Any]:
    """Return the LogEntry of GKE that kubernetes.audit_logs keeps below renamed fields (test-audit.log-expected)."""
    entry = dict(audit)
    for new, old in (
        ("auditID", "insertId"),
        ("annotations", "labels"),
        ("stageTimestamp", "timestamp"),
        ("requestReceivedTimestamp", "receiveTimestamp"),
    ):
        if new in entry:
            entry.setdefault(old, entry.pop(new))
    status = entry.pop("responseStatus", None)
    payload = entry["protoPayload"]
    if isinstance(payload, dict):
        payload = dict(payload) if status is None else {"status": status, **payload}
        if isinstance(payload.get("authorizationInfo"), dict):  # `fields` makes one object of a list of objects
            payload["authorizationInfo"] = [payload["authorizationInfo"]]
        entry["protoPayload"] = payload
    return entry


def _context(document: dict[str, Any], audit: dict[str, Any], *, eks: bool) -> Context:
    """Return what stands next to the event; `cloud.provider` alone only says where the agent ran."""
    log_group = _EKS_LOG_GROUP.search(_text(document, "aws.cloudwatch.log_group") or "")
    aks = "aks_metadata" in audit
    resource = _AKS_RESOURCE.match(text_of(audit, "aks_metadata", "resource_id") or "")
    account, cluster = resource.groups() if resource else (None, None)
    platform: Platform | None = None
    if eks or log_group:
        platform = "eks"
    elif aks or "protoPayload" in audit:
        platform = "aks" if aks else "gke"
    return Context(
        platform=platform,
        cluster=_text(document, "aws.eks.cluster.name")
        or _text(document, "orchestrator.cluster.name")
        or cluster
        or (log_group[1] if log_group else None),
        account=account or _text(document, "cloud.account.id"),
        region=_text(document, "cloud.region"),
        claims=named(
            _text(document, "kubernetes.namespace"),
            _text(document, "kubernetes.pod.name"),
            dict(_pairs(document, "kubernetes")),
        ),
    )


def _text(document: dict[str, Any], path: str) -> str | None:
    """Return the text at a path whose dots are nesting or stand in a key."""
    value = next((value for rest, value in _pairs(document, path) if not rest), None)
    if isinstance(value, list) and len(value) == 1:  # as in `fields`
        value = value[0]
    return value if isinstance(value, str) and value else None
