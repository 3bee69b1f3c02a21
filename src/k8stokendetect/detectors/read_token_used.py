# SPDX-License-Identifier: Apache-2.0
"""read-token-used: what a pod's token does from another address, once a command has read it there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.powerful import privileged_act
from k8stokendetect.detectors.token_read_by_exec import TokenReadByExec
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import POD_NAME, ServiceAccount
from k8stokendetect.words import brief, user_of

POD_UID: Final = "authentication.kubernetes.io/pod-uid"
MOST_PEERS: Final = 20
MOST_REPORTED: Final = 100


@attrs.frozen
class Pod:
    """What is remembered of a pod.

    Arguments:
        uid: its own; another pod of this name is another pod.
        homes: addresses that it acts from, as far as its token had not been read yet.
        read: the command that read its token.
        reported: from where and what was reported, so that it is not repeated.

    """

    uid: str = ""
    homes: tuple[str, ...] = ()
    read: EventRef | None = None
    reported: tuple[str, ...] = ()

    def is_elsewhere(self, peer: str, /) -> bool:
        """Tell whether an address is not the pod's: the reader's, or another one of the same family than its own."""
        reader = self.read.peer_ip if self.read else None
        own = [home for home in self.homes if (":" in home) is (":" in peer)]
        return self.read is not None and peer not in own and (bool(own) or peer == reader)


class ReadTokenUsed(KeyedDetector[Pod]):
    """Follows a pod by its name, which stands in every request made with its token, whichever token it has by then."""

    rule = Rule(
        "read-token-used",
        "Token read by exec used elsewhere",
        Severity.HIGH,
        description=(
            "A command read the token of a pod, and later a token of this pod was used from the address of the one who "
            "read it, or from one that the pod never used before. Critical where it did something privileged."
        ),
        techniques=("T1552.007", "T1550.001"),
        tactics=("credential-access", "lateral-movement"),
        references=(
            "https://attack.mitre.org/techniques/T1550/001/",
            "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
        ),
        false_positives=(
            "a pod whose sandbox was recreated after the command, and NAT with several addresses",
            "several API servers, of which one sees the pod's address and another the node's",
        ),
        blind_spots=(
            "uses from the pod's own address; before the pod was seen to act, from any address but the reader's",
            "a pod that was silent for a week, and one whose name is not in the log",
            "commands that token-read-by-exec does not recognise",
        ),
        response=(
            "Delete the pod: that ends its tokens within seconds. Undo what the other address did, and ask who ran the "
            "command."
        ),
    )
    watches = frozenset({Signal.USE_OF_ANY, "pods/exec", "pods/attach"})
    traits = Traits(not_in_sigma="it joins a command with what a pod does later")
    needs = frozenset({TokenReadByExec.rule.id})
    remember_for = timedelta(days=7)

    def keys(self, event: Event, reported: Sequence[Finding], /) -> Iterator[str]:
        """Name the pod whose token was read, and the one with whose token a request was made."""
        names = (_read_pod(event, reported), _acting_pod(event))
        yield from dict.fromkeys(f"{event.cluster or ''} {name}" for name in names if name)

    def fold(self, key: str, event: Event, reported: Sequence[Finding], memory: View[Pod], /) -> Iterator[Finding]:
        """Learn where a pod acts from until its token is read; report where else it acts afterwards."""
        pod, name, peer = memory.get(key) or Pod(), key.partition(" ")[2], event.peer_ip or ""
        if _acting_pod(event) == name:
            uid = next(iter(event.user.extra.get(POD_UID, ())), "")
            if pod.uid and uid and uid != pod.uid:
                pod = Pod()
            pod = attrs.evolve(pod, uid=uid or pod.uid)
            act = f"{peer} {event.verb} {event.resource} {event.object_ref.namespace if event.object_ref else ''}"[:300]
            if pod.read and pod.is_elsewhere(peer):
                if act not in pod.reported:
                    yield self._report(event, name, pod, pod.read)
                    pod = attrs.evolve(pod, reported=(*pod.reported, act)[-MOST_REPORTED:])
            elif peer not in pod.homes:
                pod = attrs.evolve(pod, homes=(*pod.homes, peer)[-MOST_PEERS:])
        if _read_pod(event, reported) == name:
            pod = attrs.evolve(pod, read=EventRef.of(event))
        memory.put(key, pod)

    def _report(self, event: Event, name: str, pod: Pod, read: EventRef) -> Finding:
        act = privileged_act(event)
        what = f"{event.verb} {brief(event.resource) or 'a path without a resource'}{f', which {act}' if act else ''}"
        usual = "the address of the one who read it" if event.peer_ip == read.peer_ip else "not an address of the pod"
        return self.finding(
            event,
            f"the token of pod {brief(name)}, which {user_of(read.user) or 'somebody'} had read by exec, was used from "
            f"{event.peer_ip}, {usual}: {what}{'' if event.succeeded else f' (refused: {event.code})'}",
            Evidence(
                f"user.extra['{POD_NAME}'][0]", event.user.extra[POD_NAME][0], "the pod that the token is bound to"
            ),
            Evidence(f"sourceIPs[{len(event.source_ips) - 1}]", event.peer_ip, usual),
            severity=Severity.CRITICAL if act and event.succeeded else None,
            related=(read,),
            caveats=() if pod.homes else ("the address that the pod itself uses is not known",),
        )


def _read_pod(event: Event, reported: Sequence[Finding]) -> str:
    """Return whose token a command read, and was not refused."""
    ref = event.object_ref
    is_read = any(one.rule.id == TokenReadByExec.rule.id and one.severity > Severity.LOW for one in reported)
    return f"{ref.namespace}/{ref.name}" if is_read and ref else ""


def _acting_pod(event: Event) -> str:
    """Return with whose token a request was made, where its address is known, too."""
    account, names = ServiceAccount.of_username(event.user.username), event.user.extra.get(POD_NAME)
    known = account and names and event.answered and event.peer_ip and event.time and "source IPs" not in event.lost
    return f"{account.namespace}/{names[0]}" if account and names and known else ""
