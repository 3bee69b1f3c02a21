# SPDX-License-Identifier: Apache-2.0
"""An audit policy, read strictly from YAML: what the API server refuses, or would pass over, is an error.

The checks are those of k8s.io/apiserver pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from k8stokendetect.audit_policy.policy import LEVELS, STAGES, GroupResources, Level, Logged, PolicyRule, Request
from k8stokendetect.convert.hooks import WrongTypeError, scalar, strings
from k8stokendetect.convert.structure import explain
from k8stokendetect.errors import ConfigError

API_VERSION: Final = "audit.k8s.io/v1"
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


@attrs.frozen
class AuditPolicy:
    """An audit policy: `rules` in their order, the first that matches decides; no match is level None."""

    rules: tuple[PolicyRule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, /) -> AuditPolicy:
        """Read a policy file, or the bytes of one.

        Arguments:
            source: the file; bytes are content.

        Raises:
            ConfigError: when it cannot be read, is no YAML, is no Policy of audit.k8s.io/v1, or holds an unknown key,
                level or stage, a wrong type, or what the API server refuses; says where.

        """
        where = "the policy" if isinstance(source, bytes) else os.fspath(source)
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            return _structured(_parsed(content))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    def decide(self, request: Request, /) -> Logged:
        """Say what becomes of a request."""
        for index, rule in enumerate(self.rules):
            if rule.matches(request):
                fields = self.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
                return Logged(rule.level, frozenset({*self.omit_stages, *rule.omit_stages}), bool(fields), index)
        return Logged(Level.NONE, frozenset(self.omit_stages), bool(self.omit_managed_fields))

    def level_for(
        self,
        *,
        user: str | None = "alice",
        groups: Collection[str] = ("system:authenticated",),
        verb: str = "create",
        resource: str = "serviceaccounts/token",
        group: str = "",
        namespace: str = "",
        name: str = "",
        path: str = "",
    ) -> Logged:
        """Say what becomes of a request, by default of alice's for a token; the arguments are those of `Request`."""
        return self.decide(
            Request(
                user=user,
                groups=groups,
                verb=verb,
                resource=resource,
                group=group,
                namespace=namespace,
                name=name,
                path=path,
            )
        )


def _parsed(content: bytes) -> Any:
    """Parse YAML in which no key stands twice: the API server would take one of them without a word."""
    try:
        import yaml  # noqa: PLC0415 - in the extra `cli`
    except ModuleNotFoundError:
        raise ConfigError("PyYAML is missing: pip install 'k8stokendetect[cli]'") from None

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
            seen: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in seen:
                    raise ConfigError(f"key {key.value!r} stands there twice, line {key.start_mark.line + 1}")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(content, Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"not YAML: {getattr(error, 'problem', None) or type(error).__name__}{line}") from None


def _structured(table: Any) -> AuditPolicy:
    if not isinstance(table, dict):
        raise ConfigError("expected an audit policy as a YAML mapping")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Policy")):
        if table.get(key) != wanted:
            raise ConfigError(f"{key} is {table.get(key)!r}, expected {wanted!r} @ $.{key}")
    try:
        policy = _CONVERTER.structure({k: v for k, v in table.items() if k not in _HEAD}, AuditPolicy)
    except cattrs.BaseValidationError as error:
        raise ConfigError(_explain(error)) from None
    if not policy.rules:
        raise ConfigError("it has no rules: the API server refuses it @ $.rules")
    return policy


def _explain(error: cattrs.BaseValidationError) -> str:
    cause: Exception = error
    path = ""
    while isinstance(cause, cattrs.BaseValidationError):
        unknown = [e for e in cause.exceptions if isinstance(e, cattrs.ForbiddenExtraKeysError)]
        if unknown:
            return f"unknown key {min(map(str, unknown[0].extra_fields))!r} @ ${path}"
        cause = cause.exceptions[0]
        note = next((n for n in getattr(cause, "__notes__", ()) if hasattr(n, "name") or hasattr(n, "index")), None)
        name = getattr(note, "name", None)
        path += f".{_go(name)}" if name else f"[{getattr(note, 'index', '?')}]"
    if isinstance(cause, ConfigError):
        return f"{cause} @ ${path}"
    return f"{explain(cause, '')[0]} @ ${path}"


def _go(name: str) -> str:
    if name == "non_resource_urls":
        return "nonResourceURLs"
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _level(value: Any, _: Any) -> Level:
    if not isinstance(value, str) or value not in LEVELS:
        raise ConfigError(f"level {value!r} is none of {', '.join(LEVELS)}")
    return LEVELS[value]


def _strings(value: Any, kind: Any) -> tuple[str, ...]:
    return () if value is None else strings(value, kind)


def _stages(value: Any, kind: Any) -> tuple[str, ...]:
    for stage in _strings(value, kind):
        if stage not in STAGES:
            raise ConfigError(f"stage {stage!r} is none of {', '.join(STAGES)}")
    return _strings(value, kind)


def _urls(value: Any, kind: Any) -> tuple[str, ...]:
    for url in _strings(value, kind):
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ConfigError(f"{url!r} does not begin with '/' or has '*' before its end")
    return _strings(value, kind)


def _group(value: Any, kind: Any) -> str:
    group = "" if value is None else scalar(str)(value, kind)
    if group and not _GROUP.fullmatch(group):
        raise ConfigError(f"{group!r} is no API group; no wildcard is allowed, the version does not belong to it")
    return group


def _flag(value: Any, _: Any) -> bool | None:
    return None if value is None else scalar(bool)(value, bool)


def _list_of(kind: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], tuple[Any, ...]]:
    items: Any = list.__class_getitem__(kind)

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if value is not None and not isinstance(value, list):
            raise WrongTypeError("a list", value)
        return tuple(converter.structure(value or [], items))

    return structure


def _resources(value: Any, kind: Any) -> GroupResources:
    found: GroupResources = _GROUP_RESOURCES(value, kind)
    if found.resource_names and not found.resources:
        raise ConfigError("resourceNames without resources")
    return found


def _rule(value: Any, kind: Any) -> PolicyRule:
    rule: PolicyRule = _POLICY_RULE(value, kind)
    if rule.non_resource_urls and (rule.resources or rule.namespaces):
        raise ConfigError("a rule is about resources or about nonResourceURLs, not both")
    return rule


def _shaped(kind: type[Any], converter: cattrs.Converter, hooks: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Make the hook of a class whose other fields are lists of strings; the keys are Kubernetes' names."""
    fields: dict[str, Any] = {
        field.name: override(rename=_go(field.name), struct_hook=hooks.get(field.name, _strings))
        for field in attrs.fields(kind)
    }
    inner = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **fields)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise WrongTypeError("an object", value)
        return inner({str(key): item for key, item in value.items()}, kind)

    return structure


_CONVERTER: Final = cattrs.Converter()
_SHARED: Final = {"omit_stages": _stages, "omit_managed_fields": _flag}
_GROUP_RESOURCES: Final = _shaped(GroupResources, _CONVERTER, {"group": _group})
_POLICY_RULE: Final = _shaped(
    PolicyRule,
    _CONVERTER,
    {"level": _level, "resources": _list_of(GroupResources, _CONVERTER), "non_resource_urls": _urls, **_SHARED},
)
_CONVERTER.register_structure_hook(GroupResources, _resources)
_CONVERTER.register_structure_hook(PolicyRule, _rule)
_CONVERTER.register_structure_hook(
    AuditPolicy, _shaped(AuditPolicy, _CONVERTER, {"rules": _list_of(PolicyRule, _CONVERTER), **_SHARED})
)
