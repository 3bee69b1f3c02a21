# SPDX-License-Identifier: Apache-2.0
"""Adds the cloud identities of a service account, from a snapshot of the cluster, to findings about its tokens."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.account_profile import CloudTrace, trace_of
from k8stokendetect.findings import Evidence, Finding, Severity
from k8stokendetect.identity import ServiceAccount


def enriched(finding: Finding, cluster: Cluster, /) -> Finding:
    """Return a finding with the cloud identities of the account whose token was minted or used.

    Its severity is then at least high, since the token leads out of the cluster. Each identity is evidence: where the
    cluster names it, what it is, what to rotate, and which log of the cloud shows its use. An excluded finding, and one
    about no issued token or about a call in a cloud, comes back unchanged. The fingerprint stays the same.

    Arguments:
        finding: of any rule, your own included, also one that was read back.
        cluster: the snapshot.

    """
    if finding.excluded_by is not None or finding.event.cloud is not None:
        return finding
    accounts = tuple(dict.fromkeys(tokens_of(finding)))
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
    """Yield the accounts whose tokens a finding is about: the token just issued, and the one that was used."""
    event = finding.event
    minted = [event] if event.mints_token else []
    used = [mint for mint in finding.related if event.uses_token_of(mint)]
    for ref in (*minted, *used):
        if ref.token_account is not None:
            yield ref.token_account


def traces_of(cluster: Cluster, account: ServiceAccount, /) -> tuple[CloudTrace, ...]:
    """Return each cloud identity of an account with the log that shows its use; none for an unknown account."""
    profile = cluster.service_account(account)
    return tuple(trace_of(profile.account, identity) for identity in profile.cloud) if profile else ()


def _why(account: ServiceAccount, trace: CloudTrace) -> str:
    return f"a token of {account} can become {trace.what}; look in {trace.log}. {trace.rotate}"


def _unknown(finding: Finding, accounts: tuple[ServiceAccount, ...], cluster: Cluster) -> Iterator[str]:
    """Say which account the snapshot does not have, and which token the cloud does not accept."""
    for account in accounts:
        profile = cluster.service_account(account)
        if profile is None:
            yield f"{account} is not in the snapshot of the cluster: its cloud identities are not known"
            continue
        wanted = {identity.audience for identity in profile.cloud}
        asked = finding.event.audiences if account == finding.event.token_account else ()
        if wanted and "" not in wanted and asked and not wanted & set(asked):
            yield (
                f"the cloud accepts tokens for {', '.join(sorted(wanted))}, and this one is for {', '.join(asked)}, "
                "but a caller who can mint one can mint the other"
            )
