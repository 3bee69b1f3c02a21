# SPDX-License-Identifier: Apache-2.0
"""The command: `k8stokendetect scan | rules | exclusions`. Findings go to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import k8stokendetect
from k8stokendetect.cli.audit_policy import audit_policy
from k8stokendetect.cli.progress import progress
from k8stokendetect.cli.scan_host import scan_host
from k8stokendetect.cli.shared import PLATFORMS, SEVERITIES, Errors, say
from k8stokendetect.cli.sigma import sigma
from k8stokendetect.cli.who_can_mint import who_can_mint
from k8stokendetect.errors import ConfigError, ReadError
from k8stokendetect.input.follow import FollowedFile

if TYPE_CHECKING:
    from k8stokendetect import Detector, Exclusion, Tally
    from k8stokendetect.events import Platform

# What else a command needs is imported when it runs: `--help` takes less than a third of the time.


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="k8stokendetect", prog_name="k8stokendetect")
def main() -> None:
    """Find Kubernetes service account tokens that were minted by someone who is no system component."""


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES…")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Where the log comes from.")
@click.option(
    "--format",
    "form",
    metavar="[text|findings|json|ecs|ocsf|NAME]",
    default="text",
    show_default=True,
    help="Incidents as trees, each finding with its evidence, or lines of JSON: our own, for Elastic, of OCSF. "
    "NAME: of a plug-in, with --plugins.",
)
@click.option("--incidents", "as_incidents", is_flag=True, help="With --format json: incidents, not findings.")
@click.option("--report", metavar="FILE", help="Also write an HTML page about the incidents.")
@click.option("--state", metavar="FILE", help="What detectors remember: read at the start if it exists, then written.")
@click.option("--exclusions", "exclusion_file", metavar="FILE", help="Exclusions of your own, in TOML.")
@click.option(
    "--cluster",
    "cluster_files",
    multiple=True,
    metavar="FILE",
    help="The cluster's objects, as `kubectl get serviceaccounts,roles,rolebindings,clusterroles,"
    "clusterrolebindings,pods -A -o json` prints them; may be repeated.",
)
@click.option("--enable", multiple=True, metavar="NAME", help="Switch on an optional exclusion; may be repeated.")
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Run only this rule; may be repeated.")
@click.option("--plugins", is_flag=True, help="Load detectors, envelopes and outputs of installed plug-ins.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Look through large files with so many processes.",
)
@click.option("--follow", is_flag=True, help="Read on as the one file grows and rotates, until interrupted.")
@click.option("--keep-excluded", is_flag=True, help="Also print what an exclusion set aside.")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    default="low",
    show_default=True,
    help="Exit with 1 for a finding of at least this severity.",
)
def scan(
    *,
    files: tuple[str, ...],
    platform: Platform | None,
    form: str,
    as_incidents: bool,
    report: str | None,
    state: str | None,
    exclusion_file: str | None,
    cluster_files: tuple[str, ...],
    enable: tuple[str, ...],
    rules: tuple[str, ...],
    plugins: bool,
    jobs: int,
    follow: bool,
    keep_excluded: bool,
    fail_on: str,
) -> None:
    """Scan audit logs: files, gzip files, folders of rotated files, or - for standard input.

    Prints incidents: findings that belong to one attack, as a tree, the worst first, and what to do. With --follow each
    finding is printed as it comes. With --cluster, targets are judged by what they may do, and incidents say through
    which bindings their callers could mint, how to take those away, and where to look in the cloud.

    Exits with 0 when nothing was found at or above --fail-on, 1 when something was, and 2 when a record could not be
    read or an option is wrong; everything that can be read is examined in any case.
    """
    from k8stokendetect.cli.printer import Printer  # noqa: PLC0415 - not for --help
    from k8stokendetect.cli.selection import Chosen, load_cluster  # noqa: PLC0415 - not for --help
    from k8stokendetect.engine.state import load_state, save_state  # noqa: PLC0415 - not for --help

    errors, warnings, tally = Errors(), Errors("warning"), k8stokendetect.Tally()
    _lose_no_character()
    try:
        if follow:
            _refuse_at_no_end(report, as_incidents=as_incidents)
        if jobs > 1:
            _refuse_streams(files, follow=follow)
        sources = [_source(name, files, follow=follow) for name in files]
        cluster = load_cluster(cluster_files, files, on_error=errors, warn=warnings)
        chosen = Chosen.of(rules, plugins=plugins, cluster=cluster)
        detectors = chosen.detectors
        log = k8stokendetect.read(
            sources, platform=platform, on_error=errors, workers=jobs - 1, envelopes=chosen.envelopes
        )
        if state is not None:
            load_state(Path(state), detectors)
        silencing: tuple[Exclusion | str, ...] = (*k8stokendetect.DEFAULT_EXCLUSIONS, *enable)
        if exclusion_file is not None:
            silencing += k8stokendetect.load_exclusions(exclusion_file)
        findings = k8stokendetect.detect(
            log,
            detectors=detectors,
            exclusions=silencing,
            keep_excluded=keep_excluded,
            on_error=errors,
            tally=tally,
            cluster=cluster,
        )
        printer = Printer(
            "findings" if follow and form == "text" else form,
            as_incidents=as_incidents,
            report=report,
            more=chosen.outputs,
            on_error=errors,
            cluster=cluster,
        )
    except ConfigError as error:
        say(error)
        sys.exit(2)
    try:
        with progress(() if follow else files, log), contextlib.suppress(KeyboardInterrupt):
            for finding in findings:
                printer.take(finding)
        printer.finish()
        if state is not None:
            save_state(Path(state), detectors)
    except BrokenPipeError:
        raise
    except OSError as error:
        errors(ReadError(f"cannot be written: {error.strerror}", str(error.filename)))
    warnings.end("about the objects of the cluster")
    click.echo(summary(tally), err=True)
    found = printer.worst is not None and printer.worst >= k8stokendetect.Severity.of(fail_on)
    sys.exit(2 if errors.count else int(found))


def _lose_no_character() -> None:
    """Escape what a terminal without Unicode cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refuse_at_no_end(report: str | None, *, as_incidents: bool) -> None:
    if report or as_incidents:
        raise ConfigError("--follow has no end: no incidents, no report")


def _refuse_streams(files: tuple[str, ...], *, follow: bool) -> None:
    if follow or "-" in files:
        raise ConfigError("--jobs is for files and folders: not with --follow, nor for standard input")


def _source(name: str, files: tuple[str, ...], *, follow: bool) -> Any:
    if not name:
        raise ConfigError("the name of a file is empty")
    if follow and (len(files) > 1 or name == "-" or Path(name).is_dir()):
        raise ConfigError("--follow takes one file")
    if follow:
        return FollowedFile(Path(name), _stopped())
    return sys.stdin.buffer if name == "-" else Path(name)


def _stopped() -> Callable[[], bool]:
    """Let an interrupt end the file rather than the command: what waits for later events is still examined."""
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    return lambda: bool(interrupts)


def summary(tally: Tally, /) -> str:
    """Return one line that accounts for everything that was read."""

    def listed(counts: dict[str, int]) -> str:
        return f" ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""

    parts = [
        f"events read: {tally.events:,}",
        f"findings: {tally.findings.total():,}{listed(tally.findings)}",
        f"set aside: {tally.excluded.total():,}{listed(tally.excluded)}",
        f"repeated: {tally.duplicates:,}" if tally.duplicates else "",
        f"unreadable: {tally.unreadable:,}",
        f"of other logs: {tally.skipped:,}" if tally.skipped else "",
        f"detector failures: {tally.failures:,}" if tally.failures else "",
    ]
    return "; ".join(part for part in parts if part)


@main.command()
@click.option("--plugins", is_flag=True, help="Also those of installed plug-ins.")
def rules(*, plugins: bool) -> None:
    """List the rules: what each finds, who triggers it without bad intent, what it cannot see."""
    from k8stokendetect.cli.listing import describe_rules  # noqa: PLC0415 - not for --help

    more: tuple[Detector, ...] = ()
    if plugins:
        from k8stokendetect.plugins import load_detectors  # noqa: PLC0415 - only on request

        try:
            more = load_detectors()
        except ConfigError as error:
            say(error)
            sys.exit(2)
    click.echo("\n".join(describe_rules(more)))


@main.command()
def exclusions() -> None:
    """List the exclusions: whom each excuses, on which proofs, why, at what price, and how we know."""
    from k8stokendetect.cli.listing import describe_exclusions  # noqa: PLC0415 - not for --help

    click.echo("\n".join(describe_exclusions()))


for command in (scan_host, who_can_mint, sigma, audit_policy):
    main.add_command(command)
