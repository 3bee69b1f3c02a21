# SPDX-License-Identifier: Apache-2.0
"""Turns what a caller asks for, by id or by instance, into detectors and exclusions, and checks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.errors import ConfigError, did_you_mean
from k8stokendetect.exclusions import Exclusion, find_exclusion

D = TypeVar("D", bound=Detector)

KNOWN: Mapping[str, type[Detector]] = {cls.rule.id: cls for cls in (*BUILTIN, *OPTIONAL)}
"""The detectors that ship, by rule id."""


def choose_detectors(detectors: Iterable[Detector | str] | None, /) -> tuple[Detector, ...]:
    """Return the detectors that were asked for; all of BUILTIN for None.

    Raises:
        ConfigError: for an unknown or repeated rule, or something that is not a Detector.

    """
    default = [cls.rule.id for cls in BUILTIN]
    return chosen_of(Detector, KNOWN, default if detectors is None else detectors)


def chosen_of(kind: type[D], known: Mapping[str, type[D]], asked: Iterable[D | str], /) -> tuple[D, ...]:
    """Return detectors of a kind: instances as they are, a new instance for each rule id.

    Raises:
        ConfigError: as `choose_detectors`.

    """
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise ConfigError("detectors takes a list")
    chosen: list[D] = []
    for item in asked:
        if isinstance(item, str):
            if item not in known:
                raise ConfigError(f"unknown rule {item!r}{did_you_mean(item, known)}")
            chosen.append(known[item]())
        elif isinstance(item, kind):
            chosen.append(item)
        else:
            given: object = cast("object", item)
            hint = f"; write {given.__name__}()" if isinstance(given, type) else ""
            raise ConfigError(f"not {_a(kind)} instance: {item!r}{hint}")
    for rule, count in Counter(detector.rule.id for detector in chosen).items():
        if count > 1:
            raise ConfigError(f"rule {rule!r} is given twice")
    return tuple(chosen)


def _a(kind: type) -> str:
    return f"an {kind.__name__}" if kind.__name__[0] in "AEIOU" else f"a {kind.__name__}"


def choose_exclusions(exclusions: Iterable[Exclusion | str], detectors: Sequence[Detector], /) -> tuple[Exclusion, ...]:
    """Return the exclusions that were asked for.

    Arguments:
        exclusions: Exclusions, or ids of those that ship.
        detectors: those that were chosen: an exclusion may name their rules, too.

    Raises:
        ConfigError: for an unknown exclusion or rule, or two different exclusions of one id.

    """
    if isinstance(exclusions, str) or not isinstance(exclusions, Iterable):
        raise ConfigError("exclusions takes a list")
    rules = {*KNOWN, *(detector.rule.id for detector in detectors)}
    named: dict[str, Exclusion] = {}
    for item in exclusions:
        exclusion = find_exclusion(item) if isinstance(item, str) else item
        if not isinstance(exclusion, Exclusion):
            raise ConfigError(f"not an Exclusion: {exclusion!r}")
        if named.setdefault(exclusion.id, exclusion) != exclusion:
            raise ConfigError(f"two different exclusions are called {exclusion.id!r}")
        for rule in exclusion.rules or ():
            if rule not in rules:
                raise ConfigError(f"exclusion {exclusion.id!r}: unknown rule {rule!r}{did_you_mean(rule, rules)}")
    return tuple(named.values())
