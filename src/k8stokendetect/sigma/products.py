# SPDX-License-Identifier: Apache-2.0
"""The rules as files that products import: Kibana's NDJSON, Splunk's savedsearches.conf, Sentinel's analytics rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import attrs

from k8stokendetect.convert import yaml
from k8stokendetect.detectors import Detector
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.sigma.pipelines import extraction, fields_of, pipeline
from k8stokendetect.sigma.terms import slug
from k8stokendetect.sigma.write import FormName, documents

Target: TypeAlias = Literal["elastic", "splunk", "sentinel"]
TARGETS: Final[tuple[Target, ...]] = ("elastic", "splunk", "sentinel")

INDEX: Final = "logs-kubernetes.audit_logs-*"
"""Where Elastic's integration writes: its data stream, in every namespace."""

RISK: Final = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
"""As our documents in ECS have them."""

_NO_IMPERSONATION: Final = "AKSAudit has no column for impersonatedUser"
_NO_JOINS: Final = {
    "elastic": "Lucene has no correlations",
    "sentinel": "pySigma writes no correlations for Kusto",
}

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


@with_short_repr
@attrs.frozen
class Written:
    """What was written for a product.

    Arguments:
        files: their texts by name.
        left_out: why a rule is not in them, by its title.

    """

    files: dict[str, str]
    left_out: dict[str, str]


def write_for(
    target: Target,
    rules: Iterable[str | Detector | type[Detector]] | None = None,
    /,
    *,
    form: FormName = "short",
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    platform: Platform | None = None,
) -> Written:
    """Write rules as files that a product imports, with the product's names of the fields.

    Arguments:
        target: `elastic`, for what Elastic's Kubernetes integration indexes; `splunk`; `sentinel`, for AKSAudit.
        rules: ids or detectors; None for all.
        form: as for `rule_for`.
        exclusions: as for `rule_for`.
        platform: as for `rule_for`; for Sentinel it is AKS unless you say otherwise.

    Raises:
        ConfigError: for an unknown target, for what `rule_for` refuses, or when pySigma or PyYAML is not installed.

    """
    if target not in TARGETS:
        raise ConfigError(f"unknown product {target!r}; there are {', '.join(TARGETS)}")
    where: Platform | None = "aks" if target == "sentinel" and platform is None else platform
    chosen, left_out = [], {}
    for files in documents(rules, form=form, exclusions=exclusions, platform=where):
        rule = [found for text in files.values() for found in yaml.read_documents(text.encode())]
        why = _cannot(target, rule[-1])
        query = "" if why else _query(target, rule)
        if target == "sentinel" and len(query) > MOST_CHARACTERS:
            why = f"its query has {len(query):,} characters, and Sentinel takes {MOST_CHARACTERS:,}"
        if why:
            left_out[rule[-1]["title"]] = why
        else:
            chosen.append((rule[-1], query))
    write = {"elastic": _kibana, "splunk": _splunk, "sentinel": _sentinel}[target]
    return Written(dict(write(chosen)), left_out)


def _cannot(target: Target, document: dict[str, Any]) -> str:
    if "correlation" in document:
        return _NO_JOINS.get(target, "")
    asks = "selection_assumed" in document["detection"]
    return _NO_IMPERSONATION if target == "sentinel" and asks else ""


def _query(target: Target, rule: list[dict[str, Any]]) -> str:
    try:
        from sigma.collection import SigmaCollection  # noqa: PLC0415 - in the extra `sigma`

        backend = _backend(target)
    except ModuleNotFoundError:
        raise ConfigError("pySigma is missing: pip install 'k8stokendetect[sigma]'") from None
    (query,) = backend.convert(SigmaCollection.from_dicts([dict(document) for document in rule]))
    if target != "sentinel":
        return str(query)
    used = fields_of(what for name, what in rule[-1]["detection"].items() if name != "condition")
    return f"AKSAudit\n| {extraction('sentinel', used)}\n| where {query}"


def _backend(target: Target) -> Any:
    names = pipeline(target)
    if target == "elastic":
        from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend  # noqa: PLC0415 - in the extra `sigma`

        return LuceneBackend(names)
    if target == "splunk":
        from sigma.backends.splunk.splunk import SplunkBackend  # noqa: PLC0415 - the same

        return SplunkBackend(names)
    from sigma.backends.kusto.kusto import KustoBackend  # noqa: PLC0415 - the same

    return KustoBackend(names)


_Rules: TypeAlias = list[tuple[dict[str, Any], str]]


def _common(document: dict[str, Any]) -> dict[str, Any]:
    return {"name": document["title"], "description": " ".join(document["description"].split())}


def _kibana(rules: _Rules) -> Iterator[tuple[str, str]]:
    """Write what Kibana imports under Security, Rules; and a component template with the fields it has to index."""
    lines = []
    for document, query in rules:
        level = document["level"] if document["level"] != "informational" else "low"
        rule = {
            **_common(document),
            "id": document["id"],
            "rule_id": document["id"],
            "type": "query",
            "language": "lucene",
            "index": [INDEX],
            "query": query,
            "risk_score": RISK[document["level"]],
            "severity": level,
            "interval": "5m",
            "from": "now-10m",
            "to": "now",
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


_SINGLE: Final = ("10m", "*/5 * * * *")
_JOINED: Final = ("7d", "7 * * * *")
"""How far back a search looks, and when it runs: a correlation over a week, every hour."""
_MACRO: Final = "`kubernetes_audit`"


def _splunk(rules: _Rules) -> Iterator[tuple[str, str]]:
    """Write a savedsearches.conf: each rule a scheduled search over ten minutes, every five, that is switched off."""
    severities = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
    stanzas = []
    for document, query in rules:
        span, cron = _JOINED if "correlation" in document else _SINGLE
        values = {
            "description": " ".join(document["description"].split()),
            "search": re.sub(r"\n+", r" \\\n", _searching(query)),
            "cron_schedule": cron,
            "dispatch.earliest_time": f"-{span}",
            "dispatch.latest_time": "now",
            "enableSched": 1,
            "disabled": 1,
            "alert.severity": severities[document["level"]],
            "alert.track": 1,
            "counttype": "number of events",
            "relation": "greater than",
            "quantity": 0,
        }
        stanzas.append("\n".join([f"[{document['title']}]", *(f"{key} = {value}" for key, value in values.items())]))
    yield "savedsearches.conf", "\n\n".join(stanzas) + "\n"
    yield "macros.conf", "[kubernetes_audit]\ndefinition = sourcetype=kube:apiserver:audit\n"


def _searching(query: str) -> str:
    """Begin each search of a query with our macro: the only one, or those within a `multisearch`."""
    if query.startswith("| multisearch"):
        return query.replace("[ search ", f"[ search {_MACRO} ")
    return f"{_MACRO} {query.lstrip()}"


_SENTINEL_TACTICS: Final = frozenset(
    "InitialAccess Persistence PrivilegeEscalation CredentialAccess LateralMovement".split()
)
_SENTINEL_LEVELS: Final = {
    "informational": "Informational",
    "low": "Low",
    "medium": "Medium",
    "high": "High",
    "critical": "High",
}
MOST_CHARACTERS: Final = 10_000
"""Of a query in Sentinel: https://learn.microsoft.com/azure/sentinel/sentinel-service-limits."""


def _sentinel(rules: _Rules) -> Iterator[tuple[str, str]]:
    """Write an analytics rule a file, as github.com/Azure/Azure-Sentinel has them: over an hour, every hour."""
    for document, query in rules:
        tags = [tag.removeprefix("attack.") for tag in document.get("tags", [])]
        techniques = [tag.upper() for tag in tags if tag[1:5].isdigit()]
        tactics = ["".join(word.capitalize() for word in tag.split("-")) for tag in tags if not tag[1:5].isdigit()]
        rule = {
            "id": document["id"],
            **_common(document),
            "severity": _SENTINEL_LEVELS[document["level"]],
            "status": "Available",
            "requiredDataConnectors": [{"connectorId": "AzureKubernetes", "dataTypes": ["AKSAudit"]}],
            "queryFrequency": "1h",
            "queryPeriod": "1h",
            "triggerOperator": "gt",
            "triggerThreshold": 0,
            "tactics": [tactic for tactic in tactics if tactic in _SENTINEL_TACTICS],
            "relevantTechniques": techniques,
            "query": f'{query}\n| extend CallerName = tostring(User["username"]), CallerIP = tostring(SourceIps[0])\n',
            "entityMappings": [
                {"entityType": "Account", "fieldMappings": [{"identifier": "Name", "columnName": "CallerName"}]},
                {"entityType": "IP", "fieldMappings": [{"identifier": "Address", "columnName": "CallerIP"}]},
            ],
            "version": "1.0.0",
            "kind": "Scheduled",
        }
        yield f"{slug(document['title'])}.yaml", yaml.write(rule)
