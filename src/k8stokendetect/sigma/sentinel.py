# SPDX-License-Identifier: Apache-2.0
"""Writes analytics rules for Sentinel: an ARM template, which its portal imports, and YAML as Azure-Sentinel has it.

Keys of the template: github.com/Azure/azure-rest-api-specs@1939ce09 specification/securityinsights/resource-manager/
Microsoft.SecurityInsights/SecurityInsights/stable/2025-09-01/AlertRules.json, ScheduledAlertRuleProperties. Keys of the
YAML: github.com/Azure/Azure-Sentinel@0a0330fc .script/tests/detectionTemplateSchemaValidation/Models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from k8stokendetect.convert import yaml
from k8stokendetect.sigma.pipelines import extraction, first_in_sentinel
from k8stokendetect.sigma.terms import slug

TABLE: Final = "AKSAudit"

MOST_CHARACTERS: Final = 10_000
"""Of a query: https://learn.microsoft.com/azure/sentinel/sentinel-service-limits."""

ARRIVED: Final = "| where ingestion_time() > ago(1h)"
"""Each row once, also if it came late: https://learn.microsoft.com/azure/sentinel/ingestion-delay."""

_LEVELS: Final = {
    "informational": "Informational",
    "low": "Low",
    "medium": "Medium",
    "high": "High",
    "critical": "High",
}
_TACTICS: Final = frozenset(
    "InitialAccess Persistence PrivilegeEscalation CredentialAccess LateralMovement DefenseEvasion".split()
)
_EVADING: Final = frozenset({"T1078", "T1550"})
"""Techniques that Sentinel takes only along with the tactic DefenseEvasion, which ATT&CK 19 no longer has.

github.com/Azure/Azure-Sentinel@0bb13f04 .script/tests/detectionTemplateSchemaValidation/Models/
ModelValidationAttributes/KillChainTechniquesHelper.cs.
"""

_CALLER: Final = '| extend CallerName = tostring(User["username"]), CallerIP = tostring(SourceIps[0])'
_ENTITIES: Final = (("Account", "Name", "CallerName"), ("IP", "Address", "CallerIP"))
_OF_FIRST: Final = (("Account", "Name", "FirstCallerName"), ("IP", "Address", "FirstCallerIP"))


def single(table: str, fields: Iterable[str], condition: str, /) -> str:
    """Return the query of a rule about single events.

    Arguments:
        table: where the log is.
        fields: that the condition asks for, as in an audit event.
        condition: in Kusto.

    """
    return "\n".join([table, ARRIVED, *_matching(fields, condition), _CALLER])


def _matching(fields: Iterable[str], condition: str) -> list[str]:
    return [f"| {extraction('sentinel', fields)}", f"| where {condition}"]


def joined(table: str, correlation: Mapping[str, Any], parts: Sequence[tuple[Iterable[str], str]], /) -> str:
    """Return the query of a correlation of two rules: a row for each pair, the later event first.

    Arguments:
        table: where the log is.
        correlation: that part of the Sigma document.
        parts: fields and condition of each rule, in the order of the correlation.

    """
    keys = [_keys(correlation, name) for name in correlation["rules"]]
    names = [f"Key{number}" for number in range(1, len(keys[0]) + 1)]
    (first, second), within = parts, _seconds(correlation["timespan"])
    computed = [
        f"| extend {', '.join(f'{name} = {first_in_sentinel(key)}' for name, key in zip(names, one, strict=True))}"
        for one in keys
    ]
    kept = {
        "FirstTime": "RequestReceivedTime",
        "FirstAuditId": "AuditId",
        "FirstCallerName": 'tostring(User["username"])',
        "FirstCallerIP": "tostring(SourceIps[0])",
    }
    lines = [
        f"let FirstEvents = {table}",
        *_matching(*first),
        computed[0],
        f"| project {', '.join([*names, *(f'{name} = {what}' for name, what in kept.items())])};",
        table,
        ARRIVED,
        *_matching(*second),
        computed[1],
        f"| where {' and '.join(f'isnotempty({name})' for name in names)}",
        f"| join kind=inner FirstEvents on {', '.join(names)}",
        f'| where abs(datetime_diff("second", RequestReceivedTime, FirstTime)) <= {within}',
        _CALLER,
    ]
    return "\n".join(lines)


def _keys(correlation: Mapping[str, Any], rule: str) -> list[str]:
    aliases = correlation.get("aliases", {})
    return [aliases[key][rule] if key in aliases else key for key in correlation["group-by"]]


_UNITS: Final = {"s": 1, "d": 86_400}


def _seconds(timespan: str) -> int:
    return int(timespan[:-1]) * _UNITS[timespan[-1]]


def files(rules: Iterable[tuple[dict[str, Any], str]], table: str, /) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the files.

    Arguments:
        rules: Sigma documents with their queries.
        table: where the log is.

    """
    resources = []
    for document, query in rules:
        rule = _rule(document, query, table)
        resources.append(_resource(rule))
        yield f"{slug(document['title'])}.yaml", yaml.write(rule)
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"workspace": {"type": "String"}},
        "resources": resources,
    }
    yield "k8stokendetect.json", json.dumps(template, indent=2) + "\n"


def _rule(document: dict[str, Any], query: str, table: str) -> dict[str, Any]:
    tags = [tag.removeprefix("attack.") for tag in document.get("tags", [])]
    techniques = [tag.upper() for tag in tags if tag[1:5].isdigit()]
    named = {"".join(word.capitalize() for word in tag.split("-")) for tag in tags}
    evading = {"DefenseEvasion"} if any(one.partition(".")[0] in _EVADING for one in techniques) else set()
    entities = (*_ENTITIES, *(_OF_FIRST if "correlation" in document else ()))
    return {
        "id": document["id"],
        "name": document["title"],
        "description": " ".join(document["description"].split()),
        "severity": _LEVELS[document["level"]],
        "status": "Available",
        "requiredDataConnectors": [{"connectorId": "AzureKubernetes", "dataTypes": [table]}],
        "queryFrequency": "1h",
        "queryPeriod": _period(document),
        "triggerOperator": "gt",
        "triggerThreshold": 0,
        "tactics": sorted((named | evading) & _TACTICS),
        "relevantTechniques": techniques,
        "query": f"{query}\n",
        "entityMappings": [
            {"entityType": kind, "fieldMappings": [{"identifier": identifier, "columnName": column}]}
            for kind, identifier, column in entities
        ],
        "version": "1.0.0",
        "kind": "Scheduled",
    }


def _period(document: dict[str, Any]) -> str:
    """Return how far back a rule looks: a day for what comes late, for a long correlation the most that there is."""
    within = _seconds(document["correlation"]["timespan"]) if "correlation" in document else 0
    return "14d" if timedelta(seconds=within) >= timedelta(days=1) else "1d"


def _resource(rule: dict[str, Any]) -> dict[str, Any]:
    """Return an analytics rule as a resource of an ARM template; it is switched off."""
    return {
        "type": "Microsoft.OperationalInsights/workspaces/providers/alertRules",
        "apiVersion": "2025-09-01",
        "name": f"[concat(parameters('workspace'),'/Microsoft.SecurityInsights/{rule['id']}')]",
        "kind": "Scheduled",
        "properties": {
            "displayName": rule["name"],
            "description": rule["description"],
            "severity": rule["severity"],
            "enabled": False,
            "query": rule["query"],
            "queryFrequency": "PT1H",
            "queryPeriod": f"P{rule['queryPeriod'].upper()}",
            "triggerOperator": "GreaterThan",
            "triggerThreshold": 0,
            "suppressionDuration": "PT1H",
            "suppressionEnabled": False,
            "tactics": rule["tactics"],
            "techniques": list(dict.fromkeys(one.partition(".")[0] for one in rule["relevantTechniques"])),
            "entityMappings": rule["entityMappings"],
        },
    }
