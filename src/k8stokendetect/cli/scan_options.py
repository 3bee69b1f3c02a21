# SPDX-License-Identifier: Apache-2.0
"""The options of `scan`: what contradicts what, and which files may be written."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

import attrs

from k8stokendetect import read
from k8stokendetect.cli.selecting import Choice
from k8stokendetect.cli.shared import Errors, Selection, load_cluster, source_of
from k8stokendetect.cluster import Cluster
from k8stokendetect.engine.checkpoint import Checkpoint
from k8stokendetect.errors import ConfigError, OnError
from k8stokendetect.events import Platform
from k8stokendetect.input.remote import Remote, is_url
from k8stokendetect.input.streams import is_packed
from k8stokendetect.reading import AuditLog, Source


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
    wait: bool
    rotated: str | None
    sinks: tuple[str, ...]
    dead_letters: str | None
    keep_excluded: bool
    trust_pods: tuple[str, ...]
    day_first: bool | None
    issuers: tuple[str, ...]
    azure_subjects: str | None
    fail_on: str

    def check(self) -> None:
        """Refuse options that contradict each other, and files that cannot be written or are read here.

        Raises:
            ConfigError: as said.

        """
        if self.follow and (self.report or self.suggest):
            raise ConfigError("--follow does not end: it goes with neither --report nor --suggest-exclusions")
        if not self.follow and (self.wait or self.rotated):
            raise ConfigError("--wait and --rotated-to need --follow")
        if [*self.cluster_files, *self.files].count("-") > 1:
            raise ConfigError("standard input can be the log or the cluster, not both")
        if self.follow:
            self._check_followed()
        self._check_written()

    def _check_written(self) -> None:
        written = {"--state": self.state, "--report": self.report, "--output": self.output}
        read_ = [*self.files, *self.cluster_files, *filter(None, (self.exclusion_file, self.azure_subjects))]
        seen = {os.path.realpath(name): "a file that is read" for name in read_ if name != "-" and not is_url(name)}
        for option, name in written.items():
            if name is None:
                continue
            if not name or "\0" in name:
                raise ConfigError(f"{option}: not the name of a file")
            real = os.path.realpath(name)
            if real in seen and not _is_device(real):
                raise ConfigError(f"{option} {name}: that is {seen[real]}, too")
            seen[real] = f"the file of {option}"
        if self.state is not None:
            Checkpoint(Path(self.state)).check()
        for name in (self.report, self.output):
            if name is not None:
                _check_writable(Path(name))

    def _check_followed(self) -> None:
        name = self.files[0]
        if len(self.files) > 1 or name == "-" or is_url(name) or Path(name).is_dir():
            raise ConfigError("--follow takes one file on this machine")
        if self.rotated is not None and not Path(self.rotated).is_dir():
            raise ConfigError(f"--rotated-to {self.rotated}: no such folder")
        if not Path(name).exists() and not self.wait:
            raise ConfigError(f"{name}: no such file; --wait waits for it")
        with contextlib.suppress(OSError), Path(name).open("rb") as file:
            if is_packed(file.read(512)):
                raise ConfigError(f"{name}: --follow takes a log that is not compressed")

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
        """Return what to read, but for a file that is followed."""
        return Remote(name) if is_url(name) else source_of(name)

    @property
    def is_live(self) -> bool:
        """Whether the end may be far off."""
        if self.follow or "-" not in self.files:
            return self.follow
        try:
            return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
        except (OSError, ValueError):
            return True

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


def _is_device(name: str) -> bool:
    """Tell whether this exists and is not a file, such as /dev/null or /dev/stdout."""
    return os.path.exists(name) and not os.path.isfile(name)  # noqa: PTH110, PTH113 - the methods raise for long names


def _check_writable(path: Path) -> None:
    """Raise ConfigError unless a file can be written, which is tried; it stays as it is."""
    try:
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
