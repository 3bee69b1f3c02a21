# SPDX-License-Identifier: Apache-2.0
"""Translates what detectors watch into what the reader looks for in the bytes of a log."""

from __future__ import annotations

from collections.abc import Iterable

from k8stokendetect.events import Signal
from k8stokendetect.reading.interest import Interest, Word
from k8stokendetect.reading.prefilter import EVERYTHING, parse_watch

_WORDS: dict[Signal, tuple[Word, ...]] = {
    Signal.LEGACY_TOKEN: (b"legacy-token",),
    Signal.LIVE_TOKEN: (b"eyJ", b"eyA", b"ewo", b"ewk", b"ew0", b"ZXl", b'"token":', b'"token\\":'),
}


def prefilter_of(watches: Iterable[str | Signal], followed: Iterable[str]) -> Interest | None:
    """Return what the reader looks for; None where everything is wanted."""
    if not {EVERYTHING, Signal.USE_OF_ANY}.isdisjoint(watches):
        return None
    resources, words = set[bytes](), dict[Word, None]()
    for watch in sorted(watches, key=str):
        if isinstance(watch, Signal):
            words |= dict.fromkeys(_WORDS.get(watch, ()))
            continue
        resource, verb = parse_watch(watch)
        last = resource.rpartition("/")[2].partition(".")[0]
        if verb is None:
            resources.add(last.encode())
        else:
            words[last.encode(), verb.encode()] = None
    interest = Interest(tuple(sorted(resources)), tuple(words), follows=Signal.USE_OF_REPORTED in watches)
    for name in sorted(followed):
        interest.follow(name)
    return interest
