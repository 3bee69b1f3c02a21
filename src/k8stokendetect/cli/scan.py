# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect scan` and `scan-host` do: findings go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import functools
import io
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from k8stokendetect import Severity, Tally, read
from k8stokendetect.cli.printer import Printer
from k8stokendetect.cli.reporting import Reporting
from k8stokendetect.cli.selecting import Choice
from k8stokendetect.cli.shared import Errors, Selection, exclusions_of, load_cluster, open_sinks, source_of
from k8stokendetect.cli.suggesting import Suggester
from k8stokendetect.cluster import Cluster
from k8stokendetect.commands import detect_commands
from k8stokendetect.engine.detection import Detection, detection
from k8stokendetect.engine.memory import Memory
from k8stokendetect.errors import ConfigError, OnError, ReadError
from k8stokendetect.events import Platform
from k8stokendetect.input.follow import FollowedFile
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.reading import AuditLog, Source

LONG_READ = 32 * 1024 * 1024
"""From so many bytes on, a terminal gets a progress bar."""


@attrs.frozen(kw_only=True)
class Options:
    """The options of the command, by the names that `cli/app.py` gives them."""

    files: tuple[str, ...]
    platform: Platform | None
    form: str
    level: str | None
    min_severity: str | None
    since: str | None
    until: str | None
    actors: tuple[str, ...]
    limit: int | None
    output: str | None
    quiet: bool
    report: str | None
    state: str | None
    exclusion_file: str | None
    cluster_files: tuple[str, ...]
    cluster_name: str | None
    enable: tuple[str, ...]
    suggest: str | None
    rules: tuple[str, ...]
    plugins: bool
    follow: bool
    sinks: tuple[str, ...]
    dead_letters: str | None
    keep_excluded: bool
    trust_pods: tuple[str, ...]
    day_first: bool | None
    fail_on: str

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ConfigError: as said.

        """
        if self.follow and (self.report or self.level == "incidents"):
            raise ConfigError("--follow has no end: no incidents, no report")
        if [*self.cluster_files, *self.files].count("-") > 1:
            raise ConfigError("standard input is either the log or the cluster")

    def choice(self) -> Choice:
        """Return what to print; raises ConfigError for a wrong time."""
        return Choice.of(
            min_severity=self.min_severity,
            since=self.since,
            until=self.until,
            actors=self.actors,
            limit=self.limit,
        )

    def source(self, name: str, /) -> Any:
        """Return what to read."""
        source = Remote(name) if is_url(name) else source_of(name)
        if not self.follow:
            return source
        if len(self.files) > 1 or not isinstance(source, Path) or source.is_dir():
            raise ConfigError("--follow takes one file on this machine")
        return FollowedFile(source, _stopped())

    def read(self, sources: Source, selection: Selection, on_error: OnError) -> AuditLog:
        """Return the log of some sources."""
        return read(
            sources,
            platform=self.platform,
            on_error=on_error,
            envelopes=selection.envelopes,
            trust_pods=self.trust_pods,
            day_first=self.day_first,
        )

    def load_cluster(self, errors: Errors, warnings: Errors) -> Cluster | None:
        """Load the snapshot of the cluster, where one is given."""
        if not self.cluster_files:
            return None
        cluster = load_cluster(self.cluster_files, on_error=errors, warn=warnings)
        if not (cluster.accounts or cluster.bindings or cluster.roles):
            raise ConfigError("--cluster: no service account, role or binding could be read")
        return cluster


def scan(**given: Any) -> int:
    """Scan logs and return the exit status.

    Raises:
        ConfigError: when an option is wrong; before anything is printed.

    """
    options = Options(**given)
    errors, warnings, tally = Errors(), Errors("warning"), Tally()
    _lose_no_character()
    options.check()
    sources = [options.source(name) for name in options.files]
    cluster = options.load_cluster(errors, warnings)
    selection = Selection.of(options.rules, plugins=options.plugins)
    log = options.read(sources, selection, errors)
    exclusions = exclusions_of(options.enable, options.exclusion_file)
    suggester = Suggester(options.suggest, exclusions, options.output)
    memory = Memory() if options.state is None else Memory.load(Path(options.state))
    findings = detection(
        log,
        detectors=[*selection.detectors, *suggester.detectors],
        exclusions=exclusions,
        keep_excluded=options.keep_excluded,
        on_error=errors,
        tally=tally,
        cluster=cluster,
        cluster_name=options.cluster_name,
        memory=memory,
    )
    printer = _printer(options, selection, cluster, errors)
    sinks = open_sinks(options.sinks, options.dead_letters, errors)
    printer.send = sinks.send
    if options.report is not None:
        printer.page = _reporting(options, selection, tally, errors).page
    for source in sources:
        if isinstance(source, FollowedFile):
            source.on_idle = functools.partial(_print_waiting, findings, printer)
    try:
        with _progress(() if options.follow else options.files, log), contextlib.suppress(KeyboardInterrupt):
            for finding in findings:
                suggester.note(finding)
                printer.take(finding)
        printer.finish()
        suggester.finish()
        if options.state is not None:
            memory.save(Path(options.state))
    except BrokenPipeError:
        raise
    except OSError as error:
        errors(ReadError(f"cannot be written: {error.strerror}", str(error.filename)))
    finally:
        sinks.close()
    if not options.quiet:
        warnings.end("about the objects of the cluster")
        click.echo(summary(tally), err=True)
    return 2 if errors.count else int(printer.worst_is_at_least(Severity.of(options.fail_on)))


def _reporting(options: Options, selection: Selection, tally: Tally, errors: Errors) -> Reporting:
    others = [*options.cluster_files, *([options.exclusion_file] if options.exclusion_file else [])]
    again = functools.partial(options.read, selection=selection, on_error=lambda _: None)
    return Reporting(options.files, others, again, tally, errors)


def _print_waiting(findings: Detection, printer: Printer) -> None:
    """Print what has waited long enough, while a followed file does not grow."""
    for finding in findings.idle():
        printer.take(finding)
    printer.flush()


def _printer(options: Options, selection: Selection, cluster: Cluster | None, errors: Errors) -> Printer:
    return Printer(
        options.form,
        level="findings" if options.follow and options.form == "text" else options.level,
        quiet=options.quiet,
        choice=options.choice(),
        output=options.output,
        report=options.report,
        more=selection.outputs,
        on_error=errors,
        cluster=cluster,
    )


def _lose_no_character() -> None:
    """Escape what a terminal without Unicode cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _size_of(name: str, /) -> int:
    """Return the number of bytes to read, as far as it is known; what cannot be read is reported later."""
    try:
        path = Path(name)
        return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def _progress(files: tuple[str, ...], log: AuditLog, /) -> Iterator[None]:
    """Show a progress bar for a long read, when standard error is a terminal."""
    total = sum(map(_size_of, files)) if sys.stderr.isatty() else 0
    if total < LONG_READ:
        yield
        return
    from rich import console  # noqa: PLC0415 - only a long read at a terminal needs it
    from rich import progress as bars  # noqa: PLC0415 - the same

    class Bar(bars.Progress):
        def get_renderables(self) -> Iterable[Any]:
            for task in self.task_ids:
                self.update(task, completed=log.bytes_read)
            return super().get_renderables()

    # Findings must never leave standard output, unless it is the same terminal: then they go above the bar.
    with Bar(console=console.Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        bar.add_task("reading", total=total)
        yield


def _stopped() -> Callable[[], bool]:
    """Let an interrupt end the file rather than the command: what waits for later events is still examined."""
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    return lambda: bool(interrupts)


def summary(tally: Tally, /, events: str = "events read", skipped: str = "of other logs") -> str:
    """Return one line that accounts for everything that was read."""
    parts = [
        f"{events}: {tally.events:,}",
        f"findings: {tally.findings.total():,}{counted(tally.findings)}",
        f"excluded: {tally.excluded.total():,}{counted(tally.excluded)}" if tally.excluded else "",
        f"repeated: {tally.duplicates:,}" if tally.duplicates else "",
        f"unreadable: {tally.unreadable:,}",
        f"{skipped}: {tally.skipped:,}" if tally.skipped else "",
        f"tokens of unknown origin, too early to judge: {tally.undecided:,}" if tally.undecided else "",
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
    for finding in detect_commands(list(map(source_of, files)), on_error=errors, tally=tally):
        printer.take(finding)
    printer.finish()
    click.echo(summary(tally, "commands read", "records about no command"), err=True)
    return 2 if errors.count else int(printer.worst_is_at_least(Severity.of(fail_on)))
