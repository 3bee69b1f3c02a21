# SPDX-License-Identifier: Apache-2.0
"""The smallest change that takes the right to mint from a subject: in the binding, in the role, or with a new role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from k8stokendetect.cluster.objects import AUTO_UPDATE
from k8stokendetect.cluster.rbac import RBAC_GROUP, Binding, Grant, PolicyRule, Subject
from k8stokendetect.cluster.steps import Change, ChangeKind, Step, minting, split, to_json
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster

_RESTORED: Final = (
    "{} is one of Kubernetes' own: the API server puts back what is missing when it starts. The patch sets"
    " rbac.authorization.kubernetes.io/autoupdate to false, so that it stays, and so do later versions' changes"
)
_WILD: Final = "a rule of {} names all resources, and RBAC cannot say `all but one`: list the needed ones instead"
_NO_UNDO: Final = "a component of Kubernetes may need it"


def patch_for(cluster: Cluster, grant: Grant, /, *, keep: Mapping[str, Iterable[str]] | None = None) -> Change:
    """Return the smallest change after which a binding no longer lets its subject create tokens.

    For more than a few grants of one cluster, make one `Changes`.

    Arguments:
        cluster: to which the grant belongs.
        grant: binding, subject, role and rule, as in `AttackPath.grants` or from `Cluster.grants`.
        keep: service accounts for which the subject may still mint: names by namespace; no names mean every account
            of the namespace.

    Raises:
        ConfigError: when the grant's binding lacks the subject, or the names are a single string.

    """
    return Changes(cluster).for_grant(grant, keep=keep)


class Changes:
    """Finds the smallest changes; reads a cluster's bindings once.

    Arguments:
        cluster: its roles and bindings.

    """

    def __init__(self, cluster: Cluster) -> None:
        self._bindings: dict[tuple[str, str], list[Binding]] = defaultdict(list)
        for binding in cluster.bindings:
            self._bindings[_role_key(binding)].append(binding)
        self._selectors = [selector for role in cluster.roles for selector in role.selectors]
        self._names = {(one.kind, one.namespace, one.name) for one in cluster.roles}
        self._names |= {(one.kind, one.namespace, one.name) for one in cluster.bindings}

    def for_grant(self, grant: Grant, /, *, keep: Mapping[str, Iterable[str]] | None = None) -> Change:
        """Return the smallest change against a grant; see `patch_for`.

        A rule that does not itself allow creating tokens is removed with the binding, as in `removal`.
        """
        kept = _checked(keep)
        if not grant.rule.mints:
            return self.removal(grant)
        parted = split(grant.role.rules)
        # a RoleBinding gives no URLs, and a Role cannot hold them
        rest = tuple(rule for rule in parted.rest if not (grant.namespace and rule.non_resource_urls))
        useful = [rule for rule in rest if rule.non_resource_urls or set(rule.resources) - {TOKEN_SUBRESOURCE}]
        if parted.is_wild or not useful:
            warnings = (_WILD.format(grant.role),) if parted.is_wild else ()
            lost = grant.role.rules if parted.is_wild else (*rest, *parted.loose)
            return self._keeping(grant, kept, self._removal(grant, lost, warnings))
        if self._is_its_own(grant):
            return self._narrowed(grant, kept)
        return self._keeping(grant, kept, self._replaced(grant, rest, parted.loose))

    def removal(self, grant: Grant, /) -> Change:
        """Return the change that removes the subject from the binding, with everything it grants."""
        return self._removal(grant, grant.role.rules)

    def _removal(self, grant: Grant, loses: Iterable[PolicyRule], warnings: tuple[str, ...] = ()) -> Change:
        """Remove the subject from the binding, and delete a binding that would have no subject left."""
        binding, mine = grant.binding, _places(grant)
        is_last = len(mine) == len(binding.subjects) and not binding.is_default
        operations = [*(_emptied(binding) if is_last else _removed(binding, mine))]
        if binding.is_default:
            warnings += (_RESTORED.format(binding), _NO_UNDO)
            path = f"/metadata/annotations/{AUTO_UPDATE.replace('/', '~1')}"
            operations.append({"op": "add", "path": path, "value": "false"})
        steps = [Step("patch", binding.kind, binding.name, binding.namespace, operations)]
        if is_last:
            steps.append(Step("delete", binding.kind, binding.name, binding.namespace))
        kind = ChangeKind.DELETE_BINDING if is_last else ChangeKind.REMOVE_SUBJECT
        return Change(kind, tuple(steps), tuple(dict.fromkeys(loses)), "", warnings)

    def _is_its_own(self, grant: Grant) -> bool:
        """Tell whether a role serves only this subject in this binding, so that the role itself can be changed."""
        role, binding = grant.role, grant.binding
        others = len(self._bindings[_role_key(binding)]) > 1 or len(_places(grant)) < len(binding.subjects)
        is_shared = bool(role.selectors) or any(selector.matches(role.labels) for selector in self._selectors)
        return not (others or role.is_default or (is_shared and not role.namespace))

    def _narrowed(self, grant: Grant, keep: Mapping[str, tuple[str, ...]]) -> Change:
        """Change the role's own rules."""
        role, here = grant.role, grant.binding.namespace
        parted = split(role.rules)
        operations: list[dict[str, Any]] = []
        for index, rules in reversed(parted.kept):
            path = f"/rules/{index}"
            operations += [
                {"op": "test", "path": path, "value": to_json(role.rules[index])},
                {"op": "remove", "path": path},
                *({"op": "add", "path": path, "value": to_json(rule)} for rule in reversed(rules)),
            ]
        if here and here in keep:
            operations.append({"op": "add", "path": "/rules/-", "value": to_json(minting(keep[here]))})
            keep = {here: keep[here]}
        change = Change(
            ChangeKind.NARROW_ROLE,
            (Step("patch", role.kind, role.name, role.namespace, operations),),
            parted.loose,
            _in_words(keep) if here and here in keep else "",
        )
        return change if here else self._keeping(grant, keep, change)

    def _replaced(self, grant: Grant, rest: Sequence[PolicyRule], loose: tuple[PolicyRule, ...]) -> Change:
        """Give the subject a role of its own with the remaining rules, then remove it from the binding."""
        binding, here = grant.binding, grant.binding.namespace
        steps = self._given(f"{binding.name}-without-token", here, rest, grant.subject)
        removal = self._removal(grant, loose)
        warnings = removal.warnings
        if grant.role.selectors:
            warnings += (f"{grant.role} is aggregated: the subject no longer gets what is added to it later",)
        return attrs.evolve(removal, kind=ChangeKind.REPLACE_ROLE, steps=(*steps, *removal.steps), warnings=warnings)

    def _keeping(self, grant: Grant, keep: Mapping[str, tuple[str, ...]], change: Change) -> Change:
        """First grant the right again for what the subject keeps."""
        here = grant.binding.namespace
        wanted = {place: names for place, names in keep.items() if here in {"", place}}
        steps = [
            step
            for place, names in wanted.items()
            for step in self._given(f"{grant.binding.name}-token", place, (minting(names),), grant.subject)
        ]
        return attrs.evolve(change, steps=(*steps, *change.steps), keeps=_in_words(wanted)) if wanted else change

    def _given(self, name: str, namespace: str, rules: Sequence[PolicyRule], subject: Subject) -> Iterator[Step]:
        kind = "Role" if namespace else "ClusterRole"
        name = self._free(name, kind, namespace)
        meta = {"name": name} | ({"namespace": namespace} if namespace else {})
        version = f"{RBAC_GROUP}/v1"
        yield Step(
            "create",
            kind,
            name,
            namespace,
            {"apiVersion": version, "kind": kind, "metadata": meta, "rules": [to_json(rule) for rule in rules]},
        )
        ref = {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}
        yield Step(
            "create",
            f"{kind}Binding",
            name,
            namespace,
            {"apiVersion": version, "kind": f"{kind}Binding", "metadata": meta}
            | {"roleRef": ref, "subjects": [_subject(subject)]},
        )

    def _free(self, name: str, kind: str, namespace: str) -> str:
        """Return a name that neither a role nor a binding has there."""
        found, number = name, 1
        while {(kind, namespace, found), (f"{kind}Binding", namespace, found)} & self._names:
            number += 1
            found = f"{name}-{number}"
        return found


def _checked(keep: Mapping[str, Iterable[str]] | None) -> dict[str, tuple[str, ...]]:
    found = {}
    for namespace, names in (keep or {}).items():
        if not namespace or isinstance(names, str):
            raise ConfigError("keep takes lists of service accounts' names by namespace")
        found[namespace] = tuple(names)
    return found


def _in_words(keep: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{place}/{name}" for place, names in keep.items() for name in names or ("*",))


def _role_key(binding: Binding) -> tuple[str, str]:
    return (binding.namespace if binding.role_ref.kind == "Role" else "", binding.role_ref.name)


def _places(grant: Grant) -> list[int]:
    """Return the positions of a subject in the binding: a service account may be written as a user, too."""
    found = [at for at, one in enumerate(grant.binding.subjects) if one.identity == grant.subject.identity]
    if not found:
        raise ConfigError("the binding of this grant does not have its subject")
    return found


def _removed(binding: Binding, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield operations that remove subjects, the last first, so that the positions of the others stay valid."""
    for at in reversed(places):
        path = f"/subjects/{at}"
        yield {"op": "test", "path": path, "value": _subject(binding.subjects[at], is_implied=at in binding.implied)}
        yield {"op": "remove", "path": path}


def _emptied(binding: Binding) -> Iterator[dict[str, Any]]:
    """Yield operations that remove all subjects, and fail when another one was added meanwhile."""
    found = [_subject(one, is_implied=at in binding.implied) for at, one in enumerate(binding.subjects)]
    yield {"op": "test", "path": "/subjects", "value": found}
    yield {"op": "remove", "path": "/subjects"}


def _subject(subject: Subject, *, is_implied: bool = False) -> dict[str, str]:
    """Return a subject as the API server writes it: pkg/apis/rbac/v1/defaults.go sets the API group."""
    if subject.kind != "ServiceAccount":
        return {"apiGroup": RBAC_GROUP, "kind": subject.kind, "name": subject.name}
    return {"kind": subject.kind, "name": subject.name} | ({} if is_implied else {"namespace": subject.namespace})
