# SPDX-License-Identifier: Apache-2.0
"""Finds what the API server ignores in a policy file: keys that it does not know, or that appear twice.

It decodes strictly first, and where only that fails, leniently, with a warning in its own log:
https://github.com/kubernetes/apiserver/blob/master/pkg/audit/policy/reader.go. Keys are compared with their case:
https://github.com/kubernetes-sigs/json/blob/main/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final, Literal

import attrs

from k8stokendetect.audit_policy.rules import STAGES
from k8stokendetect.convert.go_yaml import Document
from k8stokendetect.reprs import with_short_repr

Kind = Literal["unknown key", "repeated key", "null in a list", "unknown stage", "more documents"]

_RESOURCE: Final = {"group": "", "resources": "texts", "resourceNames": "texts"}
_RULE: Final = {
    **dict.fromkeys(("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages"), "texts"),
    "level": "",
    "resources": [_RESOURCE],
    "omitManagedFields": "",
}
METADATA: Final = {
    **dict.fromkeys("name generateName namespace selfLink uid resourceVersion".split(), "text"),
    **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), "time"),
    **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), "number"),
    **dict.fromkeys(("labels", "annotations"), "mapping"),
    **dict.fromkeys(("ownerReferences", "managedFields"), "list"),
    "finalizers": "texts",
}
"""The fields of metav1.ObjectMeta; a policy's are read and never used:
https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/types.go."""

_POLICY: Final = {
    **dict.fromkeys(("apiVersion", "kind", "omitManagedFields"), ""),
    "metadata": METADATA,
    "rules": [_RULE],
    "omitStages": "texts",
}


@with_short_repr
@attrs.frozen
class Ignored:
    """Something in a policy file that the API server ignores, with a line in its own log at most.

    Arguments:
        path: where it stands, such as `rules[1].resources[0].username`; empty for the file.
        kind: what is wrong with it.
        key: the unknown key; it may hold dots.
        hint: what was probably meant; empty where that is unknown.

    """

    path: str
    kind: Kind
    key: str = ""
    hint: str = ""

    @property
    def rule(self) -> int | None:
        """The index of the rule that it stands in."""
        found = re.match(r"rules\[(\d+)\]", self.path)
        return int(found[1]) if found else None

    @property
    def resource(self) -> int | None:
        """The index, among the rule's resources, of the element that it stands in."""
        found = re.match(r"rules\[\d+\]\.resources\[(\d+)\]", self.path)
        return int(found[1]) if found else None

    @property
    def is_element(self) -> bool:
        """Whether it is such an element itself."""
        return self.path == f"rules[{self.rule}].resources[{self.resource}]"


def used(document: Document, /) -> tuple[dict[str, Any], tuple[Ignored, ...]]:
    """Return what the API server uses of a document, an object, and what it ignores."""
    found: list[Ignored] = []
    if document.others:
        found.append(Ignored("", "more documents"))
    value = _pruned(document.value, _POLICY, "", found)
    known = {item.path for item in found}
    for path in document.repeated:
        short = path.removeprefix("$.")
        if not any(short == one or short.startswith((f"{one}.", f"{one}[")) for one in known):
            found.append(Ignored(short, "repeated key"))
    stages = value.get("omitStages")
    for index, stage in enumerate(stages if isinstance(stages, list) else ()):
        if isinstance(stage, str) and stage not in STAGES:
            found.append(Ignored(f"omitStages[{index}]", "unknown stage", hint=_near(stage, STAGES)))
    return value, tuple(found)


def _pruned(value: Any, shape: Any, path: str, found: list[Ignored]) -> Any:
    """Leave out the keys that the API server does not know, and put what it reads in the place of null."""
    if isinstance(value, dict) and isinstance(shape, dict):
        kept = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            if key in shape:
                kept[key] = _pruned(item, shape[key], where, found)
            else:
                found.append(Ignored(where, "unknown key", key, _meant(key, shape)))
        return kept
    if isinstance(value, list) and (isinstance(shape, list) or shape == "texts"):
        items = []
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if item is None:
                found.append(Ignored(where, "null in a list"))
                items.append("" if shape == "texts" else {})
            else:
                items.append(_pruned(item, "" if shape == "texts" else shape[0], where, found))
        return items
    return value


def _meant(key: str, shape: dict[str, Any]) -> str:
    if shape is _RESOURCE and key in _RULE:
        return "it belongs to the rule, next to 'resources'"
    if near := _near(key, shape):
        return near
    near = _near(key, _RULE) if shape is _RESOURCE else ""
    return f"{near} That belongs to the rule, next to 'resources'" if near else ""


def _near(name: str, known: Iterable[str]) -> str:
    """Ask for the name that was probably meant, case aside."""
    names = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), names, n=1)
    return f"did you mean {names[near[0]]!r}?" if near else ""


def wrong_metadata(metadata: Any, /) -> Iterator[str]:
    """Yield the paths of what the API server refuses in the metadata, which it does not use."""
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        yield "$.metadata"
        return
    for key, value in metadata.items():
        if value is not None and not _IS_RIGHT[METADATA[key]](value):
            yield f"$.metadata.{key}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**63) or (type(value) is float and value.is_integer())


_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)")
_IS_RIGHT: Final[dict[str, Callable[[Any], bool]]] = {
    "text": _is_text,
    "texts": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "time": lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
    "number": _is_number,
    "mapping": lambda value: isinstance(value, dict) and all(one is None or _is_text(one) for one in value.values()),
    "list": lambda value: isinstance(value, list) and all(one is None or isinstance(one, dict) for one in value),
}
