# SPDX-License-Identifier: Apache-2.0
"""Alerts: one for each request, whatever number of rules reported it."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path

import attrs
import pytest

from builders import token_request
from k8stokendetect import Alert, ConfigError, Finding, Severity, detect
from k8stokendetect.incidents import Incidents, alerts, incidents
from recordings import DATA, METADATA, METADATA_1_27

RECORDINGS = (METADATA, METADATA_1_27, DATA / "real-node.log.gz")


@functools.cache
def findings(path: Path) -> tuple[Finding, ...]:
    """Return what is found in a recording."""
    return tuple(detect(path))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_one_request_is_one_alert_with_everything_that_was_said_about_it(path: Path) -> None:
    """Nothing is lost, and nothing is said twice."""
    found = list(alerts(findings(path)))

    assert Counter(one for alert in found for one in alert.findings) == Counter(findings(path))
    assert len({alert.fingerprint for alert in found}) == len(found)
    for alert in found:
        assert {one.event.request_id for one in alert.findings} == {alert.id}
        assert alert.severity == max(one.severity for one in alert.findings)
        assert {rule.id for rule in alert.rules} == {one.rule.id for one in alert.findings}
        assert all(item in alert.evidence for one in alert.findings for item in one.evidence)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_an_alert_names_its_incident(path: Path) -> None:
    """By the end of the log all ids are those of the incidents."""
    groups = Incidents()
    whole = {one.fingerprint: incident.id for incident in incidents(findings(path)) for one in incident.findings}

    early = list(alerts(findings(path), groups))

    assert {one.fingerprint: groups.id_of(one) for alert in early for one in alert.findings} == whole
    named = [alert.incident == whole[alert.worst.fingerprint] for alert in early]
    assert sum(named) >= 0.9 * len(named)


def test_a_use_descends_from_its_mint() -> None:
    """The mint of the token that the request was made with, not the beginning of the chain."""
    uses = [alert for alert in alerts(findings(METADATA)) if "minted-token-used" in {rule.id for rule in alert.rules}]

    assert uses
    for alert in uses:
        assert alert.mint is not None
        assert alert.event.uses_token_of(alert.mint)


def test_excluded_findings_are_an_alert_of_their_own() -> None:
    """What is reported about the same request is not hidden by them."""
    (finding, *_) = findings(METADATA)
    excluded = attrs.evolve(finding, excluded_by="acme", key="1")

    assert [alert.excluded_by for alert in alerts([finding, excluded])] == [None, "acme"]


def test_it_is_json() -> None:
    """The next level of each is named by its id."""
    (alert, *_) = alerts(findings(METADATA), Incidents())
    document = json.loads(json.dumps(alert.to_dict()))

    assert document["id"] == alert.event.request_id
    assert document["findings"] == [one.fingerprint for one in alert.findings]
    assert document["incident"] == alert.incident
    assert len(repr(alert)) < 400


def test_an_alert_without_findings_is_refused() -> None:
    """There is nothing to say."""
    with pytest.raises(ConfigError, match="at least one finding"):
        Alert.of([])


def test_an_odd_uri_is_a_reason_inside_the_alert() -> None:
    """The mint names it, also where both are rated alike; a call that stands alone is a low alert."""
    mint, uri = detect(token_request(query="?dryRun=All"), exclusions=())
    assert (mint.severity, uri.rule.id, uri.severity) == (Severity.MEDIUM, "token-request-uri", Severity.MEDIUM)
    assert [rule.id for rule in Alert.of([uri, mint]).rules] == ["token-request", "token-request-uri"]
    assert any("dryRun" in str(item.value) for item in Alert.of([uri, mint]).evidence)

    alone = list(alerts(detect(token_request(code=405, verb="get", issued=None), exclusions=())))
    assert [(str(alert.severity), [rule.id for rule in alert.rules]) for alert in alone] == [
        ("low", ["token-request-uri"])
    ]
