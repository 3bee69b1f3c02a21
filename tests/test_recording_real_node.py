# SPDX-License-Identifier: Apache-2.0
"""A cluster with real kubelets: quiet about what they do, complete about the attack at the end, the worst first.

The events are those that detectors look at; the labels are those of the whole recording.
"""

from __future__ import annotations

import functools
from datetime import date
from typing import Any

import pytest

from k8stokendetect import (
    DEFAULT_EXCLUSIONS,
    Actor,
    Component,
    Exclusion,
    Finding,
    Provenance,
    Severity,
    Tally,
    detect,
)
from k8stokendetect.exclusions.base import TokenShape
from k8stokendetect.incidents import incidents
from recordings import DATA, labels, records

LOG = DATA / "real-node.log.gz"
OPERATOR = "system:serviceaccount:platform:secrets-operator"
READ_BY_PERSON = "token-read-by-exec"


@functools.cache
def label_of() -> dict[str, dict[str, Any]]:
    """Return the label of each request."""
    return {label["auditID"]: label for label in labels(LOG)}


def scenario(finding: Finding) -> str:
    """Return who did it, by the labels."""
    return str(label_of().get(finding.event.audit_id, {}).get("scenario", ""))


@functools.cache
def found() -> tuple[Finding, ...]:
    """Return what is reported by default."""
    return tuple(detect(LOG))


def test_kubelets_and_controllers_are_informational_at_most() -> None:
    """115 mints, 54 honest failures and two renewed certificates."""
    own = [finding for finding in found() if scenario(finding) in {"real-kubelet", "real-controller-manager"}]
    assert {finding.severity for finding in own} == {Severity.INFORMATIONAL}
    assert len(own) < 10, "each kind of failure once"
    theirs = [
        event
        for event in records(LOG)
        if event["user"].get("username", "").startswith(("system:node:", "system:kube-controller-manager"))
    ]
    tally = Tally()
    assert max(finding.severity for finding in detect(theirs, tally=tally)) == Severity.INFORMATIONAL
    assert tally.excluded.keys() == {"kubelet", "kube-controller-manager"}


def test_people_and_an_unknown_operator_are_medium_at_most() -> None:
    """So is what people do with the tokens that they minted."""
    benign = [finding for finding in found() if not label_of().get(finding.event.audit_id, {}).get("malicious")]
    assert {scenario(finding) for finding in benign} >= {"person", "operator"}
    assert max(finding.severity for finding in benign) == Severity.MEDIUM


def test_everything_malicious_is_reported_and_comes_first() -> None:
    """The incident of the attacker is the worst, and the only one above medium."""
    malicious = {id_ for id_, label in label_of().items() if label["malicious"]}
    assert malicious <= {finding.event.audit_id for finding in found()}
    first, *others = incidents(found())
    assert first.severity == Severity.CRITICAL
    assert "mallory" in first.actors
    assert {finding.event.audit_id for finding in first.findings} >= malicious
    assert max(incident.severity for incident in others) == Severity.MEDIUM


@pytest.mark.parametrize("rules", [None, ("token-request", "token-request-uri")])
def test_an_exclusion_of_ones_own_silences_the_operator(rules: tuple[str, ...] | None) -> None:
    """All of its mints; one that names rules leaves the others."""
    exclusion = Exclusion(
        component=Component(
            id="secrets-operator",
            actor=Actor(username=(OPERATOR,), in_pod=True),
            namespaces=("vault",),
            names=("agent",),
            token=TokenShape(),
            if_unseen="exclude",
            provenance=(Provenance(source="ours", checked=date(2026, 11, 27)),),
        ),
        rules=rules,
        because="it logs in to Vault",
        hides="whoever runs code in its pod mints for vault/agent",
    )
    tally = Tally()
    left = list(detect(LOG, exclusions=[*DEFAULT_EXCLUSIONS, exclusion], tally=tally))
    assert {one.rule.id for one in left if scenario(one) == "operator"} == (
        {"token-request-unbound"} if rules else set()
    )
    assert tally.excluded["secrets-operator"] == (24 if rules else 36)
