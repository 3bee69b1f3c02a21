# SPDX-License-Identifier: Apache-2.0
"""Validates documents against the published schemas of OCSF and ECS in tests/data/schemas."""

from __future__ import annotations

import functools
import gzip
import ipaddress
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import jsonschema_rs

from recordings import DATA

SCHEMAS = DATA / "schemas"
OCSF = {2004: "detection_finding", 2005: "incident_finding"}
"""The names of the classes by their uids."""

VERSIONS = ("1.5.0", "1.8.0")
OF_CLOUD = {"cloud", "api"}
"""What the profile `cloud` adds to a class."""


@functools.cache
def ocsf_schema(name: str, version: str, *, is_cloud: bool) -> dict[str, Any]:
    """Return the schema of a class, with the profile `cloud` or without."""
    schema: dict[str, Any] = json.loads(gzip.decompress((SCHEMAS / f"ocsf-{version}-{name}.json.gz").read_bytes()))
    if not is_cloud:
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in OF_CLOUD}
        schema["required"].remove("cloud")
        schema["$defs"].get("resource_details", {"properties": {}})["properties"].pop("region", None)
    return schema


@functools.cache
def _ocsf(name: str, version: str, *, is_cloud: bool) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(ocsf_schema(name, version, is_cloud=is_cloud))


def ocsf_errors(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a Detection Finding or an Incident Finding, by its version and by the later one."""
    if document["class_uid"] not in OCSF:
        return [f"class_uid: {document['class_uid']} is none that we write"]
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")  # the validator takes no lone surrogate
    name, is_cloud = OCSF[document["class_uid"]], "cloud" in document["metadata"].get("profiles", ())
    return [
        f"{version}: {error.instance_path}: {error.message}"
        for version in VERSIONS[VERSIONS.index(document["metadata"]["version"]) :]
        for error in _ocsf(name, version, is_cloud=is_cloud).iter_errors(json.loads(text))
    ]


@functools.cache
def ecs_fields() -> dict[str, dict[str, Any]]:
    """Return the fields of ECS that may stand in a document."""
    fields: dict[str, dict[str, Any]] = json.loads((SCHEMAS / "ecs-8.17.0-fields.json").read_text(encoding="utf-8"))
    return fields


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field with its dotted name, as an index sees it: whatever is no object."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def empty(value: Any, path: str = "") -> Iterator[str]:
    """Yield the place of every null, empty list and empty object, and of every empty text of an object."""
    if value is None or value in ([], {}):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from [f"{path}.{key}"] if item == "" else empty(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from empty(item, f"{path}[]")


def ecs_errors(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a document, by the ECS field reference."""
    found = dict(leaves({name: value for name, value in document.items() if name != "k8stokendetect"}))
    errors = [f"{name}: required" for name, rule in ecs_fields().items() if rule.get("required") and name not in found]
    for name, value in found.items():
        rule = ecs_fields().get(name)
        if rule is None:
            errors.append(f"{name}: no field of ECS")
            continue
        if isinstance(value, list) != rule.get("array", False):
            errors.append(f"{name}: {'no list' if rule.get('array') else 'a list'}")
        for item in value if isinstance(value, list) else [value]:
            if not _fits(rule["type"], item):
                errors.append(f"{name}: {item!r} is no {rule['type']}")
            if "allowed" in rule and item not in rule["allowed"]:
                errors.append(f"{name}: {item!r} is not allowed")
    expected = ecs_fields()["event.type"]["expected"]
    kinds = {kind for category in found.get("event.category", []) for kind in expected.get(category, [])}
    errors += [f"event.type: {kind!r} is not expected" for kind in found.get("event.type", []) if kind not in kinds]
    return errors


def _fits(kind: str, value: Any) -> bool:
    try:
        match kind:
            case "date":
                return datetime.fromisoformat(value).tzinfo is not None
            case "ip":
                return bool(ipaddress.ip_address(value)) and "%" not in value
            case "long":
                return type(value) is int and -(2**63) <= value < 2**63
            case "float":
                return type(value) in {int, float}
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)
