# SPDX-License-Identifier: Apache-2.0
"""The rules of an audit policy, and which requests they match.

As in the API server:
https://github.com/kubernetes/apiserver/blob/master/pkg/audit/policy/checker.go
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Final

import attrs

from k8stokendetect.reprs import with_short_repr

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


@with_short_repr
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


@with_short_repr
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


@with_short_repr
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


@with_short_repr
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
