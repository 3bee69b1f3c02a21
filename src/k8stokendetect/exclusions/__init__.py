# SPDX-License-Identifier: Apache-2.0
"""Identities that mint tokens by design: data with proofs, provenance and a price; never a username alone."""

from k8stokendetect.exclusions.base import Actor, Exclusion, Provenance, TokenShape
from k8stokendetect.exclusions.catalogue import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, find_exclusion
from k8stokendetect.exclusions.load import load_exclusions
from k8stokendetect.exclusions.verdict import Miss, Verdict, verdict

__all__ = [
    "DEFAULT_EXCLUSIONS",
    "OPTIONAL_EXCLUSIONS",
    "Actor",
    "Exclusion",
    "Miss",
    "Provenance",
    "TokenShape",
    "Verdict",
    "find_exclusion",
    "load_exclusions",
    "verdict",
]
