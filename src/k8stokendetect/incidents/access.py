# SPDX-License-Identifier: Apache-2.0
"""The rights behind an incident, as a snapshot of the cluster shows them, and how to take them away."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import attrs

from k8stokendetect.cluster import Change, Changes, Cluster, Grant
from k8stokendetect.enrichment import traces_of
from k8stokendetect.events import JsonValue
from k8stokendetect.findings import Finding, Severity
from k8stokendetect.incidents.advice import EVERYBODY, ClusterAdvice, with_kind
from k8stokendetect.incidents.mints import Cause, Mint, explain_mint, observed
from k8stokendetect.incidents.step import Step
from k8stokendetect.reprs import short_repr
from k8stokendetect.words import SOMEBODY, account_or_user, listed, named

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
        findings = tuple(findings)
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
            tuple(dict.fromkeys((*self._clouds(mints, _exchanged(findings)), *self._roles(findings)))),
        )

    def _access(self, caller: str, grant: Grant, mints: Sequence[Mint]) -> Access:
        accounts = tuple(dict.fromkeys(str(mint.account) for mint in mints))
        return Access(caller, accounts, grant, self._changes.for_grant(grant))

    def _clouds(self, mints: Iterable[Mint], known: Collection[tuple[object, str]]) -> Iterator[Step]:
        """Say where to look for what became of each token, unless that is known."""
        for mint in mints:
            for trace in traces_of(self._cluster, mint.account):
                if (mint.account, trace.identity) not in known:
                    yield Step(f"{mint.account} has an identity in a cloud. {trace.advice}")

    def _roles(self, findings: Iterable[Finding]) -> Iterator[Step]:
        """Say which accounts may assume a role that was assumed: anyone who may mint for one of them has it."""
        calls = [one.event for one in findings if one.event.cloud is not None and one.event.cloud.kind]
        for role in dict.fromkeys(ref.cloud.role for ref in calls if ref.cloud and ref.cloud.role):
            accounts = [
                str(account)
                for account in self._cluster.accounts
                if (profile := self._cluster.service_account(account.ref))
                and any(identity.identity == role for identity in profile.cloud)
            ]
            if accounts:
                yield Step(
                    f"In this cluster {listed(accounts, 10)} may assume {named(role, 200)}: anyone who may mint for "
                    "one of them, or run a pod with it, has the role."
                )


def _exchanged(findings: Iterable[Finding]) -> set[tuple[object, str]]:
    """Return whose token was exchanged for which role, as far as `cloud_steps` says what to do about that."""
    return {
        (ref.token_account, one.event.cloud.role)
        for one in findings
        if one.event.cloud is not None and one.event.cloud.kind and one.event.succeeded and one.severity > Severity.LOW
        for ref in one.related
        if ref.mints_token
    }


def _steps(access: Sequence[Access]) -> Iterator[Step]:
    for one in access[:_MOST]:
        grant = one.grant
        accounts = listed(one.accounts)
        loses = f" It loses {len(one.change.loses)} other rules with it." if one.change.loses else ""
        warnings = "".join(f" Note: {warning}." for warning in one.change.warnings)
        everybody = EVERYBODY if grant.subject.kind == "Group" else ""
        yield Step(
            f"Take from {named(account_or_user(one.caller))} the right behind its mint for {accounts}: "
            f"{with_kind(str(grant.binding))} gives {with_kind(str(grant.role))} to {with_kind(str(grant.subject))}."
            f"{everybody}{loses}{warnings}",
            one.change.command,
        )
    if len(access) > _MOST:
        more = len(access) - _MOST
        yield Step(f"{more} more bindings give such rights: k8stokendetect who-can-mint lists all of them.")


def _missing(mint: Mint, cause: Cause, why: str) -> Step:
    caller = named(account_or_user(mint.user)) or SOMEBODY
    if cause is Cause.MASTERS:
        return Step(f"{caller} {why}: take away the credential.")
    seen = f"The snapshot of the cluster shows no binding behind the mint for {mint.account}"
    return Step(f"{seen}: {caller} {named(why, 200)}.")
