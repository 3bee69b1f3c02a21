# SPDX-License-Identifier: Apache-2.0
"""Every exclusion that ships, on or off, and how to find one by name."""

from __future__ import annotations

from typing import Final

from k8stokendetect.errors import ConfigError, did_you_mean
from k8stokendetect.exclusions import addons, kubernetes, openshift, providers, secret_stores
from k8stokendetect.exclusions.base import Component, Exclusion
from k8stokendetect.reprs import Listing

DEFAULT_EXCLUSIONS: Final[tuple[Exclusion, ...]] = Listing(
    (*kubernetes.EXCLUSIONS, *providers.EXCLUSIONS, *openshift.EXCLUSIONS)
)
"""What `detect` excludes by default; the providers' entries apply on their own platform only."""

OPTIONAL_EXCLUSIONS: Final[tuple[Exclusion, ...]] = Listing((*secret_stores.EXCLUSIONS, *addons.EXCLUSIONS))
"""Operators and other software: off, each one name to switch on."""

COMPONENTS: Final[tuple[Component, ...]] = Listing(one.component for one in DEFAULT_EXCLUSIONS)
"""The components that mint by design on every cluster; who is named like one and lacks a proof is a look-alike."""


def find_exclusion(name: str, /) -> Exclusion:
    """Return the exclusion of that id; raises ConfigError, with the nearest names, for an unknown one."""
    known = {exclusion.id: exclusion for exclusion in DEFAULT_EXCLUSIONS + OPTIONAL_EXCLUSIONS}
    if name not in known:
        raise ConfigError(f"unknown exclusion {name!r}{did_you_mean(name, known)}")
    return known[name]
