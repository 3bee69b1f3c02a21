# SPDX-License-Identifier: Apache-2.0
"""A change of a cluster's RBAC as steps, each one a request to the API server and a kubectl command."""

from __future__ import annotations

import enum
import json
import shlex
from typing import Any, Literal

import attrs

from k8stokendetect.cluster.rbac import PolicyRule


class ChangeKind(enum.StrEnum):
    """How a right is removed."""

    REMOVE_SUBJECT = "remove-subject"
    DELETE_BINDING = "delete-binding"
    NARROW_ROLE = "narrow-role"
    REPLACE_ROLE = "replace-role"


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
