# SPDX-License-Identifier: Apache-2.0
"""minted-token-exchanged: a token whose mint was reported was exchanged for credentials of a cloud."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.cloud import CloudDetector, about_call, exchanged, ref_of, refused
from k8stokendetect.detectors.exchange_proof import (
    Account,
    Early,
    Joined,
    Mint,
    explains,
    joined,
    lost_to,
    same_pod,
)
from k8stokendetect.detectors.exchanges import (
    SETTLED,
    account_of,
    checked_issuers,
    is_foreign,
    is_no_sign,
    key_of,
    origin_of,
    places_of,
    with_network,
)
from k8stokendetect.detectors.following import lifetime
from k8stokendetect.detectors.keyed import View
from k8stokendetect.detectors.token_in_audit_log import TokenInAuditLog
from k8stokendetect.detectors.wording import enabling
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.words import user_of

UNKNOWN_LIFETIME: Final = timedelta(hours=24)
"""How long a token is taken to live where that was not logged: what EKS grants at most (measured in 2022,
https://github.com/DataDog/stratus-red-team/issues/163); GKE grants 48 hours."""


MAX_ACCOUNTS: Final = 20_000
"""How many accounts are remembered at once."""


class MintedTokenExchanged(CloudDetector[Account]):
    """Joins reported mints with exchanges, by account, audience, issuer and time; with EKS Pod Identity by the pod.

    Arguments:
        issuers: of the clusters whose audit logs are read, such as `https://oidc.eks.us-east-1.amazonaws.com/id/A1B2`;
            exchanges of other clusters' tokens are left out. Without any, none is.

    Raises:
        ConfigError: when they are not a list of texts.

    """

    rule = Rule(
        "minted-token-exchanged",
        "Minted service account token exchanged for cloud credentials",
        Severity.CRITICAL,
        description=(
            "Someone other than a system component minted a token, and while it was valid, a token of the same service "
            "account was exchanged for credentials of AWS, Google or Azure. Critical: the pod matches, or the origin "
            "is one that no pod of the account has, or the account has no pod. High: the account has pods, and it is "
            "not known where they exchange their tokens; or only the address is new, and the token's audience was not "
            "logged. Low: refused. Low, or informational where the audience was not logged, up to three times for each "
            "mint: it looks like the pods' own exchanges. No cloud logs a token's id, so the account and the time join "
            "the two, except for EKS Pod Identity, which names the pod."
        ),
        techniques=("T1550.001", "T1078.004", "T1528"),
        tactics=("lateral-movement", "credential-access", "defense-evasion"),
        references=(
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",
            "https://cloud.google.com/iam/docs/audit-logging/examples-workload-identity",
            "https://eksclustergames.com/",
        ),
        false_positives=(
            "an operator that mints for other accounts and was not enabled: medium, the finding names the exclusion",
            "pods whose nodes have few public addresses, in the day after a reported mint for their account: high",
            "budget: none on a day without a reported mint; after one, three of the pods' own, low or informational",
        ),
        blind_spots=(
            "an exchange that the cloud did not log: Google's Data Access logs are off by default",
            "Azure logs no subject: without a file of subjects nothing is joined",
            "where the audience was not logged, any token of the account may be the one",
            "a token that lives longer than a day, where its lifetime was not logged",
            "a token minted without an audience, where a cloud takes an unusual one of the API server's own",
            "EKS Pod Identity whose association disables session tags: its `AssumeRole` names no account and no pod",
            "a fourth exchange of the same mint from where the pods' own come from, with their client",
        ),
        response=(
            "Revoke the role's sessions (IAM, Revoke sessions), look at what the issued key did in all regions, and "
            "detach the role from the service account until the right to mint is taken away. Then end the token."
        ),
    )
    watches = MINTS
    traits = Traits(excludable=False, not_in_sigma="it joins two logs")
    needs = frozenset({"token-request"})
    remember_for = timedelta(days=30)

    def __init__(self, *, issuers: Collection[str] = ()) -> None:
        super().__init__()
        self.states.limit = MAX_ACCOUNTS
        self.issuers = checked_issuers(issuers)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the account that a token was minted for."""
        return (key_of(event.service_account),) if event.mints_token and event.service_account and event.time else ()

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the account whose token was exchanged, its issuer, and the account of the cloud."""
        key = account_of(event)
        return (
            (key, *places_of(event)) if key and event.exchange and not is_foreign(event.exchange, self.issuers) else ()
        )

    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[Account], /) -> Iterator[Finding]:
        """Remember a mint; report the exchanges of its token that were read before."""
        known = memory.get(key) or Account()
        about = reported and [
            one for one in reported if one.severity >= Severity.MEDIUM and one.rule != TokenInAuditLog.rule
        ]
        if not about:
            if known.pods is None or memory.now - known.pods > timedelta(hours=1):
                memory.put(key, attrs.evolve(known, pods=memory.now))
            return
        ref = EventRef.of(event)
        if any(mint.ref.request_id == ref.request_id for mint in known.mints):
            return
        enable = next((one.enable for one in about if one.enable), "")
        mint = Mint(ref, lifetime(event) or memory.now + UNKNOWN_LIFETIME, enable)
        known = known.with_mint(mint)
        left = []
        for early in known.early:
            if explains(mint, early.ref, early.exchange):
                known, found = joined(known, mint, early)
                yield from self._report(found)
            else:
                left.append(early)
        memory.put(key, attrs.evolve(known, early=tuple(left)))

    def cloud_fold(
        self, key: str, event: CloudEvent, _: Sequence[Finding], memory: View[Account], /
    ) -> Iterator[Finding]:
        """Report an exchange that a reported mint explains; learn from where all others come."""
        known, exchange = memory.get(key) or Account(), event.exchange
        if exchange is None or key != account_of(event):
            return
        origin, places = origin_of(event), places_of(event)
        of = [(memory.get(place) or Account()).networks for place in places]
        here = Early(ref_of(event), exchange, origin, is_no_sign(origin.network, of[0], of[1]))
        mints = [mint for mint in known.mints if explains(mint, here.ref, exchange)]
        best = max(
            mints,
            key=lambda mint: (same_pod(mint, exchange), bool(mint.ref.audiences), mint.until),
            default=lost_to(known, here.ref, exchange),
        )
        if best is not None:
            known, found = joined(known, best, here)
            memory.put(key, known)
            yield from self._report(found)
        elif not any(early.ref.request_id == here.ref.request_id for early in known.early):
            usual = known.usual if event.error else known.usual.with_origin(here.origin, event.time)
            for place, networks in zip(places, of, strict=True) if usual.count > SETTLED else ():
                more = with_network(networks, origin.network, key)
                if more is not networks:
                    memory.put(place, Account(networks=more))
            memory.put(key, attrs.evolve(known.with_early(here), usual=usual))

    def _report(self, found: Joined | None) -> Iterator[Finding]:
        if found is None:
            return
        mint, call = found.mint.ref, found.call.ref
        seconds = (call.time - mint.time).total_seconds() if call.time and mint.time else 0.0
        yield Finding(
            rule=self.rule,
            severity=found.severity,
            summary=(
                f"{exchanged(call)} {max(seconds, 0):.0f} s after {user_of(mint.user) or 'somebody'} minted one: "
                f"{found.proof}"
                f"{refused(call)}"
            ),
            event=call,
            evidence=(
                Evidence("time", call.time, f"while the minted token was valid, until {found.mint.until}"),
                *about_call(call),
            ),
            related=(mint,),
            caveats=(*found.caveats, *((enabling(found.mint.enable, "The minter"),) if found.mint.enable else ())),
            enable=found.mint.enable,
        )
