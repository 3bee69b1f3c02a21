# SPDX-License-Identifier: Apache-2.0
"""Wraps audit events as Elasticsearch gives those that the kubernetes and aws integrations took in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

CLUSTER: Final = "prod-1"
ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
SUBSCRIPTION: Final = "5d0b1c6a-1111-4222-8333-944455566677"
LEAVES: Final = ("annotations", "user.extra", "impersonatedUser.extra", "requestObject", "responseObject")
"""Mapped as `flattened`: one field, however much is in it."""


def without_empty(value: Any) -> Any:
    """Drop what the pipelines drop, inside out: null, empty texts, objects and lists."""
    if isinstance(value, dict):
        pruned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if item not in (None, "", {}, [])}
    if isinstance(value, list):
        return [item for item in map(without_empty, value) if item not in (None, "", {}, [])]
    return value


def audit(event: dict[str, Any], *, eks: bool = False) -> dict[str, Any]:
    """Return what the ingest pipeline makes of an event."""
    kept: dict[str, Any] = without_empty(event)
    for body in ("requestObject", "responseObject"):
        if isinstance(kept.get(body), dict):
            kept[body].pop("metadata", None)
    if "annotations" in kept:
        kept["annotations"] = underscored(kept["annotations"])
    if eks:
        kept.get("objectRef", {}).setdefault("apiGroup", "core")
        for user in ("user", "impersonatedUser"):
            if "extra" in kept.get(user, {}):
                kept[user]["extra"] = underscored(kept[user]["extra"])
    return kept


def underscored(mapping: dict[str, Any]) -> dict[str, Any]:
    """Replace the dots of all keys."""
    return {key.replace(".", "_"): value for key, value in mapping.items()}


def kubernetes(event: dict[str, Any]) -> dict[str, Any]:
    """Return a document of kubernetes.audit_logs."""
    return {
        "@timestamp": "2026-11-23T21:43:46.123Z",
        "kubernetes": {"audit": audit(event)},
        "orchestrator": {"cluster": {"name": CLUSTER}, "type": "kubernetes"},
        "cloud": {"provider": "aws", "account": {"id": ACCOUNT}, "region": REGION},
        "event": {"dataset": "kubernetes.audit_logs", "kind": "event", "outcome": "success"},
        "data_stream": {"dataset": "kubernetes.audit_logs"},
    }


def aks(event: dict[str, Any]) -> dict[str, Any]:
    """Return a document of kubernetes.audit_logs whose input was an Event Hub."""
    metadata = {
        "category": "kube-audit",
        "resource_id": f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/RG/PROVIDERS/"
        f"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{CLUSTER}",
    }
    document = kubernetes(event) | {"orchestrator": {"type": "kubernetes"}}
    document["kubernetes"]["audit"]["aks_metadata"] = metadata
    return document


def eks(event: dict[str, Any]) -> dict[str, Any]:
    """Return a document of aws.eks_audit."""
    return {
        "@timestamp": "2026-11-23T21:43:46.123Z",
        "aws": {
            "cloudwatch": {"log_group": f"/aws/eks/{CLUSTER}/cluster"},
            "eks": {"audit": audit(event, eks=True), "cluster": {"name": CLUSTER}},
        },
        "cloud": {"provider": "aws", "account": {"id": ACCOUNT}, "region": REGION},
        "data_stream": {"dataset": "aws.eks_audit"},
    }


def collapsed(document: dict[str, Any]) -> dict[str, Any]:
    """Take texts out of lists of one, as a synthetic `_source` does."""

    def lone(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: lone(item) for key, item in value.items()}
        return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else value

    collapsed: dict[str, Any] = lone(document)
    return collapsed


def dotted(document: dict[str, Any]) -> dict[str, Any]:
    """Put every field under its full name, a status code as the text that a flattened field gives."""
    flat = dict(_fields(document, ""))
    code = next((name for name in flat if name.endswith("audit.responseStatus.code")), None)
    return flat | ({code: str(flat[code])} if code else {})


def listed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the `fields` of a hit: every value in a list, and the second indexing of a dynamic mapping."""
    fields = {key: value if isinstance(value, list) else [value] for key, value in _fields(document, "")}
    return fields | {f"{key}.keyword": value for key, value in fields.items() if key.endswith(".verb")}


def _fields(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, dict) and not path.endswith(LEAVES):
            yield from _fields(item, f"{path}.")
        else:
            yield path, item


def hit(**content: Any) -> dict[str, Any]:
    """Return one hit of a search."""
    return {
        "_index": ".ds-logs-kubernetes.audit_logs-default-2026.11.23-000001",
        "_id": "a1",
        "_score": None,
        **content,
    }


def answer(hits: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a search's answer."""
    return {
        "took": 3,
        "timed_out": False,
        "hits": {"total": {"value": len(hits), "relation": "eq"}, "max_score": None, "hits": hits},
    }


def lines(records: list[dict[str, Any]]) -> bytes:
    """Return JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


WRAPPINGS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "elastic kubernetes documents": lambda events: lines([kubernetes(event) for event in events]),
    "elastic kubernetes documents, dotted": lambda events: lines([dotted(kubernetes(event)) for event in events]),
    "elastic kubernetes documents, aks": lambda events: lines([aks(event) for event in events]),
    "elastic kubernetes hits": lambda events: lines([hit(_source=kubernetes(event)) for event in events]),
    "elastic kubernetes answer": lambda events: json.dumps(
        answer([hit(_source=kubernetes(event)) for event in events])
    ).encode(),
    "elastic kubernetes fields": lambda events: json.dumps(
        answer([hit(fields=listed(kubernetes(event))) for event in events])
    ).encode(),
    "elastic eks documents": lambda events: lines([eks(event) for event in events]),
    "elastic eks documents, synthetic source": lambda events: lines([collapsed(eks(event)) for event in events]),
    "elastic eks documents, dotted": lambda events: lines([dotted(eks(event)) for event in events]),
    "elastic eks fields": lambda events: lines([hit(fields=listed(eks(event))) for event in events]),
}
"""One file of each kind that Elasticsearch, Kibana or elasticdump gives."""
