# SPDX-License-Identifier: Apache-2.0
"""What to do about an incident: which tokens to end and how, which right to take away, what to look after."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

import attrs

from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors.wording import brief
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import REASON, ServiceAccount
from k8stokendetect.incidents.story import Act, RequestKey, act_name, asked_for, caller, issued, request_key, succeeded

_QUOTED: Final = r'("(?:[^"\\]|\\.)*")'
_REASON: Final = re.compile(rf"RBAC: allowed by (ClusterRoleBinding|RoleBinding) {_QUOTED} of \w+ {_QUOTED} to (.+)")
"""A RoleBinding is written "NAME/NAMESPACE" (kubernetes pkg/registry/rbac/validation/rule.go, roleBindingDescriber)."""

_CHANGES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_READS: Final = frozenset({"get", "list", "watch"})
_LONGEST: Final = 5

_Bound = dict[RequestKey, tuple[str, str]]


@attrs.frozen
class ReasonedBinding:
    """The binding that the API server's own reason names."""

    kind: str
    name: str
    namespace: str
    role: str
    subject: str
    quoted: str
    """Name and namespace as the API server wrote them."""

    @classmethod
    def of(cls, reason: str, /) -> Self | None:
        """Read a reason; None when it names none."""
        match = _REASON.fullmatch(reason)
        if match is None:
            return None
        try:
            name, _, namespace = json.loads(match[2]).partition("/")
        except ValueError:
            return None
        return cls(match[1], name, namespace, match[3], match[4], match[2])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@attrs.frozen
class Known:
    """What a snapshot of the cluster adds to the advice.

    Arguments:
        rights: what to do about the callers' rights, in sentences.
        bindings: those that the sentences are about.
        clouds: what to do in clouds.

    """

    rights: tuple[str, ...] = ()
    bindings: frozenset[str] = frozenset()
    clouds: tuple[str, ...] = ()


def advice(requests: Mapping[RequestKey, Act], findings: Sequence[Finding], known: Known, /) -> tuple[str, ...]:
    """Return what to do; every command is to be read before it is run.

    The right to mint comes first: whoever keeps it has a new token as soon as the old one is ended.
    """
    refs = [act.ref for act in requests.values()]
    mints = {key: act.ref for key, act in requests.items() if issued(act.ref)}
    said = [*known.rights, *_rights(findings, known.bindings), *_end_tokens(mints, _bound(findings)), *known.clouds]
    said += _aftermath([act.ref for act in requests.values() if act.parent is not None])
    said += [*_impersonations(refs), *_certificates(refs)]
    if not mints:
        names = _listed(caller(act.ref) for act in requests.values() if act.parent is None)
        said.insert(0, f"Ask whether this was meant: {names}. No token is known to have been issued.")
    return tuple(dict.fromkeys(said))


def _bound(findings: Iterable[Finding]) -> _Bound:
    """Find the objects whose deletion ends a token, where the request body was logged."""
    found: _Bound = {}
    for finding in findings:
        for item in finding.evidence:
            value = plain(item.value) if item.path == "requestObject.spec.boundObjectRef" else None
            if isinstance(value, dict):
                kind, name = value.get("kind"), value.get("name")
                if kind in {"Pod", "Secret", "Node"} and isinstance(name, str) and name:
                    found[request_key(finding.event)] = (kind, name)
    return found


def _end_tokens(mints: Mapping[RequestKey, EventRef], bound: _Bound) -> Iterator[str]:
    """Say how to end the tokens of each service account; each survives the one it was minted with."""
    accounts: dict[ServiceAccount, set[tuple[str, str] | None]] = {}
    for key, ref in mints.items():
        account = asked_for(ref)
        if account:
            accounts.setdefault(account, set()).add(bound.get(key))
        else:
            id_ = brief(ref.minted_credential or "")
            yield f"Find the service account whose token is {id_}: the log does not name it."
    for account, objects in accounts.items():
        if None in objects:
            yield f"End every token of {account}, then restart its pods: {_renew(account)}"
        else:
            for kind, name in sorted(item for item in objects if item):
                delete = _kubectl(
                    "delete", kind.lower(), name=name, namespace="" if kind == "Node" else account.namespace
                )
                yield f"End the token of {account} that is bound to {kind} {brief(name)}: {delete}"


def _renew(account: ServiceAccount) -> str:
    """Delete and recreate it, with its labels and cloud identity; `default` comes back by itself."""
    if account.name == "default":
        return _kubectl("delete", "serviceaccount", name=account.name, namespace=account.namespace)
    get = _kubectl("get", "serviceaccount", name=account.name, namespace=account.namespace)
    return f"{get} -o yaml | kubectl replace --force -f -"


def _kubectl(*words: str, name: str, namespace: str = "") -> str:
    """Write a command in which no name can be an option or leave its quotes: RBAC names may begin with `-`."""
    place = ("-n", namespace) if namespace else ()
    return shlex.join(("kubectl", *place, *words, *(("--",) if name.startswith("-") else ()), name))


def _rights(findings: Iterable[Finding], known: Collection[str]) -> Iterator[str]:
    """Name the bindings that gave the right, from the API server's own reason.

    The reason of an impersonated request names the binding of whoever was impersonated: that is the victim's.
    """
    for finding in findings:
        if finding.event.impersonating is not None:
            continue
        for item in finding.evidence:
            if item.path == f"annotations['{REASON}']" and isinstance(item.value, str):
                binding = ReasonedBinding.of(item.value)
                if binding is not None and str(binding) not in known:
                    yield _right(binding)


def _right(binding: ReasonedBinding) -> str:
    name = binding.name
    told = f"{binding.kind} {brief(binding.quoted)} gave {brief(binding.subject)} the role {brief(binding.role)}"
    if name == "cluster-admin" or name.startswith("system:"):
        return f"{told}: it is Kubernetes' own, so take away the membership or the credential, not the binding."
    delete = _kubectl("delete", binding.kind.lower(), name=name, namespace=binding.namespace)
    return f"Review who needs it: {told}; if nobody: {delete}"


def _impersonations(refs: Iterable[EventRef]) -> Iterator[str]:
    for ref in refs:
        if ref.impersonating is not None and succeeded(ref):
            yield f"Take from {caller(ref)} the right to impersonate {brief(ref.impersonating) or 'somebody'}."


def _certificates(refs: Iterable[EventRef]) -> Iterator[str]:
    """Say what cannot be done: Kubernetes has no revocation of client certificates (kubernetes/kubernetes#18982)."""
    for ref in refs:
        if (ref.used_credential or "").startswith("X509SHA256="):
            yield (
                f"The client certificate of {caller(ref)} cannot be revoked: if it was stolen, remove the bindings of "
                "its user and groups; system:masters and nodes need none, there only a new CA helps."
            )


def _aftermath(uses: Sequence[EventRef]) -> Iterator[str]:
    """Name what the tokens were used for, as far as it worked."""
    done = [ref for ref in uses if succeeded(ref) and not issued(ref)]
    changed = [act_name(ref) for ref in done if ref.verb in _CHANGES and not _resource(ref).endswith("reviews")]
    read = [act_name(ref) for ref in done if ref.verb in _READS and _resource(ref) == "secrets"]
    if read:
        yield f"Rotate the secrets that were read: {_listed(read)}."
    if changed:
        yield f"Check and undo what was changed: {_listed(changed)}."


def _resource(ref: EventRef) -> str:
    return (ref.target or "").partition(" ")[0]


def _listed(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - _LONGEST
    return ", ".join(different[:_LONGEST]) + (f" and {more} more" if more > 0 else "")
