# SPDX-License-Identifier: Apache-2.0
"""Makes the report of a scan: hashes what was read, and finds the events behind what was found in a second reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click
from click.core import ParameterSource

from k8stokendetect.cli.shared import Errors
from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.engine.tally import Tally
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents import Incident
from k8stokendetect.input.remote import is_url, without_credentials
from k8stokendetect.input.sources import files_in
from k8stokendetect.outputs.event_text import to_event_text
from k8stokendetect.outputs.provenance import Scan, SourceFile
from k8stokendetect.outputs.report import requests_shown, to_report
from k8stokendetect.reading import AuditLog
from k8stokendetect.reading.lookup import events_of

_READING = frozenset({"trust_pods", "day_first", "plugins"})
"""The options that decide which events there are: `explain` needs them, too."""

_CHANGED = "changed while it was read: the hash is of its content now"


class Reporting:
    """Makes the page about a scan; to be made before reading begins.

    Arguments:
        logs: the names that were given: files, folders, URLs, `-`.
        others: other files that what was found rests on, such as a snapshot of the cluster.
        read_again: reads some of the files and folders a second time.
        tally: what was counted.
        errors: what could not be read.

    Attributes:
        note: what the page says first, such as that the scan was interrupted.

    """

    def __init__(
        self,
        logs: Sequence[str],
        others: Sequence[str],
        read_again: Callable[[Sequence[Path]], AuditLog],
        tally: Tally,
        errors: Errors,
    ) -> None:
        self.note = ""
        self._logs = logs
        self._others = others
        self._read_again = read_again
        self._tally = tally
        self._errors = errors
        self._started = datetime.now(UTC)
        self._before = {path: _state(path) for path in self._paths()}

    def page(self, incidents: Sequence[Incident], /) -> str:
        """Return the page about what was found."""
        ended = datetime.now(UTC)
        lasting = [name for name in self._logs if _is_lasting(name)]
        events = self._events(lasting, requests_shown(incidents))
        scan = Scan.counted(
            self._tally,
            files=tuple(self._files()),
            errors=tuple(self._errors.texts),
            number_of_errors=self._errors.count,
            options=command_line(),
            started=self._started,
            ended=ended,
            note=self.note,
            logs=(*command_line(_READING), *map(shown_name, lasting)) if len(lasting) == len(self._logs) else (),
        )
        return to_report(incidents, scan=scan, events=events)

    def _events(self, lasting: Iterable[str], refs: Iterable[EventRef]) -> Mapping[str, str]:
        """Return the events that a second reading finds, as text; what came through a pipe or from a URL is gone."""
        paths = [Path(name) for name in lasting if not is_url(name)]
        return {id_: to_event_text(event) for id_, event in events_of(self._read_again(paths), refs)} if paths else {}

    def _paths(self) -> Iterator[Path]:
        """Yield the files on this machine."""
        for path in (Path(name) for name in (*self._logs, *self._others) if name != "-" and not is_url(name)):
            if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
                yield from files_in(path)[0]
            else:
                yield path

    def _files(self) -> Iterator[SourceFile]:
        for path in self._paths():
            file = SourceFile.of(path)
            changed = file.sha256 and self._before.get(path) != _state(path)
            yield attrs.evolve(file, note=_CHANGED) if changed else file
        for name in (*self._logs, *self._others):
            if name == "-":
                yield SourceFile(name="standard input", note="not hashed: its content was not kept")
            elif is_url(name):
                yield SourceFile(name=without_credentials(name), note="not hashed: it is not a file on this machine")


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written to; None for what cannot be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _is_lasting(name: str) -> bool:
    """Tell whether something can be read twice: neither standard input nor a named pipe can."""
    if name == "-" or is_url(name):
        return name != "-"
    return os.path.isfile(name) or os.path.isdir(name)  # noqa: PTH112, PTH113 - the methods raise for long names


def command_line(only: Collection[str] | None = None, /) -> tuple[str, ...]:
    """Return the command and the options that the user gave, or only those of some names, without credentials."""
    context = click.get_current_context(silent=True)
    if context is None:
        return ()
    parameters = sorted(context.command.params, key=lambda one: isinstance(one, click.Argument))
    if only is not None:
        return tuple(item for one in parameters if one.name in only for item in _given(context, one))
    return (context.info_name or "", *(item for one in parameters for item in _given(context, one)))


def _given(context: click.Context, parameter: click.Parameter) -> Iterator[str]:
    """Yield what the user gave for a parameter, as it is written on a command line."""
    name = parameter.name or ""
    if context.get_parameter_source(name) not in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
        return
    value = context.params.get(name)
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(parameter, click.Argument):
            yield shown_name(str(item))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            yield (parameter.opts if item else parameter.secondary_opts or parameter.opts)[0]
        else:
            yield from (parameter.opts[0], shown_name(str(item)))


def shown_name(name: str, /) -> str:
    """Return a value from the command line without credentials."""
    return without_credentials(name) if is_url(name) else clean_text(name)
