# SPDX-License-Identifier: Apache-2.0
"""pod-token-moved: a pod's token is used from two addresses at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final, TypeAlias

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, POD_NAME
from k8stokendetect.words import brief, user_of

NEVER: Final = datetime.min.replace(tzinfo=UTC)


@attrs.frozen
class Place:
    """Where a token is used from in one address family, and its uses elsewhere that may yet prove to be at once."""

    home: str
    last: datetime
    waiting: tuple[tuple[datetime, EventRef], ...] = ()
    strange: tuple[str, ...] = ()


Places: TypeAlias = dict[str, Place]


class PodTokenMoved(KeyedDetector[Places]):
    """An address, another one, and the first again, all within the window, with one pod's token: `A B A`.

    A pod whose sandbox is recreated keeps its token, changes its address once and does not go back. IPv4 and IPv6 are
    looked at apart. The node's name is not a sign: it is signed into the token (KEP-4193) and goes wherever that goes.

    Arguments:
        window: an address is in use for so long after a request from it.
        shared: networks whose addresses all count as one place: NAT gateways, proxies.

    Raises:
        ConfigError: when the window is not between a second and two hours, or `shared` no list of networks.

    """

    rule = Rule(
        "pod-token-moved",
        "Pod's service account token used from two places at once",
        Severity.HIGH,
        description=(
            "A pod's token is used from a second address while the first is still in use. A pod has one address per "
            "family, so somebody took its token and uses it elsewhere."
        ),
        techniques=("T1528", "T1550.001"),
        tactics=("credential-access", "lateral-movement"),
        references=("https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",),
        false_positives=(
            "NAT with several addresses, and proxies before the API servers: name their networks as `shared`",
            "pods on nodes that run an API server: it sees the pod's address, others may see the node's",
            "hostNetwork pods on nodes with several addresses; a single change of address is not reported",
        ),
        blind_spots=(
            "an attacker behind the pod's own address, on its node or its NAT; a pod that itself hardly calls the API",
            "clusters without credential ids (before 1.30): all tokens of a pod look alike there",
        ),
        response=(
            "Delete the pod: that ends its token within seconds. Look at what the second address did, and how it came "
            "by the token: exec into the pod, a request forged through its server, a file read, a shared volume."
        ),
    )
    watches = frozenset({Signal.USE_OF_ANY})
    traits = Traits(not_in_sigma="it compares the addresses of one token's uses in their order")
    remember_for = timedelta(hours=2)

    def __init__(self, *, window: timedelta = timedelta(minutes=10), shared: Collection[str] = ()) -> None:
        given: object = window
        if not isinstance(given, timedelta) or not timedelta(seconds=1) <= given <= self.remember_for:
            raise ConfigError(f"window is not between a second and two hours: {window!r}")
        super().__init__()
        self.window = window
        try:
            self.shared = tuple(ip_network(network) for network in shared)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"shared is not a list of networks: {error}") from None

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the token that a pod's request was made with."""
        credential = event.used_credential if event.answered and event.peer_ip and event.time else None
        if credential and credential.startswith("JTI=") and POD_NAME in event.user.extra:
            yield credential

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Places], /) -> Iterator[Finding]:
        """Compare the address with the one that the token is used from otherwise in its family."""
        places, use = memory.get(key) or {}, EventRef.of(event)
        family = "v6" if ":" in (event.peer_ip or "") else "v4"
        place, strangers = self._moved(places.get(family), event.time or NEVER, use)
        memory.put(key, {**places, family: place})
        for stranger in strangers:
            yield self._report(stranger, place)

    def _moved(self, place: Place | None, time: datetime, use: EventRef) -> tuple[Place, list[EventRef]]:
        """Return the place after a use, and which uses prove to have been made elsewhere at the same time."""
        here = self._place(use.source_ips[-1])
        if place is None or (here != place.home and time - place.last > self.window):
            return Place(here, time), []  # the first, or the other address is no longer in use
        if here == place.home:  # home again: uses in between came from elsewhere
            strangers = [other for since, other in place.waiting if abs(time - since) <= self.window]
            strange = {*place.strange, *(self._place(other.source_ips[-1]) for other in strangers)}
            return Place(here, max(time, place.last), strange=tuple(sorted(strange)[:20])), strangers
        if here in place.strange:
            return place, [use]
        return attrs.evolve(place, waiting=(*place.waiting, (time, use))[-20:]), []  # it may yet prove to be

    def _place(self, peer: str) -> str:
        try:
            address = ip_address(peer)
        except ValueError:
            return peer[:100]
        return "a shared network" if any(address in network for network in self.shared) else str(address)

    def _report(self, use: EventRef, place: Place) -> Finding:
        peer, what = use.source_ips[-1], f"{use.verb} {brief(use.target or 'a path without a resource')}"
        return Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=f"a pod's token of {user_of(use.user)} was used from {peer} while {place.home} uses it: {what}",
            event=use,
            evidence=(
                Evidence(f"user.extra['{CREDENTIAL_ID}'][0]", use.used_credential, "the token both addresses use"),
                Evidence(use.peer_path, peer, "the second address"),
            ),
            caveats=(f"whether {peer} or {place.home} is the pod's is not known: it is the one seen later",),
        )
