# SPDX-License-Identifier: Apache-2.0
"""Who may mint by RBAC: the rules in a role's body that allow `create` on `serviceaccounts/token`.

RBAC compares literally, within one rule; a subresource is covered by `*`, `*/token` and its own name, and by
nothing else (k8s.io/kubernetes pkg/apis/rbac/v1/evaluation_helpers.go; measured on 1.36.2, `serviceaccounts/*` is not).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs

from k8stokendetect.cluster.rbac import SUBJECT_KINDS, PolicyRule
from k8stokendetect.convert.nesting import BODIES
from k8stokendetect.events import Event, JsonValue
from k8stokendetect.exclusions.base import MASTERS
from k8stokendetect.findings import Evidence
from k8stokendetect.identity import LEGACY_TOKEN, SERVICE_ACCOUNTS_GROUP, credential_kind

ROLES: Final = frozenset({"roles", "clusterroles"})
RBAC: Final = ROLES | {"rolebindings", "clusterrolebindings"}
DONE: Final = {"create": "created", "update": "changed", "patch": "changed", "delete": "deleted"}
EVERY: Final = "every service account"
UNKNOWN: Final = "unknown service accounts, if any: the role was written with a hidden body"

BUILT_IN: Final = frozenset(
    "cluster-admin admin edit system:aggregate-to-edit system:node system:kube-controller-manager".split()
)
"""ClusterRoles of every cluster that hold the right (bootstrappolicy/policy.go; measured on 1.36.2)."""

BUILT_IN_BINDINGS: Final = frozenset({"cluster-admin", "system:node", "system:kube-controller-manager"})
"""ClusterRoleBindings of every cluster, each to the role of the same name: a patch of one need not name the role."""

CLUSTER_WIDE: Final = frozenset({"clusterroles", "clusterrolebindings"})
AGGREGATION_CONTROLLER: Final = "system:serviceaccount:kube-system:clusterrole-aggregation-controller"

_RESOURCES_OF_A_RULE: Final = re.compile(r"/rules/(\d+|-)/resources(/.*)?", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z]+")


@attrs.frozen
class Grant:
    """A part of a body that grants the right.

    Arguments:
        path: where it stands.
        rule: what stands there.
        names: the service accounts it is narrowed to; empty for all.
        partial: only a part of the rule is seen, of which the rest stands in the stored role.

    """

    path: str
    rule: JsonValue = attrs.field(hash=False)
    names: tuple[str, ...] = ()
    partial: bool = False


def grants(event: Event, /) -> tuple[Grant, ...]:
    """Find what grants the right in a role that was written; of a patch, anywhere in it."""
    request, answer = event.request_object, event.response_object
    now = tuple(_in_rules(rules_of(answer), "responseObject.rules"))
    if event.verb != "patch":
        return tuple(_in_rules(rules_of(request), "requestObject.rules")) if rules_of(request) else now
    seen = tuple(_anywhere(request, "requestObject"))
    if rules_of(answer):  # it shows the role as it is now, also what the patch did not touch
        return now if seen or touches(request, "rules") else ()
    return seen


def accounts_of(found: Iterable[Grant], /) -> str:
    """Say for which service accounts the right was found."""
    narrowed = [grant.names for grant in found]
    return f"only {', '.join(sorted({n for names in narrowed for n in names}))}" if all(narrowed) else EVERY


def deed(event: Event, /) -> tuple[str, str]:
    """Say what was done to which role or binding, and in which namespace."""
    namespace = event.object_ref.namespace if event.object_ref else ""
    return f"{DONE[event.verb]} {event.resource.removesuffix('s')} {name_of(event)}", f" in {namespace}" * bool(
        namespace
    )


def key(event: Event, resource: str, name: str, /) -> str:
    """Name a role or a binding: a role that a RoleBinding refers to is in the binding's namespace."""
    namespace = event.object_ref.namespace if event.object_ref and not resource.startswith("cluster") else ""
    return _key(event.cluster, resource, namespace, name)


@functools.lru_cache(maxsize=4096)
def _key(*parts: str | None) -> str:
    return json.dumps(parts)


def rules_of(body: JsonValue, /) -> list[Any]:
    """Return the rules of a role's body; none for any other."""
    rules = body.get("rules") if isinstance(body, Mapping) else None
    return rules if isinstance(rules, list) else []


def touches(patch: JsonValue, field: str, /) -> bool:
    """Tell whether a patch has to do with a field: a key of a merge patch, the first step of a JSON patch's path."""
    if isinstance(patch, list):
        return any(isinstance(op, Mapping) and f"{op.get('path')}/".startswith(f"/{field}/") for op in patch)
    return isinstance(patch, Mapping) and field in patch


def subjects(event: Event, /) -> dict[str, Evidence]:
    """Return the subjects of a binding that was written, by name: of a patch those that it states."""
    found = {}
    for place, item in _parts(event.request_object, "requestObject"):
        if item.get("kind") in SUBJECT_KINDS and item.get("name"):
            namespace = f"{item['namespace']}/" if item.get("namespace") else ""
            found[f"{item['kind']} {namespace}{item['name']}"] = Evidence(place, item, "who receives the right")
    return found


@attrs.frozen
class RoleRef:
    """The role that a binding refers to, and where that stands."""

    kind: str
    name: str
    path: str
    ref: Mapping[str, Any] = attrs.field(hash=False)

    @property
    def evidence(self) -> Evidence:
        """Which role is bound."""
        return Evidence(self.path, self.ref, "the role that is bound")


def role_ref(event: Event, /) -> RoleRef | None:
    """Return the role that a binding refers to, where a body shows it."""
    for path, body in (("requestObject", event.request_object), ("responseObject", event.response_object)):
        ref = body.get("roleRef") if isinstance(body, Mapping) else None
        if isinstance(ref, Mapping) and ref.get("kind") and ref.get("name"):
            return RoleRef(str(ref["kind"]), str(ref["name"]), f"{path}.roleRef", ref)
    return None


def bound_role(event: Event, /) -> tuple[str, bool] | None:
    """Return the key of the role that a binding refers to, and whether it is built in and grants the right."""
    ref = None if event.resource in ROLES else role_ref(event)
    if ref is None:
        return None
    place = key(event, "roles" if ref.kind == "Role" else "clusterroles", ref.name)
    return place, ref.kind == "ClusterRole" and ref.name in BUILT_IN


def name_of(event: Event, /) -> str:
    """Return the name of the object that was written; a generated one stands in the answer."""
    ref, body = event.object_ref, event.response_object
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    generated = metadata.get("name") if isinstance(metadata, Mapping) else None
    return (ref.name if ref else "") or str(generated or "")


def is_built_in_binding(event: Event, /) -> bool:
    """Tell whether a binding that is not shown whole is one of those that every cluster has."""
    return event.resource == "clusterrolebindings" and name_of(event) in BUILT_IN_BINDINGS and role_ref(event) is None


def hidden(event: Event, /) -> list[str]:
    """Name the bodies of a role or binding that were nested too deeply to be read, and the depth; none for a delete.

    A client can hide the rules that it writes next to a field that nests so deeply, which nobody knows.
    """
    return sorted(word for word in event.lost if word.startswith(BODIES)) if event.verb != "delete" else []


def is_dry_run(event: Event, /) -> bool:
    """Tell whether nothing was stored; unlike a TokenRequest, these take `dryRun=All` at its word."""
    query = event.request_uri.partition("?")[2]
    may_be = "dryRun" in query or "%" in query  # a name may be written with escapes
    return may_be and ("dryRun", "All") in parse_qsl(query)


def by_the_cluster_itself(event: Event, /) -> bool:
    """Tell whether the API server or the aggregation controller writes a role that holds the right anyway.

    The API server's loopback client has a uid, no credential id and group system:masters, and calls from its own host
    (measured); a certificate of that name has no uid. The controller fills `admin` and `edit`, whose names prove
    nothing about others: any further role that it fills with the right is news.
    """
    user, name, peer = event.user, name_of(event), event.peer_ip
    if event.assumed is not None:
        return False
    if user.username == "system:apiserver":
        at_home = peer in {"127.0.0.1", "::1"} and bool(user.uid) and event.used_credential is None
        known = BUILT_IN if event.resource == "clusterroles" else BUILT_IN_BINDINGS
        return at_home and MASTERS in user.groups and event.resource in CLUSTER_WIDE and name in known
    groups = {SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:kube-system"}
    proven = groups <= set(user.groups) and credential_kind(event.used_credential) in {None, "JTI"}
    return (
        user.username == AGGREGATION_CONTROLLER
        and proven
        and LEGACY_TOKEN not in event.annotations
        and event.resource == "clusterroles"
        and name in {"admin", "edit"}
    )


def _in_rules(rules: Iterable[JsonValue], path: str) -> Iterator[Grant]:
    for index, rule in enumerate(rules):
        yield from _grant(rule, f"{path}[{index}]")


def _anywhere(patch: JsonValue, path: str) -> Iterator[Grant]:
    """Look at every part of a patch: whole rules, or a resource that a JSON patch adds to a stored one."""
    for place, part in _parts(patch, path):
        added = part.get("value")
        if (
            _RESOURCES_OF_A_RULE.fullmatch(str(part.get("path")))
            and PolicyRule(("create",), ("",), (*_strings(added), str(added))).mints
        ):
            yield Grant(place, part, partial=True)
        yield from _grant(part, place)


def _parts(value: JsonValue, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object in a body and its path, but not what a JSON patch only tests."""
    if isinstance(value, Mapping) and value.get("op") != "test":
        yield path, value
        for key, item in value.items():
            if _NAME.fullmatch(key):
                yield from _parts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _parts(item, f"{path}[{index}]")


def _grant(rule: JsonValue, path: str) -> Iterator[Grant]:
    if isinstance(rule, Mapping) and _may_create(rule) and (read := PolicyRule.of_json(rule)).mints:
        names = read.resource_names
        if any(names) or not names:  # an empty name fits no service account
            yield Grant(path, rule, tuple(sorted({*filter(None, names)})))


def _may_create(rule: Mapping[str, Any]) -> bool:
    """Tell whether a rule names the verb: most do not, and need not be read."""
    verbs = rule.get("verbs")
    return isinstance(verbs, list) and ("create" in verbs or "*" in verbs)


def _strings(value: JsonValue) -> frozenset[str]:
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()
