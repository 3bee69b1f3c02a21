# SPDX-License-Identifier: Apache-2.0
"""Adds to a finding what a snapshot of the cluster knows about the service account whose token it is about."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.cloud_trace import CloudTrace, trace_of
from k8stokendetect.findings import Evidence, Finding, Severity
from k8stokendetect.identity import ServiceAccount


def enriched(finding: Finding, cluster: Cluster, /) -> Finding:
    """Return a finding with the cloud identities that hang on the account whose token was minted or used.

    It is then high at least, since the token leads out of the cluster, and each identity is evidence: where the cluster
    names it, which it is, what to rotate and where the cloud's own log shows its use. What an exclusion set aside, and
    what is about no token that was issued, comes back as it is. The fingerprint stays the same.

    Arguments:
        finding: of any rule, also one of your own, or one that was read back.
        cluster: the snapshot.

    """
    accounts = tuple(dict.fromkeys(tokens_of(finding))) if finding.excluded_by is None else ()
    traces = [(account, trace) for account in accounts for trace in traces_of(cluster, account)]
    evidence = tuple(Evidence(trace.at, trace.identity, _why(account, trace)) for account, trace in traces)
    caveats = tuple(_unknown(finding, accounts, cluster))
    if not evidence and not caveats:
        return finding
    return attrs.evolve(
        finding,
        severity=max(finding.severity, Severity.HIGH) if traces else finding.severity,
        evidence=(*finding.evidence, *(item for item in evidence if item not in finding.evidence)),
        caveats=(*finding.caveats, *(text for text in caveats if text not in finding.caveats)),
    )


def tokens_of(finding: Finding, /) -> Iterator[ServiceAccount]:
    """Yield the accounts whose tokens a finding is about: the one just issued, the one that was used."""
    event = finding.event
    minted = [event] if event.mints_token else []
    used = [mint for mint in finding.related if event.uses_token_of(mint)]
    for ref in (*minted, *used):
        if ref.token_account is not None:
            yield ref.token_account


def traces_of(cluster: Cluster, account: ServiceAccount, /) -> tuple[CloudTrace, ...]:
    """Return where to look after each cloud identity of an account; none when the snapshot does not have it."""
    worth = cluster.service_account(account)
    return tuple(trace_of(worth.account, identity) for identity in worth.cloud) if worth else ()


def _why(account: ServiceAccount, trace: CloudTrace) -> str:
    return f"a token of {account} can become {trace.what}; look in {trace.log}. {trace.rotate}"


def _unknown(finding: Finding, accounts: tuple[ServiceAccount, ...], cluster: Cluster) -> Iterator[str]:
    """Say what the snapshot cannot tell, and where the token is not one that the cloud takes."""
    for account in accounts:
        worth = cluster.service_account(account)
        if worth is None:
            yield f"{account} is not in the snapshot of the cluster: which cloud identities hang on it is not known"
            continue
        wanted = {identity.audience for identity in worth.cloud}
        asked = finding.event.audiences if account == finding.event.token_account else ()
        if wanted and "" not in wanted and asked and not wanted & set(asked):
            yield (
                f"the cloud takes tokens for {', '.join(sorted(wanted))}, and this one is for {', '.join(asked)}; "
                "whoever may mint the one may mint the other"
            )
