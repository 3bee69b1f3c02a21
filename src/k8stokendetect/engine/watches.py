# SPDX-License-Identifier: Apache-2.0
"""Turns what detectors say they watch into a prefilter."""

from __future__ import annotations

from collections.abc import Sequence

from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.keyed import KeyedDetector
from k8stokendetect.events import Signal
from k8stokendetect.identity import SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reading.prefilter import Prefilter

_MENTIONED: dict[bytes | tuple[bytes, ...], str | Signal] = {
    b"legacy-token": Signal.LEGACY_TOKEN,
    **{(b"secrets", verb): f"{verb.decode()} secrets" for verb in (b"create", b"update", b"patch")},
    **dict.fromkeys((b"eyJ", b"eyA", b"ewo", b"ewk", b"ew0", b"ZXl", b'"token":', b'"token\\":'), Signal.LIVE_TOKEN),
}
"""What the built-in detectors mention."""


def prefilter_of(detectors: Sequence[Detector], /) -> Prefilter:
    """Return what these detectors want to see."""
    watches: set[str | Signal] = set()
    names = []
    for detector in detectors:
        watches |= _watches(detector)
        if isinstance(detector, KeyedDetector) and detector.follows_credentials:
            for key, _, _ in detector.memory:
                namespace, _, name = key.partition("/")
                names.append(key if key.startswith("JTI=") else f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
    return Prefilter(watches, names)


def _watches(detector: Detector) -> set[str | Signal]:
    """Return the watches of a detector that still says it with bytes."""
    watches: set[str | Signal] = set(detector.watches or ())
    for word in detector.mentions if detector.watches is None else ():
        watches.add(_MENTIONED.get(word, "*"))
    if isinstance(detector, KeyedDetector) and detector.follows_credentials:
        watches.add(Signal.USE_OF_REPORTED if detector.only_followed else Signal.USE_OF_ANY)
    if type(detector).inspect_unreadable is not Detector.inspect_unreadable:
        watches.add(Signal.UNREADABLE)
    return watches if detector.watches is not None or detector.mentions else {"*"}
