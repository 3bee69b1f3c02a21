# SPDX-License-Identifier: Apache-2.0
"""What the rules about exchanges share: whose token it was, where it came from, which issuer, and in which hours."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Final

import attrs

from k8stokendetect.clouds import CloudEvent, Exchange, normalised_issuer
from k8stokendetect.errors import ConfigError, checked_list
from k8stokendetect.findings import EventRef
from k8stokendetect.identity import ServiceAccount

WITH_TOKEN: Final = frozenset({"web identity", "pod identity", "pool", "sign-in"})
"""The kinds of exchange for which a Kubernetes token is handed in."""

MAX_VALUES: Final = 20
"""How many values of one kind are remembered of an account's exchanges."""

MANY: Final = 8
"""From this number of values on, one more says nothing: nodes with public addresses, names that are random."""

_NODE: Final = re.compile(r"i-[0-9a-f]{8,17}")
"""The session of an EC2 instance's role is named after the instance (docs.aws.amazon.com/eks pod-id-how-it-works)."""


def key_of(account: ServiceAccount | None, /) -> str:
    """Name an account in what is remembered, however a pipeline wrote it; empty for None."""
    return f"{account.namespace.strip()}/{account.name.strip()}".lower() if account else ""


def account_of(event: CloudEvent, /) -> str:
    """Name the account whose token was exchanged; empty where none was, or where the log does not say whose."""
    exchange = event.exchange
    if exchange is None or exchange.kind not in WITH_TOKEN:
        return ""
    return key_of(exchange.service_account or ServiceAccount.of_username(exchange.subject.strip().lower()))


def checked_issuers(issuers: Collection[str], /) -> frozenset[str]:
    """Return issuers as they are compared; raises ConfigError for what is not a list of texts."""
    given = checked_list(issuers, str, "issuers takes a list of issuer URLs")
    if not all(issuer.strip() for issuer in given):
        raise ConfigError("issuers takes a list of issuer URLs that are not empty")
    return frozenset(normalised_issuer(issuer).lower() for issuer in given)


def is_foreign(exchange: Exchange, issuers: Collection[str], /) -> bool:
    """Tell whether another cluster issued a token than those of these issuers; without any, that is not known."""
    return bool(issuers and exchange.issuer) and exchange.issuer.lower() not in issuers


def is_elsewhere(mint: EventRef, exchange: Exchange, /) -> bool:
    """Tell whether EKS names another cluster than that of a mint: `arn:aws:eks:REGION:ACCOUNT:cluster/NAME`."""
    names = mint.cluster, exchange.cluster
    return bool(names[0] and names[1]) and len({name.rpartition("/")[2] for name in names if name}) > 1


@attrs.frozen
class Origin:
    """Where an exchange came from.

    Arguments:
        network: of a public address (IPv4 /24, IPv6 /64); `private` for any other, since a pod's changes with its node;
            the service's name where a service made the call.
        client: the kind of client, such as `aws-cli` or `Boto3`.
        session: how the session's name begins; empty where EKS made it.

    """

    network: str
    client: str
    session: str

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return the kinds with their values."""
        return ("address", self.network), ("client", self.client), ("session name", self.session)


def origin_of(event: CloudEvent, /) -> Origin:
    """Return where an exchange came from."""
    exchange, agent = event.exchange, event.user_agent.partition("/")[0].strip().lower()[:100]
    if exchange is not None and exchange.kind == "pod identity":  # EKS made the call, for anyone who had the token
        name = exchange.node_session.rpartition("/")[2]
        return Origin(event.source_ip, "node" if not name or _NODE.fullmatch(name) else name[:100], "")
    session = re.split(r"[-_.@0-9]", exchange.session_name, maxsplit=1)[0].lower()[:100] if exchange else ""
    return Origin(network_of(event.source_ip), agent, session)


PRIVATE: Final = "private"

_PRIVATE: Final = tuple(
    map(
        ip_network,
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16 127.0.0.0/8 fc00::/7 fe80::/10".split(),
    )
)
"""Addresses of pods and nodes, which AWS logs where a VPC endpoint is used: RFC 1918, RFC 6598, RFC 3927, RFC 4193."""


@functools.lru_cache(maxsize=4096)
def network_of(text: str, /) -> str:
    """Return the network of a public address; `private` for any other; what is not an address as it is."""
    try:
        address = ip_address(text.removeprefix("::ffff:").partition("%")[0])
    except ValueError:
        return text
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return PRIVATE
    return str(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))  # noqa: PLR2004 - IPv4


@attrs.frozen
class Usual:
    """From where the tokens of an account are exchanged, and since when.

    Arguments:
        first: when each value of each kind was first seen.
        count: how many exchanges were seen.

    """

    first: dict[str, dict[str, datetime]] = attrs.field(factory=dict)
    count: int = 0

    def with_origin(self, origin: Origin, time: datetime, /) -> Usual:
        """Return it with an exchange; of more values than `MAX_VALUES` the new ones are not remembered."""
        first = dict(self.first)
        for kind, value in origin.items():
            values = first.get(kind, {})
            before = values.get(value)
            if value and (before is None or time < before) and (before is not None or len(values) < MAX_VALUES):
                first[kind] = {**values, value: time}
        return Usual(first, self.count + 1)

    def new(self, origin: Origin, before: datetime, /) -> list[str]:
        """Return the kinds whose value was not seen before a time, and of which others were."""
        found = []
        for kind, value in origin.items():
            known = {one for one, first in self.first.get(kind, {}).items() if first < before}
            if value and 0 < len(known) < MANY and value not in known:
                found.append(kind)
        return found

    def is_known(self, before: datetime, /) -> bool:
        """Tell whether anything was seen before a time."""
        return any(first < before for values in self.first.values() for first in values.values())


Networks = dict[str, tuple[str, ...]]
"""Which service accounts exchanged tokens from each public network: of an issuer, or of an account of the cloud."""

MOST_NETWORKS: Final = 4
"""A cluster with more public networks than this has more than the gateways of its zones: one more says nothing."""

SETTLED: Final = 5
"""After this number of exchanges of an account, the addresses of further ones are its cluster's."""

SHARED: Final = 3
"""From this number of service accounts on, an address is a gateway of the same account of the cloud."""


def places_of(event: CloudEvent, /) -> tuple[str, str]:
    """Name the issuer of a token that was exchanged, and the account of the cloud, as what has networks."""
    exchange = event.exchange
    issuer = (exchange.issuer or exchange.cluster or exchange.provider).lower() if exchange else ""
    return f"{issuer} ", f" {event.cloud} {event.account}"


def with_network(networks: Networks, network: str, account: str, /) -> Networks:
    """Return networks with an account's public one; the same where that says nothing new."""
    here = networks.get(network, ())
    if network == PRIVATE or account in here or len(here) >= SHARED or (not here and len(networks) >= MAX_VALUES):
        return networks
    return {**networks, network: (*here, account)}


def is_no_sign(network: str, of_issuer: Networks, of_cloud: Networks, /) -> bool:
    """Tell whether an address says nothing: it is private, or a gateway's, or the cluster has too many."""
    shared = max(len(networks.get(network, ())) for networks in (of_issuer, of_cloud)) >= SHARED
    return network == PRIVATE or shared or len(of_issuer.keys() - {network}) >= MOST_NETWORKS


HOUR: Final = 3600
MAX_RUNS: Final = 60
"""How many runs of hours are remembered; a kubelet renews each token at least once a day."""

Runs = tuple[tuple[int, int], ...]
"""Hours since 1970, as first and last of each run, in order."""


def hour_of(time: datetime, /) -> int:
    """Return the hour of a time, counted from 1970."""
    return int(time.replace(tzinfo=time.tzinfo or UTC).timestamp()) // HOUR


def with_hour(runs: Runs, hour: int, /) -> Runs:
    """Return runs with an hour more; the oldest are forgotten first."""
    if runs and runs[-1][0] <= hour <= runs[-1][1]:
        return runs
    if runs and runs[-1][1] + 1 == hour:
        return (*runs[:-1], (runs[-1][0], hour))
    joined: list[tuple[int, int]] = []
    for first, last in sorted((*runs, (hour, hour))):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined[-MAX_RUNS:])


def covers(runs: Runs, first: int, last: int, /) -> bool:
    """Tell whether all hours from one to another are among them."""
    return any(start <= first and last <= end for start, end in runs)


def touches(runs: Runs, first: int, last: int, /) -> bool:
    """Tell whether any hour from one to another is among them."""
    return any(start <= last and first <= end for start, end in runs)


def newest(refs: Iterable[EventRef], most: int, /) -> tuple[EventRef, ...]:
    """Return the last calls in the order of time, each once."""
    by_id = {ref.request_id: ref for ref in refs}
    return tuple(sorted(by_id.values(), key=lambda ref: (ref.time is not None, ref.time, ref.audit_id)))[-most:]
