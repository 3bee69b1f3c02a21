# SPDX-License-Identifier: Apache-2.0
"""A detector of your own: a service account minted a token for an account in another namespace."""

import sys
from collections.abc import Iterator

from k8stokendetect import Detector, Event, Evidence, Finding, Rule, Severity, detect
from k8stokendetect.identity import ServiceAccount


class AcrossNamespaces(Detector):
    """A service account minted a token outside its own namespace."""

    rule = Rule("acme.across-namespaces", "Token minted across namespaces", Severity.HIGH)
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Event) -> Iterator[Finding]:
        """Compare the caller's namespace with the target's."""
        caller = ServiceAccount.of_username(event.actor.username)
        target = event.service_account
        if event.mints_token and caller and target and caller.namespace != target.namespace:
            yield self.finding(
                event,
                f"{caller} minted a token for {target}",
                Evidence("objectRef.namespace", target.namespace, "not the caller's own namespace"),
            )


if __name__ == "__main__":
    for finding in detect(sys.argv[1], detectors=[AcrossNamespaces()]):
        print(finding.severity, finding.summary)
