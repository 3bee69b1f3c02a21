# SPDX-License-Identifier: Apache-2.0
"""Who is granted which role: bindings by subject and namespace, evaluated as the RBAC authorizer does.

Source: k8s.io/kubernetes pkg/registry/rbac/validation/rule.go, VisitRulesFor (ClusterRoleBindings, then the
RoleBindings of the request's namespace; a binding whose role does not exist is skipped) and appliesToUser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from k8stokendetect.cluster.rbac import Binding, Grant, PolicyRule, Request, Role, Subject


class Bound(NamedTuple):
    """A role that a binding gives to a subject."""

    binding: Binding
    subject: Subject
    role: Role

    def by(self, rule: PolicyRule, /) -> Grant:
        """Name the rule of it that allows something."""
        return Grant(self.binding, self.subject, self.role, rule)


_Key = tuple[str, str]
_ByNamespace = dict[str, list[Bound]]


class Bindings:
    """The bindings of a cluster by subject; an answer reads only the subject's own.

    Arguments:
        roles: every Role and ClusterRole.
        bindings: every binding; one whose role does not exist grants nothing.

    """

    def __init__(self, roles: Iterable[Role], bindings: Iterable[Binding]) -> None:
        self._roles = {(role.namespace, role.name): role for role in roles}
        self._named: dict[str, list[Role]] = {}
        for role in self._roles.values():
            self._named.setdefault(role.name, []).append(role)
        self._found: dict[_Key, _ByNamespace] = {}
        for binding in bindings:
            given = self.role_of(binding)
            if given is not None:
                for subject in dict.fromkeys(binding.subjects):
                    self._add(Bound(binding, subject, given))

    def role_of(self, binding: Binding, /) -> Role | None:
        """Return the role that a binding grants; None if missing or of a kind it cannot reference."""
        ref = binding.role_ref
        if ref.kind == "ClusterRole":
            return self._roles.get(("", ref.name))
        is_local = ref.kind == "Role" and bool(binding.namespace)
        return self._roles.get((binding.namespace, ref.name)) if is_local else None

    def roles_named(self, name: str, /) -> Sequence[Role]:
        """Return the Roles of a name in every namespace, and the ClusterRole of that name."""
        return self._named.get(name, ())

    def _add(self, bound: Bound) -> None:
        subject = bound.subject
        name = subject.name if subject.kind == "Group" else subject.username()
        if name:
            kind = "Group" if subject.kind == "Group" else "User"
            by_namespace = self._found.setdefault((kind, name), {})
            by_namespace.setdefault(bound.binding.namespace, []).append(bound)

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
            for rule in bound.role.rules:
                if rule.allows(request):
                    yield bound.by(rule)

    def allows_url(self, user: str, groups: Iterable[str], verb: str, url: str, /) -> bool:
        """Tell whether a non-resource URL may be requested: only cluster-wide bindings count."""
        return any(rule.allows_url(verb, url) for bound in self.of(user, groups, "") for rule in bound.role.rules)
