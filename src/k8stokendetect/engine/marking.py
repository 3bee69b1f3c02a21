# SPDX-License-Identifier: Apache-2.0
"""Judges each request by the exclusions, and marks findings: excluded, or named like a component without its proofs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import is_excludable
from k8stokendetect.events import Event
from k8stokendetect.exclusions import Exclusion, ExclusionIndex, Verdict
from k8stokendetect.findings import Evidence, Finding


@attrs.frozen
class Judgement:
    """What the exclusions say about a request.

    Attributes:
        by_rule: the verdict for each rule that an exclusion covers; the one with the fewest failed checks decides.
        is_excluded: an exclusion excludes it from every rule about minting.
        excluded: the rules from which it is excluded.

    """

    by_rule: Mapping[str, Verdict] = attrs.field(factory=dict)
    is_excluded: bool = False
    excluded: frozenset[str] = frozenset()


UNKNOWN_ACTOR: Final = Judgement()
"""No exclusion names the actor."""


class Judge:
    """Asks the exclusions about each request, once.

    Arguments:
        exclusions: those in force.
        detectors: those that run.

    """

    def __init__(self, exclusions: Iterable[Exclusion], detectors: Sequence[Detector]) -> None:
        self._index = ExclusionIndex(exclusions)
        self._covered = {
            exclusion.id: frozenset(
                one.rule.id for one in detectors if exclusion.covers(one.rule.id, excludable=is_excludable(one))
            )
            for exclusion in exclusions
        }
        self._by_design: dict[tuple[str, ...], Judgement] = {}

    def judge(self, event: Event, /) -> Judgement:
        """Return what the exclusions say about an event."""
        verdicts = self._index.judge(event)
        if not verdicts:
            return UNKNOWN_ACTOR
        if verdicts[-1].failed:  # the last has the most
            return self._judgement(verdicts)
        names = tuple([verdict.exclusion.id for verdict in verdicts])
        found = self._by_design.get(names)
        if found is None:
            found = self._by_design[names] = self._judgement(verdicts)
        return found

    def _judgement(self, verdicts: Sequence[Verdict]) -> Judgement:
        by_rule: dict[str, Verdict] = {}
        is_excluded = False
        for verdict in reversed(verdicts):  # the first is the nearest
            by_rule |= dict.fromkeys(self._covered[verdict.exclusion.id], verdict)
            is_excluded |= not verdict.failed and verdict.exclusion.rules is None
        excluded = frozenset([rule for rule, verdict in by_rule.items() if not verdict.failed])
        return Judgement(by_rule, is_excluded, excluded)


def mark(finding: Finding, verdict: Verdict | None, /) -> Finding:
    """Mark a finding as excluded; otherwise the failed checks become evidence, for they are what a look-alike is."""
    if verdict is None:
        return finding
    if verdict.excludes:
        return attrs.evolve(finding, excluded_by=verdict.exclusion.id)
    why = f"named like exclusion {verdict.exclusion.id}, yet reported: "
    new = [failed for failed in verdict.failed if failed.why not in finding.summary]
    return attrs.evolve(
        finding,
        evidence=(*finding.evidence, *(Evidence(one.path, one.value, f"{why}{one.why}") for one in new if one.value)),
        caveats=(*finding.caveats, *(f"{why}{one.why}" for one in new if not one.value)),
    )
