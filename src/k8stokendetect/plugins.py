# SPDX-License-Identifier: Apache-2.0
"""Loads detectors, envelopes and outputs of other distributions by their entry points, only on request.

A plug-in runs with all rights of this process: it is loaded on request, never at import. A broken or clashing plug-in
stops the start instead of being skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeAlias

from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector
from k8stokendetect.envelopes import ENVELOPES
from k8stokendetect.envelopes.base import Envelope
from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding

DETECTORS: Final = "k8stokendetect.detectors"
"""Entry point group: a Detector class, created without arguments, or an instance."""

ENVELOPES_GROUP: Final = "k8stokendetect.envelopes"
"""Entry point group: a module, or another object, with `recognises` and `events`."""

OUTPUTS: Final = "k8stokendetect.outputs"
"""Entry point group: a function from a finding to text; the entry point's name is the format's."""

FORMATS: Final = ("text", "json", "ecs", "ocsf")
"""The built-in formats."""

Output: TypeAlias = Callable[[Finding], str]
"""Returns a finding as text, normally one line, without the final line break."""


def load_detectors() -> tuple[Detector, ...]:
    """Return the detectors of all plug-ins, sorted by rule id.

    Raises:
        ConfigError: when one cannot be imported or created, is not a Detector, or has the rule id of another or of a
            built-in one; names the distribution and the entry point.

    """
    found: dict[str, tuple[Detector, EntryPoint]] = {}
    ours = {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)}
    for point in _points(DETECTORS):
        detector = _made(point, _load(point))
        rule = detector.rule.id
        if rule in ours:
            raise _error(point, f"rule {rule!r} is a built-in one")
        if rule in found:
            raise _error(point, f"rule {rule!r} is also that of {_named(found[rule][1])}")
        found[rule] = detector, point
    return tuple(found[rule][0] for rule in sorted(found))


def load_envelopes() -> tuple[Envelope, ...]:
    """Return the envelopes of all plug-ins for `read(..., envelopes=)`, sorted by name.

    Raises:
        ConfigError: when one cannot be imported, lacks `recognises` or `events`, or has the name of another or of a
            built-in one; names the distribution and the entry point.

    """
    ours = {getattr(envelope, "__name__", "").rpartition(".")[2] for envelope in ENVELOPES}
    found: list[Envelope] = []
    for point, loaded in _apart(ENVELOPES_GROUP, ours):
        if not all(callable(getattr(loaded, name, None)) for name in ("recognises", "events")):
            raise _error(point, "not an envelope: it lacks `recognises` or `events`")
        found.append(loaded)
    return tuple(found)


def load_outputs() -> dict[str, Output]:
    """Return the outputs of all plug-ins by name.

    Raises:
        ConfigError: when one cannot be imported or called, or has the name of another or of a built-in format; names
            the distribution and the entry point.

    """
    found: dict[str, Output] = {}
    for point, loaded in _apart(OUTPUTS, set(FORMATS)):
        if not callable(loaded):
            raise _error(point, "not a function from a finding to text")
        found[point.name] = loaded
    return found


def _apart(group: str, ours: set[str]) -> Iterator[tuple[EntryPoint, Any]]:
    """Yield entry points by name; duplicate names are an error."""
    taken: dict[str, EntryPoint] = {}
    for point in _points(group):
        if point.name in ours:
            raise _error(point, f"{point.name!r} is a built-in one")
        if point.name in taken:
            raise _error(point, f"{point.name!r} is also the name of {_named(taken[point.name])}")
        taken[point.name] = point
    for point in taken.values():
        yield point, _load(point)


def _points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, in an order that does not depend on where they are installed."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, _distribution(point)))


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise _error(point, f"cannot be imported: {_described(error)}") from error


def _made(point: EntryPoint, loaded: Any) -> Detector:
    if isinstance(loaded, Detector):
        return loaded
    if not (isinstance(loaded, type) and issubclass(loaded, Detector)):
        raise _error(point, "not a Detector class, nor an instance of one")
    try:
        return loaded()
    except (Exception, SystemExit) as error:
        raise _error(point, f"cannot be created: {_described(error)}") from error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _error(point: EntryPoint, reason: str) -> ConfigError:
    return ConfigError(f"plug-in {_named(point)}: {reason}")


def _named(point: EntryPoint) -> str:
    """Name an entry point and its distribution: `acme-rules 1.0 ("vault" = acme.rules:VaultToken)`."""
    return f'{_distribution(point)} ("{point.name}" = {point.value})'


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "of an unknown distribution"
