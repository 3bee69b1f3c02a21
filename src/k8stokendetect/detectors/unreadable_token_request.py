# SPDX-License-Identifier: Apache-2.0
"""unreadable-token-request: a record that cannot be read begins like a call to serviceaccounts/token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from k8stokendetect.detectors.base import Detector, Traits
from k8stokendetect.errors import ReadError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Event, Signal
from k8stokendetect.findings import EventRef, Evidence, Finding, Rule, Severity

_TOKEN_PATH = re.compile(r"/namespaces/([^/]+)/serviceaccounts/([^/]+)/token(?:[/?]|$)")


class UnreadableTokenRequest(Detector):
    """A caller can make an event too long or too deep to be read; what is left of it still names the target."""

    rule = Rule(
        "unreadable-token-request",
        "TokenRequest API call in an audit record that cannot be read",
        Severity.MEDIUM,
        description=(
            "A record was cut off, damaged or nested too deeply, and what can still be seen of it is a call to "
            "serviceaccounts/token. Log pipelines cut long records (CloudWatch, Azure at 16 KiB), and the caller "
            "chooses how long a request is: padding hides who called and how it ended."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://github.com/Azure/AKS/issues/4635",
        ),
        false_positives=("a file that was cut off in the middle of a kubelet's request",),
        blind_spots=("a record whose readable part ends before its requestURI, after an oversized Audit-ID, for one",),
        response=(
            "Look for the same auditID in another copy of the log (the API server's own file, another category), and "
            "for what the target service account did next."
        ),
    )
    watches = frozenset({Signal.UNREADABLE})
    traits = Traits(not_in_sigma="a record that cannot be read has no fields")

    def inspect(self, error: Event | ReadError, /) -> Iterator[Finding]:
        """Report what the record reveals, and that the rest is not known; readable events are other rules' business."""
        if not isinstance(error, ReadError):
            return
        uri = error.revealed.get("requestURI", "")
        match = _TOKEN_PATH.search(unquote(uri))
        if match is None:
            return
        target, caller = f"{match[1]}/{match[2]}", error.revealed.get("username", "")
        yield Finding(
            rule=self.rule,
            severity=self.rule.severity,
            summary=f"{caller or 'somebody'} called the token subresource of {target}; the record cannot be read",
            event=EventRef(
                audit_id=error.revealed.get("auditID", ""),
                verb=error.revealed.get("verb", ""),
                user=caller,
                resource=TOKEN_SUBRESOURCE,
                namespace=match[1],
                name=match[2],
                origin=error.origin,
            ),
            evidence=(Evidence("requestURI", uri, "what can still be read of the record"),),
            caveats=(f"who called and whether a token was issued are not certain: {error.reason}",),
            key=error.origin or "",
        )
