# SPDX-License-Identifier: Apache-2.0
"""audit-annotation-forged: a policy or webhook can write the API server's own annotations, or somebody did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import code_evidence, origin_of, who
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import ADMISSION, FORGES_ANNOTATIONS, ISSUED_CREDENTIAL_ID, LEGACY_TOKEN, TRUNCATED
from k8stokendetect.words import brief

WHY: Final[Mapping[str, str]] = {
    **dict.fromkeys(ISSUED_CREDENTIAL_ID, "another request has the same id"),
    LEGACY_TOKEN: "it was not made with the token of the Secret that it names",
    TRUNCATED: "level Metadata has no body that could be cut away",
}
"""What contradicts an annotation: see `Event.contradicted`."""

MADE: Final = "made"
FORGED: Final = "forged"


class AuditAnnotationForged(KeyedDetector[bool]):
    """The prefix of an admission policy's audit annotations is its name: it can replace what the log is joined by.

    Also where the policy is older than the log: what it writes is contradicted by the rest.
    """

    rule = Rule(
        "audit-annotation-forged",
        "Admission policy that can forge audit annotations",
        Severity.HIGH,
        description=(
            "An admission policy or webhook can forge the API server's audit annotations. Policies and webhooks write "
            "annotations under their own names; one named like Kubernetes' own prefix can replace the id of every "
            "token that is issued, or mark requests as made with old tokens or as truncated. From then on, uses can no "
            "longer be joined to mints. An annotation that cannot be the API server's own, such as one id for two "
            "tokens, is also reported."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1562/",
            "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/validating-admission-policy-v1/",
        ),
        false_positives=("none known: there is no reason to choose such a name",),
        blind_spots=(
            "a policy that is older than the log and writes only what nothing contradicts, such as a new id each time",
            "a webhook with such a name in a configuration with another name: its name is in the body",
            "anything else such a policy does: annotations under other names are not checked",
            "a dry run of its deletion whose body was not logged: it looks like a deletion",
        ),
        response=(
            "Delete the policy and its binding, and find out who made it. Tokens that were issued meanwhile are not "
            "followed by their ids: end those of the accounts that were minted for, and look at what they did."
        ),
    )
    watches = frozenset(
        f"{verb} {resource}"
        for resource in ADMISSION
        for verb in ("create", "update", "patch", "delete", "deletecollection")
    ) | {Signal.CONTRADICTED}
    remember_for = timedelta(days=1)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name a policy that can forge, and annotations that were forged."""
        ref = event.object_ref
        is_made = event.resource in ADMISSION and not event.verb.startswith("delete") and event.succeeded
        if is_made and ref is not None and ref.name in FORGES_ANNOTATIONS:
            yield f"{event.cluster or ''} {MADE}"
        if event.contradicted:
            yield f"{event.cluster or ''} {FORGED}"

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[bool], /) -> Iterator[Finding]:
        """Report every such policy, and once a day that annotations were forged."""
        if key.endswith(MADE):
            yield self._made(event)
        elif not memory.get(key):
            memory.put(key, True)  # noqa: FBT003 - a state that says that it was reported
            yield self._forged(event)

    def _forged(self, event: Event) -> Finding:
        """Say what cannot be the API server's own, and of which request."""
        names = [name for name in WHY if name in event.contradicted]
        prefixes = " and ".join(sorted({name.partition("/")[0] for name in names}))
        return self.finding(
            event,
            f"annotations were forged, as a policy or webhook named {prefixes} can: {who(event)} called {event.verb} "
            f"{brief(event.resource) or 'no resource'}{origin_of(event)}, and {WHY[names[0]]}",
            *(Evidence(f"annotations['{name}']", event.contradicted[name], WHY[name]) for name in names),
            caveats=("it is not known who forged them, perhaps not the caller; others of this day are not reported",),
        )

    def _made(self, event: Event) -> Finding:
        """Name a policy, and who made it."""
        name = event.object_ref.name if event.object_ref else ""
        return self.finding(
            event,
            f"{who(event)} made {event.resource} {brief(name)}{origin_of(event)}: it can write audit annotations that "
            "look like the API server's own",
            Evidence("objectRef.name", name, "the prefix of Kubernetes' own annotations"),
            *code_evidence(event, "it was stored"),
        )
