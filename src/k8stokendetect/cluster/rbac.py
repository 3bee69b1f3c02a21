# SPDX-License-Identifier: Apache-2.0
"""The objects of Kubernetes RBAC, who is granted which role, and which request a rule allows.

RBAC compares exact strings, within one rule (k8s.io/kubernetes pkg/apis/rbac/v1/evaluation_helpers.go:31-113 and
plugin/pkg/auth/authorizer/rbac/rbac.go:178, RuleAllows; measured on 1.36.2, see tests/data/rbac/README.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import attrs

from k8stokendetect.cluster.selectors import Selector
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.exclusions.base import AUTHENTICATED
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS_GROUP, ServiceAccount
from k8stokendetect.reprs import with_short_repr

RBAC_GROUP: Final = "rbac.authorization.k8s.io"
SUBJECT_KINDS: Final = ("User", "Group", "ServiceAccount")
NODE_PREFIX: Final = "system:node:"
NODES_GROUP: Final = "system:nodes"


@attrs.frozen
class Request:
    """What the authorizer is asked; `resource` in RBAC notation; an empty name or namespace stands for all."""

    verb: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""


@with_short_repr
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
        """Read a rule of a logged body: the strings of each list; anything else in them the API server refuses."""

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
            and self._names(resource)
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

    def _names(self, resource: str) -> bool:
        _, _, subresource = resource.partition("/")
        return not {resource, "*", f"*/{subresource}" if subresource else "*"}.isdisjoint(self.resources)

    @property
    def is_everything(self) -> bool:
        """Whether it allows every verb on every resource, as `cluster-admin` does."""
        return "*" in self.verbs and "*" in self.api_groups and "*" in self.resources and not self.resource_names


@with_short_repr
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
    assumed: str = ""
    """The Kubernetes version whose default rules these are, where the snapshot lacks the role; else empty."""

    @property
    def kind(self) -> str:
        """`Role` or `ClusterRole`."""
        return "Role" if self.namespace else "ClusterRole"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@with_short_repr
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

    @property
    def identity(self) -> tuple[str, str]:
        """The identity that the API server sees: a service account is the user of its name."""
        return ("Group", self.name) if self.kind == "Group" else ("User", self.username())


def groups_of(subject: Subject, /) -> tuple[str, ...]:
    """Return the groups that a subject is, and those that the API server puts its bearers into.

    Source: k8s.io/apiserver pkg/authentication/group/authenticated_group_adder.go and serviceaccount/util.go.
    """
    own: tuple[str, ...] = (subject.name,) if subject.kind == "Group" else ()
    account = ServiceAccount.of_username(subject.username())
    if account is not None:
        own = account.groups
    elif own and own[0].startswith(f"{SERVICE_ACCOUNTS_GROUP}:"):
        own = (*own, SERVICE_ACCOUNTS_GROUP)
    if subject.name in {"system:anonymous", "system:unauthenticated"}:
        return tuple(dict.fromkeys((*own, "system:unauthenticated")))
    return tuple(dict.fromkeys((*own, AUTHENTICATED)))


@with_short_repr
@attrs.frozen
class RoleRef:
    """The role that a binding refers to."""

    kind: str
    name: str


@with_short_repr
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


@with_short_repr
@attrs.frozen
class Grant:
    """Why something is allowed: a binding grants a role to a subject, and this rule of the role allows it."""

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


class Bound(NamedTuple):
    """A role that a binding gives to a subject."""

    binding: Binding
    subject: Subject
    role: Role

    def by(self, rule: PolicyRule, /) -> Grant:
        """Name the rule of it that allows something."""
        return Grant(self.binding, self.subject, self.role, rule)


class Bindings:
    """The bindings of a cluster by subject; an answer reads only the subject's own.

    Source: k8s.io/kubernetes pkg/registry/rbac/validation/rule.go, VisitRulesFor (ClusterRoleBindings, then the
    RoleBindings of the request's namespace; a binding whose role does not exist is skipped) and appliesToUser.

    Arguments:
        roles: every Role and ClusterRole.
        bindings: every binding; one whose role does not exist grants nothing.

    """

    def __init__(self, roles: Iterable[Role], bindings: Iterable[Binding]) -> None:
        self._roles = {(role.namespace, role.name): role for role in roles}
        self._named: dict[str, list[Role]] = {}
        for role in self._roles.values():
            self._named.setdefault(role.name, []).append(role)
        self._found: dict[tuple[str, str], dict[str, list[Bound]]] = {}
        for binding in bindings:
            given = self._role_of(binding)
            if given is None:
                continue
            for subject in dict.fromkeys(binding.subjects):
                if subject.identity[1]:
                    places = self._found.setdefault(subject.identity, {})
                    places.setdefault(binding.namespace, []).append(Bound(binding, subject, given))

    def _role_of(self, binding: Binding) -> Role | None:
        """Return the role that a binding grants; None if missing or of a kind it cannot reference."""
        ref = binding.role_ref
        if ref.kind == "ClusterRole":
            return self._roles.get(("", ref.name))
        is_local = ref.kind == "Role" and bool(binding.namespace)
        return self._roles.get((binding.namespace, ref.name)) if is_local else None

    def roles_named(self, name: str, /) -> Sequence[Role]:
        """Return the Roles of a name in every namespace, and the ClusterRole of that name."""
        return self._named.get(name, ())

    def groups(self, prefix: str, /) -> Iterator[str]:
        """Yield the groups of the bindings' subjects whose names begin so."""
        yield from (name for kind, name in self._found if kind == "Group" and name.startswith(prefix))

    def of(self, user: str, groups: Iterable[str], namespace: str | None = None, /) -> Iterator[Bound]:
        """Yield the roles of a user with these groups, cluster-wide first, each binding once.

        Arguments:
            user: the user name, also of a service account.
            groups: all groups; nothing is added to them.
            namespace: only what holds there; empty for cluster-wide bindings alone, None for every namespace.

        """
        keys = [("User", user), *(("Group", group) for group in dict.fromkeys(groups))]
        found = [by for key in keys if (by := self._found.get(key))]
        if namespace is None:
            places = ["", *dict.fromkeys(place for by in found for place in by if place)]
        else:
            places = ["", namespace] if namespace else [""]
        for place in places:
            seen: set[int] = set()
            for by in found:
                for bound in by.get(place, ()):
                    if id(bound.binding) not in seen:
                        seen.add(id(bound.binding))
                        yield bound

    def granting(self, user: str, groups: Iterable[str], request: Request, /) -> Iterator[Grant]:
        """Yield every rule that allows a request for a resource, with the binding that grants it."""
        for bound in self.of(user, groups, request.namespace):
            yield from (bound.by(rule) for rule in bound.role.rules if rule.allows(request))

    def allows_url(self, user: str, groups: Iterable[str], verb: str, url: str, /) -> bool:
        """Tell whether a non-resource URL may be requested: only cluster-wide bindings count."""
        return any(rule.allows_url(verb, url) for bound in self.of(user, groups, "") for rule in bound.role.rules)
