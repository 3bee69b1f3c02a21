# SPDX-License-Identifier: Apache-2.0
"""What to do about an incident: which tokens to end and how, which rights to take away, what to undo or look into."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from k8stokendetect.cluster import Change, Changes, Cluster, Grant
from k8stokendetect.detectors.wording import enabling
from k8stokendetect.enrichment import traces_of
from k8stokendetect.events import TOKEN_SUBRESOURCE, BoundObjectRef, JsonValue
from k8stokendetect.findings import EventRef, Finding
from k8stokendetect.identity import ReasonedBinding, ServiceAccount, credential_kind
from k8stokendetect.incidents.mints import Cause, Mint, explain_mint, observed
from k8stokendetect.incidents.step import Step
from k8stokendetect.incidents.story import Request, by_known_components
from k8stokendetect.reprs import short_repr, with_short_repr
from k8stokendetect.words import SOMEBODY, brief, caller_of, listed, request_of

_CHANGES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_CHANGE_NOTHING: Final = ("reviews", "/exec", "/attach", "/portforward", "/proxy")
_READS: Final = frozenset({"get", "list", "watch"})


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


def advice(requests: Mapping[str, Request], cluster: ClusterAdvice = NO_CLUSTER, /) -> tuple[Step, ...]:
    """Return what to do, each with the command for it, which is to be read before it is run.

    It depends on the requests alone, not on the rules that reported them. The right to mint comes first: an
    attacker who keeps it mints a new token as soon as the old one is ended.

    Arguments:
        requests: those of an incident, in the order of time.
        cluster: what a snapshot of the cluster adds.

    """
    known = by_known_components(requests)
    requests = {id_: one for id_, one in requests.items() if id_ not in known and not one.is_witness}
    refs = [request.ref for request in requests.values()]
    roots = [request.ref for request in requests.values() if request.parent is None]
    uses = [request.ref for request in requests.values() if request.parent is not None]
    mints = [ref for ref in refs if ref.mints_token]
    steps = [
        *_enabling(known.values()),
        *cluster.rights,
        *_rights([request.ref for request in requests.values() if _needs_right(request)], cluster.bindings),
        *_end_tokens(mints),
        *cluster.clouds,
        *_undo(uses, [request.ref for request in requests.values() if request.parent is None and request.rules]),
        *_impersonations(refs),
        *_certificates(refs),
    ]
    if not mints and not known:
        names = listed(map(caller_of, roots))
        steps.insert(0, Step(f"Ask whether this was meant: {names}. No token is known to have been issued."))
    return tuple(dict.fromkeys(steps))


def _enabling(known: Iterable[Request]) -> Iterator[Step]:
    for request in known:
        if request.enable and request.ref.mints_token:
            yield Step(
                f"{caller_of(request.ref)} {enabling(request.enable)}. If you do not, ask who does: what it minted and "
                "did is what an attacker would."
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
    gave = f"{binding.kind} {brief(binding.quoted)} gave {brief(binding.subject)} the role {brief(binding.role)}"
    if name == "cluster-admin" or name.startswith("system:"):
        return Step(f"{gave}: it is Kubernetes' own, so take away the membership or the credential, not the binding.")
    delete = _kubectl("delete", binding.kind.lower(), name=name, namespace=binding.namespace)
    return Step(f"Review who needs it: {gave}; if nobody:", delete)


def _end_tokens(mints: Iterable[EventRef]) -> Iterator[Step]:
    """Say how to end the tokens of each service account; a token outlives the one it was minted with."""
    accounts: dict[ServiceAccount, list[BoundObjectRef | None]] = {}
    for ref in mints:
        if ref.token_account:
            accounts.setdefault(ref.token_account, []).append(_bound(ref))
        elif ref.minted_credential:
            id_ = brief(ref.minted_credential)
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
            yield Step(f"End the token of {account} that is bound to {kind} {brief(name)}:", delete)


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
    done = [ref for ref in (*uses, *reported) if ref.succeeded and not ref.mints_token]
    read = [request_of(ref) for ref in done if ref.verb in _READS and ref.resource == "secrets"]
    changed = [request_of(ref) for ref in done if ref.verb in _CHANGES and not ref.resource.endswith(_CHANGE_NOTHING)]
    if read:
        yield Step(f"Rotate the secrets that were read: {listed(read)}.")
    if changed:
        yield Step(f"Check and undo what was changed: {listed(changed)}.")


def _impersonations(refs: Iterable[EventRef]) -> Iterator[Step]:
    for ref in refs:
        if ref.impersonating is not None and ref.succeeded:
            yield Step(f"Take from {caller_of(ref)} the right to impersonate {brief(ref.impersonating) or 'somebody'}.")


def _certificates(refs: Iterable[EventRef]) -> Iterator[Step]:
    """Say what cannot be done: Kubernetes has no revocation of client certificates (kubernetes/kubernetes#18982)."""
    for ref in refs:
        if credential_kind(ref.used_credential) == "X509SHA256":
            yield Step(
                f"The client certificate of {caller_of(ref)} cannot be revoked: if it was stolen, remove the bindings "
                "of its user and groups; system:masters and nodes need none, there only a new CA helps."
            )


_MOST: Final = 5


@attrs.frozen
class Access:
    """A right through which a caller could mint, as the snapshot of the cluster shows it, and how to take it away.

    Arguments:
        caller: the user name.
        accounts: for whom the caller minted through it, as `namespace/name`.
        grant: the binding, the subject that the caller is, the role and its rule.
        change: the smallest change after which this right is gone, see `Change`; a caller may have several rights.

    """

    caller: str
    accounts: tuple[str, ...]
    grant: Grant
    change: Change

    def __repr__(self) -> str:
        return short_repr(self, caller=self.caller, accounts=self.accounts, binding=str(self.grant.binding))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON; the names are stable once released."""
        return {
            "caller": self.caller,
            "service_accounts": list(self.accounts),
            "binding": str(self.grant.binding),
            "role": str(self.grant.role),
            "subject": str(self.grant.subject),
            "change": str(self.change.kind),
            "command": self.change.command,
            "also_loses": len(self.change.loses),
            "warnings": list(self.change.warnings),
        }


class AccessFinder:
    """Finds the rights behind incidents in one snapshot of the cluster.

    Arguments:
        cluster: the snapshot.

    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changes = Changes(cluster)

    def about(self, findings: Iterable[Finding], /) -> tuple[tuple[Access, ...], ClusterAdvice]:
        """Return the rights behind the mints of an incident, and what to say about them."""
        mints, _ = observed(findings, ())
        shown: dict[tuple[str, Grant], list[Mint]] = {}
        missing: dict[Step, None] = {}
        for mint in mints:
            explanation = explain_mint(self._cluster, mint)
            for grant in explanation.grants:
                shown.setdefault((mint.user, grant), []).append(mint)
            if explanation.cause is not None:
                missing[_missing(mint, explanation.cause, explanation.why)] = None
        access = tuple(self._access(caller, grant, found) for (caller, grant), found in shown.items())
        return access, ClusterAdvice(
            (*_steps(access), *missing),
            frozenset(str(one.grant.binding) for one in access),
            tuple(dict.fromkeys(self._clouds(mints))),
        )

    def _access(self, caller: str, grant: Grant, mints: Sequence[Mint]) -> Access:
        accounts = tuple(dict.fromkeys(str(mint.account) for mint in mints))
        return Access(caller, accounts, grant, self._changes.for_grant(grant))

    def _clouds(self, mints: Iterable[Mint]) -> Iterator[Step]:
        for mint in mints:
            for trace in traces_of(self._cluster, mint.account):
                yield Step(f"{mint.account} has an identity in a cloud. {trace.advice}")


def _steps(access: Sequence[Access]) -> Iterator[Step]:
    for one in access[:_MOST]:
        grant = one.grant
        accounts = listed(one.accounts)
        loses = f" It loses {len(one.change.loses)} other rules with it." if one.change.loses else ""
        warnings = "".join(f" Note: {warning}." for warning in one.change.warnings)
        yield Step(
            f"Take from {brief(one.caller)} the right behind its mint for {accounts}: {brief(str(grant.binding))} "
            f"gives {brief(str(grant.role))} to {brief(str(grant.subject))}.{loses}{warnings}",
            one.change.command,
        )
    if len(access) > _MOST:
        more = len(access) - _MOST
        yield Step(f"{more} more bindings give such rights: `k8stokendetect who-can-mint` lists all of them.")


def _missing(mint: Mint, cause: Cause, why: str) -> Step:
    caller = brief(mint.user) or SOMEBODY
    if cause is Cause.MASTERS:
        return Step(f"{caller} {why}: take away the credential.")
    seen = f"The snapshot of the cluster shows no binding behind the mint for {mint.account}"
    return Step(f"{seen}: {caller} {brief(why, 200)}.")
