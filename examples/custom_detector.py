# SPDX-License-Identifier: Apache-2.0
"""A detector of your own: a service account minted a token for an account in another namespace."""

import sys

from k8stokendetect import Detector, Event, Evidence, Finding, K8sTokenDetectError, Rule, Severity, detect
from k8stokendetect.identity import ServiceAccount


class AcrossNamespaces(Detector):
    """A service account minted a token outside its own namespace."""

    rule = Rule("acme.across-namespaces", "Token minted across namespaces", Severity.HIGH)
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event: Event) -> bool:
        """Compare the caller's namespace with the target's."""
        caller, target = ServiceAccount.of_username(event.actor.username), event.service_account
        return bool(event.mints_token and caller and target and caller.namespace != target.namespace)

    def describe(self, event: Event) -> Finding:
        """Say who minted for whom."""
        caller, target = ServiceAccount.of_username(event.actor.username), event.service_account
        return self.finding(
            event,
            f"{caller} minted a token for {target}",
            Evidence("objectRef.namespace", target.namespace if target else "", "not the caller's own namespace"),
        )


if __name__ == "__main__":
    errors: list[K8sTokenDetectError] = []
    for finding in detect(sys.argv[1], detectors=[AcrossNamespaces()], on_error=errors.append):
        print(finding.severity, finding.summary)
    for error in errors:
        print("could not be read:", error, file=sys.stderr)
