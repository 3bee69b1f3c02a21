# SPDX-License-Identifier: Apache-2.0
"""What a command runs: the detectors that were asked for, and what plug-ins add where they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import attrs

from k8stokendetect._memory import chosen
from k8stokendetect.detectors import Detector
from k8stokendetect.envelopes import Envelope
from k8stokendetect.findings import Finding
from k8stokendetect.plugins import load_detectors, load_envelopes, load_outputs


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
    def of(cls, rules: Sequence[str], /, *, plugins: bool) -> Self:
        """Choose the detectors of these rules; without any, the built-in ones and all of plug-ins.

        Raises:
            ConfigError: when there is no such rule, or a plug-in is broken or clashes.

        """
        if not plugins:
            return cls(chosen(rules))
        more = load_detectors()
        others = {detector.rule.id for detector in more}
        named = [rule for rule in rules if rule not in others]
        detectors = chosen(named) if named or not rules else []
        wanted = [detector for detector in more if not rules or detector.rule.id in rules]
        return cls([*detectors, *wanted], load_envelopes(), load_outputs())
