# SPDX-License-Identifier: Apache-2.0
"""system-identity-issued: a certificate for a system's name was approved, or a request by who had made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import attrs

from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.signing_request import SigningRequest, name_of, signing_request
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, origin_of, who
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


class SystemIdentityIssued(KeyedDetector[Asked]):
    """Joins a signing request with its approval; where bodies were logged, the approval alone tells what it is for."""

    rule = Rule(
        "system-identity-issued",
        "Certificate for a system identity approved",
        Severity.HIGH,
        description=(
            "A certificate signing request was approved for the name of a control-plane component or in the group "
            "system:masters, or for a node's name that neither a bootstrap nor this node asked for. Where the subject "
            "was not logged: the one who made the request approved it, too."
        ),
        techniques=("T1552.007", "T1098"),
        tactics=("persistence", "credential-access"),
        references=(
            "https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/",
            "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/",
        ),
        false_positives=(
            "administrators and operators that approve their own requests: low, where the subject was not logged",
        ),
        blind_spots=(
            "level Metadata, where no subject is logged: a request that one made and another approves",
            "a request whose name the API server made up, unless its answer or the approval's body was logged",
            "nodes with a stolen bootstrap token, whose requests look like any node's; the CA's own key",
        ),
        response=(
            "Read the request, if it still exists: `kubectl get csr`. A certificate cannot be revoked: take away the "
            "rights of its name or rotate the CA, and end the tokens that were minted with it."
        ),
    )
    watches = frozenset({f"create {REQUESTS}", f"update {REQUESTS}/approval", f"patch {REQUESTS}/approval"})
    traits = Traits(not_in_sigma="it joins a signing request with its approval", separate_keys=True)
    remember_for = timedelta(days=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> tuple[str, ...]:
        """Name the signing request that was made or approved."""
        ref = event.object_ref
        is_approval = event.resource == APPROVAL and event.verb in {"update", "patch"}
        is_one = is_approval or event.does("create", "certificatesigningrequests")
        is_real = is_one and event.succeeded and ref is not None and ref.api_group == "certificates.k8s.io"
        return (f"{event.cluster or ''} {name_of(event)}",) if is_real else ()

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Asked], /) -> Iterator[Finding]:
        """Remember who asked for what; judge an approval by it and by what itself shows."""
        users = tuple(user.username for user in (event.actor, event.assumed) if user and user.username)
        if event.resource != APPROVAL:
            memory.put(key, Asked(EventRef.of(event), users, signing_request(event)) if name_of(event) else None)
            return
        asked, content = memory.get(key), signing_request(event)
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
