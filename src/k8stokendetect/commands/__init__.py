# SPDX-License-Identifier: Apache-2.0
"""The host's side: token requests among the commands in a Linux host's audit log (auditd)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from types import NoneType
from typing import Final

from k8stokendetect.commands.auditd import AuditdSource
from k8stokendetect.commands.exec_detector import ExecDetector
from k8stokendetect.commands.exec_events import ExecEvent, ExecLog, read_auditd
from k8stokendetect.commands.token_request_command import TokenRequestCommand
from k8stokendetect.engine.selection import chosen_of
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import DetectorError, OnDetectError, ReadError, check, raise_error
from k8stokendetect.findings import Finding

__all__ = ["BUILTIN_COMMANDS", "ExecDetector", "ExecEvent", "TokenRequestCommand", "detect_commands", "read_auditd"]

BUILTIN_COMMANDS: Final[tuple[type[ExecDetector], ...]] = (TokenRequestCommand,)
"""What `detect_commands` runs by default."""

SAME_PROCESS: Final = timedelta(hours=1)
"""How long a process number and file mean the same process: the kernel reuses numbers."""

WINDOW: Final = 100_000
"""Number of findings remembered to drop duplicates; flooding it makes findings repeat, never vanish."""


def detect_commands(
    source: AuditdSource,
    *,
    detectors: Iterable[ExecDetector | str] | None = None,
    on_error: OnDetectError = raise_error,
    tally: Tally | None = None,
) -> Iterator[Finding]:
    """Find requests for service account tokens among the commands of a Linux host's audit log.

    It is separate from `detect`: a detector takes one kind of event; a command spans several lines, mixed with those
    of others, where an audit event is one line; and exclusions concern users of Kubernetes. Nobody is excluded here.

    Arguments:
        source: what `read_auditd` takes.
        detectors: instances, or ids of `BUILTIN_COMMANDS`, the default.
        on_error: called with a ReadError for each line or argument that cannot be read and a DetectorError for each
            detector that raised; the default raises.
        tally: updated while iterating: `events` are commands, `skipped` records that are not about one.

    Raises:
        ConfigError: when an argument is wrong; at the call.

    """
    check(on_error, object, "on_error is not callable", callable)
    check(tally, (Tally, NoneType), "tally is not a Tally")
    known = {cls.rule.id: cls for cls in BUILTIN_COMMANDS}
    asked = known if detectors is None else detectors
    chosen = chosen_of(ExecDetector, known, asked)  # type: ignore[type-abstract]  # only `isinstance` is asked of it
    return _run(ExecLog(source), chosen, on_error, Tally() if tally is None else tally)


def _run(log: ExecLog, detectors: Sequence[ExecDetector], on_error: OnDetectError, tally: Tally) -> Iterator[Finding]:
    earlier, repeats = tally.skipped, _Deduplicator()
    for item in log.stream():
        tally.skipped = earlier + log.skipped
        if isinstance(item, ReadError):
            tally.unreadable += 1
            on_error(item)
            continue
        tally.events += 1
        for finding in _found(item, detectors, on_error, tally):
            if repeats.has_seen(finding, item):
                tally.duplicates += 1
            else:
                tally.findings[finding.rule.id] += 1
                yield finding
    tally.skipped = earlier + log.skipped


def _found(
    event: ExecEvent, detectors: Sequence[ExecDetector], on_error: OnDetectError, tally: Tally
) -> Iterator[Finding]:
    """Ask each detector; when one raises, the others still see the event."""
    for detector in detectors:
        try:
            found = list(detector.inspect_command(event))
            if not all(isinstance(item, Finding) for item in found):
                raise TypeError("returned something that is not a Finding")  # noqa: TRY301 - reported like any other failure
        except Exception as error:  # noqa: BLE001 - as said
            tally.failures += 1
            on_error(DetectorError(detector.rule.id, f"{type(error).__name__}: {error}", event.origin))
        else:
            yield from found


class _Deduplicator:
    """Remembers what was reported: duplicate lines, and one process's title at many system calls."""

    def __init__(self) -> None:
        self._seen: dict[object, datetime] = {}

    def has_seen(self, finding: Finding, event: ExecEvent, /) -> bool:
        """Tell whether it repeats an earlier one, and remember it."""
        process = (finding.rule.id, finding.key, event.node, event.pid, event.exe)
        last = self._seen.get(process) if event.pid is not None and event.source == "proctitle" else None
        again = finding.fingerprint in self._seen or (last is not None and abs(event.time - last) <= SAME_PROCESS)
        for key in (finding.fingerprint, process):
            self._seen.pop(key, None)
            self._seen[key] = event.time
        while len(self._seen) > WINDOW:
            del self._seen[next(iter(self._seen))]
        return again
