# SPDX-License-Identifier: Apache-2.0
"""overlong-audit-id: somebody made an audit id so long that logs cut the record before it says anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8stokendetect.convert.broken import CUT
from k8stokendetect.detectors.base import Detector, Traits
from k8stokendetect.detectors.wording import code_evidence, origin_of, who
from k8stokendetect.errors import ReadError
from k8stokendetect.events import Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity
from k8stokendetect.identity import LONGEST_AUDIT_ID

BEFORE_THE_URI: Final = ("auditID", "stage")
"""Fields that stand before the URI, as far as `revealed` tells them (types.go, in the order of its fields)."""


class OverlongAuditID(Detector):
    """The client chooses the Audit-ID header; the API server logs it whole, before all else (types.go, measured)."""

    rule = Rule(
        "overlong-audit-id",
        "Audit id that is long enough to hide its request",
        Severity.HIGH,
        description=(
            "The audit id of a request is a UUID unless the client sends an Audit-ID header. An id of thousands of "
            "characters fills the record until the log pipeline cuts it, or makes the API server drop the event: what "
            "was requested, by whom, and the answer are lost. No ordinary client does that."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1562/",
            "https://github.com/kubernetes/kubernetes/blob/v1.36.2/staging/src/k8s.io/apiserver/pkg/endpoints/filters/audit_init.go",
        ),
        false_positives=("a client or proxy that passes on long trace ids as Audit-ID",),
        blind_spots=("an event so large that the API server drops it altogether: nothing is logged then",),
        response=(
            "Find the client: its address is in the readable records of the same time, and in the network's logs. "
            "Look at what service accounts with valuable tokens did next, and raise the limits of the log "
            "pipeline for a while."
        ),
    )
    watches = frozenset({Signal.OVERLONG_AUDIT_ID, Signal.UNREADABLE})
    traits = Traits(not_in_sigma="Sigma cannot compare the length of a field, and a cut record has no fields")

    def inspect(self, event: Event | ReadError, /) -> Iterator[Finding]:
        """Report an overlong id, and a record that ends inside of one."""
        if isinstance(event, ReadError):
            yield from self._cut(event)
        elif len(event.audit_id) > LONGEST_AUDIT_ID:
            size = len(event.audit_id)
            yield self.finding(
                event,
                f"{who(event)} sent an audit id of {size} characters{origin_of(event)}",
                Evidence("auditID", event.audit_id, f"{size} characters, where a UUID has 36"),
                *code_evidence(event, "how it was answered"),
                severity=None if size > 1000 else Severity.LOW,  # noqa: PLR2004 - too short to hide anything
            )

    def _cut(self, error: ReadError) -> Iterator[Finding]:
        """Report an overlong id, and a record that ends before it says what was asked for: low after a short id."""
        audit_id = error.revealed.get("auditID", "")
        is_short = len(audit_id) <= LONGEST_AUDIT_ID
        if is_short and error.revealed.get(CUT) not in BEFORE_THE_URI:
            return
        where = "; the record ends within it" if error.revealed.get(CUT) == "auditID" else ""
        long = f"a record that cannot be read has an audit id of {len(audit_id)} characters{where}"
        yield Finding(
            rule=self.rule,
            severity=Severity.LOW if is_short else self.rule.severity,
            summary="a record that cannot be read ends before it says what was asked for" if is_short else long,
            event=EventRef(
                audit_id=audit_id[:LONGEST_AUDIT_ID],
                verb=error.revealed.get("verb", ""),
                user=error.revealed.get("username", ""),
                request_uri=error.revealed.get("requestURI", ""),
                origin=error.origin,
            ),
            evidence=(Evidence("auditID", audit_id[:LONGEST_AUDIT_ID], "its first characters"),),
            caveats=(f"what was asked for is not known: {error.reason}",),
            key=error.origin or "",
        )
