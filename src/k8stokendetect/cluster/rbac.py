# SPDX-License-Identifier: Apache-2.0
"""The objects of Kubernetes RBAC, and which request a rule allows.

RBAC compares exact strings, within one rule (k8s.io/kubernetes pkg/apis/rbac/v1/evaluation_helpers.go:31-113 and
plugin/pkg/auth/authorizer/rbac/rbac.go:178, RuleAllows; measured on 1.36.2, see tests/data/rbac/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX

RBAC_GROUP: Final = "rbac.authorization.k8s.io"
SUBJECT_KINDS: Final = ("User", "Group", "ServiceAccount")


@attrs.frozen
class Request:
    """What the authorizer is asked; `resource` in RBAC notation; an empty name or namespace stands for all."""

    verb: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""


@attrs.frozen
class PolicyRule:
    """One rule of a role; it grants by itself the full cross product of its lists."""

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, rule: Mapping[str, Any], /) -> Self:
        """Read a rule of a logged body: the strings of each list; the API server refuses whatever else stands there."""

        def strings(name: str) -> tuple[str, ...]:
            value = rule.get(name)
            return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

        return cls(*map(strings, ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")))

    @property
    def mints(self) -> bool:
        """Whether it gives the right to create service account tokens, whatever names it is limited to."""
        return self.covers("create", "", TOKEN_SUBRESOURCE)

    def covers(self, verb: str, api_group: str, resource: str, /) -> bool:
        """Tell whether it covers a verb and a resource, whatever the name of the object."""
        return (
            (verb in self.verbs or "*" in self.verbs)
            and (api_group in self.api_groups or "*" in self.api_groups)
            and self._has(resource)
        )

    def allows(self, request: Request, /) -> bool:
        """Tell whether it allows a request for a resource; a rule without names covers every name."""
        names = self.resource_names
        return self.covers(request.verb, request.api_group, request.resource) and (not names or request.name in names)

    def allows_url(self, verb: str, url: str, /) -> bool:
        """Tell whether it allows a request for a non-resource URL; only a trailing `*` is a wildcard."""
        return (verb in self.verbs or "*" in self.verbs) and any(
            rule in {"*", url} or (rule.endswith("*") and url.startswith(rule.rstrip("*")))
            for rule in self.non_resource_urls
        )

    def _has(self, resource: str) -> bool:
        found = self.resources
        if resource in found or "*" in found:
            return True
        _, _, subresource = resource.partition("/")
        return bool(subresource) and f"*/{subresource}" in found


def is_everything(rule: PolicyRule, /) -> bool:
    """Tell whether a rule allows every verb on every resource, as `cluster-admin` does."""
    return "*" in rule.verbs and "*" in rule.api_groups and "*" in rule.resources and not rule.resource_names


@attrs.frozen
class Expression:
    """One `matchExpressions` of a label selector: `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str], /) -> bool:
        """Tell whether labels match; `NotIn` also matches a missing key (apimachinery pkg/labels/selector.go)."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        return (labels.get(self.key) in self.values) is (self.operator == "In")


@attrs.frozen
class Selector:
    """A label selector: all its parts must match; without parts it matches everything."""

    match_labels: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    match_expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str], /) -> bool:
        """Tell whether labels match."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            expression.matches(labels) for expression in self.match_expressions
        )


@attrs.frozen
class Role:
    """A Role, or a ClusterRole where `namespace` is empty."""

    name: str
    namespace: str = ""
    rules: tuple[PolicyRule, ...] = ()
    labels: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    selectors: tuple[Selector, ...] = ()
    """Of an aggregated ClusterRole: the controller fills `rules` from the ClusterRoles that match one of them."""
    is_default: bool = False
    """A default object of Kubernetes, which the API server restores when it starts."""

    @property
    def kind(self) -> str:
        """`Role` or `ClusterRole`."""
        return "Role" if self.namespace else "ClusterRole"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@attrs.frozen
class Subject:
    """The subject of a binding: a `User`, a `Group` or a `ServiceAccount`."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def username(self) -> str:
        """Return its user name; empty for a group, or a service account without namespace."""
        if self.kind == "ServiceAccount":
            return f"{SERVICE_ACCOUNT_PREFIX}{self.namespace}:{self.name}" if self.namespace else ""
        return self.name if self.kind == "User" else ""


@attrs.frozen
class RoleRef:
    """The role that a binding refers to."""

    kind: str
    name: str


@attrs.frozen
class Binding:
    """A RoleBinding, or a ClusterRoleBinding where `namespace` is empty."""

    name: str
    namespace: str
    role_ref: RoleRef
    subjects: tuple[Subject, ...] = ()
    is_default: bool = False
    """A default object of Kubernetes, which the API server restores when it starts."""
    implied: tuple[int, ...] = ()
    """Positions of the subjects that are written without a namespace, which is then the binding's."""

    @property
    def kind(self) -> str:
        """`RoleBinding` or `ClusterRoleBinding`."""
        return "RoleBinding" if self.namespace else "ClusterRoleBinding"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@attrs.frozen
class Grant:
    """Why something is allowed: a binding grants a role to a subject, and this rule of the role allows it.

    It holds in `namespace`, the binding's; empty for the whole cluster.
    """

    binding: Binding
    subject: Subject
    role: Role
    rule: PolicyRule

    @property
    def namespace(self) -> str:
        """Where it holds; empty for every namespace and for cluster-scoped objects."""
        return self.binding.namespace

    def __str__(self) -> str:
        return f"{self.binding} gives {self.role} to {self.subject}"
