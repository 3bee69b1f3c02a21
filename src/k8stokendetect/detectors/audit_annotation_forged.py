# SPDX-License-Identifier: Apache-2.0
"""audit-annotation-forged: an admission policy or webhook named so that it writes the API server's own annotations."""

from __future__ import annotations

from k8stokendetect.detectors.base import Detector
from k8stokendetect.detectors.wording import code_evidence, origin_of, who
from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.identity import ADMISSION, FORGES_ANNOTATIONS
from k8stokendetect.words import brief


class AuditAnnotationForged(Detector):
    """The prefix of an admission policy's audit annotations is its name: it can replace what the log is joined by."""

    rule = Rule(
        "audit-annotation-forged",
        "Admission policy that can forge audit annotations",
        Severity.HIGH,
        description=(
            "A ValidatingAdmissionPolicy, or a webhook, writes audit annotations under its own name. One that is named "
            "like Kubernetes' own prefix replaces the id of every token that is issued, or marks requests as made with "
            "old tokens or as truncated. From then on, uses can no longer be joined to mints."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1562/",
            "https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#audit-annotations",
        ),
        false_positives=("none known: nobody has a reason to give such a name",),
        blind_spots=(
            "a policy that is older than the log",
            "what else such a policy does: annotations under other names are left alone",
        ),
        response=(
            "Delete the policy and its binding, and find out who made it. Tokens that were issued meanwhile are not "
            "followed by their ids: end those of the accounts that were minted for, and look at what they did."
        ),
    )
    watches = frozenset(
        f"{verb} {resource}" for resource in ADMISSION for verb in ("create", "update", "patch", "delete")
    )

    def matches(self, event: Event, /) -> bool:
        """Tell whether something was made that writes annotations under a name of Kubernetes' own."""
        ref = event.object_ref
        is_made = event.resource in ADMISSION and event.verb != "delete" and event.succeeded
        return is_made and ref is not None and ref.name in FORGES_ANNOTATIONS

    def describe(self, event: Event, /) -> Finding:
        """Name it, and who made it."""
        name = event.object_ref.name if event.object_ref else ""
        return self.finding(
            event,
            f"{who(event)} made {event.resource} {brief(name)}{origin_of(event)}: it can write audit annotations that "
            "look like the API server's own",
            Evidence("objectRef.name", name, "the prefix of Kubernetes' own annotations"),
            *code_evidence(event, "it was stored"),
        )
