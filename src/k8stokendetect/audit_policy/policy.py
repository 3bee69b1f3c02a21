# SPDX-License-Identifier: Apache-2.0
"""An audit policy, read strictly from YAML, and the rule that decides how a request is logged.

Rules match as in the API server (k8s.io/apiserver pkg/audit/policy/checker.go). What it refuses or ignores is an error
here; the checks are those of pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs

from k8stokendetect.convert.converter import class_hook, explain, scalar, strict_converter, strings
from k8stokendetect.convert.yaml import read_documents
from k8stokendetect.errors import ConfigError, ReadError

STAGES: Final = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class Level(enum.IntEnum):
    """How much of a request is logged; ordered, and printed with Kubernetes' name."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    def __str__(self) -> str:
        return self.name.title().replace("_", "")

    def __format__(self, spec: str, /) -> str:
        return format(str(self), spec)


LEVELS: Final = {str(level): level for level in Level}


@attrs.frozen
class GroupResources:
    """Resources of one API group; without resources, all of the group and their subresources.

    Arguments:
        group: the API group, empty for the core; no wildcard.
        resources: `pods` matches no subresource; `pods/*` matches pods and all of its subresources, `*/token` the
            subresource of every resource, `*` everything in the group.
        resource_names: names of objects; empty for all.

    """

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()

    def matches(self, group: str, resource: str, name: str, /) -> bool:
        """Tell whether a request for `resource`, such as `serviceaccounts/token`, with this name matches."""
        if group != self.group:
            return False
        if not self.resources:
            return True
        if self.resource_names and name not in self.resource_names:
            return False
        parent, _, sub = resource.partition("/")
        fitting = {"*", resource, f"{parent}/*"} | ({f"*/{sub}"} if sub else set())
        return not fitting.isdisjoint(self.resources)


@attrs.frozen
class PolicyRule:
    """One rule; one value of each given condition must match. Names are compared exactly."""

    level: Level
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    def matches(self, request: Request, /) -> bool:
        """Tell whether this rule decides a request, unless an earlier one does."""
        if self.users and request.user not in self.users:
            return False
        if self.user_groups and (request.user is None or set(self.user_groups).isdisjoint(request.groups)):
            return False
        if self.verbs and request.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._matches_resource(request)
        if self.non_resource_urls:
            return not request.resource and any(_path_fits(request.path, url) for url in self.non_resource_urls)
        return True

    def _matches_resource(self, request: Request) -> bool:
        if not request.resource or (self.namespaces and request.namespace not in self.namespaces):
            return False
        wanted = (request.group, request.resource, request.name)
        return not self.resources or any(item.matches(*wanted) for item in self.resources)


def _path_fits(path: str, pattern: str) -> bool:
    return path == pattern or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


@attrs.frozen(kw_only=True)
class Request:
    """What a policy looks at.

    Arguments:
        user: the real caller, also under impersonation, which comes later. None: not authenticated, 401.
        groups: the caller's groups; the API server adds `system:authenticated` to everybody who is.
        verb: such as `create`.
        resource: such as `serviceaccounts/token`; empty for a non-resource request.
        group: the API group, empty for the core.
        namespace: empty for cluster-scoped objects.
        name: the object's name.
        path: of the URL, for a non-resource request.

    """

    user: str | None = "alice"
    groups: Collection[str] = ("system:authenticated",)
    verb: str = "create"
    resource: str = "serviceaccounts/token"
    group: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@attrs.frozen
class Logged:
    """How a request is logged: its level, the omitted stages, and the index of the deciding rule."""

    level: Level
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False
    rule: int | None = None

    def at(self, stage: str, /) -> Level:
        """Return the level at which this stage is logged."""
        return Level.NONE if stage in self.omit_stages else self.level


API_VERSION: Final = "audit.k8s.io/v1"
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


@attrs.frozen
class AuditPolicy:
    """An audit policy: the first of `rules` that matches decides; no match is level None."""

    rules: tuple[PolicyRule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, /) -> AuditPolicy:
        """Read a policy file, or the bytes of one.

        Arguments:
            source: the file; bytes are content.

        Raises:
            ConfigError: when it cannot be read, is not YAML, is not a Policy of audit.k8s.io/v1, has an unknown key,
                level or stage or a wrong type, or the API server would refuse it; says where.

        """
        where = "the policy" if isinstance(source, bytes) else os.fspath(source)
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            return _structured(content)
        except (ConfigError, ReadError) as error:
            raise ConfigError(f"{where}: {error}") from None

    def decide(self, request: Request, /) -> Logged:
        """Say how a request is logged."""
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
        """Say how a request is logged, by default alice's for a token; the arguments are those of `Request`."""
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


def _structured(content: bytes) -> AuditPolicy:
    table, *others = [*read_documents(content)] or [None]
    if others:
        raise ConfigError("it holds several YAML documents")
    if not isinstance(table, dict):
        raise ConfigError("expected an audit policy as a YAML mapping")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Policy")):
        if table.get(key) != wanted:
            raise ConfigError(f"{key} is {table.get(key)!r}, expected {wanted!r} @ $.{key}")
    try:
        policy = _CONVERTER.structure({k: v for k, v in table.items() if k not in _HEAD}, AuditPolicy)
    except cattrs.BaseValidationError as error:
        raise ConfigError(" @ ".join(explain(error))) from None
    if not policy.rules:
        raise ConfigError("it has no rules, so the API server refuses it @ $.rules")
    return policy


def _level(value: Any, _: Any) -> Level:
    if not isinstance(value, str) or value not in LEVELS:
        raise ConfigError(f"level {value!r} is not one of {', '.join(LEVELS)}")
    return LEVELS[value]


def _stages(value: Any, kind: Any) -> tuple[str, ...]:
    found = strings(value, kind)
    for stage in found:
        if stage not in STAGES:
            raise ConfigError(f"stage {stage!r} is not one of {', '.join(STAGES)}")
    return found


def _urls(value: Any, kind: Any) -> tuple[str, ...]:
    found = strings(value, kind)
    for url in found:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ConfigError(f"{url!r} does not begin with '/' or has '*' before its end")
    return found


def _group(value: Any, kind: Any) -> str:
    group: str = scalar(str)(value, kind)
    if group and not _GROUP.fullmatch(group):
        raise ConfigError(f"{group!r} is not an API group; wildcards and versions are not allowed")
    return group


def _converter() -> cattrs.Converter:
    converter = strict_converter(forbid_extra_keys=True)
    resources = class_hook(converter, GroupResources, hooks={"group": _group})

    def checked_resources(value: Any, kind: Any) -> GroupResources:
        found: GroupResources = resources(value, kind)
        if found.resource_names and not found.resources:
            raise ConfigError("resourceNames without resources")
        return found

    converter.register_structure_hook(Level, _level)
    converter.register_structure_hook(GroupResources, checked_resources)
    hooks = {"non_resource_urls": _urls, "omit_stages": _stages}
    rule = class_hook(converter, PolicyRule, hooks=hooks)

    def checked_rule(value: Any, kind: Any) -> PolicyRule:
        found: PolicyRule = rule(value, kind)
        if found.non_resource_urls and (found.resources or found.namespaces):
            raise ConfigError("a rule is about resources or about nonResourceURLs, not both")
        return found

    converter.register_structure_hook(PolicyRule, checked_rule)
    policy = class_hook(converter, AuditPolicy, hooks={"omit_stages": _stages})
    converter.register_structure_hook(AuditPolicy, policy)
    return converter


_CONVERTER: Final = _converter()
