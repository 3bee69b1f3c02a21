# SPDX-License-Identifier: Apache-2.0
"""What the tests of the embedding examples share: which rules remember, the recorded mints, findings by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from k8stokendetect import Finding
from k8stokendetect.detectors import BUILTIN, KeyedDetector
from recordings import METADATA, labelled_token_requests

KEYED: Final = {cls.rule.id for cls in BUILTIN if issubclass(cls, KeyedDetector)}


def mints() -> list[dict[str, Any]]:
    """Return the labels of the recorded mints by attackers, each with its event."""
    joined = labelled_token_requests(METADATA).values()
    return [label for label in joined if label["kind"] == "mint-ok" and label["malicious"]]


def fingerprints(findings: Sequence[Finding]) -> list[str]:
    """Name the findings, in an order of their own."""
    return sorted(finding.fingerprint for finding in findings)
