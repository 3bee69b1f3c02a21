# SPDX-License-Identifier: Apache-2.0
"""An audit policy as the API server reads it from a file, and the rule that decides how a request is logged.

What the API server refuses is an error, what it ignores is kept as such. The checks are those of
https://github.com/kubernetes/apiserver/blob/master/pkg/apis/audit/validation/validation.go
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs

from k8stokendetect.audit_policy.ignored import Ignored, used, wrong_metadata
from k8stokendetect.audit_policy.rules import LEVELS, STAGES, GroupResources, Level, Logged, PolicyRule, Request
from k8stokendetect.convert.converter import class_hook, explain, scalar, strict_converter, strings
from k8stokendetect.convert.go_yaml import read_document
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.reprs import with_short_repr

API_VERSION: Final = "audit.k8s.io/v1"
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_GROUP: Final = 253
_OLD: Final = dict.fromkeys(
    ("audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"), "; API servers refuse this version since Kubernetes 1.24"
)
"""https://github.com/kubernetes/kubernetes/pull/108092"""

_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


@with_short_repr
@attrs.frozen
class AuditPolicy:
    """An audit policy: the first of `rules` that matches decides; no match is level None.

    Arguments:
        rules: in the order in which they are tried.
        omit_stages: for all rules; a word that is not a stage omits nothing.
        omit_managed_fields: where a rule does not say so.
        ignored: what the API server ignores in the file; says nothing about two policies being equal.

    """

    rules: tuple[PolicyRule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None
    ignored: tuple[Ignored, ...] = attrs.field(default=(), eq=False)

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, /) -> AuditPolicy:
        """Read a policy file, or the bytes of one, as the API server does.

        Arguments:
            source: the file; bytes are content.

        Raises:
            ConfigError: when it cannot be read, or the API server would refuse it: it is not YAML, not a Policy of
                audit.k8s.io/v1, has an unknown level or a wrong type; says where.

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
    document = read_document(content)
    if not isinstance(document.value, dict):
        raise ConfigError("expected an audit policy as a YAML mapping")
    _check_head(document.value)
    table, ignored = used(document)
    for path in wrong_metadata(table.get("metadata")):
        raise ConfigError(f"has the wrong type, so the API server refuses it @ {path}")
    try:
        policy = _CONVERTER.structure({k: v for k, v in table.items() if k not in _HEAD}, AuditPolicy)
    except cattrs.BaseValidationError as error:
        raise ConfigError(" @ ".join(explain(error))) from None
    if not policy.rules:
        raise ConfigError("it has no rules, so the API server refuses it @ $.rules")
    return attrs.evolve(policy, ignored=ignored)


def _check_head(table: dict[str, Any]) -> None:
    """Check version and kind; the API server looks for these two keys whatever their case, and supplies the kind."""
    for name, wanted in (("apiVersion", API_VERSION), ("kind", "Policy")):
        given = [table[key] for key in sorted(table) if key.lower() == name.lower() and table[key] is not None]
        if not all(isinstance(value, str) for value in given):
            raise ConfigError(f"expected a string @ $.{name}")
        found = given[-1] if given else ""
        if found != wanted and (found or name == "apiVersion"):
            was = f"{name} is {found!r}" if found else f"{name} is missing"
            raise ConfigError(f"{was}, expected {wanted!r}{_OLD.get(found, '')} @ $.{name}")


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
    if group and (len(group) > _LONGEST_GROUP or not _GROUP.fullmatch(group)):
        raise ConfigError(f"{group!r} is not an API group; wildcards and versions are not allowed")
    return group


def _converter() -> cattrs.Converter:
    converter = strict_converter()
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
    policy = class_hook(converter, AuditPolicy, omit=("ignored",))
    converter.register_structure_hook(AuditPolicy, policy)
    return converter


_CONVERTER: Final = _converter()
