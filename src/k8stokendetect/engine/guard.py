# SPDX-License-Identifier: Apache-2.0
"""Calls somebody's detector: where it raises, the error is reported, and the other detectors still see the event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import DetectorError, OnDetectError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding

T = TypeVar("T")

_NOTHING: Final = ()
"""What most methods give for most events; there is one empty tuple only."""


class Guard:
    """Calls detectors.

    Arguments:
        on_error: called with a DetectorError when one raises or returns what it should not.
        tally: its failures are counted up.

    """

    def __init__(self, on_error: OnDetectError, tally: Tally) -> None:
        self._on_error = on_error
        self._tally = tally

    def all_of(
        self,
        kind: type[T],
        detector: Detector,
        origin: str | None,
        call: Callable[..., Iterable[object]],
        *given: object,
    ) -> list[T]:
        """Return what a method yields, all of a kind; nothing where it fails."""
        try:
            given_back = call(*given)
            if given_back is _NOTHING:
                return []
            found = list(given_back)
            for item in found:
                if not isinstance(item, kind):
                    raise TypeError(f"gave {type(item).__name__}, not {kind.__name__}")  # noqa: TRY301 - as any other
        except Exception as error:  # noqa: BLE001 - as the first line says
            self._failed(detector, origin, error)
            return []
        return found  # type: ignore[return-value]  # the loop above checked each

    def keys_of(self, detector: KeyedDetector[Any], event: Event, reported: Sequence[Finding]) -> tuple[str, ...]:
        """Return the keys that a detector names for an event; none where it fails."""
        try:
            keys = tuple(detector.keys(event, reported))
            for key in keys:
                if not isinstance(key, str):
                    raise TypeError(f"gave {type(key).__name__}, not str")  # noqa: TRY301 - as any other
        except Exception as error:  # noqa: BLE001 - as the first line says
            self._failed(detector, event.origin, error)
            return ()
        return keys

    def matching(self, detectors: Iterable[Detector], event: Event) -> list[Detector]:
        """Return those that match an event, without one that fails."""
        found = []
        for detector in detectors:
            try:
                if detector.matches(event):
                    found.append(detector)
            except Exception as error:  # noqa: BLE001 - as the first line says
                self._failed(detector, event.origin, error)
        return found

    def _failed(self, detector: Detector, origin: str | None, error: Exception) -> None:
        self._tally.failures += 1
        self._on_error(DetectorError(detector.rule.id, _explain(error), origin))


def _explain(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even its __str__ may raise
        return type(error).__name__
