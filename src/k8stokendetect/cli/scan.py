# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` and `scan-host` do: findings go to standard output, everything else to standard error."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from k8stokendetect import Severity, Tally
from k8stokendetect.cli.clouds import load_subjects, with_issuers
from k8stokendetect.cli.following import Following, checked
from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.progress import progress, size_of
from k8stokendetect.cli.reporting import Reporting
from k8stokendetect.cli.running import INTERRUPTED, Ending, Run, stopped_by_signals
from k8stokendetect.cli.scan_options import Options
from k8stokendetect.cli.shared import Errors, Selection, cannot_write, exclusions_of, open_sinks, source_of, tell
from k8stokendetect.cli.suggesting import Suggester
from k8stokendetect.cluster import Cluster
from k8stokendetect.commands import detect_commands
from k8stokendetect.detectors import Detector
from k8stokendetect.engine.checkpoint import Checkpoint, Saved
from k8stokendetect.engine.detection import Detection, detection
from k8stokendetect.engine.state_file import refused
from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.events import Signal
from k8stokendetect.findings import Finding
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.reading import AuditLog


def scan(**given: Any) -> int:
    """Scan logs and return the exit status.

    Raises:
        ConfigError: when an option is wrong; before anything is printed.

    """
    options = Options(**given)
    _lose_no_character()
    options.check()
    return Scan(options).run()


class Scan:
    """One scan.

    Arguments:
        options: those of the command.

    Raises:
        ConfigError: when an option is wrong.

    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._errors, self._warnings, self._tally = Errors(), Errors("warning"), Tally()
        cluster = options.load_cluster(self._errors, self._warnings)
        self._selection = Selection.of(options.rules, plugins=options.plugins)
        exclusions = exclusions_of(options.enable, options.exclusion_file)
        self._suggester = Suggester(options.suggest, exclusions, options.output)
        detectors = [*with_issuers(self._selection.detectors, options.issuers), *self._suggester.detectors]
        self._checkpoint = None if options.state is None else Checkpoint(Path(options.state))
        self._saved, opened = self._remembered(detectors)
        self._source = self._followed() if options.follow else None
        sources = [self._source] if self._source is not None else [options.source(name) for name in options.files]
        self._log = options.read(sources, self._selection, self._on_error)
        self._findings = detection(
            self._log,
            detectors=detectors,
            exclusions=exclusions,
            keep_excluded=options.keep_excluded,
            on_error=self._on_error,
            tally=self._tally,
            cluster=cluster,
            cluster_name=options.cluster_name,
            memory=self._saved.memory,
            azure_subjects=load_subjects(options.azure_subjects),
        )
        self._printer = self._printing(cluster)
        self._following = self._attended(self._source, self._findings) if self._source is not None else None
        for finding in opened:
            self._printer.groups.add(finding)

    def _on_error(self, error: K8sTokenDetectError) -> None:
        """Report an error, unless the process before reported it."""
        if self._source is None or not self._source.is_replaying:
            self._errors(error)

    def _remembered(self, detectors: Sequence[Detector]) -> tuple[Saved, list[Finding]]:
        """Return what is remembered; nothing where that is damaged, which is reported, and the file is kept."""
        if self._checkpoint is None:
            return Saved(), []
        try:
            saved = self._checkpoint.load()
            try:
                saved.memory.attach(detectors)
                _, opened = checked(saved.more)
            except ConfigError as error:
                raise refused(self._checkpoint.path, str(error)) from None
        except ConfigError as error:
            try:
                kept = self._checkpoint.set_aside()
            except OSError as reason:
                raise ConfigError(f"{error}; it cannot be renamed either: {reason.strerror}") from None
            self._errors(K8sTokenDetectError(f"{error}; kept as {kept}; the scan starts without memory"))
            return Saved(), []
        return saved, opened if self._options.level == "incidents" else []

    def _followed(self) -> FollowedFile:
        options = self._options
        position, _ = checked(self._saved.more)
        folder = None if options.rotated is None else Path(options.rotated)
        return FollowedFile(Path(options.files[0]), self._is_over, self._errors, folder, position)

    def _is_over(self) -> bool:
        ending = self._run.ending
        return bool(ending.signal) or not ending.is_complete

    def _printing(self, cluster: Cluster | None) -> Printer:
        options = self._options
        printer = Printer(
            options.form,
            level=options.level or ("alerts" if options.follow and options.form == "text" else None),
            live=options.is_live,
            append=options.follow,
            quiet=options.quiet,
            choice=options.choice(),
            output=options.output,
            report=options.report,
            more=self._selection.outputs,
            on_error=self._errors,
            cluster=cluster,
        )
        if options.report is not None:
            others = [*options.cluster_files, *([options.exclusion_file] if options.exclusion_file else [])]
            self._report = Reporting(options.files, others, self._again, self._tally, self._errors)
            printer.page = self._report.page
        return printer

    def _again(self, paths: Sequence[Path]) -> AuditLog:
        return self._options.read(paths, self._selection, lambda _: None)

    def _attended(self, source: FollowedFile, findings: Detection) -> Following:
        unreadable = [one.rule.id for one in self._selection.detectors if Signal.UNREADABLE in one.watches]
        return Following(source, findings, self._printer, self._checkpoint, self._saved, unreadable)

    def run(self) -> int:
        """Scan and return the exit status."""
        options, following = self._options, self._following
        sinks = open_sinks(options.sinks, options.dead_letters, self._errors)
        self._printer.send = sinks.send
        at_once = options.is_live or options.form != "text"
        take = self._take if following is None else following.take
        self._run = Run(self._findings, self._printer, take, at_once=at_once, follows=options.follow)
        if following is not None:
            following.run = self._run
        try:
            with (
                stopped_by_signals(self._run.stop),
                progress(() if options.follow else options.files, self._log),
            ):
                if options.follow and not options.quiet:
                    tell(f"following {options.files[0]}")
                self._run.all(self._finish if following is None else following.finish)
        finally:
            sinks.close()
        return self._ended(self._run.ending)

    def _take(self, finding: Finding) -> None:
        self._suggester.note(finding)
        self._printer.take(finding)

    def _finish(self) -> None:
        """Print and save what comes at the end."""
        ending = self._run.ending
        if ending.signal and self._options.report is not None:
            self._report.note = f"Interrupted: {self._how_far()}."
        self._printer.finish()
        self._suggester.finish()
        if self._checkpoint is not None:
            self._checkpoint.save(self._saved.memory)

    def _ended(self, ending: Ending) -> int:
        """Say how it ended, and return the exit status."""
        if ending.failure is not None:
            self._errors(K8sTokenDetectError(cannot_write(ending.failure, self._options.output)))
        if not ending.is_complete and self._checkpoint is not None and not self._options.follow:
            self._keep_state(self._checkpoint)
        is_over = ending.is_closed or (bool(ending.signal) and not self._options.follow)
        if ending.is_closed:
            tell("interrupted: its output was closed; later findings were not printed")
        elif is_over:
            tell(f"interrupted by {ending.signal}: {self._how_far()}; the rest was not examined")
        if not self._options.quiet:
            self._warnings.end("about the objects of the cluster")
            tell(summary(self._tally))
        if is_over and ending.failure is None:
            return INTERRUPTED
        worst = Severity.of(self._options.fail_on)
        return 2 if self._errors.count else int(self._printer.worst_is_at_least(worst))

    def _keep_state(self, checkpoint: Checkpoint) -> None:
        """Leave the state as it was before the scan: the next one says again what this one could not print."""
        try:
            if not checkpoint.path.exists():
                checkpoint.save(Saved().memory)
        except OSError as error:
            self._errors(K8sTokenDetectError(cannot_write(error)))

    def _how_far(self) -> str:
        size = sum(map(size_of, self._options.files))
        of = f" of {size:,}" if size >= self._log.bytes_read > 0 else ""
        return f"{self._log.bytes_read:,}{of} bytes were read"


UNDECIDED: Final = "tokens of unknown origin, with too little log before them to judge"
"""Of the uses of unbound tokens in the cluster, and of exchanges in clouds."""


def summary(tally: Tally, /, events: str = "events read", skipped: str = "of other logs") -> str:
    """Return one line that accounts for everything that was read."""
    parts = [
        f"{events}: {tally.events:,}",
        f"calls in clouds: {tally.cloud_events:,}" if tally.cloud_events else "",
        f"findings: {tally.findings.total():,}{counted(tally.findings)}",
        f"excluded: {tally.excluded.total():,}{counted(tally.excluded)}" if tally.excluded else "",
        f"repeated: {tally.duplicates:,}" if tally.duplicates else "",
        f"unreadable: {tally.unreadable:,}",
        f"{skipped}: {tally.skipped:,}" if tally.skipped else "",
        f"{UNDECIDED}: {tally.undecided:,}" if tally.undecided else "",
        f"unproven source: {tally.unproven:,}" if tally.unproven else "",
        f"no record has: {', '.join(sorted(tally.dropped))}" if tally.dropped else "",
        f"detector failures: {tally.failures:,}" if tally.failures else "",
    ]
    return "; ".join(filter(None, parts))


def counted(counts: Mapping[str, int], /) -> str:
    """Return counts by name, in brackets behind their sum."""
    return f" ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""


def scan_host(*, files: tuple[str, ...], form: str, fail_on: str) -> int:
    """Scan a host's logs and return the exit status.

    Raises:
        ConfigError: when an option is wrong.

    """
    errors, tally = Errors(), Tally()
    printer = Printer(form, level="findings")
    is_interrupted = False
    try:
        for finding in detect_commands(list(map(source_of, files)), on_error=errors, tally=tally):
            printer.take(finding)
    except KeyboardInterrupt:
        is_interrupted = True
    printer.finish()
    if is_interrupted:
        tell("interrupted; the rest was not examined")
    tell(summary(tally, "commands read", "records without a command"))
    if is_interrupted:
        return INTERRUPTED
    return 2 if errors.count else int(printer.worst_is_at_least(Severity.of(fail_on)))


def _lose_no_character() -> None:
    """Escape what a terminal without Unicode cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
