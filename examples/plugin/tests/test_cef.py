# SPDX-License-Identifier: Apache-2.0
"""The output: one line a finding, whatever a client calls itself."""

from k8stokendetect import detect
from k8stokendetect.plugins import load_detectors, load_outputs
from k8stokendetect.testing import token_request
from k8stokendetect_example.cef import to_cef
from k8stokendetect_example.vault_token import VaultToken


def test_a_finding_is_one_line_of_cef() -> None:
    """Seven fields before the extension, the last of them the severity."""
    (finding,) = detect(token_request(audiences=["vault"]), detectors=[VaultToken()])
    line = to_cef(finding)

    assert line.startswith("CEF:0|k8stokendetect|k8stokendetect|")
    assert line.split("|")[4:7] == ["example.vault-token", "Token minted for Vault", "8"]
    assert "suser=alice" in line
    assert "cs1=prod/payments-sa" in line


def test_no_client_begins_a_line_or_a_field_of_its_own() -> None:
    """Line ends, equals signs and backslashes in a user agent."""
    event = token_request(audiences=["vault"], userAgent="x\nCEF:0|suser=root\\")
    (finding,) = detect(event, detectors=[VaultToken()])
    line = to_cef(finding)

    assert line.isprintable()
    assert r"suser\=root\\" in line


def test_the_entry_points_are_found() -> None:
    """Once this distribution is installed."""
    assert "example.vault-token" in {detector.rule.id for detector in load_detectors()}
    assert load_outputs()["cef"] is to_cef
