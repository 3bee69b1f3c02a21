# SPDX-License-Identifier: Apache-2.0
"""Which detectors a command runs, and the file in which they keep what they remember."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector, KeyedDetector
from k8stokendetect.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


def chosen(rules: Sequence[str], /, cluster: Cluster | None = None) -> list[Detector]:
    """Return the detectors of these rules, the optional ones too; the built-in ones without any.

    Arguments:
        rules: their ids.
        cluster: a snapshot of the cluster, for those that know what to do with it.

    Raises:
        ConfigError: when there is no such rule.

    """
    known = {cls.rule.id: cls for cls in (*BUILTIN, *OPTIONAL)}
    for rule in rules:
        if rule not in known:
            raise ConfigError(f"unknown rule {rule!r}{did_you_mean(rule, known)}")
    return [known[rule].made_for(cluster) for rule in dict.fromkeys(rules or [cls.rule.id for cls in BUILTIN])]


def load_state(path: Path, detectors: Iterable[Detector], /) -> None:
    """Let detectors go on with what a file holds; without a file they begin anew.

    Raises:
        ConfigError: when the file cannot be read or is no such state.

    """
    if not path.exists():
        return
    try:
        document = json.loads(path.read_bytes())
        states = {state["rule"]: state for state in document["detectors"]}
    except (OSError, ValueError, TypeError, KeyError):
        raise ConfigError(f"{path}: not a state that this command wrote") from None
    for detector in detectors:
        if isinstance(detector, KeyedDetector) and detector.rule.id in states:
            detector.restore(states[detector.rule.id])


def save_state(path: Path, detectors: Iterable[Detector], /) -> None:
    """Write what detectors remember, at once or not at all.

    Raises:
        OSError: when the file cannot be written.

    """
    states = [detector.state() for detector in detectors if isinstance(detector, KeyedDetector)]
    written = path.with_name(f"{path.name}.new")
    written.write_text(json.dumps({"detectors": states}), encoding="utf-8")
    written.replace(path)
