# SPDX-License-Identifier: Apache-2.0
"""A detector: somebody minted a token that Vault takes for a login."""

from k8stokendetect import Detector, Event, Evidence, Finding, Rule, Severity


class VaultToken(Detector):
    """A token was minted whose audience is Vault."""

    rule = Rule(
        "example.vault-token",
        "Token minted for Vault",
        Severity.HIGH,
        description="A service account token with the audience vault logs in to Vault's Kubernetes auth method.",
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=("https://developer.hashicorp.com/vault/docs/auth/kubernetes",),
        false_positives=("Vault Secrets Operator and Vault Agent, where they ask for tokens themselves.",),
        blind_spots=("At level Metadata the audience is not logged.", "Vault may take any other audience."),
        response="Ask the caller. Look in Vault's audit log for logins of the service account; revoke their leases.",
    )
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event: Event, /) -> bool:
        """Look at the audiences that were asked for."""
        request = event.token_request
        return event.mints_token and request is not None and "vault" in request.audiences

    def describe(self, event: Event, /) -> Finding:
        """Say who minted for whom."""
        audiences = event.token_request.audiences if event.token_request else ()
        return self.finding(
            event,
            f"{event.actor.username} minted a token of {event.service_account} for Vault",
            Evidence("requestObject.spec.audiences", audiences, "whom the token is for"),
        )
