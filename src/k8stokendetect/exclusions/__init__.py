# SPDX-License-Identifier: Apache-2.0
"""Components that mint tokens by design, with their proofs and sources, and what excluding each of them costs."""

from k8stokendetect.exclusions.base import Actor, Component, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.catalogue import COMPONENTS, DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, find_exclusion
from k8stokendetect.exclusions.index import ExclusionIndex
from k8stokendetect.exclusions.load import load_exclusions
from k8stokendetect.exclusions.verdict import FailedCheck, Verdict, verdict
from k8stokendetect.exclusions.write import to_toml

__all__ = [
    "COMPONENTS",
    "DEFAULT_EXCLUSIONS",
    "OPTIONAL_EXCLUSIONS",
    "Actor",
    "Component",
    "Exclusion",
    "ExclusionIndex",
    "FailedCheck",
    "Provenance",
    "TokenShape",
    "Verdict",
    "find_exclusion",
    "load_exclusions",
    "to_toml",
    "verdict",
]
