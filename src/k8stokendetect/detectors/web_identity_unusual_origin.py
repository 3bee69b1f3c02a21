# SPDX-License-Identifier: Apache-2.0
"""web-identity-unusual-origin: an account's token is exchanged from an address or with a client its pods never used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.cloud import CloudDetector, about_call, exchanged, ref_of
from k8stokendetect.detectors.exchanges import MAX_VALUES, Usual, account_of, origin_of
from k8stokendetect.detectors.keyed import View
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Signal
from k8stokendetect.findings import Finding, Rule, Severity
from k8stokendetect.words import named

DAY: Final = timedelta(days=1)

MOST: Final = 3
"""On how many days a new origin of an account is reported; then it is one of its own."""

MOST_NETWORKS: Final = 40
"""A cluster with this number of public networks has nodes with public addresses: one more says nothing."""

SHARED: Final = 3
"""From this number of accounts on that exchange their tokens there, an address is the cluster's: a NAT gateway."""


@attrs.frozen
class Told:
    """When a new value was reported last, and on how many days."""

    last: datetime
    days: int = 1


@attrs.frozen
class Origins:
    """What is usual for an account; of an issuer, the accounts that exchanged from each public network.

    Arguments:
        usual: of an account.
        since: when its first exchange was seen.
        told: what was reported, by kind and value.
        networks: of an issuer.

    """

    usual: Usual = attrs.field(factory=Usual)
    since: datetime | None = None
    told: dict[str, Told] = attrs.field(factory=dict)
    networks: dict[str, tuple[str, ...]] = attrs.field(factory=dict)


class WebIdentityUnusualOrigin(CloudDetector[Origins]):
    """Learns from where an account's tokens are exchanged, then reports what is new, once a day.

    Arguments:
        learn: how many exchanges of an account, over a day at least, are only learned from.

    Raises:
        ConfigError: when it is no number from 1.

    """

    rule = Rule(
        "web-identity-unusual-origin",
        "Service account's token exchanged in a cloud from an unusual origin",
        Severity.MEDIUM,
        description=(
            "The tokens of a service account are exchanged by the same program in the same cluster, every hour or so. "
            "One exchange has a public address (IPv4 /24, IPv6 /64), a kind of client or a beginning of the session's "
            "name that no earlier one of this account had, as when a stolen token is exchanged by hand."
        ),
        techniques=("T1550.001", "T1078.004"),
        tactics=("lateral-movement", "credential-access"),
        references=("https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",),
        false_positives=(
            "an application that was rewritten, or somebody who debugs in its pod",
            "a cluster that moves to other NAT gateways: the first three accounts",
            "budget: for each such change one finding a day and account, on three days at most",
        ),
        blind_spots=(
            "the first twenty exchanges of an account, and its first day",
            "private addresses, which change with nodes; public ones where a cluster has eight and more",
            "an attacker with the same client and session name, in the cluster or behind its NAT gateway",
            "EKS Pod Identity, whose service makes the call: only the node is compared",
        ),
        response=(
            "Ask the owner of the account whether they changed it. If not, look in the audit log for mints of the "
            "account and for commands in its pods, revoke the role's sessions, and see what they did."
        ),
    )
    watches = frozenset({Signal.CLOUD})
    traits = Traits(excludable=False, not_in_sigma="what is usual for an account has to be learned")
    remember_for = timedelta(days=90)

    def __init__(self, *, learn: int = 20) -> None:
        given: object = learn
        if type(given) is not int or learn < 1:
            raise ConfigError(f"learn is no number from 1: {learn!r}")
        super().__init__()
        self.learn = learn

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the account of an exchange that succeeded, and its issuer."""
        account, exchange = account_of(event), event.exchange
        if not account or exchange is None or event.error:
            return ()
        issuer = (exchange.issuer or exchange.cluster or exchange.provider).lower()
        return f"{issuer} {account}", f"{issuer} "

    def cloud_fold(
        self, key: str, event: CloudEvent, _: Sequence[Finding], memory: View[Origins], /
    ) -> Iterator[Finding]:
        """Compare where an exchange comes from with what is usual."""
        own, issuer = self.cloud_keys(event, ())
        if key != own:
            return
        known, origin = memory.get(own) or Origins(), origin_of(event)
        since = min(known.since or event.time, event.time)
        is_learned = known.usual.count >= self.learn and event.time - since >= DAY
        is_shared = self._is_shared(issuer, own, origin.network, memory)
        new = known.usual.new(origin, event.time) if is_learned else []
        new = [kind for kind in new if not (kind == "address" and is_shared)]
        names = [f"{kind} {dict(origin.items())[kind]}" for kind in new]
        told = dict(known.told)
        due = [one for one in names if one not in told or event.time - told[one].last >= DAY]
        for one in due:
            told[one] = Told(event.time, told[one].days + 1 if one in told else 1)
        is_own = all(one in told and told[one].days > MOST for one in names)
        usual = known.usual.with_origin(origin, event.time) if is_own else known.usual
        memory.put(own, Origins(usual, since, dict(list(told.items())[-MAX_VALUES:])))
        if due and not is_own:
            yield self._told(event, new, known.usual.count)

    @staticmethod
    def _is_shared(issuer: str, account: str, network: str, memory: View[Origins]) -> bool:
        """Tell whether several accounts of a cluster use a network, or it has too many to tell; note that this does."""
        networks = (memory.get(issuer) or Origins()).networks
        here = networks.get(network, ())
        if account not in here and len(here) < SHARED and (network in networks or len(networks) < MOST_NETWORKS):
            memory.put(issuer, Origins(networks={**networks, network: (*here, account)}))
        return network == "private" or len(here) >= SHARED or len(networks) >= MOST_NETWORKS

    def _told(self, event: CloudEvent, new: Sequence[str], count: int) -> Finding:
        ref = ref_of(event)
        return Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=(
                f"{exchanged(ref)} with {named(ref.user_agent.split(' ', 1)[0] or 'an unknown client')}: none of "
                f"{count:,} earlier exchanges had this {' or '.join(new)}"
            ),
            event=ref,
            evidence=tuple(about_call(ref)),
            caveats=("which token it was is not logged: a pod's own, or one that somebody minted",),
        )
