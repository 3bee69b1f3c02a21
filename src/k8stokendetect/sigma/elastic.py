# SPDX-License-Identifier: Apache-2.0
"""Writes what Kibana imports under Security, Rules, and a component template with the fields that it has to index.

Keys of a rule: github.com/elastic/kibana@026d206a x-pack/solutions/security/plugins/security_solution/common/api/
detection_engine/model/rule_schema/rule_schemas.schema.yaml; an import needs `rule_id` as well (../../rule_management/
import_rules/rule_to_import.ts).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

INDEX: Final = "logs-kubernetes.audit_logs-*"
"""Where Elastic's integration writes: its data stream, in every namespace."""

RISK: Final = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
"""As our documents in ECS have them."""

MOST_ALERTS: Final = 1000
"""Of one run of a rule; Kibana leaves out what exceeds it. Its own default is 100, the most that it allows is 1,000."""

NOT_INDEXED: Final = (
    "requestObject.spec.audiences",
    "requestObject.spec.expirationSeconds",
    "requestObject.spec.token",
    "requestObject.spec.boundObjectRef.kind",
    "requestObject.type",
    "requestObject.roleRef.name",
    "requestObject.rules.resources",
    "responseObject.spec.expirationSeconds",
    "responseObject.status.token",
    "responseObject.type",
    "responseObject.roleRef.name",
    "responseObject.rules.resources",
)
"""Fields of bodies that our rules ask for and Elastic's integration does not index: for bodies it has `dynamic: false`.

github.com/elastic/integrations@0a35e489 packages/kubernetes/data_stream/audit_logs/fields/fields.yml.
"""


def files(rules: Iterable[tuple[dict[str, Any], str]], index: Sequence[str], /) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the files.

    Arguments:
        rules: Sigma documents with their queries.
        index: patterns of the indices that the rules look at.

    """
    lines = []
    for document, query in rules:
        level = document["level"] if document["level"] != "informational" else "low"
        rule = {
            "name": document["title"],
            "description": " ".join(document["description"].split()),
            "id": document["id"],
            "rule_id": document["id"],
            "type": "query",
            "language": "lucene",
            "index": list(index),
            "query": query,
            "risk_score": RISK[document["level"]],
            "severity": level,
            "interval": "5m",
            "from": "now-10m",
            "to": "now",
            "timestamp_override": "event.ingested",  # what arrives late is not older than the window; else @timestamp
            "max_signals": MOST_ALERTS,
            "enabled": False,
            "author": [document["author"]],
            "license": document["license"],
            "references": document.get("references", []),
            "false_positives": document["falsepositives"],
            "tags": ["Kubernetes", *document.get("tags", [])],
            "threat": [],
            "exceptions_list": [],
            "version": 1,
        }
        lines.append(json.dumps(rule, ensure_ascii=True))
    yield "k8stokendetect.ndjson", "".join(f"{line}\n" for line in lines)
    yield "logs-kubernetes.audit_logs@custom.json", json.dumps(component_template(), indent=2) + "\n"


def component_template() -> dict[str, Any]:
    """Return the component template `logs-kubernetes.audit_logs@custom`, which indexes the bodies' fields."""
    root: dict[str, Any] = {}
    for field in NOT_INDEXED:
        place = root
        *above, last = f"kubernetes.audit.{field}".split(".")
        for key in above:
            place = place.setdefault("properties", {}).setdefault(key, {})
        kind = {"type": "long"} if last.endswith("Seconds") else {"type": "keyword", "ignore_above": 8191}
        place.setdefault("properties", {})[last] = kind
    return {"template": {"mappings": root}}
