# SPDX-License-Identifier: Apache-2.0
"""What a command runs: the detectors that were asked for, what plug-ins add, and what is known of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.engine.state import chosen
from k8stokendetect.envelopes import Envelope
from k8stokendetect.errors import ConfigError, K8sTokenDetectError, OnError, ReadError
from k8stokendetect.findings import Finding
from k8stokendetect.plugins import load_detectors, load_envelopes, load_outputs

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


@attrs.frozen
class Chosen:
    """What to run.

    Arguments:
        detectors: made anew.
        envelopes: of plug-ins.
        outputs: of plug-ins, by their names.

    """

    detectors: Sequence[Detector]
    envelopes: Sequence[Envelope] = ()
    outputs: Mapping[str, Callable[[Finding], str]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, rules: Sequence[str], /, *, plugins: bool, cluster: Cluster | None = None) -> Self:
        """Choose the detectors of these rules; without any, the built-in ones and all of plug-ins.

        Arguments:
            rules: their ids.
            plugins: whether to look for plug-ins.
            cluster: a snapshot of the cluster, for the built-in detectors that know what to do with it.

        Raises:
            ConfigError: when there is no such rule, or a plug-in is broken or clashes.

        """
        if not plugins:
            return cls(chosen(rules, cluster))
        more = load_detectors()
        others = {detector.rule.id for detector in more}
        named = [rule for rule in rules if rule not in others]
        detectors = chosen(named, cluster) if named or not rules else []
        wanted = [detector for detector in more if not rules or detector.rule.id in rules]
        return cls([*detectors, *wanted], load_envelopes(), load_outputs())


def load_cluster(names: Sequence[str], logs: Sequence[str], /, *, on_error: OnError, warn: OnError) -> Cluster | None:
    """Load a snapshot of the cluster; None without files.

    Arguments:
        names: of its files; `-` for standard input.
        logs: of the audit logs.
        on_error: told of a file that cannot be read.
        warn: told of an object that is passed over, and of what grants nothing as it stands: there often is some.

    Raises:
        ConfigError: when standard input is asked for twice, or no file could be read.

    """
    if not names:
        return None
    if [*names, *logs].count("-") > 1:
        raise ConfigError("standard input is either the log or the cluster")
    from k8stokendetect.cluster import Cluster  # noqa: PLC0415 - only on request

    def tell(error: K8sTokenDetectError) -> None:
        if isinstance(error, ReadError) and error.path is None:
            on_error(error)
        else:
            warn(error)

    loaded = Cluster.load(*(sys.stdin.buffer if name == "-" else Path(name) for name in names), on_error=tell)
    if not (loaded.accounts or loaded.bindings or loaded.roles):
        raise ConfigError("--cluster: no service account, role or binding could be read")
    return loaded
