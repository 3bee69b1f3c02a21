# SPDX-License-Identifier: Apache-2.0
"""unusual-origin: an actor mints from a network, with a client or a certificate that it never used before."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network

import attrs

from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.origins import MAX_VALUES, MOST_REPORTED, MOST_WAITING, OVERLAP, Move, Origins
from k8stokendetect.detectors.wording import minted
from k8stokendetect.errors import check
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import CREDENTIAL_ID, LEADERS, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.words import NAMELESS_ACCOUNT, brief, user_of


class UnusualOrigin(KeyedDetector[Origins]):
    """Learns from an actor's first mints in silence, then reports what is new. System identities are not spared.

    A second kind of credential of a system identity is reported from the first mint on: that is how a forged one shows.

    Arguments:
        learn: so many mints of an actor are only learned from.

    Raises:
        ConfigError: when it is not a number from 1.

    """

    rule = Rule(
        "unusual-origin",
        "Token minted from an origin new to its actor",
        Severity.LOW,
        description=(
            "Somebody mints from a network (IPv4 /24, IPv6 /64), with a kind of client or with a certificate that they "
            "never used before, as happens with stolen and forged credentials. Medium for system identities, whose "
            "origin hardly changes."
        ),
        techniques=("T1552.007", "T1078"),
        tactics=("credential-access",),
        references=("https://attack.mitre.org/techniques/T1078/", "https://attack.mitre.org/techniques/T1552/007/"),
        false_positives=(
            "kubelets whose certificate was renewed: informational, once for each renewal",
            "people who travel: each mint, until the earlier network was silent for a day",
            "nodes that move to another network: the first mint there",
        ),
        blind_spots=(
            "whatever an actor did while it was being learned; actors that mint rarely are never learned",
            "an attacker on the same host with the same client; certificates before 1.32, which have no id in the log",
            "a node's certificate used elsewhere: after the first mint, not until the node itself mints again",
        ),
        response=(
            "Ask the identity's owner whether the address, tool or certificate is theirs. If nobody renewed the "
            "certificate, treat the cluster's CA as misused, look for the signing request in the log, and rotate."
        ),
    )
    watches = MINTS
    traits = Traits(
        excludable=False,  # a stolen credential has a component's proofs
        not_in_sigma="what is usual for an actor must be learned",
    )
    remember_for = timedelta(days=90)

    def __init__(self, *, learn: int = 20) -> None:
        check(learn, int, f"learn is not a number of at least 1: {learn!r}", lambda number: number >= 1)
        super().__init__()
        self.learn = learn

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the actor of a mint."""
        name = event.user.username
        led = name in LEADERS and event.used_credential  # second-control-plane-credential judges that
        return (f"{event.cluster or ''} {name}",) if event.mints_token and name and event.time and not led else ()

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Origins], /) -> Iterator[Finding]:
        """Compare where a mint comes from with what is known of its actor; what is reported is not learned."""
        known, here, now = memory.get(key) or Origins(), _origin(event), memory.now
        new = known.new(here)
        if new == ["certificate"] and _is_node(event):
            yield from self._other_certificate(key, event, known, here, memory)
            return
        learning = known.mints < self.learn and not ("certificate" in new and _is_system(event))
        learned = new if learning else known.succeeded(new, now)
        memory.put(key, known.after(here, learned, new, now))
        if new == ["network"] and not learning and _is_node(event):
            yield from self._moved(key, event, known, here["network"], memory)
        elif new and not learning:
            yield self._report(event, new, known)
        elif known.move is not None:
            yield from self._moved_back(key, known.move, memory)

    def _moved(self, key: str, event: Event, known: Origins, network: str, memory: View[Origins]) -> Iterator[Finding]:
        """Report the first mint from a network, and each while the usual one is in use, too; let the others wait."""
        move, now = known.move, memory.now
        after = memory.get(key) or known
        if network in after.seen["network"]:  # the usual one was silent for long
            move = None
        elif move is None or move.network != network or not move.lasts(now):
            for mint in move.waiting if move is not None and move.lasts(now) else ():
                yield self._elsewhere(mint)
            move = Move(network, now)
            yield self._report(event, ["network"], known)
        elif move.reported is None:
            move = attrs.evolve(move, waiting=(*move.waiting, EventRef.of(event))[:MOST_WAITING])
        elif move.reported < MOST_REPORTED:
            move = attrs.evolve(move, reported=move.reported + 1)
            yield self._report(event, ["network"], known)
        memory.put(key, attrs.evolve(after, move=move))

    def _moved_back(self, key: str, move: Move, memory: View[Origins]) -> Iterator[Finding]:
        """Report what waited: the usual network is in use, so that the node has not moved."""
        if memory.now - move.since <= OVERLAP:
            return
        is_open = move.lasts(memory.now)
        for mint in move.waiting if is_open else ():
            yield self._elsewhere(mint)
        reported = len(move.waiting) if move.reported is None else move.reported
        left = attrs.evolve(move, waiting=(), reported=reported) if is_open else None
        memory.put(key, attrs.evolve(memory.get(key) or Origins(), move=left))

    def _elsewhere(self, mint: EventRef) -> Finding:
        target = brief(mint.target or NAMELESS_ACCOUNT)
        return Finding(
            rule=self.rule,
            severity=Severity.MEDIUM,
            summary=(
                f"{user_of(mint.user)} minted a token for {target} from {mint.peer_ip}: a network it has not "
                "used before, while the usual one is still in use"
            ),
            event=mint,
            evidence=(Evidence(mint.peer_path, mint.peer_ip, "in a network new to this caller"),),
        )

    def _other_certificate(
        self, key: str, event: Event, known: Origins, here: dict[str, str], memory: View[Origins]
    ) -> Iterator[Finding]:
        """Take a node's new certificate for a renewal, until the one before is used again."""
        certificate, now = here["certificate"], memory.now
        replaced = known.renewed.get(certificate)
        if replaced is None:
            renewed = known.renew(certificate, now)
            memory.put(key, renewed.after(here, (), (), now))
            yield self._report(event, ["certificate"], known, severity=Severity.INFORMATIONAL)
            return
        memory.put(key, known.after(here, (), ("certificate",), now))
        if now - replaced > OVERLAP:
            yield self._report(event, ["certificate"], known, other=known.seen["certificate"][0])

    def _report(
        self, event: Event, new: Sequence[str], known: Origins, *, severity: Severity | None = None, other: str = ""
    ) -> Finding:
        what = f"a {' and a '.join(new)} not seen in {known.mints} earlier mints"
        why = f"whose usual mints have another {' and another '.join(new)}"
        if other:
            what = f"a certificate that another one, {brief(other)}, had replaced: both are in use"
            why = "who has a newer certificate"
        elif severity is Severity.INFORMATIONAL:
            what = "a new certificate from the usual address, as after a renewal"
            why = "only the certificate is new"
        return self.finding(
            event,
            f"{minted(event)}: {what}",
            Evidence("user.username", event.user.username, why),
            *_facts(event, new),
            severity=severity or (Severity.MEDIUM if _is_system(event) else None),
            caveats=tuple(
                f"already {MAX_VALUES} of {kind} are known: this one is not remembered" for kind in known.full(new)
            ),
        )


def _is_node(event: Event) -> bool:
    return event.user.username.startswith("system:node:")


def _is_system(event: Event) -> bool:
    """Tell whether the actor is a part of Kubernetes, or a service account of kube-system."""
    name = event.user.username
    own = name.removeprefix(SERVICE_ACCOUNT_PREFIX)
    return name.startswith("system:") and (own == name or own.startswith("kube-system:"))


def _origin(event: Event) -> dict[str, str]:
    """Return what is known of where a mint comes from; a missing user agent is a client, too."""
    here = {"client": event.user_agent.partition("/")[0][:100]}
    if event.peer_ip and "source IPs" not in event.lost:  # else it may be an address that the client chose
        here["network"] = _network(event.peer_ip)
    if used := event.used_credential:
        here["certificate"] = "a token" if used.startswith("JTI=") else used[:100]
    return here


def _facts(event: Event, kinds: Iterable[str]) -> Iterator[Evidence]:
    """Yield what is new of a mint's origin, as far as it was logged."""
    for kind in kinds:
        if kind == "client" and event.user_agent:
            yield Evidence("userAgent", event.user_agent, "a kind of client new to this caller")
        elif kind == "network":
            yield Evidence(f"sourceIPs[{len(event.source_ips) - 1}]", event.peer_ip, "in a network new to this caller")
        elif kind == "certificate":
            why = "a certificate, or kind of credential, that is new"
            yield Evidence(f"user.extra['{CREDENTIAL_ID}'][0]", event.used_credential, why)


@functools.lru_cache(maxsize=4096)
def _network(peer: str) -> str:
    try:
        address = ip_address(peer.removeprefix("::ffff:").partition("%")[0])
    except ValueError:
        return peer[:100]
    return str(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))  # noqa: PLR2004 - IPv4
