# SPDX-License-Identifier: Apache-2.0
"""The detector: what it finds, and the tests that every detector has to pass."""

from k8stokendetect.testing import DetectorConformance, token_request
from k8stokendetect_example.vault_token import VaultToken


class TestVaultToken(DetectorConformance):
    """The kit's suite, with our examples."""

    detector = VaultToken
    reports = (token_request(audiences=["vault"]), token_request("bob", "ci/runner", audiences=["api", "vault"]))
    ignores = (
        token_request(audiences=["vault"], code=403),
        token_request(audiences=["vault.example"]),
        token_request(audiences=["api"]),
        token_request(),
    )
