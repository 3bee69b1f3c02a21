# SPDX-License-Identifier: Apache-2.0
"""What to do about an incident: which tokens to end and how, which rights to take away, what to undo or look into."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from k8stokendetect.detectors.read_token_used import ReadTokenUsed
from k8stokendetect.detectors.system_identity_issued import SystemIdentityIssued
from k8stokendetect.detectors.token_read_by_exec import TokenReadByExec
from k8stokendetect.detectors.token_request_denied import TokenRequestDenied
from k8stokendetect.detectors.unusual_origin import UnusualOrigin
from k8stokendetect.detectors.wording import enabling
from k8stokendetect.events import TOKEN_SUBRESOURCE, BoundObjectRef
from k8stokendetect.findings import EventRef, Severity
from k8stokendetect.identity import ReasonedBinding, ServiceAccount, credential_kind
from k8stokendetect.incidents.cloud import cloud_steps
from k8stokendetect.incidents.deeds import done, what
from k8stokendetect.incidents.step import Step
from k8stokendetect.incidents.story import Request, by_known_components
from k8stokendetect.reprs import with_short_repr
from k8stokendetect.words import account_or_user, caller_of, listed, named

_CHANGES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_CHANGE_NOTHING: Final = ("reviews", "/exec", "/attach", "/portforward", "/proxy")
_READS: Final = frozenset({"get", "list", "watch"})

_TO_CHECK: Final = {
    UnusualOrigin.rule.id: "whether the certificate was renewed at that time",
    TokenRequestDenied.rule.id: "whether the pod or service account it asked for had just been deleted",
    SystemIdentityIssued.rule.id: "whether the node was added at that time",
}
"""What tells the ordinary from an attack where a rule reports something as informational."""


@with_short_repr
@attrs.frozen
class ClusterAdvice:
    """What a snapshot of the cluster adds to the advice.

    Arguments:
        rights: what to do about the callers' rights.
        bindings: those that the steps are about.
        clouds: what to do in clouds.

    """

    rights: tuple[Step, ...] = ()
    bindings: frozenset[str] = frozenset()
    clouds: tuple[Step, ...] = ()


NO_CLUSTER: Final = ClusterAdvice()

EVERYBODY: Final = " Without it, everybody in the group loses the right."
"""Follows the name of a binding whose subject is a group."""


def advice(requests: Mapping[str, Request], cluster: ClusterAdvice = NO_CLUSTER, /) -> tuple[Step, ...]:
    """Return what to do, each with the command for it, which is to be read before it is run.

    Where everything is informational, it is only what to check. Else it depends on the requests, not on the rules that
    reported them; but only a rule knows which command read a token. The right to mint comes first: an attacker who
    keeps it mints a new token as soon as the old one is ended.

    Arguments:
        requests: those of an incident, in the order of time.
        cluster: what a snapshot of the cluster adds.

    """
    known = by_known_components(requests)
    read = [one.ref for one in requests.values() if _read_a_token(one, requests)]
    severity = max((one.severity for one in requests.values()), default=Severity.INFORMATIONAL)
    requests = {id_: one for id_, one in requests.items() if id_ not in known and not one.is_witness}
    if severity is Severity.INFORMATIONAL:
        return tuple(dict.fromkeys((*_enabling(known.values()), *_check(requests.values()))))
    refs = [request.ref for request in requests.values()]
    roots = [request.ref for request in requests.values() if request.parent is None]
    uses = [request.ref for request in requests.values() if request.parent is not None]
    mints = [ref for ref in refs if ref.mints_token]
    steps = [
        *_enabling(known.values()),
        *cluster.rights,
        *_rights([request.ref for request in requests.values() if _needs_right(request)], cluster.bindings),
        *_end_tokens(mints),
        *map(_end_mounted, read),
        *cluster.clouds,
        *cloud_steps([request.ref for request in requests.values() if request.severity > Severity.LOW]),
        *_undo(uses, [request.ref for request in requests.values() if request.parent is None and request.rules]),
        *_impersonations(refs),
        *_certificates(refs if severity >= Severity.HIGH else mints),
    ]
    if not mints and not known:
        names = listed(map(caller_of, roots))
        steps.insert(0, Step(f"Ask whether this was meant: {names}. {_taken(read)}"))
    return tuple(dict.fromkeys(steps))


def _read_a_token(request: Request, requests: Mapping[str, Request]) -> bool:
    """Tell whether a command read a pod's mounted token: a rule reported the command, or the use of what it read."""
    used = requests.get(request.shows or "")
    reported = TokenReadByExec.rule.id in request.rules or (used is not None and ReadTokenUsed.rule.id in used.rules)
    return reported and request.ref.resource in TokenReadByExec.watches and request.ref.succeeded


def _end_mounted(ref: EventRef) -> Step:
    """Say how to end a mounted token.

    It is bound to its pod: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
    """
    end = f"End the token that was read in {what(ref)}"
    if not ref.name:
        return Step(f"{end}: it ends when the pod is deleted.")
    return Step(f"{end}, by deleting the pod:", _kubectl("delete", "pod", name=ref.name, namespace=ref.namespace))


def _taken(read: Sequence[EventRef]) -> str:
    """Say what the caller has where no token was minted."""
    if not read:
        return "No token is known to have been issued."
    return f"A mounted token was read: that of {listed(map(what, read), len(read))}."


def _check(requests: Iterable[Request]) -> Iterator[Step]:
    """Say in one step what to check where nothing shows an attack."""
    reported = [one for one in requests if one.rules]
    if reported:
        names = listed(caller_of(one.ref) for one in reported)
        checks = dict.fromkeys(_TO_CHECK.get(rule, "whether this was meant") for one in reported for rule in one.rules)
        yield Step(
            f"Check for {names} {', and '.join(checks)}. If so, there is nothing else to do. If not, its credential "
            "may be stolen or forged."
        )


def _enabling(known: Iterable[Request]) -> Iterator[Step]:
    """Name each optional exclusion once, however often its callers minted."""
    callers: dict[str, dict[str, None]] = {}
    for request in known:
        if request.enable and request.ref.mints_token:
            callers.setdefault(request.enable, {})[caller_of(request.ref)] = None
    for exclusion, names in callers.items():
        yield Step(
            f"{enabling(exclusion)} If you do not, ask who does: what {listed(names)} minted and did is what an "
            "attacker would."
        )


def _needs_right(request: Request) -> bool:
    """Tell whether to ask who needs the right: to mint, and to whatever the attack began with.

    A stolen token's other rights are its owner's.
    """
    return request.parent is None or request.ref.resource == TOKEN_SUBRESOURCE


def _rights(refs: Iterable[EventRef], known: Collection[str]) -> Iterator[Step]:
    """Name the bindings that gave the right, from the API server's own reason.

    The reason of an impersonated request names the binding of the user who was impersonated, the victim.
    """
    for ref in refs:
        binding = ReasonedBinding.of(ref.reason or "") if ref.impersonating is None else None
        if binding is not None and str(binding) not in known:
            yield _right(binding)


def _right(binding: ReasonedBinding) -> Step:
    name = binding.name
    gave = f"{with_kind(str(binding))} gave {_subject(binding.subject)} the role {_unquoted(binding.role)}"
    if name == "cluster-admin" or name.startswith("system:"):
        return Step(
            f"{gave}: it belongs to Kubernetes, so take away the membership or the credential, not the binding."
        )
    delete = _kubectl("delete", binding.kind.lower(), name=name, namespace=binding.namespace)
    everybody = EVERYBODY if binding.subject.startswith("Group ") else ""
    return Step(f"Review who needs it: {gave}.{everybody} If nobody:", delete)


def with_kind(kind_and_name: str, /) -> str:
    """Name an object: `RoleBinding prod/minters`."""
    kind, _, name = kind_and_name.partition(" ")
    return f"{kind} {named(name)}"


def _unquoted(quoted: str) -> str:
    """Return a name that the API server wrote as a Go string."""
    try:
        return named(str(json.loads(quoted)))
    except ValueError:
        return named(quoted)


def _subject(text: str) -> str:
    """Name a subject as the API server's reason has it: `User "alice"`, `ServiceAccount "NAME/NAMESPACE"`.

    Source: kubernetes pkg/registry/rbac/validation/rule.go, describeSubject; and the recordings.
    """
    kind, _, quoted = text.partition(" ")
    if kind == "ServiceAccount":
        name, slash, namespace = _unquoted(quoted).partition("/")
        return f"service account {namespace}/{name}" if slash else f"service account {name}"
    return f"{kind.lower() if kind in {'User', 'Group'} else named(kind)} {_unquoted(quoted)}"


def _end_tokens(mints: Iterable[EventRef]) -> Iterator[Step]:
    """Say how to end the tokens of each service account; a token outlives the one it was minted with."""
    accounts: dict[ServiceAccount, list[BoundObjectRef | None]] = {}
    for ref in mints:
        if ref.token_account:
            accounts.setdefault(ref.token_account, []).append(_bound(ref))
        elif ref.minted_credential:
            id_ = named(ref.minted_credential)
            yield Step(f"Find the service account whose token is {id_}: the log does not name it.")
        else:
            yield Step(f"Find the service account for which {caller_of(ref)} minted: the log does not name it.")
    for account, objects in accounts.items():
        if None in objects:
            yield Step(f"End every token of {account}, then restart its pods:", _renew(account))
            continue
        for kind, name in sorted({(bound.kind, bound.name) for bound in objects if bound}):
            namespace = "" if kind == "Node" else account.namespace
            delete = _kubectl("delete", kind.lower(), name=name, namespace=namespace)
            yield Step(f"End the token of {account} that is bound to {kind} {named(name)}:", delete)


def _bound(ref: EventRef) -> BoundObjectRef | None:
    """Return the object whose deletion ends the token; None where there is none or the log does not say."""
    bound = ref.bound_to
    return bound if bound and bound.name and bound.kind in {"Pod", "Secret", "Node"} else None


def _renew(account: ServiceAccount) -> str:
    """Delete and recreate it, with its labels and cloud identity; `default` is recreated by its controller."""
    if account.name == "default":
        return _kubectl("delete", "serviceaccount", name=account.name, namespace=account.namespace)
    get = _kubectl("get", "serviceaccount", name=account.name, namespace=account.namespace)
    return f"{get} -o yaml | kubectl replace --force -f -"


def _kubectl(*words: str, name: str, namespace: str = "") -> str:
    """Write a command in which no name can be an option or leave its quotes: RBAC names may begin with `-`."""
    place = ("-n", namespace) if namespace else ()
    return shlex.join(("kubectl", *place, *words, *(("--",) if name.startswith("-") else ()), name))


def _undo(uses: Sequence[EventRef], reported: Iterable[EventRef]) -> Iterator[Step]:
    """Name what the tokens were used for, and what else was reported, as far as it worked."""
    worked = [ref for ref in (*uses, *reported) if ref.succeeded and not ref.mints_token and ref.cloud is None]
    read = [what(ref) for ref in worked if ref.verb in _READS and ref.resource == "secrets"]
    changed = [done(ref) for ref in worked if ref.verb in _CHANGES and not ref.resource.endswith(_CHANGE_NOTHING)]
    if read:
        yield Step(f"Rotate the secrets that were read: {listed(read)}.")
    if changed:
        yield Step(f"Check and undo what was changed: {listed(changed)}.")


def _impersonations(refs: Iterable[EventRef]) -> Iterator[Step]:
    for ref in refs:
        if ref.impersonating is not None and ref.succeeded:
            whom = named(account_or_user(ref.impersonating)) or "somebody"
            yield Step(f"Take from {caller_of(ref)} the right to impersonate {whom}.")


def _certificates(refs: Iterable[EventRef]) -> Iterator[Step]:
    """Say what cannot be done: Kubernetes has no revocation of client certificates (kubernetes/kubernetes#18982)."""
    for ref in refs:
        if credential_kind(ref.used_credential) == "X509SHA256":
            yield Step(
                f"The client certificate of {caller_of(ref)} cannot be revoked. If it was stolen, remove the bindings "
                "of its user and groups. Nodes and system:masters have rights without bindings: only a new CA ends "
                "those."
            )
