# SPDX-License-Identifier: Apache-2.0
"""second-control-plane-credential: a control-plane identity mints with a credential that is not the one at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import attrs

from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.leadership import Doubt, Leadership
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, LEADERS
from k8stokendetect.words import NAMELESS_ACCOUNT, brief, user_of


class SecondControlPlaneCredential(KeyedDetector[Leadership]):
    """The one that holds the lease is at work; without leases, a failover has to look like one.

    A failover without leases: the new credential mints first for accounts that the old one minted for, for two at
    least, and the old one falls silent. Its mints wait until then, and are reported if the old one goes on.
    """

    rule = Rule(
        "second-control-plane-credential",
        "Token minted with a second credential of a control-plane identity",
        Severity.CRITICAL,
        description=(
            "A controller manager's identity mints with a certificate other than the one that holds the controller "
            "manager's lease. Only one controller manager is active at a time, so somebody else has a certificate with "
            "that name, and with it the service accounts of all controllers."
        ),
        techniques=("T1552.007", "T1078"),
        tactics=("credential-access", "privilege-escalation"),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/concepts/architecture/leases/#leader-election",
        ),
        false_positives=(
            "records of up to eight clusters in one stream without their names: call `detect(cluster_name=)` for each",
            "a failover in a log without leases, where the new leader mints for other accounts first",
        ),
        blind_spots=(
            "an attacker with the leader's own certificate, or one who takes the lease and keeps it",
            "without leases, an attacker who mints for half of the accounts that the component's credential minted for",
            "any second credential where more than eight are in use and no record names its cluster: low, once",
            "credentials without ids in the log, such as certificates before 1.32",
        ),
        response=(
            "Treat the cluster's CA, or the signer that issued the certificate, as misused: look for the signing "
            "request. Rotate the CA; a certificate cannot be revoked. End the tokens that were minted with it, and "
            "undo what they did."
        ),
    )
    watches = MINTS | {Signal.LEADER_LEASE}
    traits = Traits(
        excludable=False,  # a second credential has all of a component's proofs
        not_in_sigma="it compares the credentials of one identity over time",
    )
    remember_for = timedelta(days=7)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the identity that mints or renews its lease, where the log names its credential."""
        name = event.user.username
        is_its_own = name in LEADERS and event.used_credential and event.time and event.impersonated_user is None
        return (f"{event.cluster or ''} {name}",) if is_its_own else ()

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Leadership], /) -> Iterator[Finding]:
        """Follow the lease, and compare each mint's credential with the one that holds it."""
        known, time, credential = memory.get(key) or Leadership(), event.time, event.used_credential
        if time is None or credential is None:
            return
        known = known.seen(credential, time)
        if not event.cluster and known.is_crowded:  # it has nothing to say about several clusters in one
            memory.put(key, attrs.evolve(known, warned=True))
            if not known.warned:
                yield self._crowded(event, len(known.live))
        elif event.renews_leader_lease:
            memory.put(key, known.after_lease(credential, time))
        elif event.mints_token:
            known, doubt = known.after_mint(EventRef.of(event), credential, time)
            memory.put(key, known)
            if doubt is not None:
                yield from (self._report(one, doubt) for one in doubt.mints)

    def _crowded(self, event: Event, number: int) -> Finding:
        return self.finding(
            event,
            f"{number} credentials of {event.user.username} are in use: several clusters in one stream whose records "
            "name none. A second credential cannot be distinguished from another cluster's: this rule is off for it",
            Evidence(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, "the one that was used last"),
            severity=Severity.LOW,
            caveats=("scan each cluster's log separately, with its name: detect(cluster_name=), scan --cluster-name",),
        )

    def _report(self, mint: EventRef, doubt: Doubt) -> Finding:
        path = f"user.extra['{CREDENTIAL_ID}'][0]"
        return Finding(
            rule=self.rule,
            severity=self.rule.severity if doubt.certain else Severity.HIGH,
            summary=(
                f"{user_of(mint.user)} minted a token for {brief(mint.target or NAMELESS_ACCOUNT)}"
                f"{f' from {mint.peer_ip}' if mint.peer_ip else ''} with a second credential: {doubt.why} "
                f"({doubt.other[:19]}…)"
            ),
            event=mint,
            evidence=(
                Evidence(path, mint.used_credential, f"the other credential of this identity is {brief(doubt.other)}"),
                *((Evidence(mint.peer_path, mint.peer_ip, "where it minted from"),) if mint.source_ips else ()),
            ),
            caveats=() if doubt.certain else ("which of the two credentials is the component's own is not known",),
        )
