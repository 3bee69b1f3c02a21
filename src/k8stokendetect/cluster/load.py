# SPDX-License-Identifier: Apache-2.0
"""Collects a cluster's objects from documents; a broken one is reported, and the others are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from k8stokendetect.cluster.aggregation import fill
from k8stokendetect.cluster.builtin import VERSION, missing_roles
from k8stokendetect.cluster.client_objects import as_api, kind_of, of_client
from k8stokendetect.cluster.documents import Source, documents
from k8stokendetect.cluster.duplicates import hides_rules, joined, role_of
from k8stokendetect.cluster.incomplete import IncompleteError, left_on_server
from k8stokendetect.cluster.objects import Account, Pod, PodIdentity
from k8stokendetect.cluster.rbac import RBAC_GROUP, SUBJECT_KINDS, Binding, Role
from k8stokendetect.cluster.structure import KINDS, Object, Unfilled, read_object, shown_kind
from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.errors import OnReadError, ReadError

_LONGEST_NAME: Final = 253  # apimachinery pkg/util/validation, DNS1123SubdomainMaxLength


class _Place(NamedTuple):
    """Where an object was found."""

    origin: str | None
    path: str

    def within(self, path: str) -> _Place:
        """Return a place in it."""
        return self._replace(path=f"{self.path}{path}")


class _Item(NamedTuple):
    """An object that was read."""

    value: Object
    place: _Place


_Found: TypeAlias = dict[tuple[object, ...], _Item]
"""Objects by kind, namespace and name; of several that are kept, those after the first also by themselves."""

_FIELDS: Final[dict[str, type]] = {
    "accounts": Account,
    "roles": Role,
    "bindings": Binding,
    "pods": Pod,
    "pod_identities": PodIdentity,
}


def load_objects(sources: tuple[Source, ...], on_error: OnReadError, /) -> dict[str, tuple[Any, ...]]:
    """Read everything; `on_error` is called for what cannot be read and for RBAC objects that grant nothing.

    Returns:
        Each kind by its field in `Cluster`, in reading order.

    Raises:
        ConfigError: when an argument is not a source, or PyYAML is needed and missing.

    """
    found: _Found = {}
    for document, origin in documents(sources, on_error):
        for item in _documents(document, origin, on_error):
            _keep(found, item, on_error)
    _assume(found)
    _fill(found, on_error)
    roles = {(one.value.namespace, one.value.name) for one in found.values() if isinstance(one.value, Role)}
    for item in found.values():
        if isinstance(item.value, Binding):
            for reason, path, kind in _unsound(item.value, roles):
                _tell(on_error, f"{shown(item.value)}: {reason}", item.place, path, kind)
    values = [one.value for one in found.values()]
    return {name: tuple(one for one in values if isinstance(one, kind)) for name, kind in _FIELDS.items()}


def shown(value: object, /) -> str:
    """Return an object's name for a message: one line, without a token."""
    text = clean_text(str(value)[:_LONGEST_NAME])
    return "".join(char if char.isprintable() else "?" for char in text)


def _tell(on_error: OnReadError, reason: str, place: _Place, path: str = "", kind: type[ReadError] = ReadError) -> None:
    on_error(kind(reason, place.origin, f"{place.path}{path}"))


def _documents(document: Any, origin: str | None, on_error: OnReadError) -> Iterator[_Item]:
    """Yield what a document holds; an array holds objects and lists of them, as `jq -s` makes it."""
    if not isinstance(document, list | tuple):
        yield from _items(document, _Place(origin, "$"), on_error)
        return
    for index, item in enumerate(document):
        yield from _items(item, _Place(origin, f"$[{index}]"), on_error)


def _items(document: Any, place: _Place, on_error: OnReadError) -> Iterator[_Item]:
    """Yield what there is: one object, a list of objects, or the output of `aws eks` about Pod Identity."""
    document = of_client(document)
    if not isinstance(document, Mapping):
        _tell(on_error, "expected a Kubernetes object", place, kind=IncompleteError)
        return
    document = as_api(document)
    kind = document.get("kind")
    field, of_items = _list_of(document, kind)
    if not field:
        yield from _read(document, kind, document.get("apiVersion"), place, on_error)
        return
    if left := left_on_server(document):
        _tell(on_error, left, place, kind=IncompleteError)
    items = document.get(field)
    if isinstance(items, Mapping) and field == "association":
        yield from _read(items, "PodIdentityAssociation", "", place.within(".association"), on_error)
    elif not isinstance(items, list):
        _tell(on_error, "expected a list", place, f".{field}", IncompleteError)
    else:
        for index, item in enumerate(items):
            yield from _read_item(item, of_items, document, place.within(f".{field}[{index}]"), on_error)


def _list_of(document: Mapping[str, Any], kind: object) -> tuple[str, str | None]:
    """Return the field in which a document lists objects, if any, and the kind of items that name none."""
    if kind is None and "items" not in document:
        field = next((name for name in ("associations", "association") if name in document), "")
        return field, "PodIdentityAssociation"
    if kind is None or kind == "List":  # a client's dump of a list may name no kind
        return "items", None
    of_items = kind.removesuffix("List") if isinstance(kind, str) else ""
    return ("items", of_items) if of_items != kind and of_items in KINDS else ("", None)


def _read_item(
    item: Any, of_items: str | None, document: Mapping[str, Any], place: _Place, on_error: OnReadError
) -> Iterator[_Item]:
    item = of_client(item)
    if not isinstance(item, Mapping):
        _tell(on_error, "expected a Kubernetes object", place, kind=IncompleteError)
        return
    item = as_api(item)
    if of_items is None:
        yield from _read(item, item.get("kind"), item.get("apiVersion"), place, on_error)
    else:  # the items of a RoleList do not repeat kind and apiVersion
        version = item.get("apiVersion") or document.get("apiVersion")
        yield from _read(item, item.get("kind") or of_items, version, place, on_error)


def _read(item: Mapping[str, Any], kind: Any, version: Any, place: _Place, on_error: OnReadError) -> Iterator[_Item]:
    kind = kind or kind_of(item)
    versions = KINDS[kind][0] if isinstance(kind, str) and kind in KINDS else None
    error = IncompleteError if _may_matter(kind, version) else ReadError
    if kind is None:
        _tell(on_error, "it has no kind", place, ".kind", error)
    elif versions is None:
        _tell(on_error, f"kind {shown_kind(kind)} is not supported", place, ".kind", error)
    elif versions and version is not None and version not in versions:
        _tell(on_error, f"{kind}: its apiVersion is not one of {', '.join(versions)}", place, ".apiVersion", error)
    else:
        try:
            value = read_object(item, kind, place.path)
        except ReadError as trouble:
            on_error(error(f"{_label(item, kind)}: {trouble.reason}", place.origin, trouble.path))
        else:
            yield _Item(value, place)


def _may_matter(kind: object, version: object) -> bool:
    """Tell an object that is looked at, by its kind or by RBAC's group; one without a kind may be any."""
    is_rbac = isinstance(version, str) and version.partition("/")[0] == RBAC_GROUP
    return is_rbac or kind is None or (isinstance(kind, str) and kind in KINDS)


def _label(item: Mapping[str, Any], kind: str) -> str:
    metadata = item.get("metadata")
    names = [metadata.get(key) for key in ("namespace", "name")] if isinstance(metadata, Mapping) else []
    return shown(f"{kind} {'/'.join(name for name in names if isinstance(name, str) and name)}".rstrip())


def _key(value: Object) -> tuple[str, ...]:
    if isinstance(value, Unfilled):
        return _key(value.role)
    if isinstance(value, PodIdentity):
        return ("PodIdentity", value.namespace, value.service_account, value.association_id)
    kind = value.kind if isinstance(value, Role | Binding) else type(value).__name__
    return (kind, value.namespace, value.name)


def _keep(found: _Found, item: _Item, on_error: OnReadError) -> None:
    """Keep an object; of those of one name that differ, none hides what another one grants."""
    key = _key(item.value)
    before = found.setdefault(key, item)
    if before.value == item.value:
        return
    both = joined(before.value, item.value)
    if both is not None:
        found[key] = before._replace(value=both)
    elif found.setdefault((*key, item.value), item) is not item:  # the same once more
        return
    if not isinstance(item.value, PodIdentity):
        name, first = shown("/".join(filter(None, key[1:]))), before.place
        where = f"{first.origin}: {first.path}" if first.origin else first.path
        reason = f"{key[0]} {name} differs from the one @ {where}; both count"
        if hides_rules(before.value, item.value):
            _tell(on_error, f"{reason}, but what aggregates them is not known", item.place, kind=IncompleteError)
        else:
            _tell(on_error, reason, item.place)


def _assume(found: _Found) -> None:
    """Add Kubernetes' own roles where a binding gives one that was not read."""
    known = {(role.namespace, role.name) for item in found.values() if (role := role_of(item.value))}
    bindings = [item.value for item in found.values() if isinstance(item.value, Binding)]
    for one in missing_roles(bindings, known):
        value: Object = (
            Unfilled(attrs.evolve(one.role, assumed=VERSION))
            if isinstance(one, Unfilled)
            else attrs.evolve(one, assumed=VERSION)
        )
        found[_key(value)] = _Item(value, _Place(None, "$"))


def _fill(found: _Found, on_error: OnReadError) -> None:
    """Fill in the rules of aggregated roles that lack them; report each cycle."""
    roles = [role for item in found.values() if (role := role_of(item.value)) and not role.namespace]
    unfilled = {item.value.role.name for item in found.values() if isinstance(item.value, Unfilled)}
    filled, circles = fill(roles, unfilled)
    for name, role in filled.items():
        key = ("ClusterRole", "", name)
        found[key] = found[key]._replace(value=role)
    for circle in circles:
        names = ", ".join(shown(name) for name in circle)
        _tell(on_error, f"cyclic aggregation of ClusterRoles: {names}", found["ClusterRole", "", circle[0]].place)


def _unsound(binding: Binding, roles: set[tuple[str, str]]) -> Iterator[tuple[str, str, type[ReadError]]]:
    """Say what in a binding grants nothing: the API server ignores it silently."""
    ref = binding.role_ref
    if ref.kind not in {"Role", "ClusterRole"} or (ref.kind == "Role" and not binding.namespace):
        yield f"a {binding.kind} cannot give a {shown_kind(ref.kind)}", ".roleRef.kind", ReadError
    elif (binding.namespace if ref.kind == "Role" else "", ref.name) not in roles:
        yield f"its {ref.kind} {shown(ref.name)} does not exist", ".roleRef", ReadError
    for index, subject in enumerate(binding.subjects):
        if subject.kind not in SUBJECT_KINDS:
            yield f"{shown_kind(subject.kind)} is not a kind of subject", f".subjects[{index}].kind", ReadError
        elif subject.kind == "ServiceAccount" and not subject.namespace:
            yield "a service account needs a namespace", f".subjects[{index}].namespace", ReadError
