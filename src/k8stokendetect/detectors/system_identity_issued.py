# SPDX-License-Identifier: Apache-2.0
"""system-identity-issued: a system's name got a certificate, or a node that was never seen before mints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from k8stokendetect.bounds import cut
from k8stokendetect.detectors.base import MINTS, Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.nodes_seen import NodesSeen
from k8stokendetect.detectors.signing_request import SigningRequest, name_of, signing_request
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, minted, origin_of, who
from k8stokendetect.events import Event
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief

REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
APPROVAL: Final = "certificatesigningrequests/approval"
CLIENT_SIGNERS: Final = "kubernetes.io/kube-apiserver-client"
"""How the signers begin whose certificates the API server takes for users.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""
BOOTSTRAPPERS: Final = "system:bootstrappers"
"""https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/"""
NODES: Final = "*"
"""Stands for a cluster's nodes where others have the name of a signing request; no object is named so."""
NODES_KEPT: Final = timedelta(days=90)
_NODE: Final = "system:node:"


@attrs.frozen
class Asked:
    """A signing request that was made.

    Arguments:
        made: the request that made it.
        users: who made it, and whom they impersonated.
        content: what it asks for, as far as it was logged.

    """

    made: EventRef
    users: tuple[str, ...]
    content: SigningRequest


@attrs.frozen
class Known:
    """What is remembered: of a signing request who made it, of a cluster its nodes."""

    asked: Asked | None = None
    nodes: NodesSeen | None = None


NOTHING: Final = Known()


class SystemIdentityIssued(KeyedDetector[Known]):
    """Joins a signing request with its approval; where bodies were logged, the approval alone tells what it is for.

    A node that got its certificate unseen, or as any node does, still has a name that never minted before.
    """

    rule = Rule(
        "system-identity-issued",
        "Certificate for a system identity approved",
        Severity.HIGH,
        description=(
            "A certificate signing request was approved for the name of a control-plane component or in the group "
            "system:masters, or for a node's name that neither a bootstrap nor this node asked for. Low where the "
            "subject was not logged and the requester also approved the request. Also low: a node mints that never "
            "appeared in the log before, although others have minted for an hour; informational where new nodes keep "
            "appearing."
        ),
        techniques=("T1552.007", "T1098"),
        tactics=("persistence", "credential-access"),
        references=(
            "https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/",
            "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/",
        ),
        false_positives=(
            "administrators and operators that approve their own requests: low, where the subject was not logged",
            "new nodes, until three have come within a week: low",
        ),
        blind_spots=(
            "level Metadata, where no subject is logged: a request that one person makes and another approves",
            "a request whose name the API server generated, unless its answer or the approval's body was logged",
            "a stolen bootstrap token, whose requests look like any node's but for the name; the CA's own key",
            "a new node in the first hour of the log, or in a cluster that grows by itself; one named like a known one",
        ),
        response=(
            "Read the request, if it still exists: `kubectl get csr`. A certificate cannot be revoked: take away the "
            "rights of its name or rotate the CA, and end the tokens that were minted with it."
        ),
    )
    watches = MINTS | {f"create {REQUESTS}", f"update {REQUESTS}/approval", f"patch {REQUESTS}/approval"}
    traits = Traits(
        excludable=False,  # a rogue node has all of a kubelet's proofs
        not_in_sigma="it joins a signing request with its approval",
    )
    remember_for = timedelta(days=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the signing request that was made or approved, or the cluster whose node mints."""
        if event.mints_token:
            user = event.user  # one who is only named like a node lacks the group
            is_node = user.username.startswith(_NODE) and "system:nodes" in user.groups
            return (f"{event.cluster or ''} {NODES}",) if event.time and is_node else ()
        ref = event.object_ref
        is_approval = event.resource == APPROVAL and event.verb in {"update", "patch"}
        is_one = is_approval or event.does("create", "certificatesigningrequests")
        is_real = is_one and event.succeeded and ref is not None and ref.api_group == "certificates.k8s.io"
        return (f"{event.cluster or ''} {name_of(event)}",) if is_real else ()

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Known], /) -> Iterable[Finding]:
        """Take a mint, a signing request or its approval."""
        known = memory.get(key) or NOTHING
        if event.mints_token:
            return self._of_node(key, event, known.nodes or NodesSeen(memory.now), memory)
        if event.resource == APPROVAL:
            return self._approved(event, known.asked)
        asked = Asked(EventRef.of(event), _users(event), signing_request(event)) if name_of(event) else None
        memory.put(key, Known(asked) if asked else None)
        return ()

    def _of_node(self, key: str, event: Event, nodes: NodesSeen, memory: View[Known]) -> tuple[Finding, ...]:
        """Report a node's first mint, in a log that has seen others mint for long enough."""
        now = memory.now
        after, is_new = nodes.after(cut(event.user.username), now)
        if after is not nodes:
            memory.put(key, Known(nodes=after), expires=_much_later(memory))
        if not is_new:
            return ()
        number = len(nodes.names)
        finding = self.finding(
            event,
            f"a node never seen before, in {(now - nodes.since).total_seconds() / 3600:.0f} h of mints by "
            f"{number} other{'s' * (number > 1)}: {minted(event)}",
            Evidence("user.username", event.user.username, "a node whose name is new to this log"),
            severity=Severity.INFORMATIONAL if nodes.grows(now) else Severity.LOW,
        )
        return (finding,)

    def _approved(self, event: Event, asked: Asked | None) -> Iterator[Finding]:
        """Judge an approval by what it shows and by who asked for what."""
        users, content = _users(event), signing_request(event)
        if not content.names and asked:
            content = attrs.evolve(asked.content, denied=content.denied)
        if content.denied or (content.signer and not content.signer.startswith(CLIENT_SIGNERS)):
            return
        related = (asked.made,) if asked else ()
        if severity := _worth(content, asked):
            subject = ", ".join((*content.names, *content.organizations))
            what = f"{who(event)} approved a certificate for {brief(subject)}{origin_of(event)}"
            facts: tuple[Evidence, ...] = (
                Evidence("objectRef.name", name_of(event), f"the request; its subject is {brief(subject)}"),
                *code_evidence(event, HOW_ANSWERED),
            )
            yield self.finding(event, what, *facts, severity=severity, related=related)
        elif not content.names and asked and set(asked.users) & set(users):
            what = f"self-approved signing request, subject not logged: {who(event)} made and approved it"
            fact = Evidence("user.username", event.actor.username, "who made the request and approved it")
            caveats = ("whether it was approved or denied, and for what name, was not logged",)
            yield self.finding(event, what, fact, severity=Severity.LOW, related=related, caveats=caveats)


def _users(event: Event) -> tuple[str, ...]:
    return tuple(user.username for user in (event.actor, event.assumed) if user and user.username)


def _much_later(memory: View[Known]) -> datetime:
    try:
        return memory.now + NODES_KEPT
    except OverflowError:
        return memory.expires


def _worth(content: SigningRequest, asked: Asked | None) -> Severity | None:
    """Return how bad the certificate is: of the control plane, of a node that did not ask; None when it is neither."""
    names = [name.casefold() for name in content.names]
    if any(name.startswith("system:") and not name.startswith(_NODE) for name in names):
        return Severity.CRITICAL
    if "system:masters" in content.organizations:
        return Severity.CRITICAL
    users = {content.username} if content.username else set(asked.users if asked else ())
    by_itself = BOOTSTRAPPERS in content.groups or all(name in users for name in content.names)
    return Severity.HIGH if not by_itself and any(name.startswith(_NODE) for name in names) else None
