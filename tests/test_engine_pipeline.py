# SPDX-License-Identifier: Apache-2.0
"""The way of an event through detect(): repetitions, verdicts, counts, and what keyed detectors are told and keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from builders import token_request
from k8stokendetect import Detector, Finding, KeyedDetector, Rule, Severity, Tally, detect
from k8stokendetect.detectors.minted_token_used import MintedTokenUsed
from k8stokendetect.exclusions import find_exclusion
from k8stokendetect.testing import request, service_account_user

KUBELET = token_request(
    "system:node:worker-1", groups=("system:nodes", "system:authenticated"), userAgent="kubelet/v1.36.2 (linux/amd64)"
)
WITHOUT_PROOF = KUBELET | {"user": {"username": "system:node:worker-1", "groups": ["system:authenticated"]}}
"""The same request by the same name, but for the group that proves it."""


class Mints(Detector):
    """Reports every mint."""

    rule = Rule("acme.mints", "Mints", Severity.LOW)
    watches = frozenset({"serviceaccounts/token"})

    def inspect(self, event: Any, /) -> Iterator[Finding]:
        """Yield one finding."""
        yield self.finding(event, "a mint")


OWN_EXCLUSION = attrs.evolve(find_exclusion("kubelet"), rules=("acme.mints",))


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["a detector of your own", "token-request"])
@pytest.mark.parametrize("log", [[KUBELET, WITHOUT_PROOF], [WITHOUT_PROOF, KUBELET]], ids=["first", "last"])
def test_what_was_excluded_hides_no_repetition_that_is_reported(
    log: list[dict[str, Any]], *, own: bool, keep_excluded: bool
) -> None:
    """Both are the same request with the same fingerprint: the verdict is part of what makes a repetition."""
    tally = Tally()
    detectors, exclusions = ([Mints()], [OWN_EXCLUSION]) if own else (["token-request"], ["kubelet"])
    findings = list(detect(log, detectors=detectors, exclusions=exclusions, keep_excluded=keep_excluded, tally=tally))

    assert len([finding for finding in findings if finding.excluded_by is None]) == 1
    assert keep_excluded is ("kubelet" in {finding.excluded_by for finding in findings})
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (1, {"kubelet": 1}, 0)


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["a detector of your own", "token-request"])
def test_what_was_excluded_is_counted_once_however_often_it_is_delivered(*, own: bool, keep_excluded: bool) -> None:
    """The second delivery is a duplicate."""
    tally = Tally()
    detectors, exclusions = ([Mints()], [OWN_EXCLUSION]) if own else (["token-request"], ["kubelet"])
    findings = list(
        detect([KUBELET] * 3, detectors=detectors, exclusions=exclusions, keep_excluded=keep_excluded, tally=tally)
    )

    assert ["kubelet"] * keep_excluded == [finding.excluded_by for finding in findings]
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (0, {"kubelet": 1}, 2)


@pytest.mark.parametrize("keep_excluded", [True, False])
@pytest.mark.parametrize("log", [[KUBELET, KUBELET], [token_request(), token_request()]], ids=["excluded", "reported"])
def test_a_rule_that_runs_for_another_one_only_is_not_counted(
    log: list[dict[str, Any]], *, keep_excluded: bool
) -> None:
    """minted-token-used needs token-request; whoever asked for the former alone sees nothing of the latter."""
    tally = Tally()
    findings = list(detect(log, detectors=["minted-token-used"], keep_excluded=keep_excluded, tally=tally))

    assert findings == []
    assert (tally.findings.total(), tally.excluded, tally.duplicates) == (0, {}, 0)


def log_of(*events: dict[str, Any]) -> bytes:
    """Return a log as the API server writes it: one compact line an event."""
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)


def restored(detector: KeyedDetector[Any]) -> MintedTokenUsed:
    """Return another instance that goes on with what the first one remembers, as after a restart."""
    other = MintedTokenUsed()
    other.restore(json.loads(json.dumps(detector.state())))
    return other


@pytest.mark.parametrize("issued", ["JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03", None], ids=["with ids", "without ids"])
def test_a_restored_state_follows_tokens_through_the_next_log(issued: str | None) -> None:
    """Lines that concern nobody are skipped unparsed; a use of a token that is remembered from before is not.

    The log is longer than what is read for its last minute. One line holds the id of a token that its caller made up:
    by their number the ids could then be those of all users.
    """
    use = request(
        "list",
        "secrets",
        user=service_account_user("prod/payments-sa", issued),
        ip="203.0.113.9",
        time="2026-11-23T21:45:00.000000Z",
    )
    made_up = {"username": "bob", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=made-up"]}}
    harmless = request(time="2026-11-23T21:45:01.000000Z")
    log = log_of(use, request(impersonatedUser=made_up)) + log_of(harmless) * 3000
    first = MintedTokenUsed()
    assert list(detect(log_of(token_request(issued=issued)), detectors=[first])) == []

    assert [finding.event.target for finding in detect(log, detectors=[restored(first)])] == ["secrets prod"]
    assert list(detect(log, detectors=[MintedTokenUsed()])) == []


def test_a_state_may_be_saved_and_restored_after_every_event() -> None:
    """The chain of two mints and its use, with a restart between each two."""
    chain = [
        token_request(issued="JTI=1", auditID="1"),
        token_request(
            target="prod/reporter",
            issued="JTI=2",
            auditID="2",
            user=service_account_user("prod/payments-sa", "JTI=1"),
            requestReceivedTimestamp="2026-11-23T21:44:00.000000Z",
        ),
        request(
            "list",
            "secrets",
            user=service_account_user("prod/reporter", "JTI=2"),
            auditID="3",
            time="2026-11-23T21:44:30.000000Z",
        ),
    ]
    detector = MintedTokenUsed()
    findings: list[Finding] = []
    for event in chain:
        detector = restored(detector)
        findings += detect(log_of(event), detectors=[detector])

    assert [(finding.event.audit_id, [mint.audit_id for mint in finding.related]) for finding in findings] == [
        ("2", ["1"]),
        ("3", ["1", "2"]),
    ]
