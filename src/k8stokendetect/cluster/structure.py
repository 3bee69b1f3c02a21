# SPDX-License-Identifier: Apache-2.0
"""The strict converter of a cluster's objects: JSON mapping to frozen value; nothing is ever coerced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from k8stokendetect.cluster.objects import AUTO_UPDATE, MOUNT_PATH, Account, Pod, PodIdentity
from k8stokendetect.cluster.rbac import RBAC_GROUP, Binding, PolicyRule, Role, RoleRef, Subject
from k8stokendetect.cluster.selectors import Expression, Selector
from k8stokendetect.convert.converter import WrongTypeError, class_hook, explain, strict_converter
from k8stokendetect.errors import ReadError
from k8stokendetect.reprs import with_short_repr

_MIRROR: Final = "kubernetes.io/config.mirror"
_OPERATORS: Final = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
_KIND: Final = re.compile(r"[A-Za-z]{1,63}")


@attrs.frozen
class _Metadata:
    name: str
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    annotations: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def is_restored(self) -> bool:
        """Whether the API server restores it when it starts; see AUTO_UPDATE."""
        is_own = self.labels.get("kubernetes.io/bootstrapping") == "rbac-defaults"
        return is_own and self.annotations.get(AUTO_UPDATE) != "false"


@attrs.frozen
class _Aggregation:
    cluster_role_selectors: tuple[Selector, ...] = ()


@attrs.frozen
class _Role:
    metadata: _Metadata
    rules: tuple[PolicyRule, ...] | None = None
    aggregation_rule: _Aggregation | None = None


@attrs.frozen
class _Binding:
    metadata: _Metadata
    role_ref: RoleRef
    subjects: tuple[Subject, ...] = ()


@attrs.frozen
class _Reference:
    name: str = ""


@attrs.frozen
class _Account:
    metadata: _Metadata
    secrets: tuple[_Reference, ...] = ()


@attrs.frozen
class _Token:
    audience: str = ""


@attrs.frozen
class _Source:
    service_account_token: _Token | None = None


@attrs.frozen
class _Projected:
    sources: tuple[_Source, ...] = ()


@attrs.frozen
class _Volume:
    projected: _Projected | None = None


@attrs.frozen
class _Mount:
    mount_path: str = ""


@attrs.frozen
class _Container:
    volume_mounts: tuple[_Mount, ...] = ()


@attrs.frozen
class _Spec:
    service_account_name: str = ""
    node_name: str = ""
    automount_service_account_token: bool | None = None
    volumes: tuple[_Volume, ...] = ()
    containers: tuple[_Container, ...] = ()


@attrs.frozen
class _Pod:
    metadata: _Metadata
    spec: _Spec


@with_short_repr
@attrs.frozen
class Unfilled:
    """An aggregated ClusterRole whose rules are left to the controller."""

    role: Role


Object: TypeAlias = Role | Unfilled | Binding | Account | Pod | PodIdentity


def read_object(item: Mapping[str, Any], kind: str, path: str, /) -> Object:
    """Structure one object of a known kind.

    Raises:
        ReadError: when a required field is missing or one has a wrong type; says the JSON path.

    """
    try:
        return KINDS[kind][1](item)
    except _RefusedError as error:
        raise ReadError(error.args[0], path=f"{path}{error.args[1]}") from None
    except Exception as error:  # noqa: BLE001 - hostile input: whatever goes wrong becomes a ReadError
        reason, where = explain(error, path)
    raise ReadError(reason, path=where)


class _RefusedError(Exception):
    """The API server would not accept this object; says why and where."""


def _named(metadata: _Metadata, *, namespaced: bool) -> _Metadata:
    if not metadata.name:
        raise _RefusedError("it has no name", ".metadata.name")
    if namespaced and not metadata.namespace:
        raise _RefusedError("it has no namespace", ".metadata.namespace")
    return metadata if namespaced else attrs.evolve(metadata, namespace="")


def _role(item: Mapping[str, Any], *, namespaced: bool = False) -> Role | Unfilled:
    raw = _CONVERTER.structure(item, _Role)
    meta = _named(raw.metadata, namespaced=namespaced)
    selectors = raw.aggregation_rule.cluster_role_selectors if raw.aggregation_rule and not namespaced else ()
    role = Role(meta.name, meta.namespace, raw.rules or (), meta.labels, selectors, meta.is_restored)
    is_manifest = not raw.rules and not meta.uid  # `rules: []`, as such a role is written by hand
    return Unfilled(role) if selectors and (raw.rules is None or is_manifest) else role


def _binding(item: Mapping[str, Any], *, namespaced: bool = False) -> Binding:
    raw = _CONVERTER.structure(item, _Binding)
    meta = _named(raw.metadata, namespaced=namespaced)
    subjects = tuple(
        # rule.go, appliesToUser: a service account without a namespace is one of the binding's
        attrs.evolve(one, namespace=(one.namespace or meta.namespace) if one.kind == "ServiceAccount" else "")
        for one in raw.subjects
    )
    implied = tuple(at for at, one in enumerate(raw.subjects) if one.kind == "ServiceAccount" and not one.namespace)
    return Binding(meta.name, meta.namespace, raw.role_ref, subjects, meta.is_restored, implied)


def _account(item: Mapping[str, Any]) -> Account:
    raw = _CONVERTER.structure(item, _Account)
    meta = _named(raw.metadata, namespaced=True)
    secrets = tuple(one.name for one in raw.secrets if one.name)
    return Account(meta.namespace, meta.name, meta.annotations, secrets)


def _pod(item: Mapping[str, Any]) -> Pod:
    raw = _CONVERTER.structure(item, _Pod)
    meta, spec = _named(raw.metadata, namespaced=True), raw.spec
    name = spec.service_account_name or ("" if _MIRROR in meta.annotations else "default")
    return Pod(meta.namespace, meta.name, name, spec.node_name, meta.labels, _audiences(spec, is_live=bool(meta.uid)))


def _audiences(spec: _Spec, *, is_live: bool) -> tuple[str, ...]:
    """Return the audiences of its tokens; an empty one is the API server's."""
    sources = (source for volume in spec.volumes if volume.projected for source in volume.projected.sources)
    found = [source.service_account_token.audience for source in sources if source.service_account_token]
    mounts = {mount.mount_path.rstrip("/") for container in spec.containers for mount in container.volume_mounts}
    is_automatic = not is_live and spec.automount_service_account_token is not False
    if (MOUNT_PATH in mounts or is_automatic) and "" not in found:  # before 1.22 from a Secret
        found.append("")
    return tuple(dict.fromkeys(found))


def _identity(item: Mapping[str, Any]) -> PodIdentity:
    found: PodIdentity = _CONVERTER.structure(item, PodIdentity)
    if not found.namespace or not found.service_account:
        raise _RefusedError("it does not name a service account", "")
    return found


def _expression(value: Any, kind: Any) -> Expression:
    found: Expression = _EXPRESSION(value, kind)
    if found.operator not in _OPERATORS:
        raise WrongTypeError("In, NotIn, Exists or DoesNotExist", value.get("operator"))
    return found


_RBAC: Final = (f"{RBAC_GROUP}/v1", f"{RBAC_GROUP}/v1beta1")

KINDS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Object]]]] = {
    "ServiceAccount": (("v1",), _account),
    "Pod": (("v1",), _pod),
    "ClusterRole": (_RBAC, _role),
    "ClusterRoleBinding": (_RBAC, _binding),
    "Role": (_RBAC, lambda item: _role(item, namespaced=True)),
    "RoleBinding": (_RBAC, lambda item: _binding(item, namespaced=True)),
    "PodIdentityAssociation": ((), _identity),
}
"""The kinds that are read: their API versions, and the reader."""


def shown_kind(value: object, /) -> str:
    """Return a kind for a message; an invalid one is not repeated."""
    return value if isinstance(value, str) and _KIND.fullmatch(value) else "?"


_CONVERTER = strict_converter()
_EXPRESSION = class_hook(_CONVERTER, Expression)
_CONVERTER.register_structure_hook(Expression, _expression)
