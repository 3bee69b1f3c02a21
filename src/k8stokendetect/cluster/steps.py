# SPDX-License-Identifier: Apache-2.0
"""A change of a cluster's RBAC as requests to the API server, and rules without the right to mint."""

from __future__ import annotations

import enum
import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import attrs

from k8stokendetect.cluster.rbac import PolicyRule
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.reprs import with_short_repr


class ChangeKind(enum.StrEnum):
    """How a right is removed."""

    REMOVE_SUBJECT = "remove-subject"
    DELETE_BINDING = "delete-binding"
    NARROW_ROLE = "narrow-role"
    REPLACE_ROLE = "replace-role"


@with_short_repr
@attrs.frozen
class Step:
    """One request to the API server.

    Arguments:
        verb: what is done.
        kind: of the object, such as `RoleBinding`.
        name: of the object.
        namespace: where it lives; empty for cluster-wide ones.
        body: the operations of a patch (RFC 6902), the object to create, or None for a deletion.

    """

    verb: Literal["create", "patch", "delete"]
    kind: str
    name: str
    namespace: str = ""
    body: Any = attrs.field(default=None, hash=False)

    @property
    def command(self) -> str:
        """The same as a kubectl command on one line, quoted for a POSIX shell: names come from the cluster."""
        body = json.dumps(self.body, separators=(",", ":"))
        if self.verb == "create":
            return f"printf %s {shlex.quote(body)} | kubectl create -f -"
        where = [f"--namespace={self.namespace}"] if self.namespace else []
        words = ["kubectl", self.verb, f"{self.kind.lower()}/{self.name}", *where]
        if self.verb == "patch":
            words += ["--type=json", "-p", body]
        return shlex.join(words)


@with_short_repr
@attrs.frozen
class Change:
    """The smallest change that removes a right from a subject.

    Each patch first tests that the object is still as it was read, and fails if not: then load the cluster again.
    Several changes of one binding move its subjects: apply one, then load the cluster again.

    Arguments:
        kind: how.
        steps: what to do, in this order.
        loses: the other rights that the subject loses with this binding, unless another binding grants them.
        keeps: what it keeps of the right, in words; empty for nothing.
        warnings: what to know first.

    """

    kind: ChangeKind
    steps: tuple[Step, ...]
    loses: tuple[PolicyRule, ...] = ()
    keeps: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """All steps as one command; a step that fails stops the rest."""
        return " && ".join(step.command for step in self.steps)


_MEANT: Final = frozenset({TOKEN_SUBRESOURCE, "*/token"})


@with_short_repr
@attrs.frozen
class Split:
    """The rules of a role, split into the right and the rest.

    Arguments:
        kept: the index of each rule that gives the right, and the rules that replace it.
        rest: the rules without the right.
        loose: what is lost with the right: combinations in the same lists that mean nothing to Kubernetes (another
            verb or API group on the token subresource).
        is_wild: a rule has `*` as resource. RBAC cannot express all but one, so that rule has to go.

    """

    kept: tuple[tuple[int, tuple[PolicyRule, ...]], ...]
    rest: tuple[PolicyRule, ...]
    loose: tuple[PolicyRule, ...]
    is_wild: bool


def split(rules: Sequence[PolicyRule], /) -> Split:
    """Split the rules that give the right from what else they give."""
    kept, rest, loose, is_wild = [], list[PolicyRule](), [], False
    for index, rule in enumerate(rules):
        if not rule.mints:
            rest.append(rule)
            continue
        hit = tuple(name for name in rule.resources if name in _MEANT)
        others = tuple(name for name in rule.resources if name not in _MEANT)
        is_wild |= "*" in others
        replaced = (attrs.evolve(rule, resources=others),) if others else ()
        kept.append((index, replaced))
        rest += replaced
        if set(rule.verbs) != {"create"} or set(rule.api_groups) != {""} or hit != (TOKEN_SUBRESOURCE,):
            loose.append(attrs.evolve(rule, resources=hit or (TOKEN_SUBRESOURCE,)))
    return Split(tuple(kept), tuple(rest), tuple(loose), is_wild)


def minting(names: Iterable[str] = (), /) -> PolicyRule:
    """Make the rule that gives the right for these names; without names, for all."""
    return PolicyRule(("create",), ("",), (TOKEN_SUBRESOURCE,), tuple(names))


def to_json(rule: PolicyRule, /) -> dict[str, Any]:
    """Return a rule as the API server writes it: only `verbs` may be empty."""
    fields = {
        "apiGroups": rule.api_groups,
        "nonResourceURLs": rule.non_resource_urls,
        "resourceNames": rule.resource_names,
        "resources": rule.resources,
    }
    return {name: list(values) for name, values in fields.items() if values} | {"verbs": list(rule.verbs)}
