# SPDX-License-Identifier: Apache-2.0
"""Turns objects of the official Python client, and dumps of them, into what the API server writes.

`to_dict()` writes Python's names (`role_ref`) and no kind for the items of a list; `sanitize_for_serialization` writes
the API's names, and no kind either. Then the fields tell the kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from k8stokendetect.convert.converter import go_name

_CLASS: Final = re.compile(r"V1(?:beta1)?([A-Z][A-Za-z]{1,60})")
_MAPS: Final = frozenset({"labels", "annotations", "match_labels", "node_selector"})
"""Their keys are a user's own, and no fields."""

_NAMES: Final = {"non_resource_ur_ls": "nonResourceURLs"}
"""Names that older clients made in another way."""


def is_client_object(value: object, /) -> bool:
    """Tell whether this is an object of the official client, such as `V1ClusterRole`."""
    return _dump_of(value) is not None and _CLASS.fullmatch(type(value).__name__) is not None


def of_client(value: object, /) -> Any:
    """Return an object of the official client as the API server writes it, with its kind; anything else as it is."""
    found = _CLASS.fullmatch(type(value).__name__)
    dump = _dump_of(value)
    if found is None or dump is None:
        return value
    document = dump()
    return document | {"kind": document.get("kind") or found[1]} if isinstance(document, dict) else value


def as_api(item: Mapping[str, Any], /) -> Mapping[str, Any]:
    """Return an object under the API's names; one that has them already as it is."""
    metadata = item.get("metadata")
    is_dump = "api_version" in item or "role_ref" in item
    if is_dump or (isinstance(metadata, Mapping) and "creation_timestamp" in metadata):
        return {_name(key): value if key == "items" else _renamed(value) for key, value in item.items()}
    return item


def _name(key: object) -> Any:
    return _NAMES.get(key) or go_name(key) if isinstance(key, str) else key


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_name(key): item if key in _MAPS else _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def kind_of(item: Mapping[str, Any], /) -> str | None:
    """Return the kind of an object that does not name it, by its fields; None when they do not tell."""
    metadata, spec = item.get("metadata"), item.get("spec")
    is_local = isinstance(metadata, Mapping) and bool(metadata.get("namespace"))
    if "roleRef" in item:
        return "RoleBinding" if is_local else "ClusterRoleBinding"
    if "rules" in item:
        return "Role" if is_local else "ClusterRole"
    if isinstance(spec, Mapping) and "containers" in spec:
        return "Pod"
    if {"secrets", "imagePullSecrets", "automountServiceAccountToken"} & set(item) and "spec" not in item:
        return "ServiceAccount"
    return None


def _dump_of(value: object) -> Callable[[], Any] | None:
    dump = getattr(value, "to_dict", None)
    return dump if callable(dump) and not isinstance(value, type | Mapping) else None
