# SPDX-License-Identifier: Apache-2.0
"""The recorded attacks as a whole: every built-in detector, the incidents, and what must not depend on order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import pytest

from k8stokendetect import Detector, Event, Finding, KeyedDetector, detect
from k8stokendetect.convert.structure import plain
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.incidents import Incident, incidents
from k8stokendetect.outputs.native import to_incident_line, to_line
from k8stokendetect.outputs.report import to_report
from k8stokendetect.outputs.text import to_text
from k8stokendetect.outputs.tree import to_tree
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, events, labels


def everything() -> list[Detector]:
    """Return every detector that ships, made anew."""
    return [cls() for cls in (*BUILTIN, *OPTIONAL)]


def identity(findings: Iterable[Finding]) -> list[str]:
    """Return everything about findings, in an order of their own.

    But for the stage: a watch that is refused is logged at two, and the one that is read first is reported.
    """
    staged = (attrs.evolve(finding, event=attrs.evolve(finding.event, stage="")) for finding in findings)
    return sorted(json.dumps(plain(finding), sort_keys=True, default=str) for finding in staged)


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27])
def test_the_order_within_a_minute_changes_nothing(path: Path) -> None:
    """Each event is moved by up to 60 s, as several API servers' files are."""
    chance = random.Random(7)  # noqa: S311 - no secret
    log = list(events(path))

    def moved(event: Event) -> float:
        return (event.time.timestamp() if event.time else 0) + chance.uniform(0, 60)

    shuffled: list[Event] = sorted(log, key=moved)
    assert identity(detect(shuffled, detectors=everything())) == identity(detect(log, detectors=everything()))


@pytest.mark.parametrize("path", [METADATA, METADATA_1_27, REQUEST_RESPONSE])
def test_a_restart_half_way_changes_nothing(path: Path) -> None:
    """Every detector that remembers writes its state as JSON and goes on with it in another instance."""
    log = events(path)
    half = len(log) // 2
    first, second = everything(), everything()
    before = list(detect(log[:half], detectors=first))
    for old, new in zip(first, second, strict=True):
        if isinstance(old, KeyedDetector) and isinstance(new, KeyedDetector):
            new.restore(json.loads(json.dumps(old.state())))

    whole = detect(log, detectors=everything())
    assert identity([*before, *detect(log[half:], detectors=second)]) == identity(whole)


def of(found: Sequence[Incident], scenario: str) -> list[Incident]:
    """Return the incidents with findings about requests of a scenario."""
    named = {label["auditID"] for label in labels(METADATA) if label["scenario"] == scenario and label["malicious"]}
    return [one for one in found if any(finding.event.audit_id in named for finding in one.findings)]


def test_the_recording_gives_a_short_list_of_incidents() -> None:
    """One for each attacker, and each of the benign minters that are not set aside: not one for each alert."""
    findings = list(detect(events(METADATA)))
    found = incidents(findings)
    callers = {label["user"] for label in labels(METADATA) if label["kind"].startswith("mint") and label["user"]}

    assert len(findings) > 300
    assert len(found) <= len(callers) < 25
    (chain,) = of(found, "05-attack-chain")
    assert chain.depth == 3
    assert "listed the secrets in prod as prod/chain-c" in chain.title
    (probing,) = [one for one in found if "mallory" in one.actors]
    assert probing in of(found, "04-attack-probing")
    assert {finding.rule.id for finding in probing.findings} >= {"token-request-denied"}


def test_no_output_repeats_a_token() -> None:
    """The excerpt holds live tokens at level RequestResponse; token-in-audit-log says so."""
    findings = list(detect(events(REQUEST_RESPONSE), keep_excluded=True, detectors=everything()))
    found = incidents(findings)
    written = [*map(to_line, findings), *map(to_text, findings), *map(to_tree, found), *map(to_incident_line, found)]

    assert "token-in-audit-log" in {finding.rule.id for finding in findings}
    assert "eyJ" not in "".join(written) + to_report(found) + repr(findings)
