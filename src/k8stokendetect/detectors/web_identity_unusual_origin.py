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
from k8stokendetect.detectors.exchanges import (
    MAX_VALUES,
    SETTLED,
    Networks,
    Usual,
    account_of,
    is_no_sign,
    origin_of,
    places_of,
    with_network,
)
from k8stokendetect.detectors.keyed import View
from k8stokendetect.errors import check
from k8stokendetect.events import Signal
from k8stokendetect.findings import Finding, Rule, Severity
from k8stokendetect.words import named

DAY: Final = timedelta(days=1)

MOST: Final = 3
"""On how many days a new origin of an account is reported; then it is one of its own."""


@attrs.frozen
class Reported:
    """When a new value was reported last, and on how many days."""

    last: datetime
    days: int = 1


@attrs.frozen
class Origins:
    """What is usual for an account.

    Arguments:
        usual: of an account.
        since: when its first exchange was seen.
        reported: what was, by kind and value.
        networks: of an issuer, or of an account of the cloud: which service accounts use each.

    """

    usual: Usual = attrs.field(factory=Usual)
    since: datetime | None = None
    reported: dict[str, Reported] = attrs.field(factory=dict)
    networks: Networks = attrs.field(factory=dict)


class WebIdentityUnusualOrigin(CloudDetector[Origins]):
    """Learns from where an account's tokens are exchanged, then reports what is new, once a day.

    Arguments:
        learn: how many exchanges of an account, over a day at least, are only learned from.

    Raises:
        ConfigError: when it is not a number from 1.

    """

    rule = Rule(
        "web-identity-unusual-origin",
        "Service account's token exchanged in a cloud from an unusual origin",
        Severity.MEDIUM,
        description=(
            "The tokens of a service account are exchanged by the same program in the same cluster, every hour or so. "
            "One exchange has a public address (IPv4 /24, IPv6 /64), a kind of client or a prefix of the session "
            "name that no earlier exchange of this account had, as when a stolen token is exchanged by hand."
        ),
        techniques=("T1550.001", "T1078.004"),
        tactics=("lateral-movement", "credential-access"),
        references=("https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html",),
        false_positives=(
            "an application that was rewritten, or somebody who debugs in its pod",
            "the first exchange of one or two accounts through another NAT gateway",
            "budget: for each such change, one finding per day and account, on three days at most",
        ),
        blind_spots=(
            "the first twenty exchanges of an account, and its first day",
            "private addresses, which change with nodes; public ones where a cluster has more than four",
            "an attacker with the same client and session name, in the cluster or behind its NAT gateway",
            "EKS Pod Identity, whose service makes the call: only the node is compared",
        ),
        response=(
            "Ask the owner of the account whether they changed it. If not, look in the audit log for mints of the "
            "account and for commands in its pods, revoke the role's sessions, and see what they did."
        ),
    )
    watches = frozenset({Signal.CLOUD})
    traits = Traits(excludable=False, not_in_sigma="what is usual for an account must be learned")
    remember_for = timedelta(days=90)

    def __init__(self, *, learn: int = 20) -> None:
        check(learn, int, f"learn is not a number of at least 1: {learn!r}", lambda number: number >= 1)
        super().__init__()
        self.learn = learn

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the account of an exchange that succeeded, its issuer, and the account of the cloud."""
        account, exchange = account_of(event), event.exchange
        if not account or exchange is None or event.error:
            return ()
        places = places_of(event)
        return f"{places[0]}{account}", *places

    def cloud_fold(
        self, key: str, event: CloudEvent, _: Sequence[Finding], memory: View[Origins], /
    ) -> Iterator[Finding]:
        """Compare where an exchange comes from with what is usual."""
        own, *wider = self.cloud_keys(event, ())
        if key != own:
            return
        known, origin = memory.get(own) or Origins(), origin_of(event)
        since = min(known.since or event.time, event.time)
        is_learned = known.usual.count >= self.learn and event.time - since >= DAY
        of = [(memory.get(place) or Origins()).networks for place in wider]
        is_shared = is_no_sign(origin.network, of[0], of[1])
        new = known.usual.new(origin, event.time) if is_learned else []
        new = [kind for kind in new if not (kind == "address" and is_shared)]
        names = [f"{kind} {dict(origin.items())[kind]}" for kind in new]
        said = dict(known.reported)
        due = [one for one in names if one not in said or event.time - said[one].last >= DAY]
        for one in due:
            said[one] = Reported(event.time, said[one].days + 1 if one in said else 1)
        is_own = all(one in said and said[one].days > MOST for one in names)
        usual = known.usual.with_origin(origin, event.time) if is_own else known.usual
        for place, networks in zip(wider, of, strict=True) if is_own and usual.count > SETTLED else ():
            more = with_network(networks, origin.network, own)
            if more is not networks:
                memory.put(place, Origins(networks=more))
        memory.put(own, Origins(usual, since, dict(list(said.items())[-MAX_VALUES:])))
        if due and not is_own:
            yield self._report(event, new, known.usual.count)

    def _report(self, event: CloudEvent, new: Sequence[str], count: int) -> Finding:
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
