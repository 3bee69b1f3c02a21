# SPDX-License-Identifier: Apache-2.0
"""What a command runs on: detectors, exclusions, what plug-ins add, files, and what is known of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import Detector
from k8stokendetect.engine.selection import choose_detectors
from k8stokendetect.envelopes import Envelope
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, ReadError
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion, find_exclusion, load_exclusions
from k8stokendetect.findings import Finding
from k8stokendetect.plugins import load_detectors, load_envelopes, load_outputs


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
    outputs: Mapping[str, Callable[[Finding], str]] = attrs.field(factory=dict)

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
    """Return the default exclusions, the optional ones that were named, and those of a file.

    Raises:
        ConfigError: when there is no such exclusion, or the file is wrong.

    """
    found = (*DEFAULT_EXCLUSIONS, *map(find_exclusion, enable))
    return found if file is None else (*found, *load_exclusions(file))


def source_of(name: str, /) -> Any:
    """Return what to read: standard input for `-`, else the path; raises ConfigError for an empty name."""
    if not name:
        raise ConfigError("the name of a file is empty")
    return sys.stdin.buffer if name == "-" else Path(name)


def load_cluster(names: Sequence[str], /, *, on_error: OnError, warn: OnError) -> Cluster:
    """Load a snapshot of the cluster.

    Arguments:
        names: of its files; `-` for standard input.
        on_error: called for a file that cannot be read.
        warn: called for an object that is skipped, and for what grants nothing as it stands: there often is some.

    Raises:
        ConfigError: when a name is empty.

    """

    def tell(error: K8sTokenDetectError) -> None:
        (on_error if isinstance(error, ReadError) and error.path is None else warn)(error)

    return Cluster.load(*map(source_of, names), on_error=tell)
