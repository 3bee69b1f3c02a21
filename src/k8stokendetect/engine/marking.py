# SPDX-License-Identifier: Apache-2.0
"""Marks findings with what the exclusions say: excluded by one of them, or named like a component and not it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import is_excludable
from k8stokendetect.exclusions import Exclusion, Verdict
from k8stokendetect.findings import Evidence, Finding


class Coverage:
    """Which exclusions cover which rules.

    Arguments:
        exclusions: those in force.
        detectors: those that run.

    """

    def __init__(self, exclusions: Iterable[Exclusion], detectors: Sequence[Detector]) -> None:
        self._covered = {
            exclusion.id: frozenset(
                one.rule.id for one in detectors if exclusion.covers(one.rule.id, excludable=is_excludable(one))
            )
            for exclusion in exclusions
        }

    def by_rule(self, verdicts: Sequence[Verdict], /) -> Mapping[str, Verdict]:
        """Return the verdict for each rule that is covered: the nearest, which is the first."""
        found: dict[str, Verdict] = {}
        for verdict in verdicts:
            found = dict.fromkeys(self._covered[verdict.exclusion.id], verdict) | found
        return found


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
