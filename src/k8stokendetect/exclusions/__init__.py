# SPDX-License-Identifier: Apache-2.0
"""Identities that mint tokens by design: data with proofs, provenance and a price; never a username alone."""

from k8stokendetect.exclusions.base import Actor, Exclusion, Miss, Provenance, TokenShape, Verdict, verdict
from k8stokendetect.exclusions.catalogue import DEFAULT_EXCLUSIONS, OPTIONAL_EXCLUSIONS, find_exclusion
from k8stokendetect.exclusions.load import load_exclusions

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
