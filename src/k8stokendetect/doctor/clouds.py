# SPDX-License-Identifier: Apache-2.0
"""What the logs of a cloud hold, and what seems not to be logged there: `CloudReport`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from k8stokendetect.clouds import CLOUDS, Cloud, CloudEvent
from k8stokendetect.doctor.timeline import Timeline
from k8stokendetect.reprs import with_short_repr

_SEE: Final = "see `k8stokendetect audit-policy --clouds`"
_NO_EXCHANGE: Final[Mapping[Cloud, Mapping[str, str]]] = {
    "aws": {
        "web identity": "no AssumeRoleWithWebIdentity: IRSA is not used, or the trail lacks the account of the "
        "role, the Region or read events",
        "pod identity": "no AssumeRole by pods.eks.amazonaws.com: EKS Pod Identity is not used, or the trail lacks the "
        "account of the role, the Region or read events",
    },
    "azure": {
        "sign-in": "no sign-in with a federated credential: none is used, or a category of sign-ins is not exported"
    },
    "google": {
        "pool": "no ExchangeToken: no workload pool is used, or the Data Access log of sts.googleapis.com is off",
        "impersonation": "no GenerateAccessToken: no Google service account is impersonated, or the Data Access log of "
        "iam.googleapis.com is off",
    },
}


_HIDDEN: Final[Mapping[Cloud, tuple[str, ...]]] = {
    "aws": (
        "a role switched to in the console (SwitchRole)",
        "a call that a second account logs without a key (AWSAccount)",
        "the exchange of a token that was minted without an audience",
    ),
    "azure": ("what an identity does after its sign-in", "the exchange of a token that was minted without an audience"),
    "google": (
        "what is done as a service account that the pool's principal impersonates",
        "the exchange of a token that was minted without an audience",
    ),
}
"""What no rule follows, however much is logged; `blind_spots` of the rules say more."""


@with_short_repr
@attrs.frozen(kw_only=True)
class CloudReport:
    """What the logs of one cloud hold.

    Arguments:
        cloud: `aws`, `azure` or `google`.
        events: how many calls.
        first: when the earliest was made; None without a call.
        last: when the latest was.
        exchanges: granted exchanges of a token, or of other credentials, for an identity, by `clouds.ExchangeKind`. Of
            EKS Pod Identity's two records that of STS counts, of Azure sign-ins those with a federated credential.
        refused: exchanges that were refused.
        without_pod: exchanges of EKS Pod Identity that name no pod, as its session tags are disabled.
        read_only: calls that the cloud marks as reading.
        without_key: granted exchanges of AWS whose answer does not name the key that was issued.

    """

    cloud: Cloud
    events: int
    first: datetime | None
    last: datetime | None
    exchanges: Mapping[str, int] = attrs.field(hash=False)
    refused: int
    without_pod: int
    read_only: int
    without_key: int = 0

    @property
    def hidden(self) -> tuple[str, ...]:
        """What no rule follows in this cloud."""
        return _HIDDEN[self.cloud]

    @property
    def missing(self) -> tuple[str, ...]:
        """What seems not to be logged, as sentences."""
        return tuple(f"{line}; {_SEE}" for line in self._missing())

    def _missing(self) -> Iterator[str]:
        if self.cloud == "aws" and not self.read_only:
            yield "no call is marked as read-only, and the exchanges of tokens are: the trail has write events only"
            return
        for kind, why in _NO_EXCHANGE[self.cloud].items():
            if not self.exchanges.get(kind):
                yield why
        if self.without_pod:
            of = self.exchanges["pod identity"]
            yield f"EKS Pod Identity names no pod in {self.without_pod} of {of} exchanges: disableSessionTags is set"
        if self.without_key:
            of = sum(self.exchanges.values())
            yield f"{self.without_key} of {of} exchanges do not name the key that they issued: the session's name joins"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        times = {name: time and time.isoformat() for name, time in (("first", self.first), ("last", self.last))}
        return attrs.asdict(self) | times | {"missing": list(self.missing), "hidden": list(self.hidden)}


class CloudCounts:
    """Counts what the logs of one cloud hold."""

    def __init__(self) -> None:
        self.events = self.refused = self.without_pod = self.without_key = self.read_only = 0
        self.exchanges = Counter[str]()
        self.timeline = Timeline()

    def take(self, event: CloudEvent, /) -> None:
        """Count one call."""
        self.events += 1
        self.timeline.take(event.time)
        self.read_only += bool(event.read_only)
        exchange = event.exchange
        if exchange is None:
            return
        if exchange.kind == "pod identity" and event.service != "sts.amazonaws.com":
            return
        if exchange.kind == "sign-in" and not exchange.credential:
            return
        if event.error:
            self.refused += 1
            return
        self.exchanges[exchange.kind] += 1
        self.without_key += event.cloud == "aws" and not exchange.issued_key
        self.without_pod += exchange.kind == "pod identity" and not exchange.pod_uid

    def report(self, cloud: Cloud, /) -> CloudReport:
        """Return what was counted."""
        return CloudReport(
            cloud=cloud,
            events=self.events,
            first=self.timeline.first,
            last=self.timeline.last,
            exchanges=dict(self.exchanges.most_common()),
            refused=self.refused,
            without_pod=self.without_pod,
            without_key=self.without_key,
            read_only=self.read_only,
        )


def reports_of(counts: Mapping[Cloud, CloudCounts], /) -> tuple[CloudReport, ...]:
    """Return a report for each cloud of which something was read."""
    return tuple(counts[cloud].report(cloud) for cloud in CLOUDS if cloud in counts)
