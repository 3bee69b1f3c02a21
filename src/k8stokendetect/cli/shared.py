# SPDX-License-Identifier: Apache-2.0
"""What the commands share: their sources and exclusions, and what they print on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import click

from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.incomplete import IncompleteError
from k8stokendetect.detectors import Detector
from k8stokendetect.engine.selection import choose_detectors
from k8stokendetect.envelopes import Envelope
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, ReadError
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, find_exclusion, load_exclusions
from k8stokendetect.outputs.text import neutral
from k8stokendetect.plugins import Output, load_detectors, load_envelopes, load_outputs

if TYPE_CHECKING:
    from k8stokendetect.sinks import Sinks

SHOWN_ERRORS = 20
"""Maximum number of errors that are printed; the others are counted."""


class Errors:
    """Prints errors as they come, the first few of them.

    Attributes:
        count: how many there were.
        texts: those that were printed.

    """

    def __init__(self, label: str = "error") -> None:
        self.count = 0
        self.texts: list[str] = []
        self._label = label

    def __call__(self, error: K8sTokenDetectError) -> None:
        """Print the error, or only count it once enough have been printed."""
        self.count += 1
        if self.count <= SHOWN_ERRORS:
            self.texts.append(str(error))
            describe(error, self._label)
        elif self.count == SHOWN_ERRORS + 1:
            tell(f"{self._label}: more to come; from here on they are only counted")

    def end(self, about: str) -> None:
        """Print how many there were, where not all were printed."""
        if self.count > SHOWN_ERRORS:
            tell(f"{self._label}: {self.count:,} {about} in all")


def describe(error: K8sTokenDetectError, label: str = "error") -> None:
    """Print one error."""
    tell(f"{label}: {neutral(str(error))}")


def tell(text: str, /) -> None:
    """Print a line on standard error; nothing can be said where that is full or closed."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def fail(error: Exception, /) -> None:
    """Print why a command ends; what it could not write is not tried again."""
    if isinstance(error, OSError):
        discard_output()
        error = K8sTokenDetectError(cannot_write(error))
    describe(error if isinstance(error, K8sTokenDetectError) else K8sTokenDetectError(str(error)))


def discard_output() -> None:
    """Write nothing more to standard output: what its buffer still holds would fail again at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def cannot_write(error: OSError, name: str | None = None, /) -> str:
    """Return one line about an output that could not be written.

    Arguments:
        error: why.
        name: of the file, where the error does not say; None for standard output.

    """
    return f"{error.filename or name or 'standard output'}: cannot be written: {error.strerror or type(error).__name__}"


def write(path: Path, text: str, /) -> None:
    """Write a file; raises ConfigError, with the file, when that fails."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


@attrs.frozen
class Selection:
    """What to run.

    Arguments:
        detectors: fresh instances.
        envelopes: of plug-ins.
        outputs: of plug-ins, by their names.

    """

    detectors: Sequence[Detector]
    envelopes: Sequence[Envelope] = ()
    outputs: Mapping[str, Output] = attrs.field(factory=dict)

    @classmethod
    def of(cls, rules: Sequence[str], /, *, plugins: bool) -> Self:
        """Choose the detectors of these rules; without any, the built-in ones and all of plug-ins.

        Arguments:
            rules: their ids.
            plugins: whether to look for plug-ins.

        Raises:
            ConfigError: when there is no such rule, or a plug-in is broken or clashes.

        """
        if not plugins:
            return cls(choose_detectors(dict.fromkeys(rules) or None))
        more = load_detectors()
        others = {detector.rule.id for detector in more}
        named = dict.fromkeys(rule for rule in rules if rule not in others)
        detectors = choose_detectors(named or None) if named or not rules else ()
        wanted = [detector for detector in more if not rules or detector.rule.id in rules]
        return cls([*detectors, *wanted], load_envelopes(), load_outputs())


def exclusions_of(enable: Sequence[str], file: str | None, /) -> tuple[Exclusion, ...]:
    """Return the default exclusions, the optional ones that were named, and those of a file; warn of useless ones.

    Raises:
        ConfigError: when there is no such exclusion, or the file is wrong.

    """
    found = (*DEFAULT_EXCLUSIONS, *map(find_exclusion, enable))
    if file is None:
        return found
    own = load_exclusions(file)
    if not own:
        describe(ConfigError(f"{file}: excludes nobody: it has only comments"), "warning")
    for one in own:
        if one.expires is not None and one.expires < datetime.now(UTC).date():
            describe(ConfigError(f"{file}: {one.id} excludes only what was logged until {one.expires}"), "warning")
    return (*found, *own)


def open_sinks(specs: Sequence[str], dead_letters: str | None, on_error: OnError, /) -> Sinks:
    """Open what `--sink` names, with the file of `--dead-letters`.

    Raises:
        ConfigError: when a specification is wrong, or a file cannot be written.

    """
    from k8stokendetect.sinks import open_all  # noqa: PLC0415 - only where alerts are sent

    return open_all(specs, dead_letters=Path(dead_letters) if dead_letters else None, on_error=on_error)


def source_of(name: str, /) -> Any:
    """Return what to read: standard input for `-`, else the path; raises ConfigError for an empty name."""
    if not name:
        raise ConfigError("the name of a file is empty")
    return sys.stdin.buffer if name == "-" else Path(name)


def load_cluster(
    names: Sequence[str], /, *, on_error: OnError, warn: OnError, on_incomplete: OnError | None = None
) -> Cluster:
    """Load a snapshot of the cluster.

    Arguments:
        names: of its files; `-` for standard input.
        on_error: called for a file that cannot be read.
        warn: called for each object that is skipped or grants nothing; there often are some.
        on_incomplete: called for what may grant rights and could not be read; `warn` by default.

    Raises:
        ConfigError: when a name is empty.

    """
    others: Counter[tuple[str | None, str]] = Counter()

    def route(error: K8sTokenDetectError) -> None:
        if isinstance(error, IncompleteError):
            (on_incomplete or warn)(error)
        elif isinstance(error, ReadError) and error.reason.endswith("is not supported"):
            others[error.origin, error.reason] += 1
        else:
            (on_error if isinstance(error, ReadError) and error.path is None else warn)(error)

    cluster = Cluster.load(*map(source_of, names), on_error=route)
    for (origin, reason), count in others.items():
        warn(ReadError(f"{reason}: {count:,} objects are not looked at", origin))
    return cluster
