# SPDX-License-Identifier: Apache-2.0
"""Runs a detector for its conformance suite, and words what went wrong."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector, KeyedDetector, TokenRequest
from k8stokendetect.engine.detection import detect
from k8stokendetect.engine.watchers import Watchers
from k8stokendetect.errors import ConfigError, DetectorError, K8sTokenDetectError, ReadError
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding, Rule, Severity

_SHOWN: Final = 1500


def failed(wrong: str, mend: str, seen: Any = None) -> AssertionError:
    """Return the error of a failed law.

    Arguments:
        wrong: what is wrong, naming the class and the method.
        mend: how to mend it.
        seen: the event or record that shows it; tokens in it are not repeated.

    """
    sentence = f"{wrong}; {mend}."
    if seen is None:
        return AssertionError(sentence)
    text = clean_text(seen.decode(errors="replace") if isinstance(seen, bytes) else _as_text(seen))
    return AssertionError(f"{sentence}\n\nSeen with: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}")


def _as_text(seen: Any) -> str:
    if isinstance(seen, Mapping | list | tuple):
        return json.dumps(seen, ensure_ascii=False, default=repr)
    return str(seen)


__tracebackhide__ = True  # pytest shows the message, not these lines

Example: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | bytes
"""An audit event; several that belong together, in their order; or the bytes of a log."""

_NEVER_RAISES: Final = (
    "an attacker chooses much of an event, and one that makes a detector raise is one that it does not see. "
    "`detect` tells the error and goes on, but nothing is found"
)


class Everything(Detector):
    """Watches every event, so that none is skipped; reports nothing."""

    rule = Rule("k8stokendetect.everything", "Every event", Severity.INFORMATIONAL)
    watches = frozenset({"*"})

    def inspect(self, _: Event | ReadError, /) -> Iterable[Finding]:
        """Report nothing."""
        return ()


@attrs.frozen
class Harness:
    """Makes a new detector for each check, and runs it.

    Arguments:
        make: returns a new instance.
        alongside: rules, or classes, of detectors whose findings it is told.

    """

    make: Callable[[], Detector]
    alongside: tuple[str | type[Detector], ...] = ()

    @property
    def name(self) -> str:
        """The detector's class, for messages."""
        return type(self.make()).__name__

    def others(self, mine: Detector) -> list[Detector]:
        """Return new instances of those whose findings it is told, but for itself."""
        known = {cls.rule.id: cls for cls in (*BUILTIN, *OPTIONAL)}
        needed = sorted(mine.needs) if isinstance(mine, KeyedDetector) else []
        classes = dict.fromkeys([known[item] if isinstance(item, str) else item for item in (*self.alongside, *needed)])
        return [cls() for cls in classes if cls.rule.id != mine.rule.id]

    def reported(self, mine: Detector, event: Event) -> tuple[Finding, ...]:
        """Return what the others say about an event, as a keyed detector is told; a mint is always reported."""
        others = [TokenRequest(), *self.others(mine)]
        unique = {other.rule.id: other for other in others if other.rule.id != mine.rule.id}
        return tuple(finding for other in unique.values() for finding in other.inspect(event))

    def found(self, mine: Detector, source: Any, *more: Detector) -> list[Finding]:
        """Run `detect` with no exclusion; return what this detector found. One that raises fails the test."""
        errors: list[K8sTokenDetectError] = []
        findings = list(
            detect(source, detectors=[*self.others(mine), mine, *more], exclusions=(), on_error=errors.append)
        )
        for error in errors:
            if isinstance(error, DetectorError) and error.rule_id == mine.rule.id:
                raise failed(
                    f"{self.name} raised while a log was read: {error.reason}",
                    "see which field it takes for granted: any may be missing (None or empty), and any string may be "
                    "whatever a client sent",
                    source if isinstance(source, Mapping | list | bytes) else None,
                )
        return [finding for finding in findings if finding.rule.id == mine.rule.id]

    def called(self, method: Callable[..., Iterable[Any]], *arguments: Any, seen: Any) -> list[Any]:
        """Call one of its methods and return what it gives, as a list."""
        try:
            return list(method(*arguments))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = getattr(method, "__name__", "it")
            raise failed(
                f"{self.name}.{name} raised {type(error).__name__}: {error} ({where.name}, line {where.lineno}: "
                f"{where.line})",
                "ask before you take: `event.object_ref`, `event.token_request`, `event.service_account`, "
                "`event.assumed`, `event.peer_ip`, `event.time` may be None, tuples and mappings may be empty, and "
                "bodies (`request_object`, `response_object`) may be any JSON",
                seen,
            ) from error


def as_log(example: Example) -> list[Mapping[str, Any]]:
    """Return the events of an example that is not bytes."""
    if isinstance(example, bytes):
        return []
    return [example] if isinstance(example, Mapping) else list(example)


def watched(detector: Detector, event: Event) -> bool:
    """Tell whether `detect` hands this event on to this detector; any token may be one that is followed."""
    return any(Watchers([detector]).of(event))


def made(make: Any, suite: str) -> Detector:
    """Make the detector of a suite.

    Raises:
        ConfigError: when the suite names no detector, or what it names makes none.

    """
    if make is None:
        raise ConfigError(f"{suite}: say `detector = MyDetector`, or a function that makes one")
    try:
        detector: object = make()
    except TypeError as error:
        raise ConfigError(
            f"{suite}: {getattr(make, '__name__', make)} cannot be made without arguments ({error}); "
            "say `detector = lambda: MyDetector(…)`"
        ) from None
    if not isinstance(detector, Detector):
        raise ConfigError(f"{suite}: detector makes a {type(detector).__name__}, no Detector")
    if isinstance(detector, KeyedDetector) and not hasattr(detector, "states"):
        raise ConfigError(f"{type(detector).__name__}.__init__ calls no super().__init__(), which makes its states")
    return detector


def in_forms(events: Sequence[Mapping[str, Any]], compact: bytes) -> dict[str, bytes]:
    """Return a log of these events as it is written, with blanks, and in a wrapper where it stands as text."""
    lines = compact.decode().splitlines() if events else []
    blanks = "".join(json.dumps(event) + "\n" for event in events)
    wrapped = "".join(json.dumps({"message": line, "timestamp": 1795470162057}) + "\n" for line in lines)
    return {"native": compact, "with blanks": blanks.encode(), "in a wrapper": wrapped.encode()}


_STEP: Final = re.compile(r"\.?(\w+)|\['([^']*)'\]|\[(\d+)\]")


def resolve(path: str, record: Any, /) -> Any:
    """Return what stands at a path.

    Raises:
        LookupError: when nothing stands there, or the path is malformed.

    """
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if not step:
            raise LookupError(f"malformed path {path!r}")
        name, key, index = step.groups()
        try:
            record = record[int(index)] if index is not None else record[name if name is not None else key]
        except TypeError:
            raise LookupError(path) from None
        position = step.end()
    return record
