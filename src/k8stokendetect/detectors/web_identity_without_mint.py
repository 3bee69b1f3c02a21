# SPDX-License-Identifier: Apache-2.0
"""web-identity-without-mint: a cloud accepted an account's token although no kubelet minted one in the day before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent
from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.cloud import CloudDetector, about_call, exchanged, ref_of
from k8stokendetect.detectors.exchanges import (
    Runs,
    account_of,
    checked_issuers,
    covers,
    hour_of,
    key_of,
    origin_of,
    touches,
    with_hour,
)
from k8stokendetect.detectors.keyed import View
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding, Rule, Severity
from k8stokendetect.words import named

CLUSTER: Final = " cluster"
"""The key of what is known of all accounts together; no account is called so."""

LOOKED_BACK: Final = 25
"""Hours before an exchange: a kubelet renews a token that is older than 24 hours
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken), and a pod's library reads the file
again for each exchange."""

ENOUGH: Final = 3
"""An issuer is this cluster's once the log explains the exchanges of this number of accounts."""

DAY: Final = timedelta(days=1)
"""An account is reported once in this time, for each origin."""

MAX_ISSUERS: Final = 100
MAX_NAMES: Final = 20

_BY_NODE: Final = frozenset({"token-request", "token-in-audit-log"})
"""What is said of a kubelet's own mint where no exclusion is in force, or its answer was logged."""

_METADATA_HOST: Final = ".svc.id.goog"
"""In the pools of GKE's own workload identity the node's metadata server exchanges tokens of its own
(https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity)."""


@attrs.frozen
class Seen:
    """Accounts of an issuer whose exchanges the audit log explains, and those whose it does not."""

    explained: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()

    def with_name(self, name: str, *, explained: bool) -> Seen:
        """Return it with an account."""
        if name in (self.explained if explained else self.unexplained):
            return self
        if explained:
            return attrs.evolve(self, explained=(*self.explained, name)[-MAX_NAMES:])
        return attrs.evolve(self, unexplained=(*self.unexplained, name)[-MAX_NAMES:])

    @property
    def is_own(self) -> bool:
        """Whether the issuer is that of the cluster whose audit log is read."""
        return len(self.explained) >= ENOUGH and len(self.explained) > 2 * len(self.unexplained)

    @property
    def is_in_part(self) -> bool:
        """Whether the log seems to lack mints: it explains the exchanges of less than half of the accounts."""
        known = {*self.explained, *self.unexplained}
        return len(known) >= ENOUGH and 2 * len(self.explained) < len(known)


@attrs.frozen
class Minted:
    """Hours in which kubelets, and components by design, minted for an account, or for anybody at all.

    Arguments:
        hours: those hours.
        latest: the time of the last mint; of the cluster only.
        issuers: what is known of each issuer; of the cluster only.
        reported: when an exchange was last reported, by its origin; of an account only.

    """

    hours: Runs = ()
    latest: datetime | None = None
    issuers: dict[str, Seen] = attrs.field(factory=dict)
    reported: dict[str, datetime] = attrs.field(factory=dict)


NOTHING: Final = Minted()


class WebIdentityWithoutMint(CloudDetector[Minted]):
    """Reports an exchange that no pod can have made, as far as the audit log covers the day before without a gap.

    Arguments:
        issuers: of the clusters whose audit logs are read. Without any, an issuer is taken for this cluster's once the
            log explains the exchanges of three of its accounts, and of more than twice as many as it does not.

    Raises:
        ConfigError: when they are not a list of texts.

    """

    rule = Rule(
        "web-identity-without-mint",
        "Service account used in a cloud without a token for any of its pods",
        Severity.HIGH,
        description=(
            "A cloud accepted a token of a service account for which, in the day before, no kubelet and no component "
            "minted one. A kubelet renews a pod's token within a day, so every pod that can have made the exchange has "
            "a mint in the log: this token came from elsewhere. This is reported only where the log has mints by "
            "kubelets in each hour of that day. At level Metadata, audiences are not logged: there it means that the "
            "account has no pod at all."
        ),
        techniques=("T1550.001", "T1078.004", "T1606"),
        tactics=("lateral-movement", "credential-access"),
        references=(
            "https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken",
            "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
        ),
        false_positives=(
            "another cluster's issuer taken for this one's, with accounts of the same names: give `issuers`",
            "a program that keeps a token for longer than a day, where the cluster issues such tokens",
            "an audit log that lacks mints: one of three API servers' files, a policy that drops some namespaces",
            "budget: none on an ordinary day; else one a day for each account and each origin of its exchanges",
        ),
        blind_spots=(
            "accounts that have a pod: any mint for the account explains an exchange, whatever its audience",
            "a log with an hour in which no kubelet minted: `Tally.undecided` counts the exchanges it cannot judge",
            "an issuer of whose accounts, three at least, the log explains less than half: counted as undecided, too",
            "an account's further exchanges of a day from the same network with the same client, and what they lead to",
            "an issuer of fewer than three accounts, unless it is given",
            "EKS Pod Identity, GKE's own pools and Azure, which do not name the issuer as its cluster does",
        ),
        response=(
            "Find out who has the token: search the audit log further back for mints of this account, check whether "
            "the signing key was stolen if there are none, revoke the role's sessions, and see what they did."
        ),
    )
    watches = MINTS
    traits = Traits(
        excludable=False,
        not_in_sigma="it joins two logs",
    )
    needs = frozenset({"token-request"})
    remember_for = timedelta(days=30)

    def __init__(self, *, issuers: Collection[str] = ()) -> None:
        super().__init__()
        self.issuers = checked_issuers(issuers)

    def keys(self, event: Event, reported: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the cluster and the account of a mint by design; what is reported explains nothing."""
        if not event.mints_token or event.time is None:
            return ()
        own = (
            _BY_NODE
            if event.user.username.startswith("system:node:") and "system:nodes" in event.user.groups
            else frozenset()
        )
        if reported and any(one.severity >= Severity.MEDIUM and one.rule.id not in own for one in reported):
            return ()
        account = key_of(event.service_account)
        return (account, CLUSTER) if account else ()

    def cloud_keys(self, event: CloudEvent, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the account whose token was exchanged."""
        exchange, account = event.exchange, account_of(event)
        if exchange is None or not account or event.error or exchange.kind not in {"web identity", "pool"}:
            return ()
        return () if _METADATA_HOST in f"{exchange.provider} {exchange.audience}" else (account, CLUSTER)

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Minted], /) -> Iterable[Finding]:
        """Note the hour of a mint."""
        is_cluster, now = key == CLUSTER, memory.now
        if is_cluster and not event.user.username.startswith("system:node:"):
            return ()
        known = memory.get(key) or NOTHING
        hours, latest = with_hour(known.hours, hour_of(now)), known.latest
        if is_cluster and (latest is None or latest < now):
            latest = now
        if hours is not known.hours or latest is not known.latest:
            memory.put(key, Minted(hours, latest, known.issuers, known.reported))
        return ()

    def cloud_fold(
        self, key: str, event: CloudEvent, _: Sequence[Finding], memory: View[Minted], /
    ) -> Iterator[Finding]:
        """Compare an exchange with the hours before."""
        exchange = event.exchange
        if key == CLUSTER or exchange is None:
            return
        cluster, account = memory.get(CLUSTER) or Minted(), memory.get(key) or Minted()
        hour = hour_of(event.time)
        is_explained = touches(account.hours, hour - LOOKED_BACK, hour)
        covered = covers(cluster.hours, hour - LOOKED_BACK + 1, hour - 1)
        until = memory.settled or (cluster.latest is not None and cluster.latest >= event.time)
        issuer = (exchange.issuer or exchange.provider).lower()
        seen = cluster.issuers.get(issuer, Seen())
        if is_explained or (covered and until):
            seen = seen.with_name(key, explained=is_explained)
            issuers = {**{one: of for one, of in cluster.issuers.items() if one != issuer}, issuer: seen}
            issuers = dict(list(issuers.items())[-MAX_ISSUERS:])
            memory.put(CLUSTER, attrs.evolve(cluster, issuers=issuers))
        if is_explained or (self.issuers and issuer not in self.issuers):
            return
        is_own = not seen.is_in_part if issuer in self.issuers else seen.is_own
        if not (covered and until and is_own):
            self.undecided += 1
            return
        origin = " ".join(value for _, value in origin_of(event).items())
        last = account.reported.get(origin)
        if last is None or event.time - last >= DAY or event.time == last:  # the same one may be delivered again
            others = {one: at for one, at in account.reported.items() if one != origin}
            reported = dict([*others.items(), (origin, event.time)][-MAX_NAMES:])
            memory.put(key, attrs.evolve(account, reported=reported))
            yield self._report(event, issuer)

    def _report(self, event: CloudEvent, issuer: str) -> Finding:
        ref = ref_of(event)
        return Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=f"{exchanged(ref)}, and in the day before no kubelet minted one for that account",
            event=ref,
            evidence=tuple(about_call(ref)),
            caveats=(
                "audiences are not compared: no kubelet has minted any token for the account",
                *(() if issuer in self.issuers else (f"that {named(issuer)} is this cluster's issuer is inferred",)),
            ),
        )
